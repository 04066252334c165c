import type { ClusterState, Condition, RolloutCluster, RolloutPhase, RolloutStatus, Waves } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { approvalsAt, retriesOf, steeredBy } from './acts.ts'
import { AT_WORK, type Scope, waveAtMs } from './cluster-state.ts'
import { type Conditions, conditionsOf, steeringCondition } from './conditions.ts'
import type { ClusterFacts, Order, RolloutFacts } from './facts.ts'
import { lookAt } from './looked.ts'
import { heldUntilMs, standingAsOcm, turnsAsOcm, windowOf } from './ocm.ts'
import { type Back, rollBackOf } from './roll-back.ts'
import { iso, type Placed, rowOf } from './rows.ts'
import { groupsTold, type Standing, stagedOf, standingOf } from './stages.ts'
import { FAILURES, FINISHED, UNDER_WAY } from './states.ts'
import { acceptedUntilMs, isStanding, type Stop, stopOf, type WhyNot } from './stop.ts'
import { durationsOf, goesAsOcm } from './strategy.ts'
import { turnsOf } from './turns.ts'
import { wavesOf } from './waves.ts'

// Which clusters get the image now, and why the others do not. OCM's strategies with Skerry's additions (DESIGN.md).

type Hold = {
  readonly cluster: string
  readonly reason: string
  readonly message: string
  /** Looked at again then at the latest; anything that is heard brings it forward. */
  readonly recheckAtMs: number
}

/** Whether what is not activated in a cluster is to hold. */
type Holding = { readonly cluster: string; readonly paused: boolean }

export type RolloutPlan = {
  readonly phase: RolloutPhase
  readonly advance: readonly string[]
  /**
   * Clusters that were sent the image, are not finished and not ordered back, and whether what is not activated there is to
   * hold. The rollout's present terms are theirs; who is finished keeps the terms it finished under.
   */
  readonly underWay: readonly Holding[]
  /**
   * Clusters whose order is none of those, and may still be activated: of an image before, of a cluster that the placement
   * has dropped, that has timed out or is denied. All its terms stay but for this one.
   */
  readonly others: readonly Holding[]
  /** Every cluster that is neither sent anything now nor finished, with its reason and when it is looked at again. */
  readonly hold: readonly Hold[]
  /** When the image was first sent to a cluster, also by this plan: the waves count from there. */
  readonly firstSent: RolloutStatus['firstSent']
  /** Of the terms of who is sent the image or under way with it. */
  readonly waves: Waves | undefined
  /** Who is ordered back to what it confirmed before. */
  readonly back: readonly Back[]
  /** How many were to be, and stay where they are for good. */
  readonly staying: number
  readonly clusters: readonly RolloutCluster[]
  readonly groups: RolloutStatus['groups']
  readonly counts: NonNullable<RolloutStatus['counts']>
  readonly byState: NonNullable<RolloutStatus['byState']>
  readonly slowest: NonNullable<RolloutStatus['slowest']>
  readonly conditions: Conditions
  /** The gate that is closed, if it waits for people there. */
  readonly gate?: string
  readonly recheckAtMs?: number
}

/** What only news can change is looked at again after this all the same. */
const RECHECK_MS = 60_000
/** So many of those that are under way for the longest time are named. */
const SLOWEST = 5

