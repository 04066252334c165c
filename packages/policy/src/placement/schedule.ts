import {
  type ClusterPredicate,
  type Condition,
  DECISIONS_PER_SLICE,
  type ObjectOf,
  SCHEDULING_DISABLED_ANNOTATION,
} from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { mismatch, selectorFault } from './selectors.ts'
import { clusterSetFault, isMember } from './sets.ts'
import { tolerates, tolerationFault } from './taints.ts'

// OCM's placement, rule by rule. Differs on purpose: every cluster has a reason, and the last good decisions are kept when
// the placement is wrong.

/** One decision of any placement: Balance counts them all, Steady looks at its own. */
export type Decided = { readonly namespace: string; readonly placement: string; readonly cluster: string }

export type SchedulingInput = {
  readonly placement: ObjectOf<'Placement'>
  readonly sets: readonly ObjectOf<'ManagedClusterSet'>[]
  readonly bindings: readonly ObjectOf<'ManagedClusterSetBinding'>[]
  readonly clusters: readonly ObjectOf<'ManagedCluster'>[]
  readonly decisions: readonly Decided[]
  readonly nowMs: number
}

export type ClusterReason = {
  readonly cluster: string
  readonly reason:
    | 'Selected'
    | 'NotInEligibleSet'
    | 'Deleting'
    | 'PredicateMismatch'
    | 'TaintNotTolerated'
    | 'OutOfNumber'
    | 'Frozen'
  readonly message: string
  readonly rank?: number
  readonly score?: number
  readonly scores?: Readonly<Record<string, number>>
}

type Slice = {
  readonly name: string
  readonly groupName: string
  readonly groupIndex: number
  readonly decisions: readonly { clusterName: string; reason: string; score: number }[]
}

export type PlacementOutcome = {
  /** Skipped: nothing is stored. Frozen: the stored decisions stay, but for clusters that are no more. */
  readonly kind: 'Decided' | 'Frozen' | 'Skipped'
  /** What is selected from now on. When frozen: the stored decisions without clusters that are gone or going. */
  readonly selected: readonly string[]
  readonly unscheduled: number
  readonly slices: readonly Slice[]
  readonly conditions: readonly Omit<Condition, 'lastTransitionTime'>[]
  readonly reasons: readonly ClusterReason[]
  readonly recheckAtMs?: number
}

type Cluster = ObjectOf<'ManagedCluster'>
type Scored = { cluster: Cluster; scores: Record<string, number>; total: number }

