import { type Static, Type } from 'typebox'
import { closed, described, integer, Label, oneOf, Position, Seconds, Sha256, Time } from '../words.ts'

/** A stretch of time that repeats. Judged at the site, in its own zone. Several windows are a union; no window is always open. */
export const ActivationWindow = closed({
  at: Type.String({ maxLength: 128, description: 'cron, five fields: minute hour day-of-month month day-of-week' }),
  timeZone: Type.String({ maxLength: 64, description: 'IANA zone' }),
  durationSeconds: integer({
    minimum: 60,
    maximum: 604_800,
    description: 'how long the window stays open; a start that is under way is never cut off',
  }),
})
export type ActivationWindow = Static<typeof ActivationWindow>

/**
 * When which part of a fleet may activate. Each cluster works its own minute out of its name and the manifest's digest, so
 * that nobody has to be asked when it comes. Judged with the windows: both must allow it.
 */
export const Waves = closed({
  startsAt: described(Time, 'when the image was first sent to a cluster of the rollout: the same for all of them'),
  schedule: Type.Array(
    closed({
      startAfterSeconds: described(Seconds, 'from startsAt to the beginning of this wave'),
      spreadSeconds: described(Seconds, 'within how long its clusters are spread'),
      percent: integer({
        minimum: 1,
        maximum: 100,
        description: 'of the fleet that is in this wave or in one before it',
      }),
    }),
    { minItems: 1, maxItems: 32 },
  ),
})
export type Waves = Static<typeof Waves>

/** When a boot counts as good. */
export const Gates = closed({
  healthySeconds: integer({
    minimum: 0,
    maximum: 86_400,
    description: 'the boot must stay healthy for so long without a break',
  }),
  timeoutSeconds: integer({
    minimum: 1,
    maximum: 86_400,
    description: 'counted from the boot; after it the image is rolled back',
  }),
})
export type Gates = Static<typeof Gates>

/** What one cluster shall be: a JWS payload, `aud` in the protected header = cluster. Order is (timeline, generation). */
export const DesiredState = closed({
  kind: oneOf(['DesiredState']),
  cluster: Label,
  timeline: Position.properties.timeline,
  generation: Position.properties.generation,
  issuedAt: Time,
  image: Type.Optional(
    closed({
      target: Type.String({ maxLength: 256, description: 'path of the TUF target' }),
      sha256: Type.Unsafe<string>({
        ...Sha256,
        description: 'of the manifest: agreeing on it is agreeing on everything in it',
      }),
      rollout: Type.String({ maxLength: 320, description: 'namespace/name' }),
    }),
  ),
  windows: closed({ activation: Type.Array(ActivationWindow, { maxItems: 16 }) }),
  waves: Type.Optional(Waves),
  gates: Gates,
  drain: closed({ timeoutSeconds: Seconds }),
  budget: closed({
    maxUnavailable: integer({
      minimum: 1,
      maximum: 1000,
      description: 'nodes of the site that may be down at once',
    }),
  }),
  onFailure: oneOf(['RollBack'], 'what a node does when its new boot is not good'),
  attestation: oneOf(['affirming', 'warning']),
  paused: Type.Boolean({ description: 'nothing new starts; what is activating finishes' }),
  retry: Type.Optional(
    closed(
      {
        imageSha256: described(Sha256, "of the image's bytes, which the manifest names"),
        act: Type.String({ pattern: '^[0-9a-f-]{36}$', description: 'the act by which a person asked for it' }),
      },
      { description: 'these bytes may be tried again where they failed before: once for each act' },
    ),
  ),
  works: Type.Array(closed({ name: Label, sha256: Sha256 }), { maxItems: 1000 }),
  tombstones: Type.Array(closed({ name: Label, generation: integer({ minimum: 1 }) }), { maxItems: 1000 }),
})
export type DesiredState = Static<typeof DesiredState>

export const DEFAULT_GATES: Gates = { healthySeconds: 30, timeoutSeconds: 300 }