/** Plans one rollout. The same facts in any order give the same plan. */
export function planRollout(facts: RolloutFacts, nowMs: number): RolloutPlan {
  const { rollout, image, decided } = facts
  const { spec, metadata } = rollout
  const { placementRef } = spec
  const undecided = {
    Missing: {
      reason: 'PlacementMissing',
      message: `there is no Placement ${placementRef.name} in namespace ${metadata.namespace}: apply it, or name another one in spec.placementRef.name`,
    },
    Undecided: {
      reason: 'PlacementUndecided',
      message: `Placement ${placementRef.name} is there and not decided yet, which the hub does by itself`,
    },
  }
  if (!image) {
    const unknown = `there is no OSImage ${spec.image.name}: publish it, or name another one in spec.image.name`
    const message = typeof decided === 'string' ? `${unknown}; ${undecided[decided].message}` : unknown
    return waiting(facts, undefined, 'ImageUnknown', message, nowMs)
  }
  // Statuses belong to bytes: of another image nothing is carried over.
  const before = rollout.status?.image?.manifestSha256 === image.manifestSha256 ? rollout.status : undefined
  if (typeof decided === 'string') {
    const { reason, message } = undecided[decided]
    return waiting(facts, before, reason, message, nowMs)
  }

  const acts = facts.acts ?? []
  const retries = retriesOf(image.manifestSha256, acts)
  const rows = new Map(before?.clusters?.map((row) => [row.name, row]))
  const sentBefore = firstSentOf(facts, image.manifestSha256)
  const waves = wavesOf(spec, sentBefore ? Date.parse(sentBefore.at) : nowMs)
  // A try that is under way ends first: the site carries a retry out after it, and its end is none of the next try's.
  const atWork = new Set(facts.clusters.filter(isAtWork).map(({ name }) => name))
  const retryOf = (name: string) =>
    rows.get(name)?.state === 'TimeOut' && atWork.has(name) ? undefined : retries.get(name)
  const scope: Scope = { rolloutUid: metadata.uid, image, spec, durations: durationsOf(spec), waves, nowMs, retryOf }
  // While nothing could be planned the rollout was looked at and not judged.
  const breach = condition(before, 'Breached')
  const judgedGeneration = breach?.observedGeneration ?? before?.observedGeneration
  const edited = judgedGeneration !== undefined && judgedGeneration !== metadata.generation
  const { groups, deselected, ...looked } = lookAt(facts, decided, before, rows, scope, edited)

  const steered = steeredBy(acts)
  const stages = stagedOf(spec, groups, looked.placed, deselected, acceptedUntilMs(acts))
  const window = goesAsOcm(spec) ? windowOf(scope, stages) : undefined
  const isOverBudget = window
    ? window.breached
    : isStanding(breach, edited, acts, retries.values()) || stages.some(({ isExceeded }) => isExceeded)
  // An aborted rollout has nothing left to stop.
  const breached = steered.state !== 'Aborted' && isOverBudget
  const stop = stopOf(steered, breached, metadata.name)
  const isStopped = stop !== undefined
  const asks = (gate: string) => {
    const actFacts = { rollout, manifestSha256: image.manifestSha256, acts, changedBy: facts.changedBy }
    const { needed, given, recheckAtMs } = approvalsAt(gate, actFacts, nowMs)
    return { needed, given: given.length, ...(recheckAtMs === undefined ? {} : { recheckAtMs }) }
  }
  const wasCompleted = before?.phase === 'Completed' || before?.completedAt !== undefined
  const standing = window
    ? standingAsOcm(stages, window, isStopped)
    : standingOf(spec, groups, stages, asks, isStopped, wasCompleted)
  const placed = looked.placedOnceOpened(standing.opened)
  const turns = window
    ? turnsAsOcm(
        placed,
        window,
        stages.some(({ isMandatory }) => isMandatory),
        stop,
      )
    : turnsOf(placed, standing, scope, stop, metadata.name)
  // A person who paused or aborted has said what happens; a breach says it where nobody did.
  const back = breached ? rollBackOf(rollout, image, placed, steered.state === 'Going') : undefined
  const sent = new Set(turns.advance)
  const firstSent = sentBefore ?? (sent.size > 0 ? { manifestSha256: image.manifestSha256, at: iso(nowMs) } : undefined)
  const waits = new Map(
    placed.filter(({ state }) => state === 'NotStarted').map((one) => [one.cluster.name, turns.whyNot(one)]),
  )
  const hold = placed
    .filter(({ cluster, state }) => !FINISHED.has(state) && !sent.has(cluster.name))
    .map((one) => holdOf(one, waits.get(one.cluster.name) ?? one, nowMs))
  const holds = new Map(hold.map((held) => [held.cluster, held]))
  const phase = (steered.state === 'Going' ? back?.phase : undefined) ?? phaseOf(placed, standing, stop, wasCompleted)
  const rechecks = [
    ...placed.map(({ recheckAtMs }) => recheckAtMs ?? 0),
    ...[...waits.values()].map(({ recheckAtMs }) => recheckAtMs ?? 0),
    ...(window ? placed.map((one) => heldUntilMs(one, scope.durations.deadlineMs) ?? 0) : []),
  ].filter((at) => at > nowMs)
  const told = placed.map((one) => {
    const held = waits.get(one.cluster.name)?.recheckAtMs
    const minuteMs = firstSent && !FINISHED.has(one.state) ? waveAtMs(one.cluster.name, scope) : undefined
    const row = {
      ...rowOf(one, holds.get(one.cluster.name), rows, nowMs),
      ...(minuteMs === undefined ? {} : { waveAt: iso(minuteMs) }),
      // Where time itself ends the wait; what only news can end is looked at again all the same, and not written for that.
      ...(held === undefined || held <= nowMs ? {} : { recheckAt: iso(held) }),
    }
    const backTo = back ? back.told.get(row.name) : rows.get(row.name)?.backTo
    // Who is sent the image again is not on its way back any more.
    return backTo && (back || !one.assigned) && row.state !== 'Succeeded' ? { ...row, backTo } : row
  })
  const clusters = [...told, ...deselected].toSorted((a, b) => byCodeUnit(a.name, b.name))
  // Who failed and was dropped then is in the budget, and so it is here.
  const dropped = deselected.filter(({ state }) => FAILURES.has(state))
  const states = [...placed, ...dropped].map(({ state }) => state)
  const goesBack = new Set(back?.orders.map(({ cluster }) => cluster))
  // Of who soaks, every node is through its activation: there is nothing left to hold.
  const underWay = placed
    .filter(({ cluster, assigned, state }) => assigned && !FINISHED.has(state) && !goesBack.has(cluster.name))
    .map(({ cluster, state }) => ({ cluster: cluster.name, paused: stop !== undefined && state !== 'Soaking' }))
  const isHeld = new Set([...underWay.map(({ cluster }) => cluster), ...turns.advance, ...goesBack])
  return {
    phase,
    advance: turns.advance,
    underWay,
    others: openOrders(facts, rows)
      .filter(({ cluster }) => !isHeld.has(cluster))
      .map(({ cluster }) => ({ cluster, paused: stop !== undefined })),
    hold,
    firstSent,
    waves: firstSent && waves,
    back: back?.orders ?? [],
    staying: back?.staying ?? 0,
    clusters,
    groups: groupsTold(groups, standing, nowMs),
    counts: count(states),
    byState: countByState(states),
    slowest: slowestOf(clusters),
    conditions: [
      ...conditionsOf(spec, phase, breached, standing, placed, dropped, back, metadata.name),
      ...steeringCondition(steered),
    ],
    ...(phase === 'WaitingForApproval' && standing.gate ? { gate: standing.gate.name } : {}),
    ...(rechecks.length > 0 ? { recheckAtMs: Math.min(...rechecks) } : {}),
  }
}

