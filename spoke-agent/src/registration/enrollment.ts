import { createHash } from 'node:crypto'
import { type Acceptance, type BankName, type NodeClass, Refusal } from '@skerry/api'
import { type VerifyKey, verifyDocument } from '@skerry/trust'
import type { Database } from '../store/database.ts'

/** Who this node is, from the hub's signed acceptance: kept, so that it starts with no hub. */
export type Enrollment = {
  readonly cluster: string
  readonly node: string
  readonly incarnation: number
  readonly class: NodeClass
  /** Of class tpm: its EK, by SHA-256, and the PCR bank that the hub asks for. */
  readonly ekSha256?: string
  readonly bank?: BankName
  readonly routingToken: string
  /** The acceptance as it was signed. Its digest is the marker until the hub's first. */
  readonly acceptance: string
  /** Digest of the registration exchange: what the first statement follows from. */
  readonly transcript: string
  readonly nodeKeyThumbprint: string
  readonly natsKey: string
  /** Under which the hub is asked about it; agents of before kept none. */
  readonly registrationId?: string
  /** By this node's clock. */
  readonly acceptedAt: string
  /** How long the credential lives, by the hub's clock alone. */
  readonly credentialLifeMs: number
}

export function loadEnrollment(database: Pick<Database, 'load'>): Enrollment | undefined {
  return database.load<Enrollment>('enrollment')
}

/** Whether two enrollments are one life: one chain of statements, and the same subjects. */
export function isSameLife(a: Enrollment, b: Enrollment): boolean {
  return (
    a.cluster === b.cluster &&
    a.node === b.node &&
    a.incarnation === b.incarnation &&
    a.routingToken === b.routingToken &&
    a.transcript === b.transcript &&
    a.nodeKeyThumbprint === b.nodeKeyThumbprint
  )
}

/**
 * When to ask for a new credential: at a point between half and two thirds of its life that is this node's own. Counted
 * from its arrival by this node's clock, so that a clock which is years wrong, but runs, changes nothing.
 */
export function renewalAtMs({ acceptedAt, credentialLifeMs, natsKey }: Enrollment): number {
  const own = createHash('sha256').update(`${natsKey}${acceptedAt}`).digest().readUInt32BE(0) / 2 ** 32
  return Date.parse(acceptedAt) + credentialLifeMs * (1 / 2 + own / 6)
}

/** What this node asked for, as far as it knows what the answer must say. */
export type Asked = {
  readonly nodeKeyThumbprint: string
  readonly natsKey: string
  readonly class: NodeClass
  /** Of its TPM; undefined for class software-key. */
  readonly ekSha256?: string | undefined
  readonly akName?: string | undefined
  readonly node: string
  /** Undefined where the hub chooses. */
  readonly cluster: string | undefined
  /** The exchanges that may have led to it: those of this entry, and the one that began the life it goes on with. */
  readonly transcripts: readonly string[]
  /** The life it goes on with, or 1. */
  readonly incarnation: number
}

/** What the hub signed, believed as far as it answers what was asked. Refusals: those of a document, and WrongAudience. */
export async function believeAcceptance(
  text: string,
  keys: ReadonlyMap<string, VerifyKey>,
  asked: Asked,
): Promise<Acceptance> {
  const { payload } = await verifyDocument('Acceptance', text, keys)
  await verifyDocument('Acceptance', text, keys, { aud: `${payload.cluster}/${payload.node}` })
  for (const member of ['nodeKeyThumbprint', 'natsKey', 'class', 'ekSha256', 'akName', 'node', 'cluster'] as const)
    if (asked[member] !== undefined && payload[member] !== asked[member])
      throw foreign(member, `${payload[member]}, this node asked as ${asked[member]}`)
  if (payload.incarnation < asked.incarnation)
    throw foreign('incarnation', `life ${payload.incarnation}, this node has begun ${asked.incarnation}`)
  if (!asked.transcripts.includes(payload.transcript))
    throw foreign('transcript', 'an exchange that was not this node’s')
  return payload
}

function foreign(field: keyof Acceptance, what: string): Refusal {
  return new Refusal('WrongAudience', `the acceptance is for ${what}`, { field })
}
