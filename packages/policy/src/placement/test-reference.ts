import {
  type ClusterPredicate,
  type Condition,
  type ObjectOf,
  SCHEDULING_DISABLED_ANNOTATION,
  type SpreadConstraint,
  type Toleration,
} from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { approximate, celCluster, celMismatch, compileCel } from './cel/index.ts'
import type { AddOnScores } from './fleet.ts'
import { cutGroups, type Group, selectorsOf } from './groups.ts'
import { type Coordinate, type Weighted, weights } from './prioritizers.ts'
import { claimsOf, labelsOf, mismatch, selectorFault } from './selectors.ts'
import { clusterSetFault, isMember } from './sets.ts'
import { tolerates, toleratesOne, tolerationFault } from './taints.ts'

// OCM's placement once more, in the plainest words: cluster by cluster over the objects themselves, with nothing prepared and
// nothing kept. For tests alone: what decide() answers over columns must be what this answers.

/** One decision of any placement: Balance counts them all, Steady looks at its own. */
type Decided = { readonly namespace: string; readonly placement: string; readonly cluster: string }

export type SchedulingInput = {
  readonly placement: ObjectOf<'Placement'>
  readonly sets: readonly ObjectOf<'ManagedClusterSet'>[]
  readonly bindings: readonly ObjectOf<'ManagedClusterSetBinding'>[]
  readonly clusters: readonly ObjectOf<'ManagedCluster'>[]
  readonly scores: readonly AddOnScores[]
  readonly decisions: readonly Decided[]
  readonly nowMs: number
}

type ClusterReason = {
  readonly cluster: string
  readonly reason:
    | 'Selected'
    | 'NotInEligibleSet'
    | 'Deleting'
    | 'PredicateMismatch'
    | 'TaintNotTolerated'
    | 'OutOfNumber'
    | 'SpreadLimit'
    | 'TopologyKeyMissing'
    | 'Frozen'
  readonly message: string
  readonly rank?: number
  readonly score?: number
  readonly scores?: Readonly<Record<string, number>>
}

export type Evaluation =
  /** Nothing is to be stored. */
  | { readonly kind: 'Skipped' }
  /** The evaluation ended before anything could be stored. */
  | { readonly kind: 'Error'; readonly message: string }
  | {
      readonly kind: 'Evaluated'
      readonly status: 'Success' | 'Warning' | 'Misconfigured'
      /** Of what is misconfigured, `<plugin>:<message>`; of a warning its text. */
      readonly message: string
      /** The best first. */
      readonly selected: readonly string[]
      readonly unscheduled: number
      readonly groups: readonly Group[]
      readonly satisfied: Omit<Condition, 'lastTransitionTime'>
      readonly totals: ReadonlyMap<string, number>
      readonly prioritized: readonly Prioritized[]
      /** One line for each cluster of the input, unless misconfigured. */
      readonly reasons: readonly ClusterReason[]
      readonly recheckAtMs: number | undefined
      /** When the first score that was looked at ends. OCM does not look again then. */
      readonly scoresEndAtMs: number | undefined
    }

type Cluster = ObjectOf<'ManagedCluster'>
type Evaluated = Extract<Evaluation, { kind: 'Evaluated' }>
type Scope = Evaluated['satisfied'] | undefined

