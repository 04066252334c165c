import { type Static, Type } from 'typebox'
import { Count, closed, described, Label, oneOf, Sha256, Time } from '../words.ts'

// What people do to a rollout, beside its spec: a ledger that only grows. Nothing in it is an order by itself; what it
// comes to is policy's (`rollout/acts.ts`).

export const ACT_VERBS = ['pause', 'resume', 'abort', 'retry', 'approve'] as const
export type ActVerb = (typeof ACT_VERBS)[number]

/** Where a rollout may wait for people: before anything is sent, before the decision group of an index, before its end. */
export const GATE_PATTERN = '^(Start|Group/(0|[1-9][0-9]{0,5})|Completion)$'
const Gate = Type.String({
  pattern: GATE_PATTERN,
  description: 'Start, Group/<index> (before the decision group of this index) or Completion',
})

const ActReason = Type.String({
  minLength: 1,
  maxLength: 1024,
  pattern: '\\S',
  description: 'why, in a sentence, for whoever looks later',
})
const RetriedClusters = Type.Array(Label, { minItems: 1, maxItems: 10_000, uniqueItems: true })

/** One act of a person. It is written once and never changed; taking it back is another act. */
export const RolloutAct = closed(
  {
    id: Type.String({ pattern: '^[0-9a-f-]{36}$', description: 'a UUID: no restored database gives it twice' }),
    verb: oneOf(ACT_VERBS),
    by: Type.String({ maxLength: 63, description: 'the name of the token' }),
    at: described(Time, "by the hub's clock"),
    reason: ActReason,
    rolloutUid: Type.String({ maxLength: 64, description: 'a rollout that is made anew has no acts' }),
    manifestSha256: Type.Optional(
      described(
        Sha256,
        "of the rollout's image when it was done; an approval and a retry count for these bytes alone. Absent where there was no such image",
      ),
    ),
    gate: Type.Optional(described(Gate, 'of an approval')),
    clusters: Type.Optional(
      Type.Array(Label, { description: 'of a retry: whom it concerns, each of which had failed' }),
    ),
    expiresAt: Type.Optional(described(Time, 'of an approval: from then on it counts for nothing')),
  },
  { description: 'something that a person did to a rollout' },
)
export type RolloutAct = Static<typeof RolloutAct>

/** What the hub answers to an act: the one that was written, or the one that stands. */
export const RolloutActAnswer = closed({
  act: RolloutAct,
  heldInTheDark: Type.Optional(
    closed(
      {
        count: Count,
        sample: Type.Array(Label, { description: 'some of them, by name' }),
      },
      {
        description:
          'of a pause and an abort: clusters that hold the order and are out of reach now; they may activate it in their window until they hear of this',
      },
    ),
  ),
})
export type RolloutActAnswer = Static<typeof RolloutActAnswer>

/** GET …/rollouts/{name}/acts, oldest first. */
export const RolloutActList = closed({
  kind: oneOf(['RolloutActList']),
  apiVersion: Type.String(),
  items: Type.Array(RolloutAct),
})
export type RolloutActList = Static<typeof RolloutActList>

/** POST …/rollouts/{name}/pause, resume and abort. */
export const Steering = closed({ reason: ActReason })

/** POST …/rollouts/{name}/retry. */
export const Retry = closed({
  reason: ActReason,
  clusters: Type.Optional(described(RetriedClusters, 'those to try again; all that failed where none are named')),
})

/** POST …/rollouts/{name}/approve. */
export const GateApproval = closed({
  reason: ActReason,
  gate: Gate,
  manifestSha256: Type.Optional(
    described(Sha256, 'the manifest that was looked at: where the rollout has another one meanwhile it is a conflict'),
  ),
})
