import type { ClusterState, StatementRef } from '@skerry/api'

/** What one cluster is doing in a rollout, and why. `recheckAtMs`: when time alone may change it. */
export type Progress = {
  readonly state: ClusterState
  readonly reason: string
  readonly message: string
  readonly recheckAtMs?: number
  /** What is missing is missing since then: the deadline runs anew from it. */
  readonly missingSinceMs?: number
  readonly statement?: StatementRef
}

/** As a member of what is told; nothing where there is no statement. */
export function ref(statement: StatementRef | undefined): { statement?: StatementRef } {
  return statement ? { statement } : {}
}