/** What OCM's scheduler answers for one placement. */
export function evaluate(input: SchedulingInput): Evaluation {
  const { placement, nowMs } = input
  const { annotations = {}, deletionTimestamp, namespace = '' } = placement.metadata
  if (deletionTimestamp || annotations[SCHEDULING_DISABLED_ANNOTATION] === 'true') return { kind: 'Skipped' }
  const bound = boundSets(input, namespace)
  const wanted = placement.spec.clusterSets ?? []
  const eligible = wanted.length > 0 ? bound.filter((set) => wanted.includes(set.metadata.name)) : bound
  const broken = eligible.map((set) => clusterSetFault(set)).find((fault) => fault !== undefined)
  if (broken) return { kind: 'Error', message: broken }

  const reasons: ClusterReason[] = []
  const available = availableClusters(input.clusters, eligible, reasons)
  const outside = nowhere(wanted, bound, eligible, available)
  const standing = standingOf(input)
  const tolerations = placement.spec.tolerations ?? []

  const terms = placement.spec.spreadPolicy?.spreadConstraints ?? []
  const judged = rank(input, available, standing, reasons)
  const misconfigured = 'fault' in judged
  const number = placement.spec.numberOfClusters ?? undefined
  const found = misconfigured ? judged : spreadOut(judged, terms, number)
  const ranked = 'fault' in found ? [] : found.ranked
  const left = 'fault' in found ? undefined : found.left
  const chosen = ranked.filter(({ cluster: { metadata } }, at) =>
    left ? !left.has(metadata.name) : number === undefined || at < number,
  )
  const goal = number ?? (left ? ranked.length : chosen.length)
  const unscheduled = misconfigured ? 0 : goal - chosen.length
  tell(ranked, chosen.length, number, 'fault' in found ? [] : found.prioritized, reasons, left)

  const ordered = chosen
    .toSorted(
      (a, b) =>
        (placement.spec.sortBy === 'Score' ? b.total - a.total : 0) ||
        byCodeUnit(a.cluster.metadata.name, b.cluster.metadata.name),
    )
    .map(({ cluster }) => cluster)
  const selectors = selectorsOf(placement.spec.decisionStrategy)
  const parts: number[][] = [...selectors, undefined].map(() => [])
  for (const [at, cluster] of ordered.entries()) {
    const taking = selectors.findIndex(
      (selector) =>
        mismatch(selector?.labelSelector, labelsOf(cluster), 'label') === undefined &&
        mismatch(selector?.claimSelector, claimsOf(cluster), 'claim') === undefined,
    )
    parts.at(taking)?.push(at)
  }
  const { groups, fault } = cutGroups(
    parts.map((part) => Int32Array.from(part)),
    ordered.length,
    placement.spec.decisionStrategy,
  )
  const wrong = fault === undefined ? ('fault' in found ? found.fault : undefined) : `:${fault}`
  const warning = 'fault' in found ? undefined : found.prioritized.findLast((one) => one.warning !== undefined)?.warning
  const selected = chosen.map(({ cluster }) => cluster.metadata.name)
  return {
    kind: 'Evaluated',
    status: wrong === undefined ? (warning === undefined ? 'Success' : 'Warning') : 'Misconfigured',
    message: wrong ?? warning ?? '',
    selected,
    unscheduled,
    groups: groups.map(({ members, ...group }) => ({
      ...group,
      clusters: Array.from(members, (at) => ordered[at]?.metadata.name ?? ''),
    })),
    satisfied: outside ?? satisfaction(selected.length, unscheduled, reasons),
    totals: new Map(ranked.map(({ cluster, total }) => [cluster.metadata.name, total])),
    prioritized: 'fault' in found ? [] : found.prioritized,
    reasons: reasons.toSorted((a, b) => byCodeUnit(a.cluster, b.cluster)),
    scoresEndAtMs:
      'fault' in found
        ? undefined
        : found.prioritized.reduce(
            (first: number | undefined, { endsAtMs }) =>
              endsAtMs === undefined ? first : Math.min(first ?? endsAtMs, endsAtMs),
            undefined,
          ),
    recheckAtMs: misconfigured ? undefined : earliestExpiry(input.clusters, tolerations, standing.mine, nowMs),
  }
}

function boundSets({ bindings, sets }: SchedulingInput, namespace: string): ObjectOf<'ManagedClusterSet'>[] {
  // A binding is of the set that has its name; that `spec.clusterSet` says the same is the API's affair.
  const names = new Set(
    bindings.filter(({ metadata }) => metadata.namespace === namespace).map(({ metadata }) => metadata.name),
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
      const sets = eligible.map((set) => set.metadata.name).join(', ')
      const message = sets === '' ? 'no set is eligible' : `in none of the sets ${sets}`
      reasons.push({ cluster: name, reason: 'NotInEligibleSet', message })
      return false
    }
    if (deletionTimestamp)
      reasons.push({ cluster: name, reason: 'Deleting', message: `is being deleted since ${deletionTimestamp}` })
    return !deletionTimestamp
  })
}

type Sets = readonly ObjectOf<'ManagedClusterSet'>[]