/** Decides one placement. Every cluster of the input has exactly one line in `reasons`, unless the placement is skipped. */
export function schedule(input: SchedulingInput): PlacementOutcome {
  const { placement, nowMs } = input
  const annotations = placement.metadata.annotations ?? {}
  if (placement.metadata.deletionTimestamp || annotations[SCHEDULING_DISABLED_ANNOTATION] === 'true') return skipped()

  const { namespace = '', name } = placement.metadata
  const mine = new Set(
    input.decisions.filter((d) => d.namespace === namespace && d.placement === name).map((d) => d.cluster),
  )
  const tolerations = placement.spec.tolerations ?? []
  // Also of clusters that are no longer eligible, and whatever else is found.
  const recheck = defined(earliestExpiry(input.clusters, tolerations, mine, nowMs))
  const bound = boundSets(input, namespace)
  if (bound.length === 0) {
    const message = 'No valid ManagedClusterSetBindings found in placement namespace'
    return { ...nothing('NoManagedClusterSetBindings', message, input, outside(input.clusters, message)), ...recheck }
  }
  const wanted = placement.spec.clusterSets ?? []
  const eligible = wanted.length > 0 ? bound.filter((set) => wanted.includes(set.metadata.name)) : bound
  if (eligible.length === 0) {
    const message = `None of ManagedClusterSets [${wanted.join(',')}] is bound to placement namespace`
    return { ...nothing('NoIntersection', message, input, outside(input.clusters, message)), ...recheck }
  }
  const broken = eligible.map((set) => clusterSetFault(set)).find((fault) => fault !== undefined)
  if (broken) return frozen({ error: broken }, mine, input)

  const reasons: ClusterReason[] = []
  const available = availableClusters(input.clusters, eligible, reasons)
  const names = eligible.map((set) => set.metadata.name)
  if (available.length === 0) {
    const message = `All ManagedClusterSets [${names.join(',')}] have no member ManagedCluster`
    return { ...nothing('AllManagedClusterSetsEmpty', message, input, reasons), ...recheck }
  }

  const predicates = placement.spec.predicates ?? []
  const predicateFault = firstFault(predicates)
  if (predicateFault) return frozen({ misconfigured: `Predicate:${predicateFault}` }, mine, input)
  const matching = available.filter((cluster) => passes(cluster, predicates, reasons))

  const fault = matching.length > 0 ? tolerationFault(tolerations) : undefined
  if (fault) return frozen({ misconfigured: `TaintToleration:${fault}` }, mine, input)
  const filtered = matching.filter((cluster) => survives(cluster, tolerations, mine, nowMs, reasons))

  const ranked = score(filtered, input, mine)
  const number = placement.spec.numberOfClusters ?? undefined
  const chosen = number === undefined ? ranked : ranked.slice(0, number)
  const unscheduled = number === undefined ? 0 : number - chosen.length
  const last = chosen.at(-1)
  ranked.forEach((entry, index) => {
    const selected = index < chosen.length
    reasons.push({
      cluster: entry.cluster.metadata.name,
      reason: selected ? 'Selected' : 'OutOfNumber',
      message: selected
        ? `rank ${index + 1} of ${ranked.length}, score ${entry.total}`
        : `rank ${index + 1}, score ${entry.total}; ${number} wanted${last ? `, the last one selected has score ${last.total}` : ''}`,
      rank: index + 1,
      score: entry.total,
      scores: entry.scores,
    })
  })
  return {
    kind: 'Decided',
    selected: chosen.map((entry) => entry.cluster.metadata.name),
    unscheduled,
    slices: cut(name, chosen),
    conditions: [satisfied(chosen.length, unscheduled, reasons), wellConfigured()],
    reasons: reasons.toSorted((a, b) => byCodeUnit(a.cluster, b.cluster)),
    ...recheck,
  }
}

function defined(recheckAtMs: number | undefined): { recheckAtMs?: number } {
  return recheckAtMs === undefined ? {} : { recheckAtMs }
}

function outside(clusters: readonly Cluster[], message: string): ClusterReason[] {
  return clusters.map((cluster) => ({ cluster: cluster.metadata.name, reason: 'NotInEligibleSet', message }))
}

function boundSets({ bindings, sets }: SchedulingInput, namespace: string): ObjectOf<'ManagedClusterSet'>[] {
  const names = new Set(
    bindings.filter((binding) => binding.metadata.namespace === namespace).map((binding) => binding.spec.clusterSet),
  )
  return sets
    .filter((set) => names.has(set.metadata.name))
    .toSorted((a, b) => byCodeUnit(a.metadata.name, b.metadata.name))
}

function availableClusters(
  clusters: readonly Cluster[],
  eligible: readonly ObjectOf<'ManagedClusterSet'>[],
  reasons: ClusterReason[],
): Cluster[] {
  return clusters.filter((cluster) => {
    const { name, deletionTimestamp } = cluster.metadata
    if (!eligible.some((set) => isMember(cluster, set))) {
      reasons.push({
        cluster: name,
        reason: 'NotInEligibleSet',
        message: `in none of the sets ${eligible.map((set) => set.metadata.name).join(', ')}`,
      })
      return false
    }
    if (deletionTimestamp)
      reasons.push({ cluster: name, reason: 'Deleting', message: `is being deleted since ${deletionTimestamp}` })
    return !deletionTimestamp
  })
}

function firstFault(predicates: readonly ClusterPredicate[]): string | undefined {
  for (const { requiredClusterSelector: required } of predicates) {
    const fault = selectorFault(required?.labelSelector) ?? selectorFault(required?.claimSelector)
    if (fault) return fault
  }
  return undefined
}

