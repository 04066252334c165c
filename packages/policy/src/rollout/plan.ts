import type { ClusterState, Condition, RolloutCluster, RolloutPhase, RolloutSpec, RolloutStatus } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { clusterStateOf, deliveryOf, isAskedNoMore, isAssigned, type Scope } from './cluster-state.ts'
import { AFTER_A_BREACH, type Conditions, conditionsOf } from './conditions.ts'
import type { RolloutFacts } from './facts.ts'
import { type Placed, recheckOf, removed, rowOf, sticky, waitedMs } from './rows.ts'
import { FAILURES, FINISHED, HOLDS_A_SLOT, SETTLED } from './states.ts'
import { durationsOf, sizesOf } from './strategy.ts'

// Which clusters get the image now, and why the others do not. OCM's strategies with Skerry's additions (DESIGN.md).

type Hold = {
  readonly cluster: string
  readonly reason: string
  readonly message: string
  /** Looked at again then at the latest; anything that is heard brings it forward. */
  readonly recheckAtMs: number
}

export type RolloutPlan = {
  readonly phase: RolloutPhase
  readonly advance: readonly string[]
  /**
   * Clusters that were sent the image and are not finished, and whether what is not activated there is to hold.
   * The rollout's present terms are theirs; who is finished keeps the terms it finished under.
   */
  readonly underWay: readonly { readonly cluster: string; readonly paused: boolean }[]
  /** Every cluster that is neither sent anything now nor finished, with its reason and when it is looked at again. */
  readonly hold: readonly Hold[]
  readonly clusters: readonly RolloutCluster[]
  readonly counts: NonNullable<RolloutStatus['counts']>
  readonly conditions: Conditions
  readonly recheckAtMs?: number
}

/** What only news can change is looked at again after this all the same. */
const RECHECK_MS = 60_000

/** Plans one rollout. The same facts in any order give the same plan. */
export function planRollout(facts: RolloutFacts, nowMs: number): RolloutPlan {
  const { rollout, image, decided } = facts
  const { spec, metadata } = rollout
  if (!image) {
    const message = `there is no OSImage ${spec.image.name}: publish it, or name another one in spec.image.name`
    return waiting(facts, undefined, 'ImageUnknown', message, nowMs)
  }
  // Statuses belong to bytes: of another image nothing is carried over.
  const before = rollout.status?.image?.manifestSha256 === image.manifestSha256 ? rollout.status : undefined
  if (decided === 'Missing') {
    const message = `there is no Placement ${spec.placementRef.name} in namespace ${metadata.namespace}: apply it, or name another one in spec.placementRef.name`
    return waiting(facts, before, 'PlacementMissing', message, nowMs)
  }
  if (decided === 'Undecided') {
    const message = `Placement ${spec.placementRef.name} is there and not decided yet, which the hub does by itself`
    return waiting(facts, before, 'PlacementUndecided', message, nowMs)
  }

  const known = new Map(facts.clusters.map((cluster) => [cluster.name, cluster]))
  const rows = new Map(before?.clusters?.map((row) => [row.name, row]))
  const names = [...new Set(decided)].toSorted(byCodeUnit)
  const scope: Scope = { rolloutUid: metadata.uid, image, spec, durations: durationsOf(spec), nowMs }
  // While nothing could be planned the rollout was looked at and not judged.
  const judged = condition(before, 'Breached')
  const judgedGeneration = judged?.observedGeneration ?? before?.observedGeneration
  const edited = judgedGeneration !== undefined && judgedGeneration !== metadata.generation
  // Only an edit gives a failure back, of what was asked for and could not be given: it was a fault of the terms.
  const isFinal = (row: RolloutCluster) => FAILURES.has(row.state) && !(edited && isAskedNoMore(row, spec))
  const placed = names.map((name): Placed => {
    const cluster = known.get(name) ?? { name, reachability: 'NeverSeen' as const, nodes: [] }
    const was = rows.get(name)
    const assigned = isAssigned(cluster, scope)
    const delivered = deliveryOf(cluster, assigned, was)
    const waited = waitedMs(delivered, was, nowMs)
    const found = clusterStateOf(cluster, scope, assigned, delivered, waited)
    const progress = was ? sticky(found, was, cluster, assigned, isFinal(was)) : found
    return { cluster, assigned, delivered, ...progress, ...recheckOf(progress, cluster) }
  })
  const selected = new Set(names)
  const deselected = [...rows.values()]
    .filter(({ name }) => !selected.has(name))
    .map((row) => removed(row, facts.gone?.get(row.name), isFinal(row), nowMs))

  // Who is out of reach, or another rollout's, is in no denominator. Every failure is counted before anybody is sent anything.
  const attempted = placed.filter(({ state }) => state !== 'Offline' && state !== 'Removed').length
  const { maxConcurrency, maxFailures } = sizesOf(spec, attempted)
  const dropped = deselected.filter(({ state }) => FAILURES.has(state))
  const failed = [...placed.filter(({ state }) => FAILURES.has(state)), ...dropped]
  const failures = failed.length
  const tolerated = spec.strategy?.type === 'Progressive' ? maxFailures : Number.POSITIVE_INFINITY
  // What is heard later ends no breach, only a person's edit: then it is judged anew.
  const breached = (judged?.status === 'True' && !edited) || failures > tolerated
  const inUse = placed.filter(({ state }) => HOLDS_A_SLOT.has(state)).length
  const ready = placed.filter(({ state }) => state === 'NotStarted').map(({ cluster }) => cluster.name)
  const advance = breached ? [] : ready.slice(0, Math.max(0, maxConcurrency - inUse))
  const sent = new Set(advance)
  const hold = placed
    .filter(({ cluster, state }) => !FINISHED.has(state) && !sent.has(cluster.name))
    .map((one) => holdOf(one, breached, maxConcurrency, nowMs))

  const holds = new Map(hold.map((held) => [held.cluster, held]))
  const states = placed.map(({ state }) => state)
  const phase = phaseOf(states, breached, before)
  const rechecks = placed.map(({ recheckAtMs }) => recheckAtMs ?? 0).filter((at) => at > nowMs)
  return {
    phase,
    advance,
    // Of who soaks, every node is through its activation: there is nothing left to hold.
    underWay: placed
      .filter(({ assigned, state }) => assigned && !FINISHED.has(state))
      .map(({ cluster, state }) => ({ cluster: cluster.name, paused: breached && state !== 'Soaking' })),
    hold,
    clusters: [...placed.map((one) => rowOf(one, holds.get(one.cluster.name), rows, nowMs)), ...deselected].toSorted(
      (a, b) => byCodeUnit(a.name, b.name),
    ),
    // Who failed and was dropped then is in the budget, and so it is here.
    counts: count([...states, ...dropped.map(({ state }) => state)]),
    conditions: conditionsOf(spec, phase, breached, failed, maxFailures, placed),
    ...(rechecks.length > 0 ? { recheckAtMs: Math.min(...rechecks) } : {}),
  }
}

