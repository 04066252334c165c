import { sign } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type PublicJwk, Refusal } from '@skerry/api'
import { canonicalize } from '@tufjs/canonical-json'
import { Key, Metadata, MetadataKind, type Root, Signature, type Targets } from '@tufjs/models'
import { sha256Hex } from '../digest.ts'
import type { Signer } from '../keys.ts'
import { parseStrictJson } from '../strict-json.ts'

// TUF metadata as bytes: reading them strictly, signing them, and the rules that the specification's libraries leave open.

export const SPEC_VERSION = '1.0.34'
export type Role = 'root' | 'targets' | 'snapshot' | 'timestamp'
/** The most bytes of each file: a source that sends more is cut off. */
export const MAX_BYTES: Record<Role, number> = {
  root: 262_144,
  targets: 4_194_304,
  snapshot: 65_536,
  timestamp: 16_384,
}

type Json = { readonly [member: string]: unknown }

/** The TUF key of a signer's public half. The key id is the hash of the key, so one key cannot have two. */
export function tufKey(jwk: PublicJwk): Key {
  if (jwk.kty !== 'OKP') throw new Refusal('InvalidField', 'TUF keys are Ed25519 here')
  const content = ed25519(Buffer.from(jwk.x, 'base64url').toString('hex'))
  return Key.fromJSON(sha256Hex(canonicalize(content)), content)
}

/** Adds the signers' signatures to metadata; several people may do so one after the other. */
export function signMetadata(bytes: Uint8Array, signers: readonly Signer[]): Uint8Array {
  const metadata = readMetadata(bytes)
  for (const signer of signers) {
    const keyID = tufKey(signer.jwk).keyID
    metadata.sign((data) => new Signature({ keyID, sig: sign(null, data, signer.key).toString('hex') }), true)
  }
  return toBytes(metadata)
}