// Why there is nothing to choose from; undefined where there is something.
function nowhere(wanted: readonly string[], bound: Sets, eligible: Sets, available: readonly Cluster[]): Scope {
  const not = (reason: string, message: string) =>
    ({ type: 'PlacementSatisfied', status: 'False', reason, message }) as const
  if (bound.length === 0)
    return not('NoManagedClusterSetBindings', 'No valid ManagedClusterSetBindings found in placement namespace')
  if (eligible.length === 0)
    return not('NoIntersection', `None of ManagedClusterSets [${wanted.join(',')}] is bound to placement namespace`)
  const names = eligible.map((set) => set.metadata.name).join(',')
  if (available.length === 0)
    return not('AllManagedClusterSetsEmpty', `All ManagedClusterSets [${names}] have no member ManagedCluster`)
  return undefined
}

function standingOf({ placement, decisions, scores, nowMs }: SchedulingInput): Standing {
  const { namespace = '', name } = placement.metadata
  const decidedElsewhere = new Map<string, number>()
  const mine = new Set<string>()
  for (const decision of decisions)
    if (decision.namespace === namespace && decision.placement === name) mine.add(decision.cluster)
    else decidedElsewhere.set(decision.cluster, (decidedElsewhere.get(decision.cluster) ?? 0) + 1)
  const tolerations = placement.spec.tolerations ?? []
  const byName = new Map(scores.map((one) => [`${one.namespace}/${one.name}`, one]))
  return { decidedElsewhere, mine, scores: byName, tolerations, nowMs }
}

type Ranked = { readonly cluster: Cluster; readonly total: number }

// The filters, the prioritizers, the order; or the first fault, as `<plugin>:<message>`.
function rank(
  { placement: { spec }, nowMs }: SchedulingInput,
  available: readonly Cluster[],
  standing: Standing,
  reasons: ClusterReason[],
): { readonly ranked: readonly Ranked[]; readonly prioritized: readonly Prioritized[] } | { readonly fault: string } {
  const predicates = spec.predicates ?? []
  const selector = available.length > 0 ? firstFault(predicates) : undefined
  if (selector) return { fault: `Predicate:${selector}` }
  const matching = available.filter((cluster) => passes(cluster, predicates, standing, reasons))
  const tolerations = spec.tolerations ?? []
  const toleration = matching.length > 0 ? tolerationFault(tolerations) : undefined
  if (toleration) return { fault: `TaintToleration:${toleration}` }
  const filtered = matching.filter((cluster) => survives(cluster, tolerations, standing.mine, nowMs, reasons))
  const weighted = weights(spec.prioritizerPolicy, (spec.spreadPolicy?.spreadConstraints ?? []).length > 0)
  if ('fault' in weighted) return { fault: `:${weighted.fault}` }
  const prioritized = weighted.map((one) => prioritize(one, filtered, standing))
  const ranked = filtered
    .map((cluster) => {
      const { name } = cluster.metadata
      // `+ 0`: no -0.
      const total = prioritized.reduce((sum, { scores, weight }) => sum + (scores.get(name) ?? 0) * weight, 0) + 0
      return { cluster, total }
    })
    .toSorted((a, b) => b.total - a.total || byCodeUnit(a.cluster.metadata.name, b.cluster.metadata.name))
  return { ranked, prioritized }
}

type Judged = { readonly ranked: readonly Ranked[]; readonly prioritized: readonly Prioritized[] }
/** Who was left, and why; undefined where it was a matter of the number alone. */
type Left = ReadonlyMap<
  string,
  { readonly reason: 'OutOfNumber' | 'SpreadLimit' | 'TopologyKeyMissing'; message: string }
>

