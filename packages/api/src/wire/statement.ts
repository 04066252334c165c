import { type Static, Type } from 'typebox'
import { Message, Reason } from '../meta.ts'
import { Count, closed, integer, Label, oneOf, Position, Sha256, Time } from '../words.ts'
import { TpmQuote } from './attestation.ts'
import { FailureOutcome, NodeClass, NodePhase } from './status.ts'

/** A node's clocks when it spoke. `wall` is a claim; the TPM's members are absent where there is no TPM. */
const StatementTime = closed({
  wall: Time,
  tpmClock: Type.Optional(Count),
  resetCount: Type.Optional(Count),
  restartCount: Type.Optional(Count),
  safe: Type.Optional(Type.Boolean()),
})

const members = {
  cluster: Label,
  node: Label,
  incarnation: integer({ minimum: 1 }),
  seq: integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
  prev: Type.Unsafe<string>({
    ...Sha256,
    description: 'digest of the previous text; of the registration transcript for seq 1',
  }),
  marker: Type.Unsafe<string>({
    ...Sha256,
    description: 'digest of the newest epoch marker seen; of the acceptance until the first',
  }),
  time: StatementTime,
}

/** The upgrade machine went from one phase to another, and why. Written in the transaction that moved it. */
export const TransitionBody = closed({
  from: NodePhase,
  to: NodePhase,
  reason: Reason,
  message: Message,
  position: Type.Optional(Position),
  manifestSha256: Type.Optional(Sha256),
  imageSha256: Type.Optional(Sha256),
  slot: Type.Optional(Type.String({ maxLength: 64 })),
  bootId: Type.Optional(Type.String({ maxLength: 64 })),
  outcome: Type.Optional(FailureOutcome),
})
export type TransitionBody = Static<typeof TransitionBody>

/**
 * What booted. Without a TPM it is the node's own word, and says so by its class; with one, everything that proves it is
 * here. A node of class `tpm` whose TPM could not be asked says so by leaving the quote out.
 */
export const EvidenceBody = closed({
  ...Type.Partial(TpmQuote).properties,
  class: NodeClass,
  bootId: Type.String({ maxLength: 64 }),
  slot: Type.String({ maxLength: 64 }),
  imageSha256: Sha256,
  nonce: Type.Unsafe<string>({
    ...Sha256,
    description: 'hash of (newest epoch marker digest ‖ seq ‖ previous statement digest)',
  }),
})
export type EvidenceBody = Static<typeof EvidenceBody>

/** A desired state was verified and is on disk: the deadline clock starts here. */
export const AcceptedBody = closed({ ...Position.properties, digest: Sha256 })
export type AcceptedBody = Static<typeof AcceptedBody>

/**
 * Something arrived and was not believed. The previous state is kept. With document `Statement` and code `OutboxFull`: how
 * many statements a node had no room for, which got no number.
 */
export const RefusedBody = closed({
  document: Type.String({ maxLength: 64, description: 'kind of the document, as far as it could be told' }),
  code: Type.String({ maxLength: 64, description: 'a refusal code of this package' }),
  message: Message,
  digest: {
    ...Sha256,
    description: 'of its bytes; of code and message where many files are one document (TUF metadata)',
  },
  position: Type.Optional(Position),
})
export type RefusedBody = Static<typeof RefusedBody>

/**
 * Statements that the node said and has no more, closed by its own signature: from `fromSeq` to `toSeq`, both included, and
 * below the gap statement itself. Of what the hub has it takes nothing; what the hub lacks is lost.
 */
export const GapBody = closed({ fromSeq: members.seq, toSeq: members.seq, reason: Reason })
export type GapBody = Static<typeof GapBody>

const transition = closed({ kind: oneOf(['transition']), ...members, body: TransitionBody })
const evidence = closed({ kind: oneOf(['evidence']), ...members, body: EvidenceBody })
const accepted = closed({ kind: oneOf(['accepted']), ...members, body: AcceptedBody })
const refused = closed({ kind: oneOf(['refused']), ...members, body: RefusedBody })
const gap = closed({ kind: oneOf(['gap']), ...members, body: GapBody })

/** The kind says which body: with the discriminator a fault is named once, in the body it is in. */
export const Statement = Type.Unsafe<
  | Static<typeof transition>
  | Static<typeof evidence>
  | Static<typeof accepted>
  | Static<typeof refused>
  | Static<typeof gap>
>({
  type: 'object',
  required: ['kind'],
  discriminator: { propertyName: 'kind' },
  oneOf: [transition, evidence, accepted, refused, gap],
})
export type Statement = Static<typeof Statement>
export const STATEMENT_KINDS = ['transition', 'evidence', 'accepted', 'refused', 'gap'] as const
export type StatementKind = (typeof STATEMENT_KINDS)[number]

export const STATEMENTS_PER_BATCH = 100
export const BATCH_BYTES = 192 * 1024

/** `report.<cluster>.<node>.statements`: exact texts. One signature covers the batch and, through `prev`, all before it. */
export const StatementBatch = closed({
  kind: oneOf(['StatementBatch']),
  cluster: Label,
  node: Label,
  incarnation: integer({ minimum: 1 }),
  statements: Type.Array(Type.String(), { minItems: 1, maxItems: STATEMENTS_PER_BATCH }),
})
export type StatementBatch = Static<typeof StatementBatch>
