import type { RolloutCluster, RolloutSpec, RolloutStatus } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { returnedAtMs } from './catch-up.ts'
import { clusterStateOf, deliveryOf, forgiven, isAskedNoMore, isAssigned, type Scope } from './cluster-state.ts'
import type { DecidedGroup, RolloutFacts } from './facts.ts'
import { type Groups, groupsOf } from './groups.ts'
import { offlineTooLong, type Placed, recheckOf, removed, sticky, waitedMs } from './rows.ts'
import { FAILURES } from './states.ts'
import { goesAsOcm, offlineAfterMs, offlinePolicyOf, stagesOf } from './strategy.ts'

// What every cluster of a rollout is doing now, by what was told of it before: those that are selected, and those that were.

export type Looked = {
  readonly groups: Groups
  /** Who is selected, by name. */
  readonly placed: readonly Placed[]
  /** What is told of who was in the rollout and is selected no more. */
  readonly deselected: readonly RolloutCluster[]
  /** The same with these groups having their turn: of whom it has just come, being out of reach counts from now on. */
  readonly placedOnceOpened: (opened: ReadonlySet<number>) => readonly Placed[]
}

/** `rows`: what was told of each cluster in `before`; `edited`: the spec is another one than was judged last. */
export function lookAt(
  { clusters, gone }: Pick<RolloutFacts, 'clusters' | 'gone'>,
  decided: readonly DecidedGroup[],
  before: RolloutStatus | undefined,
  rows: ReadonlyMap<string, RolloutCluster>,
  scope: Scope,
  edited: boolean,
): Looked {
  const { spec, nowMs, retryOf } = scope
  const known = new Map(clusters.map((cluster) => [cluster.name, cluster]))
  const names = [...new Set(decided.flatMap((group) => group.clusters))].toSorted(byCodeUnit)
  const groups = groupsOf(decided, before, rows, !goesAsOcm(spec))
  const countsOffline = whereOfflineCounts(spec, groups)
  // A person gives a failure back, by a retry; and an edit does, of what was asked for and could not be given: it was a
  // fault of the terms.
  const isCounted = (row: RolloutCluster) => FAILURES.has(row.state) && !(edited && isAskedNoMore(row, spec))
  const isFinal = (row: RolloutCluster) => {
    const retry = retryOf(row.name)
    return isCounted(row) && !(retry && Date.parse(row.since) <= Date.parse(retry.at))
  }
  const placed = names.map((name): Placed => {
    const cluster = forgiven(known.get(name) ?? { name, reachability: 'NeverSeen', nodes: [] }, scope)
    const was = rows.get(name)
    const group = groups.of(name)
    const openedAt = groups.told.get(group)?.openedAt
    const openedAtMs = openedAt === undefined ? undefined : Date.parse(openedAt)
    const assigned = isAssigned(cluster, scope)
    const delivered = deliveryOf(cluster, assigned, was)
    const waited = waitedMs(delivered, was, nowMs)
    const doing = clusterStateOf(cluster, scope, assigned, delivered, waited)
    const found = countsOffline.has(group) ? offlineTooLong(doing, was, openedAtMs, offlineAfterMs(spec), nowMs) : doing
    const progress = was ? sticky(found, was, cluster, assigned, isFinal(was)) : found
    const returned = returnedAtMs(progress, was, openedAtMs !== undefined, nowMs)
    return {
      ...{ cluster, assigned, delivered, group },
      ...(returned === undefined ? {} : { returnedAtMs: returned }),
      ...(FAILURES.has(progress.state)
        ? { failedAtMs: was && FAILURES.has(was.state) && isFinal(was) ? Date.parse(was.since) : nowMs }
        : {}),
      ...progress,
      ...recheckOf(progress, cluster),
    }
  })
  const selected = new Set(names)
  return {
    groups,
    placed,
    deselected: [...rows.values()]
      .filter(({ name }) => !selected.has(name))
      // A retry tries nothing where nothing can be sent: it gives nothing back there.
      .map((row) => removed(row, gone?.get(row.name), isCounted(row), nowMs)),
    placedOnceOpened: (opened) =>
      placed.map((one): Placed => {
        const begins = opened.has(one.group) && groups.told.get(one.group)?.openedAt === undefined
        if (!begins || !countsOffline.has(one.group)) return one
        const found = offlineTooLong(one, rows.get(one.cluster.name), nowMs, offlineAfterMs(spec), nowMs)
        return found.state === 'Offline' ? { ...one, ...found } : one
      }),
  }
}

// The groups in which being out of reach for too long is a failure.
function whereOfflineCounts(spec: RolloutSpec, groups: Groups): ReadonlySet<number> {
  return new Set(
    stagesOf(spec, groups.all).flatMap(({ groups: some, isMandatory }) =>
      some.flatMap((group) => (offlinePolicyOf(spec, group, isMandatory) === 'CountAsFailure' ? [group.index] : [])),
    ),
  )
}