// One cluster at a time: whoever has the highest sum of total and spread, as the clusters picked so far stand.
function spreadOut(
  { ranked, prioritized }: Judged,
  terms: readonly SpreadConstraint[],
  number: number | undefined,
): Judged & { readonly left?: Left } {
  const weight = prioritized.find(({ name }) => name === 'Spread')?.weight ?? 0
  const strict = (term: SpreadConstraint) => term.whenUnsatisfiable === 'DoNotSchedule'
  if (terms.length === 0 || (weight === 0 && !terms.some(strict))) return { ranked, prioritized }
  const valueIn = ({ topologyKey, topologyKeyType }: SpreadConstraint, cluster: Cluster) =>
    (topologyKeyType === 'Claim' ? claimsOf(cluster) : labelsOf(cluster)).get(topologyKey)
  const lacks = (cluster: Cluster) => terms.find((term) => strict(term) && valueIn(term, cluster) === undefined)
  const able = ranked.filter(({ cluster }) => !lacks(cluster))
  const tuple = (cluster: Cluster, depth: number) =>
    JSON.stringify(terms.slice(0, depth).map((term) => valueIn(term, cluster) ?? ''))
  // How many of those picked are in a cluster's topology of a term; and in each topology beside it.
  const stand = (cluster: Cluster, at: number, picked: readonly Ranked[]) => {
    const count = (of: string) => picked.filter((one) => tuple(one.cluster, at + 1) === of).length
    const beside = new Set(
      able.filter((one) => tuple(one.cluster, at) === tuple(cluster, at)).map((one) => tuple(one.cluster, at + 1)),
    )
    const counts = [...beside].map(count)
    return { own: count(tuple(cluster, at + 1)), min: Math.min(...counts), max: Math.max(...counts) }
  }
  const limitOf = (cluster: Cluster, picked: readonly Ranked[]) =>
    terms.findIndex((term, at) => {
      const { own, min } = stand(cluster, at, picked)
      return strict(term) && own + 1 - min > (term.maxSkew ?? 1)
    })
  const combined = (cluster: Cluster, picked: readonly Ranked[]) =>
    terms.reduce((sum, _, at) => {
      const { own, min, max } = stand(cluster, at, picked)
      return sum * 64 + (max === min ? 0 : Math.trunc((63 * (max - own)) / (max - min)))
    }, 0)
  const wanted = number ?? ranked.length
  const picked: Ranked[] = []
  const spreads = new Map<string, number>()
  const left = new Map<string, { reason: 'OutOfNumber' | 'SpreadLimit' | 'TopologyKeyMissing'; message: string }>()
  let before: readonly Ranked[] = []
  while (picked.length < wanted) {
    before = [...picked]
    const rest = able.filter((one) => !picked.includes(one))
    for (const { cluster } of rest) spreads.set(cluster.metadata.name, 0)
    const open = rest.filter(({ cluster }) => limitOf(cluster, before) < 0)
    const raw = new Map(open.map((one) => [one, combined(one.cluster, before)]))
    const [low, high] = [Math.min(...raw.values()), Math.max(...raw.values())]
    for (const [{ cluster }, score] of raw)
      if (high > low) spreads.set(cluster.metadata.name, Math.trunc(((score - low) / (high - low) - 0.5) * 200) + 0)
    const sum = ({ cluster, total }: Ranked) => total + weight * (spreads.get(cluster.metadata.name) ?? 0)
    const [best] = open.toSorted(
      (a, b) => sum(b) - sum(a) || byCodeUnit(a.cluster.metadata.name, b.cluster.metadata.name),
    )
    if (!best) break
    picked.push(best)
  }
  for (const { cluster } of ranked) {
    const { name } = cluster.metadata
    const missing = lacks(cluster)
    const at = missing ? -1 : limitOf(cluster, before)
    if (picked.some((one) => one.cluster === cluster)) continue
    if (missing)
      left.set(name, {
        reason: 'TopologyKeyMissing',
        message: `${missing.topologyKeyType.toLowerCase()} ${missing.topologyKey} is missing`,
      })
    else if (at >= 0 && wanted > 0) {
      const where = terms.slice(0, at + 1).map((term) => `${term.topologyKey}=${valueIn(term, cluster) ?? ''}`)
      const { own, min } = stand(cluster, at, before)
      left.set(name, {
        reason: 'SpreadLimit',
        message: `${where.join(', ')} has ${own} where the least has ${min}: one more would exceed maxSkew ${terms[at]?.maxSkew ?? 1}`,
      })
    } else left.set(name, { reason: 'OutOfNumber', message: '' })
  }
  const summed = ({ cluster, total }: Ranked) => ({
    cluster,
    total: total + weight * (spreads.get(cluster.metadata.name) ?? 0),
  })
  const others = ranked
    .filter((one) => !picked.includes(one))
    .map(summed)
    .toSorted((a, b) => b.total - a.total || byCodeUnit(a.cluster.metadata.name, b.cluster.metadata.name))
  return {
    ranked: [...picked.map(summed), ...others],
    prioritized: prioritized.map((one) => (one.name === 'Spread' ? { ...one, scores: spreads } : one)),
    left,
  }
}