function holdOf(placed: Placed, breached: boolean, maxConcurrency: number, nowMs: number): Hold {
  const { cluster, state, reason, message } = placed
  const at = [placed.recheckAtMs, cluster.changesAtMs].filter((time) => time !== undefined)
  const held = {
    cluster: cluster.name,
    recheckAtMs: Math.min(nowMs + RECHECK_MS, ...at.filter((time) => time > nowMs)),
  }
  if (state !== 'NotStarted') return { ...held, reason, message }
  if (breached)
    return {
      ...held,
      reason: 'Breached',
      message: `the rollout stopped: more clusters failed than it tolerates; ${AFTER_A_BREACH}`,
    }
  return {
    ...held,
    reason: 'ConcurrencyLimit',
    message: `${maxConcurrency === 1 ? '1 cluster is' : `${maxConcurrency} clusters are`} under way, which is as many as may be`,
  }
}

function phaseOf(states: readonly ClusterState[], breached: boolean, before: RolloutStatus | undefined): RolloutPhase {
  if (breached) return 'Paused'
  if (before?.phase === 'Completed') return 'Completed'
  // A fleet that is all dark proves nothing: completion needs one success.
  const succeeded = states.includes('Succeeded')
  if (succeeded && states.every((state) => SETTLED.has(state))) return 'Completed'
  // Each failure is tolerated, and nothing is left that could go on: it waits for a person as after a breach.
  const failed = states.some((state) => FAILURES.has(state))
  return failed && states.every((state) => FINISHED.has(state)) ? 'Paused' : 'Running'
}

function count(states: readonly ClusterState[]): RolloutPlan['counts'] {
  const of = (...wanted: ClusterState[]) => states.filter((state) => wanted.includes(state)).length
  return {
    total: states.length,
    succeeded: of('Succeeded'),
    failed: of('Failed', 'TimeOut'),
    rolledBack: of('RolledBack'),
    inProgress: of('Sent', 'Delivered', 'Staging', 'Activating', 'Soaking'),
    deferred: of('Offline', 'WaitingForWindow'),
    notStarted: of('NotStarted', 'Removed'),
  }
}

// Nothing can be planned now. What was known stays known, and what had begun has not ended.
function waiting(
  { rollout }: RolloutFacts,
  before: RolloutStatus | undefined,
  reason: string,
  message: string,
  nowMs: number,
): RolloutPlan {
  const clusters = before?.clusters ?? []
  // Of what the rollout was before an edit nothing is held any more, but what became of it is still told.
  const shown = before ? clusters : (rollout.status?.clusters ?? [])
  const phase = before?.phase ?? 'Pending'
  return {
    phase,
    advance: [],
    underWay: [],
    hold: clusters
      .filter(({ state }) => !FINISHED.has(state))
      .map(({ name }) => ({ cluster: name, reason, message, recheckAtMs: nowMs + RECHECK_MS })),
    clusters: shown,
    counts: rollout.status?.counts ?? count([]),
    conditions: [
      ...(phase === 'Pending' ? [{ type: 'Completed', status: 'False' as const, reason, message }] : []),
      { type: 'Ready', status: 'False', reason, message },
    ],
  }
}

function condition(status: RolloutStatus | undefined, type: string): Condition | undefined {
  return status?.conditions?.find((found) => found.type === type)
}
