import { type Static, type TInteger, type TObject, type TProperties, type TSchema, type TUnsafe, Type } from 'typebox'

// The small words every schema is made of. Grammar and units: DESIGN.md, "Grammar".

/** A closed object: a member that is not listed is refused, with its path. */
export function closed<P extends TProperties>(properties: P, options: { description?: string } = {}): TObject<P> {
  return Type.Object(properties, { additionalProperties: false, ...options })
}

/** A string out of a fixed list. `enum` keeps AJV's error to one line, where a union of literals gives one for each. */
export function oneOf<const V extends readonly string[]>(values: V, description?: string): TUnsafe<V[number]> {
  return Type.Unsafe<V[number]>({ type: 'string', enum: [...values], ...(description ? { description } : {}) })
}

/** A whole number that every reader holds exactly: within ±(2^53 − 1) where nothing closer is said. */
export function integer(options: { minimum?: number; maximum?: number; description?: string } = {}): TInteger {
  return Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER, ...options })
}

/**
 * An object of any members, each with a value of one schema. Not TypeBox's Record: that matches names by `^.*$`, which
 * knows no line break, and a member whose name has one would not be looked at.
 */
export function mapOf<S extends TSchema>(
  value: S,
  options: { description?: string; maxProperties?: number; propertyNames?: TSchema } = {},
): TUnsafe<Record<string, Static<S>>> {
  return Type.Unsafe<Record<string, Static<S>>>({ type: 'object', additionalProperties: value, ...options })
}

/** The same schema with a text for `explain` where it is used. */
export function described<S extends TSchema>(schema: S, description: string): TUnsafe<Static<S>> {
  return Type.Unsafe<Static<S>>({ ...schema, description })
}

/** RFC 1123 label: the only form of a cluster or node id, so that an id is always exactly one NATS token. */
export const LABEL_PATTERN = '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
/** RFC 1123 subdomain, as Kubernetes asks of object names. */
export const SUBDOMAIN_PATTERN = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'

export const Label = Type.String({ pattern: LABEL_PATTERN, maxLength: 63, description: 'RFC 1123 label' })
export const Name = Type.String({ pattern: SUBDOMAIN_PATTERN, maxLength: 253, description: 'RFC 1123 subdomain' })
export const Sha256 = Type.String({
  pattern: '^[0-9a-f]{64}$',
  description: 'lower-case hex SHA-256 of the exact bytes',
})
export const Time = Type.String({ format: 'date-time', pattern: 'Z$', description: 'RFC 3339 in UTC' })
export const Seconds = integer({ minimum: 0, maximum: 31_536_000, description: 'seconds' })
export const Count = integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
export const Text = Type.String({ maxLength: 4096 })
export const Bytes = integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'bytes' })
/** An Ed25519 NATS public key as nkeys write it: `U` and 55 base32 characters. */
export const NatsUserKey = Type.String({ pattern: '^U[A-Z2-7]{55}$', description: 'NATS user public key' })
/** A compact JWS (RFC 7515). Its inside is judged by @skerry/trust, never here. */
export const Jws = Type.String({ pattern: '^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$', maxLength: 262_144 })

/** A public key as a JWK (RFC 7517): P-256 or Ed25519, nothing private. */
export const PublicJwk = Type.Unsafe<
  { kty: 'EC'; crv: 'P-256'; x: string; y: string } | { kty: 'OKP'; crv: 'Ed25519'; x: string }
>({
  type: 'object',
  required: ['kty', 'crv', 'x'],
  properties: {
    kty: { type: 'string', enum: ['EC', 'OKP'] },
    crv: { type: 'string', enum: ['P-256', 'Ed25519'] },
    x: { type: 'string', pattern: '^[A-Za-z0-9_-]{43}$' },
    y: { type: 'string', pattern: '^[A-Za-z0-9_-]{43}$' },
  },
  additionalProperties: false,
})
export type PublicJwk = Static<typeof PublicJwk>

/** The order of desired states: a pair is newer when its timeline is greater, or equal with a greater generation. */
export const Position = closed({
  timeline: integer({
    minimum: 0,
    description: 'Unix time of the hub restore that began this history; 0 at first',
  }),
  generation: integer({ minimum: 1, description: 'rises by one with each change of the desired state' }),
})
export type Position = Static<typeof Position>

/** How far the second that names a timeline may lie ahead of a clock: clocks differ by so much, and honest histories by no more. */
export const TIMELINE_AHEAD_MS = 86_400_000

/** < 0 when `a` is older than `b`, 0 when equal, > 0 when newer. */
export function comparePositions(a: Position, b: Position): number {
  return a.timeline - b.timeline || a.generation - b.generation
}