// ORed; the predicate that came nearest is the one worth naming, and with one predicate that is this one.
function passes(cluster: Cluster, predicates: readonly ClusterPredicate[], reasons: ClusterReason[]): boolean {
  if (predicates.length === 0) return true
  const labels = new Map(Object.entries(cluster.metadata.labels ?? {}))
  const claims = new Map((cluster.status?.clusterClaims ?? []).map(({ name, value }) => [name, value]))
  const misses: string[] = []
  for (const { requiredClusterSelector: required } of predicates) {
    const miss =
      mismatch(required?.labelSelector, labels, 'label') ?? mismatch(required?.claimSelector, claims, 'claim')
    if (miss === undefined) return true
    misses.push(miss)
  }
  reasons.push({ cluster: cluster.metadata.name, reason: 'PredicateMismatch', message: misses.join('; or ') })
  return false
}

function survives(
  cluster: Cluster,
  tolerations: Parameters<typeof tolerates>[1],
  mine: ReadonlySet<string>,
  nowMs: number,
  reasons: ClusterReason[],
): boolean {
  const { refusedBy } = tolerates(cluster.spec.taints ?? [], tolerations, mine.has(cluster.metadata.name), nowMs)
  if (!refusedBy) return true
  const { taint, expired } = refusedBy
  reasons.push({
    cluster: cluster.metadata.name,
    reason: 'TaintNotTolerated',
    message: `taint ${taint.key}${taint.value ? `=${taint.value}` : ''}:${taint.effect}${expired ? ', whose toleration has expired' : ''}`,
  })
  return false
}

// OCM's defaults: Balance and Steady, weight 1 each; the highest total first, then by name.
function score(clusters: readonly Cluster[], input: SchedulingInput, mine: ReadonlySet<string>): Scored[] {
  const { namespace = '', name } = input.placement.metadata
  const counts = new Map<string, number>()
  for (const decision of input.decisions) {
    if (decision.namespace === namespace && decision.placement === name) continue
    counts.set(decision.cluster, (counts.get(decision.cluster) ?? 0) + 1)
  }
  const max = Math.max(0, ...counts.values())
  return clusters
    .map((cluster) => {
      const count = counts.get(cluster.metadata.name) ?? 0
      const balance = count === 0 ? 100 : 2 * Math.trunc(100 * (0.5 - count / max)) + 0
      const steady = mine.has(cluster.metadata.name) ? 100 : 0
      return { cluster, scores: { Balance: balance, Steady: steady }, total: balance + steady }
    })
    .toSorted((a, b) => b.total - a.total || byCodeUnit(a.cluster.metadata.name, b.cluster.metadata.name))
}

// OCM's slices of one unnamed group: sorted by name, slices of at most 100, numbered from 1.
function cut(placement: string, chosen: readonly Scored[]): Slice[] {
  const sorted = chosen.toSorted((a, b) => byCodeUnit(a.cluster.metadata.name, b.cluster.metadata.name))
  const slices: Slice[] = []
  for (let start = 0; start === 0 || start < sorted.length; start += DECISIONS_PER_SLICE) {
    const decisions = sorted
      .slice(start, start + DECISIONS_PER_SLICE)
      .map((entry) => ({ clusterName: entry.cluster.metadata.name, reason: 'Selected', score: entry.total }))
    slices.push({ name: `${placement}-decision-${slices.length + 1}`, groupName: '', groupIndex: 0, decisions })
  }
  return slices
}

function satisfied(
  selected: number,
  unscheduled: number,
  reasons: readonly ClusterReason[],
): Omit<Condition, 'lastTransitionTime'> {
  const type = 'PlacementSatisfied'
  const because = summary(reasons)
  if (selected === 0)
    return {
      type,
      status: 'False',
      reason: 'NoManagedClusterMatched',
      message: `No ManagedCluster matches any of the cluster predicate${because}`,
    }
  if (unscheduled === 0)
    return { type, status: 'True', reason: 'AllDecisionsScheduled', message: 'All cluster decisions scheduled' }
  return {
    type,
    status: 'False',
    reason: 'NotAllDecisionsScheduled',
    message: `${unscheduled} cluster decisions unscheduled${because}`,
  }
}

