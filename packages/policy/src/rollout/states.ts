import type { ClusterState } from '@skerry/api'

// What the states of a cluster mean for its rollout.

export const HOLDS_A_SLOT: ReadonlySet<ClusterState> = new Set([
  'Sent',
  'Delivered',
  'Staging',
  'Activating',
  'Soaking',
])
export const UNDER_WAY: ReadonlySet<ClusterState> = new Set([...HOLDS_A_SLOT, 'WaitingForWindow'])
export const FAILURES: ReadonlySet<ClusterState> = new Set(['Failed', 'TimeOut', 'RolledBack'])
/** Nothing more is to come of these in this rollout. */
export const FINISHED: ReadonlySet<ClusterState> = new Set(['Succeeded', 'Failed', 'TimeOut', 'RolledBack', 'Removed'])
export const SETTLED: ReadonlySet<ClusterState> = new Set([...FINISHED, 'Offline'])

/** The reason of `Completed` where all that was left has failed, within the budget: the rollout is Paused and nobody paused it. */
export const NOTHING_LEFT = 'NothingSucceeded'
