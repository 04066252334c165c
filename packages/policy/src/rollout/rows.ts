import type { ClusterState, RolloutCluster } from '@skerry/api'
import { FELL_BACK } from './boots.ts'
import { DENIED, type Delivery, LOST, STOPS_THE_CLOCK, silenceOf, UNPROVABLE } from './cluster-state.ts'
import type { ClusterFacts } from './facts.ts'
import type { Progress } from './progress.ts'
import { FAILURES, FINISHED } from './states.ts'

// From what was told of a cluster before, and what it is doing now, to what is told next: what failed stays failed.

export type Placed = Progress & {
  readonly cluster: ClusterFacts
  readonly assigned: boolean
  readonly delivered: Delivery | undefined
  /** The index of its group. */
  readonly group: number
  /** When it came back into reach: it catches up. */
  readonly returnedAtMs?: number
  /** When it was first seen as a failure, if it is one. */
  readonly failedAtMs?: number
}

/** What time alone makes of a cluster that is out of reach, where that counts as a failure. */
export function offlineTooLong(
  progress: Progress,
  was: RolloutCluster | undefined,
  openedAtMs: number | undefined,
  afterMs: number,
  nowMs: number,
): Progress {
  if (progress.state !== 'Offline' || openedAtMs === undefined) return progress
  const sinceMs = Math.max(openedAtMs, was?.state === 'Offline' ? Date.parse(was.since) : nowMs)
  const endsAtMs = sinceMs + afterMs
  if (nowMs < endsAtMs) return Number.isFinite(endsAtMs) ? { ...progress, recheckAtMs: endsAtMs } : progress
  return {
    state: 'TimeOut',
    reason: 'OfflineTooLong',
    message: `out of reach since ${iso(sinceMs)}, which this rollout counts as a failure`,
  }
}

/** What a cluster that succeeded may come to, and has succeeded all the same. No deadline runs for it. */
const UNDOES_NOTHING: ReadonlySet<ClusterState> = new Set(['Soaking', 'TimeOut', 'Removed'])

// A closed window and a pause stop the clock. What was waited before is in the row; what is being waited now began at `since`.
// A newer delivery starts a new clock.
export function waitedMs(delivered: Delivery | undefined, was: RolloutCluster | undefined, nowMs: number): number {
  if (!was || !delivered || was.deliveredAt !== iso(delivered.atMs)) return 0
  const before = (was.waitedSeconds ?? 0) * 1000
  return STOPS_THE_CLOCK.has(was.reason) ? before + Math.max(0, nowMs - Date.parse(was.since)) : before
}

// What is said of a silent cluster changes once it counts as out of reach.
export function recheckOf({ state, recheckAtMs }: Progress, { reachability, changesAtMs }: ClusterFacts) {
  if (reachability !== 'Late' || changesAtMs === undefined || FINISHED.has(state)) return {}
  return { recheckAtMs: Math.min(recheckAtMs ?? changesAtMs, changesAtMs) }
}

const LEFT = {
  Deselected: 'the placement no longer selects it',
  Denied: DENIED,
  Deleted: 'the hub has no such cluster any more',
} as const

// Whatever it holds, it is this rollout's no more. What failed stays failed: the count never goes down.
export function removed(
  row: RolloutCluster,
  gone: 'Denied' | 'Deleted' | undefined,
  isFinal: boolean,
  nowMs: number,
): RolloutCluster {
  if (isFinal || (row.state === 'Removed' && row.reason in LEFT)) return row
  const { recheckAt: _, ...kept } = row
  const reason = gone ?? 'Deselected'
  const since = row.state === 'Removed' ? row.since : iso(nowMs)
  return { ...kept, state: 'Removed', reason, message: LEFT[reason], since }
}