/** The bytes of metadata as they are stored and served. */
export function toBytes(metadata: Metadata<Root | Targets> | { toJSON(): unknown }): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(metadata.toJSON(), null, 1)}\n`)
}

/** Any metadata, read strictly. Refusal MetadataInvalid names what is wrong. */
function readMetadata(bytes: Uint8Array): Metadata<Root | Targets> {
  return roleOf(strictMetadata(bytes)) === 'root' ? readRoot(bytes) : readTargets(bytes)
}

export function readRoot(bytes: Uint8Array): Metadata<Root> {
  return modelled(() => Metadata.fromJSON(MetadataKind.Root, judged(bytes, 'root')))
}

export function readTargets(bytes: Uint8Array): Metadata<Targets> {
  return modelled(() => Metadata.fromJSON(MetadataKind.Targets, judged(bytes, 'targets')))
}

// The models have rules of their own, about members that no check here looks at; they speak of them in their own errors.
function modelled<T>(read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (cause instanceof Refusal) throw cause
    throw new Refusal('MetadataInvalid', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

/** The keys of a role of `root` whose signatures over this metadata verify, as key ids. */
export function validSigners(root: Uint8Array, role: 'root' | 'targets', bytes: Uint8Array): string[] {
  const { signed } = readRoot(root)
  const metadata = readMetadata(bytes)
  return (signed.roles[role]?.keyIDs ?? []).filter((id) => {
    try {
      signed.keys[id]?.verifySignature(metadata)
      return signed.keys[id] !== undefined
    } catch {
      return false
    }
  })
}

function judged(bytes: Uint8Array, role: Role): Parameters<typeof Metadata.fromJSON>[1] {
  const found = roleOf(strictMetadata(bytes))
  if (found !== role) throw new Refusal('MetadataInvalid', `this is ${found} metadata, ${role} was expected`)
  return JSON.parse(Buffer.from(bytes).toString('utf8'))
}

/**
 * Everything that tuf-js accepts and Skerry does not: doubled members, versions that are no positive integers, one public
 * key under two ids or in two roles, key ids that are not the hash of their key, targets without sha256. Refusal MetadataInvalid.
 */
export function strictMetadata(bytes: Uint8Array): Json {
  const json = parseStrictJson(bytes, { maxBytes: MAX_BYTES.targets })
  const signed = object(object(json, 'the file')['signed'], 'signed')
  const role = roleOf({ signed })
  if (bytes.byteLength > MAX_BYTES[role])
    throw new Refusal('TooLarge', `${role} metadata of ${bytes.byteLength} bytes, where ${MAX_BYTES[role]} are allowed`)
  positive(signed['version'], 'signed.version')
  if (role === 'root') checkRoles(signed)
  if (role === 'targets') checkTargets(signed)
  if (role === 'snapshot' || role === 'timestamp') checkMeta(signed)
  return { signed }
}

function roleOf(json: Json): Role {
  const type = object(json['signed'], 'signed')['_type']
  if (type === 'root' || type === 'targets' || type === 'snapshot' || type === 'timestamp') return type
  throw new Refusal('MetadataInvalid', 'signed._type names no role', { field: 'signed._type' })
}

// One key has one spelling, so that its id, the hash of that spelling, is one too: a public key in other letters or with a
// member more would be another id for the same signer, and count twice.
function checkRoles(signed: Json): void {
  const keys = object(signed['keys'], 'signed.keys')
  for (const [id, content] of Object.entries(keys)) {
    const field = `signed.keys.${id}`
    const key = object(content, field)
    const value = object(key['keyval'], `${field}.keyval`)['public']
    if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value))
      throw new Refusal('MetadataInvalid', `key ${id} is no Ed25519 key in lower-case hex`, { field })
    const wanted = ed25519(value)
    if (!isDeepStrictEqual(content, wanted))
      throw new Refusal('MetadataInvalid', `key ${id} has members that no key here has`, { field })
    if (sha256Hex(canonicalize(wanted)) !== id)
      throw new Refusal('MetadataInvalid', `key id ${id} is not the hash of its key`, { field })
  }
  const seen = new Map<string, string>()
  for (const [name, content] of Object.entries(object(signed['roles'], 'signed.roles'))) {
    const field = `signed.roles.${name}`
    const role = object(content, field)
    positive(role['threshold'], `${field}.threshold`)
    const ids = Array.isArray(role['keyids']) ? role['keyids'].map(String) : []
    if ((name === 'snapshot' || name === 'timestamp') && ids.length !== 1)
      throw new Refusal('MetadataInvalid', `role ${name} has ${ids.length} keys; the hub has one for it`, { field })
    for (const id of ids) {
      const other = seen.get(id)
      if (other) throw new Refusal('MetadataInvalid', `role ${name} lists a key that ${other} has already`, { field })
      seen.set(id, name)
    }
  }
}

function ed25519(hex: string): { keytype: string; scheme: string; keyval: { public: string } } {
  return { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: hex } }
}

function checkTargets(signed: Json): void {
  if (signed['delegations'] !== undefined)
    throw new Refusal('MetadataInvalid', 'delegations are not used by this repository', { field: 'signed.delegations' })
  for (const [path, content] of Object.entries(object(signed['targets'], 'signed.targets'))) {
    const target = object(content, `signed.targets.${path}`)
    const sha256 = object(target['hashes'], `signed.targets.${path}.hashes`)['sha256']
    if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) {
      throw new Refusal('MetadataInvalid', `target ${path} has no sha256`, { field: `signed.targets.${path}.hashes` })
    }
    if (!/^[a-z0-9][a-z0-9./-]*$/.test(path) || path.includes('..'))
      throw new Refusal('MetadataInvalid', `"${path}" is no target path`)
  }
}

function checkMeta(signed: Json): void {
  for (const [file, content] of Object.entries(object(signed['meta'], 'signed.meta'))) {
    positive(object(content, `signed.meta.${file}`)['version'], `signed.meta.${file}.version`)
  }
}

function positive(value: unknown, field: string): void {
  if (!Number.isSafeInteger(value) || Number(value) < 1)
    throw new Refusal('MetadataInvalid', `${field} must be a positive integer`, { field })
}

function object(value: unknown, field: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Refusal('MetadataInvalid', `${field} must be an object`, { field })
  return value as Json
}
