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
  readonly natsKey: string
  readonly acceptedAt: string
  readonly credentialExpiresAt: string
}

export function loadEnrollment(database: Database): Enrollment | undefined {
  return database.load<Enrollment>('enrollment')
}
