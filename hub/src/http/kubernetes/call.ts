import type { KindRow } from '@skerry/api'
import type { ReachabilityLimits, RemovalGuard } from '@skerry/policy'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Changes } from '../../store/changes.ts'
import type { Store } from '../../store/store.ts'
import type { Gate } from '../gate.ts'
import type { Query } from '../query.ts'
import { StatusError } from '../status-error.ts'
import type { WatchPace } from './watch.ts'

export type KubernetesOptions = {
  readonly store: Store
  readonly changes: Changes
  readonly now: () => number
  readonly reachability: ReachabilityLimits
  readonly removalGuard?: RemovalGuard
  /** Signs continue tokens. */
  readonly continueSecret: string
  readonly pace: WatchPace
  /** Whoever asks why a placement that is stored chose as it did. */
  readonly explanations: Gate
  /** Dry runs of placements and rollouts, and why one that is not stored would choose: they are for writers. */
  readonly dryRuns: Gate
}

/** A request for a kind: `namespace` and `name` are empty where the path has none. */
export type Call = {
  readonly row: KindRow
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly query: Query
  readonly namespace: string
  readonly name: string
}

export function notFound({ row, name }: Pick<Call, 'row' | 'name'>): StatusError {
  return new StatusError(404, `${row.plural}.${row.group} "${name}" not found`, {
    name,
    group: row.group,
    kind: row.plural,
  })
}