// Once failed is failed in this rollout (`isFinal`): no later report, and no newer rollout, gives a budget back.
// What succeeded did so for good as well: that another rollout has the cluster since says nothing about how this one ended.
// It begins again only where the order of a rollout that is gone is to be withdrawn, and can be.
export function sticky(
  progress: Progress,
  was: RolloutCluster,
  { assignment }: ClusterFacts,
  assigned: boolean,
  isFinal: boolean,
): Progress {
  const { state, reason, message, statement } = was
  const kept = statement ? { statement } : {}
  const free = assignment?.holder === 'Older' || (assignment?.holder === 'Released' && !assignment.confirmed)
  const other = assignment !== undefined && assignment.holder !== 'This'
  if (state === 'Succeeded' && other && !assigned && !(free && progress.state === 'NotStarted'))
    return {
      state,
      reason: 'AssignedElsewhere',
      message:
        assignment.holder === 'Released'
          ? `succeeded; the rollout ${assignment.rolloutName} sent it another image since, and has it no more`
          : `succeeded; the rollout ${assignment.rolloutName} has had this cluster since`,
      ...kept,
    }
  // Nor does a failure that an edit can take back take the place of one that none can.
  const worse = (progress.state === 'Failed' || progress.state === 'RolledBack') && progress.reason !== UNPROVABLE
  if (isFinal) return worse ? progress : { state, reason, message, ...kept }
  // Terms that are edited later, a longer soak, a cluster that is denied, a later boot that is less proven or of another
  // image do not undo a success: only a failure of this image does, and a boot that is contraindicated is one.
  // Nor does it undo one that the statement which showed it is lost.
  const lost = progress.state === 'Delivered' && progress.reason === LOST
  const doubted = UNDOES_NOTHING.has(progress.state) || progress.reason === FELL_BACK || lost
  return state === 'Succeeded' && doubted ? { state, reason, message, ...kept } : progress
}

export function rowOf(
  { cluster, assigned, delivered, group, returnedAtMs, state, reason, message, recheckAtMs, statement }: Placed,
  held: { readonly reason: string; readonly message: string } | undefined,
  rows: ReadonlyMap<string, RolloutCluster>,
  nowMs: number,
): RolloutCluster {
  const was = rows.get(cluster.name)
  const why = state === 'NotStarted' ? held : undefined
  const { assignment, position } = cluster
  const told = why?.reason ?? reason
  // A window that opens or closes, and a pause, begin a new stretch of waiting.
  const stays =
    was?.state === state && (was.reason === told || !(STOPS_THE_CLOCK.has(was.reason) || STOPS_THE_CLOCK.has(told)))
  const waited =
    stays && STOPS_THE_CLOCK.has(reason) ? was.waitedSeconds : Math.floor(waitedMs(delivered, was, nowMs) / 1000)
  return {
    name: cluster.name,
    group,
    state,
    reason: told,
    message: `${why?.message ?? message}${FINISHED.has(state) ? '' : silenceOf(cluster)}`,
    // A failure that is told as another one is not a new one: it is a failure since it was first.
    since: stays || (was && FAILURES.has(was.state) && FAILURES.has(state)) ? was.since : iso(nowMs),
    ...(returnedAtMs === undefined ? {} : { returnedAt: iso(returnedAtMs) }),
    // Of an assignment that is not this rollout's, nothing is shown; who is finished keeps what it was sent.
    ...(assignment && assigned
      ? {
          assignedAt: iso(assignment.atMs),
          ...(position ? { position } : {}),
          ...(delivered ? { deliveredAt: iso(delivered.atMs) } : {}),
          ...(waited ? { waitedSeconds: waited } : {}),
        }
      : FINISHED.has(state)
        ? sentBefore(was)
        : {}),
    ...(recheckAtMs === undefined ? {} : { recheckAt: iso(recheckAtMs) }),
    ...(statement ? { statement } : {}),
  }
}

function sentBefore(was: RolloutCluster | undefined): Partial<RolloutCluster> {
  const { assignedAt, position, deliveredAt, waitedSeconds } = was ?? {}
  return {
    ...(assignedAt ? { assignedAt } : {}),
    ...(position ? { position } : {}),
    ...(deliveredAt ? { deliveredAt } : {}),
    ...(waitedSeconds ? { waitedSeconds } : {}),
  }
}

export function iso(ms: number): string {
  return new Date(ms).toISOString()
}
