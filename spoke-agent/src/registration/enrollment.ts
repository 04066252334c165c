import { createHash } from 'node:crypto'
import type { NodeClass } from '@skerry/api'
import type { Database } from '../store/database.ts'

/** Who this node is, from the hub's signed acceptance: kept, so that it starts with no hub. */
export type Enrollment = {
  readonly cluster: string
  readonly node: string
  readonly incarnation: number
  readonly class: NodeClass
  readonly routingToken: string
  /** The acceptance as it was signed, and its digest: the marker until the hub's first. */
  readonly acceptance: string
  /** Digest of the registration exchange: what the first statement follows from. */
  readonly transcript: string
  readonly nodeKeyThumbprint: string
  readonly natsKey: string
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