function summary(reasons: readonly ClusterReason[]): string {
  const counts = new Map<string, number>()
  for (const { reason } of reasons) if (reason !== 'Selected') counts.set(reason, (counts.get(reason) ?? 0) + 1)
  return counts.size === 0
    ? ''
    : ` (${[...counts]
        .toSorted(([a], [b]) => byCodeUnit(a, b))
        .map(([reason, count]) => `${reason}: ${count}`)
        .join(', ')})`
}

function wellConfigured(): Omit<Condition, 'lastTransitionTime'> {
  return {
    type: 'PlacementMisconfigured',
    status: 'False',
    reason: 'Succeedconfigured',
    message: 'Placement configurations check pass',
  }
}

function nothing(
  reason: string,
  message: string,
  { placement }: SchedulingInput,
  reasons: readonly ClusterReason[],
): PlacementOutcome {
  return {
    kind: 'Decided',
    selected: [],
    unscheduled: 0,
    slices: cut(placement.metadata.name, []),
    conditions: [{ type: 'PlacementSatisfied', status: 'False', reason, message }, wellConfigured()],
    reasons: reasons.toSorted((a, b) => byCodeUnit(a.cluster, b.cluster)),
  }
}

// An error or a misconfiguration changes no decision; the conditions say what is wrong and which generation is in
// force. Frozen is not immortal: a cluster that is gone, or being deleted, leaves.
function frozen(
  why: { misconfigured: string } | { error: string },
  mine: ReadonlySet<string>,
  { clusters, placement }: SchedulingInput,
): PlacementOutcome {
  const bad = 'misconfigured' in why
  const message = bad ? why.misconfigured : why.error
  const good = placement.status?.conditions?.find(({ type }) => type === 'PlacementSatisfied')?.observedGeneration
  const force = good === undefined ? 'there is no good evaluation yet' : `the decisions of generation ${good} stay`
  const conditions: Omit<Condition, 'lastTransitionTime'>[] = [
    bad ? { type: 'PlacementMisconfigured', status: 'True', reason: 'Misconfigured', message } : wellConfigured(),
    {
      type: 'DecisionsFrozen',
      status: 'True',
      reason: bad ? 'Misconfigured' : 'EvaluationError',
      message: `${force}: ${message}`,
    },
  ]
  const reasons = clusters
    .map(({ metadata: { name, deletionTimestamp } }): ClusterReason => {
      if (deletionTimestamp)
        return { cluster: name, reason: 'Deleting', message: `is being deleted since ${deletionTimestamp}` }
      const stays = mine.has(name) ? 'stays selected' : 'stays unselected'
      return { cluster: name, reason: 'Frozen', message: `${stays}: ${message}` }
    })
    .toSorted((a, b) => byCodeUnit(a.cluster, b.cluster))
  const selected = reasons.flatMap(({ cluster, reason }) => (reason === 'Frozen' && mine.has(cluster) ? [cluster] : []))
  return { kind: 'Frozen', selected, unscheduled: 0, slices: [], conditions, reasons }
}

function skipped(): PlacementOutcome {
  return { kind: 'Skipped', selected: [], unscheduled: 0, slices: [], conditions: [], reasons: [] }
}

// Over the clusters of the previous decisions.
function earliestExpiry(
  clusters: readonly Cluster[],
  tolerations: Parameters<typeof tolerates>[1],
  mine: ReadonlySet<string>,
  nowMs: number,
): number | undefined {
  let earliest: number | undefined
  for (const cluster of clusters) {
    if (!mine.has(cluster.metadata.name)) continue
    const { expiresAtMs } = tolerates(cluster.spec.taints ?? [], tolerations, true, nowMs)
    if (expiresAtMs !== undefined) earliest = Math.min(earliest ?? expiresAtMs, expiresAtMs)
  }
  return earliest
}
