import { type Static, Type } from 'typebox'
import { Message, Reason } from '../meta.ts'
import { Count, closed, integer, Label, oneOf, Position, Sha256, Time } from '../words.ts'

/** What the node's key rests on. `software-key` is a file: it proves nothing about the machine and is shown everywhere. */
export const NODE_CLASSES = ['tpm', 'software-key'] as const
export const NodeClass = oneOf(NODE_CLASSES)
export type NodeClass = Static<typeof NodeClass>

/** Phases of the node's upgrade machine, the same in code, API and report. */
export const NODE_PHASES = [
  'Idle',
  'Preflight',
  'Staging',
  'Staged',
  'Draining',
  'Activating',
  'Verifying',
  'Confirming',
  'RollingBack',
  'Failed',
] as const
export const NodePhase = oneOf(NODE_PHASES)
export type NodePhase = Static<typeof NodePhase>

/** How an upgrade ended that did not succeed. */
export const FAILURE_OUTCOMES = ['RolledBack', 'NeverRebooted', 'Refused', 'ActivationFailed'] as const
export const FailureOutcome = oneOf(FAILURE_OUTCOMES)
export type FailureOutcome = Static<typeof FailureOutcome>

/** A memory of bytes, not of a name: the same image under another version or manifest is not tried again either. */
export const RememberedFailure = closed({
  imageSha256: Sha256,
  outcome: FailureOutcome,
  reason: Reason,
  message: Message,
  at: Time,
})
export type RememberedFailure = Static<typeof RememberedFailure>

/** Position and digest of a desired state that a node holds, verified and on disk. */
export const Holds = closed({ ...Position.properties, digest: Sha256 })
export type Holds = Static<typeof Holds>

/** What is not well on a node, whatever it is at: the boot that runs, or its TPM. `since` is by the node's clock. */
export const NodeTrouble = closed({
  of: oneOf(['boot', 'tpm']),
  reason: Reason,
  message: Message,
  since: Time,
})
export type NodeTrouble = Static<typeof NodeTrouble>

/** How many bytes of an image are here, in twentieths of it: a slow link must not make a status a percent. */
export const Progress = closed({ done: Count, total: Count })

/** `report.<cluster>.<node>.status`: the newest only; losing one costs time, never truth. */
export const NodeStatus = closed({
  kind: oneOf(['NodeStatus']),
  cluster: Label,
  node: Label,
  incarnation: integer({ minimum: 1 }),
  counter: Type.Unsafe<number>({ ...Count, description: 'rises with every status of this incarnation' }),
  seq: Type.Unsafe<number>({ ...Count, description: 'of the newest statement; 0 before the first' }),
  digest: Type.Optional(Sha256),
  at: Time,
  phase: NodePhase,
  reason: Reason,
  message: Message,
  progress: Type.Optional(Progress),
  booted: closed({ imageSha256: Sha256, version: Type.Optional(Type.String()) }),
  slot: Type.String({ maxLength: 64 }),
  bootId: Type.String({ maxLength: 64 }),
  driver: Type.String({ maxLength: 32 }),
  holds: Type.Optional(Holds),
  tuf: closed({ root: Count, timestamp: Count, snapshot: Count, targets: Count }),
  failed: Type.Array(RememberedFailure, { maxItems: 32 }),
  troubles: Type.Optional(Type.Array(NodeTrouble, { maxItems: 4 })),
  nextWindow: Type.Optional(Time),
  agentVersion: Type.String({ maxLength: 64 }),
})
export type NodeStatus = Static<typeof NodeStatus>

/** `heartbeat.<cluster>.<node>`, core NATS. Signed, so that a stolen NATS credential cannot keep a site alive. */
export const Heartbeat = closed({
  kind: oneOf(['Heartbeat']),
  cluster: Label,
  node: Label,
  incarnation: integer({ minimum: 1 }),
  seq: Count,
  digest: Type.Optional(Sha256),
})
export type Heartbeat = Static<typeof Heartbeat>