function firstFault(predicates: readonly ClusterPredicate[]): string | undefined {
  for (const { requiredClusterSelector: required } of predicates) {
    const fault =
      selectorFault(required?.labelSelector) ??
      selectorFault(required?.claimSelector) ??
      celIn(required)
        .map((text) => compileCel(text))
        .flatMap((one) => ('fault' in one ? [one.fault] : []))[0]
    if (fault) return fault
  }
  return undefined
}

// ORed; the predicate that came nearest is the one worth naming, and with one predicate that is this one.
const celIn = (required: ClusterPredicate['requiredClusterSelector']) => required?.celSelector?.celExpressions ?? []

function passes(
  cluster: Cluster,
  predicates: readonly ClusterPredicate[],
  standing: Standing,
  reasons: ClusterReason[],
): boolean {
  if (predicates.length === 0) return true
  const [labels, claims] = [labelsOf(cluster), claimsOf(cluster)]
  const misses: string[] = []
  for (const { requiredClusterSelector: required } of predicates) {
    const miss =
      mismatch(required?.labelSelector, labels, 'label') ??
      mismatch(required?.claimSelector, claims, 'claim') ??
      celMismatch(
        celIn(required)
          .map((text) => compileCel(text))
          .flatMap((one) => ('fault' in one ? [] : [one])),
        celCluster(cluster, (namespace, name) => standing.scores.get(`${namespace}/${name}`)?.scores),
      )
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

// A line for each cluster that was ranked.
function tell(
  ranked: readonly Ranked[],
  chosen: number,
  number: number | undefined,
  prioritized: readonly Prioritized[],
  reasons: ClusterReason[],
  left: Left | undefined,
): void {
  const last = ranked[chosen - 1]
  for (const [index, { cluster, total }] of ranked.entries()) {
    const { name } = cluster.metadata
    const selected = index < chosen
    const why = left?.get(name)
    reasons.push({
      cluster: name,
      reason: selected ? 'Selected' : (why?.reason ?? 'OutOfNumber'),
      message: selected
        ? `rank ${index + 1} of ${ranked.length}, score ${total}`
        : why?.message
          ? why.message
          : `rank ${index + 1}, score ${total}; ${number} wanted${last ? `, the last one selected has score ${last.total}` : ''}`,
      rank: index + 1,
      score: total,
      scores: Object.fromEntries(prioritized.map((one) => [one.name, one.scores.get(name) ?? 0])),
    })
  }
}

function satisfaction(
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

// Over the clusters of the previous decisions, also those that are no longer eligible.
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

/** What the prioritizers look at beside the clusters themselves. */
type Standing = {
  /** How often each cluster is decided by other placements. */
  readonly decidedElsewhere: ReadonlyMap<string, number>
  /** The clusters that this placement has decided. */
  readonly mine: ReadonlySet<string>
  /** By `namespace/name`. */
  readonly scores: ReadonlyMap<string, AddOnScores>
  readonly tolerations: readonly Toleration[]
  readonly nowMs: number
}

type Prioritized = {
  readonly name: string
  readonly weight: number
  readonly scores: ReadonlyMap<string, number>
  /** The result stands all the same. */
  readonly warning?: string
  /** When the first of its scores ends to count. */
  readonly endsAtMs?: number
}

/** What one prioritizer says of the clusters that passed the filters. */
function prioritize(
  { coordinate: { type = 'BuiltIn', builtIn = '', addOn }, weight }: Weighted,
  clusters: readonly Cluster[],
  standing: Standing,
): Prioritized {
  if (type !== 'BuiltIn' && addOn)
    return { name: `AddOn/${addOn.resourceName}/${addOn.scoreName}`, weight, ...byAddOn(clusters, addOn, standing) }
  if (builtIn === 'PreferNoSelect') return { name: builtIn, weight, ...preferNoSelect(clusters, standing) }
  const scores =
    builtIn === 'Balance'
      ? balance(clusters, standing)
      : builtIn === 'Steady'
        ? new Map(clusters.map(({ metadata: { name } }) => [name, standing.mine.has(name) ? 100 : 0]))
        : builtIn === 'Spread'
          ? new Map<string, number>()
          : allocatable(clusters, builtIn === 'ResourceAllocatableCPU' ? 'cpu' : 'memory')
  return { name: builtIn, weight, scores }
}

function balance(clusters: readonly Cluster[], { decidedElsewhere }: Standing): Map<string, number> {
  const max = Math.max(0, ...decidedElsewhere.values())
  return new Map(
    clusters.map(({ metadata: { name } }) => {
      const count = decidedElsewhere.get(name) ?? 0
      // `+ 0`: no -0.
      return [name, count === 0 ? 100 : 2 * Math.trunc(100 * (0.5 - count / max)) + 0]
    }),
  )
}

function allocatable(clusters: readonly Cluster[], resource: string): Map<string, number> {
  const counted = clusters.flatMap(({ metadata: { name }, status }): [string, number][] => {
    const [has, of] = [status?.allocatable?.[resource], status?.capacity?.[resource]]
    const value = has === undefined || of === undefined ? undefined : approximate(has)
    return value === undefined ? [] : [[name, value]]
  })
  const min = counted.reduce((least, [, value]) => Math.min(least, value), Number.POSITIVE_INFINITY)
  const max = counted.reduce((most, [, value]) => Math.max(most, value), Number.NEGATIVE_INFINITY)
  return new Map(
    counted.map(([name, value]) => [
      name,
      max === min ? 100 : Math.trunc(((value - min) / (max - min) - 0.5) * 2 * 100) + 0,
    ]),
  )
}

function preferNoSelect(
  clusters: readonly Cluster[],
  { tolerations, nowMs }: Standing,
): Omit<Prioritized, 'name' | 'weight'> {
  const unwanted = clusters.map(({ metadata: { name }, spec }) => ({
    name,
    taints: (spec.taints ?? [])
      .filter(({ effect }) => effect === 'PreferNoSelect')
      .map((taint) => toleratesOne(taint, tolerations, nowMs)),
  }))
  const count = (taints: readonly { by: boolean }[]) => taints.filter(({ by }) => !by).length
  const most = Math.max(0, ...unwanted.map(({ taints }) => count(taints)))
  const ends = unwanted.flatMap(({ taints }) => taints.flatMap(({ by, expiresAtMs }) => (by && expiresAtMs) || []))
  return {
    scores: new Map(
      unwanted.map(({ name, taints }) => [name, most === 0 ? 0 : Math.trunc((-100 * count(taints)) / most) + 0]),
    ),
    ...(ends.length === 0 ? {} : { endsAtMs: Math.min(...ends) }),
  }
}

function byAddOn(
  clusters: readonly Cluster[],
  { resourceName, scoreName }: NonNullable<Coordinate['addOn']>,
  { scores: all, nowMs }: Standing,
): Omit<Prioritized, 'name' | 'weight'> {
  const scores = new Map<string, number>()
  const expired: string[] = []
  let endsAtMs: number | undefined
  for (const { metadata } of clusters) {
    const held = all.get(`${metadata.name}/${resourceName}`)
    // Not at the very instant.
    const untilMs = held?.validUntil === undefined ? undefined : Date.parse(held.validUntil) + 1
    const isExpired = untilMs !== undefined && nowMs >= untilMs
    if (untilMs !== undefined && !isExpired) endsAtMs = Math.min(endsAtMs ?? untilMs, untilMs)
    if (isExpired) expired.push(`${metadata.name}/${resourceName}`)
    const value = isExpired ? 0 : held?.scores.findLast(({ name }) => name === scoreName)?.value
    scores.set(metadata.name, value ?? 0)
  }
  return {
    scores,
    ...(endsAtMs === undefined ? {} : { endsAtMs }),
    ...(expired.length === 0 ? {} : { warning: `AddOnPlacementScores ${expired.join(' ')} expired` }),
  }
}