function isAtWork({ nodes }: ClusterFacts): boolean {
  return nodes.some(({ phase }) => AT_WORK.has(phase))
}

function holdOf({ cluster, recheckAtMs }: Placed, why: WhyNot, nowMs: number): Hold {
  const at = [recheckAtMs, cluster.changesAtMs, why.recheckAtMs].filter((time) => time !== undefined)
  return {
    cluster: cluster.name,
    recheckAtMs: Math.min(nowMs + RECHECK_MS, ...at.filter((time) => time > nowMs)),
    reason: why.reason,
    message: why.message,
  }
}

/**
 * When the rollout's image was first sent to anybody. It is told once and stays, whatever is paused or edited since; where
 * it was not told, the oldest order that is still there says it.
 */
function firstSentOf(
  { rollout: { metadata, status }, clusters }: RolloutFacts,
  manifestSha256: string,
): RolloutStatus['firstSent'] {
  if (status?.firstSent?.manifestSha256 === manifestSha256) return status.firstSent
  const sent = clusters.flatMap(({ assignment }) =>
    assignment?.rolloutUid === metadata.uid && assignment.manifestSha256 === manifestSha256 ? [assignment.atMs] : [],
  )
  return sent.length === 0 ? undefined : { manifestSha256, at: iso(sent.reduce((a, b) => Math.min(a, b))) }
}

