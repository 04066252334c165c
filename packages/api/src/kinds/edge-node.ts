import { type Static, Type } from 'typebox'
import { Condition, Message, Reason, StatementRef } from '../meta.ts'
import { Finding, PcrAppraisal, Verdict } from '../wire/attestation.ts'
import { BankName } from '../wire/boot.ts'
import { NodeClass, NodePhase, Progress, RememberedFailure } from '../wire/status.ts'
import { Count, closed, described, oneOf, Position, Sha256, Time } from '../words.ts'
import { REACHABILITY } from './managed-cluster.ts'

/** What a node of a site last said of itself, and what the hub made of it. Namespace = cluster. No spec: nobody orders it. */
export const EdgeNodeStatus = closed({
  class: Type.Optional(NodeClass),
  driver: Type.Optional(Type.String()),
  phase: Type.Optional(NodePhase),
  reason: Type.Optional(Reason),
  message: Type.Optional(Message),
  progress: Type.Optional(described(Progress, 'of the download while Staging, in bytes')),
  image: Type.Optional(
    closed({
      sha256: Sha256,
      name: Type.Optional(Type.String({ description: 'the OSImage with these bytes, where the hub knows one' })),
      version: Type.Optional(Type.String()),
    }),
  ),
  slot: Type.Optional(Type.String()),
  bootId: Type.Optional(Type.String()),
  holds: Type.Optional(Position),
  nextWindow: Type.Optional(Time),
  failed: Type.Optional(Type.Array(RememberedFailure)),
  conditions: Type.Optional(
    described(
      Type.Array(Condition),
      'Degraded while something on the node is not well, by its own word and clock; ChainComplete, False, while numbers are missing in its chain, and Unknown where they are lost by its own word; absent otherwise',
    ),
  ),
  attestation: Type.Optional(
    closed({
      verdict: Verdict,
      reason: Reason,
      message: Message,
      bootId: Type.String(),
      judgedAt: Time,
      bank: Type.Optional(BankName),
      findings: Type.Optional(Type.Array(Finding, { maxItems: 64 })),
      pcrs: Type.Optional(Type.Array(PcrAppraisal, { maxItems: 24 })),
      statement: Type.Optional(StatementRef),
    }),
  ),
  reachability: Type.Optional(oneOf(REACHABILITY)),
  lastTransitionTime: Type.Optional(Time),
  statement: Type.Optional(StatementRef),
  watermark: Type.Optional(Count),
  agentVersion: Type.Optional(Type.String()),
})
export type EdgeNodeStatus = Static<typeof EdgeNodeStatus>