/** Orders that may still be activated, but for the way back after a breach: what runs there already is not held. */
function openOrders({ orders = [] }: RolloutFacts, rows: ReadonlyMap<string, Pick<RolloutCluster, 'backTo'>>): Order[] {
  const isWayBack = ({ cluster, manifestSha256 }: Order) => rows.get(cluster)?.backTo?.manifestSha256 === manifestSha256
  return orders
    .filter((order) => !order.isSettled && !isWayBack(order))
    .toSorted((a, b) => byCodeUnit(a.cluster, b.cluster))
}

function phaseOf(
  placed: readonly Placed[],
  { current, gate }: Standing,
  stop: Stop | undefined,
  wasCompleted: boolean,
): RolloutPhase {
  if (stop) return stop.phase
  if (wasCompleted) return 'Completed'
  if (gate) return 'WaitingForApproval'
  // A fleet that is all dark, or that nobody is in, proves nothing: completion needs one success.
  if (!current) return placed.some(({ state }) => state === 'Succeeded') ? 'Completed' : 'Running'
  // Each failure is tolerated, and nothing is left that could go on: it waits for a person as after a breach.
  const states = current.members.map(({ state }) => state)
  return states.some((state) => FAILURES.has(state)) && states.every((state) => FINISHED.has(state))
    ? 'Paused'
    : 'Running'
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

function countByState(states: readonly ClusterState[]): RolloutPlan['byState'] {
  return Object.fromEntries(
    [...Map.groupBy(states, (state) => state)].map(([state, all]) => [state, all.length]).toSorted(),
  )
}

// Of those that are under way, by when they took the image, or were sent it.
function slowestOf(clusters: readonly RolloutCluster[]): RolloutPlan['slowest'] {
  return clusters
    .filter(({ state }) => UNDER_WAY.has(state))
    .map(({ name, state, reason, assignedAt, deliveredAt, since }) => ({
      ...{ name, state, reason },
      since: deliveredAt ?? assignedAt ?? since,
    }))
    .toSorted((a, b) => byCodeUnit(a.since, b.since))
    .slice(0, SLOWEST)
}

// Nothing can be planned now. What was known stays known, and what had begun has not ended.
// A person's word reaches who was sent something all the same.
function waiting(
  facts: RolloutFacts,
  before: RolloutStatus | undefined,
  reason: string,
  message: string,
  nowMs: number,
): RolloutPlan {
  const { rollout, acts = [] } = facts
  const clusters = before?.clusters ?? []
  // Of what the rollout was before an edit nothing is held any more, but what became of it is still told.
  const shown = before ? clusters : (rollout.status?.clusters ?? [])
  const steered = steeredBy(acts)
  const phase = stopOf(steered, false, rollout.metadata.name)?.phase ?? before?.phase ?? 'Pending'
  return {
    phase,
    advance: [],
    underWay: [],
    others:
      steered.state === 'Going'
        ? []
        : openOrders(facts, new Map(shown.map((row) => [row.name, row]))).map(({ cluster }) => ({
            cluster,
            paused: true,
          })),
    firstSent: rollout.status?.firstSent,
    waves: undefined,
    back: [],
    staying: 0,
    hold: clusters
      .filter(({ state }) => !FINISHED.has(state))
      .map(({ name }) => ({ cluster: name, reason, message, recheckAtMs: nowMs + RECHECK_MS })),
    clusters: shown,
    groups: rollout.status?.groups,
    counts: rollout.status?.counts ?? count([]),
    byState: rollout.status?.byState ?? {},
    slowest: rollout.status?.slowest ?? [],
    conditions: [
      ...(phase === 'Pending' ? [{ type: 'Completed', status: 'False' as const, reason, message }] : []),
      { type: 'Ready', status: 'False', reason, message },
      ...steeringCondition(steered),
    ],
  }
}

function condition(status: RolloutStatus | undefined, type: string): Condition | undefined {
  return status?.conditions?.find((found) => found.type === type)
}
