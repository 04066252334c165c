import type { ClusterState, Condition, RolloutCluster, RolloutPhase, RolloutSpec, RolloutStatus } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import {
  clusterStateOf,
  DENIED,
  type Delivery,
  deliveryOf,
  FELL_BACK,
  isAskedNoMore,
  isAssigned,
  type Progress,
  type Scope,
  STOPS_THE_CLOCK,
  silenceOf,
  UNPROVABLE,
  UNPROVEN,
} from './cluster-state.ts'
import type { ClusterFacts, RolloutFacts } from './facts.ts'
import { durationsOf, isUnlimited, sizesOf } from './strategy.ts'

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
  readonly conditions: readonly Omit<Condition, 'lastTransitionTime'>[]
  readonly recheckAtMs?: number
}

const HOLDS_A_SLOT: ReadonlySet<ClusterState> = new Set(['Sent', 'Delivered', 'Staging', 'Activating', 'Soaking'])
const UNDER_WAY: ReadonlySet<ClusterState> = new Set([...HOLDS_A_SLOT, 'WaitingForWindow'])
const FAILURES: ReadonlySet<ClusterState> = new Set(['Failed', 'TimeOut', 'RolledBack'])
/** Nothing more is to come of these in this rollout. */
const FINISHED: ReadonlySet<ClusterState> = new Set(['Succeeded', 'Failed', 'TimeOut', 'RolledBack', 'Removed'])
const SETTLED: ReadonlySet<ClusterState> = new Set([...FINISHED, 'Offline'])

/** What a cluster that succeeded may come to, and has succeeded all the same. No deadline runs for it. */
const UNDOES_NOTHING: ReadonlySet<ClusterState> = new Set(['Soaking', 'TimeOut', 'Removed'])

/** What only news can change is looked at again after this all the same. */
const RECHECK_MS = 60_000

const AFTER_A_BREACH =
  'find out why, then edit the rollout: with a larger maxFailures it goes on, with another image it starts over'

const AFTER_FAILURES = 'the same image is not sent again: name another one in spec.image.name, or make another rollout'

/** What failed in this rollout, and is counted. */
type Failed = readonly { readonly reason: string }[]
type Placed = Progress & {
  readonly cluster: ClusterFacts
  readonly assigned: boolean
  readonly delivered: Delivery | undefined
}

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

// A closed window and a pause stop the clock. What was waited before is in the row; what is being waited now began at `since`.
// A newer delivery starts a new clock.
function waitedMs(delivered: Delivery | undefined, was: RolloutCluster | undefined, nowMs: number): number {
  if (!was || !delivered || was.deliveredAt !== iso(delivered.atMs)) return 0
  const before = (was.waitedSeconds ?? 0) * 1000
  return STOPS_THE_CLOCK.has(was.reason) ? before + Math.max(0, nowMs - Date.parse(was.since)) : before
}

// What is said of a silent cluster changes once it counts as out of reach.
function recheckOf({ state, recheckAtMs }: Progress, { reachability, changesAtMs }: ClusterFacts) {
  if (reachability !== 'Late' || changesAtMs === undefined || FINISHED.has(state)) return {}
  return { recheckAtMs: Math.min(recheckAtMs ?? changesAtMs, changesAtMs) }
}

const LEFT = {
  Deselected: 'the placement no longer selects it',
  Denied: DENIED,
  Deleted: 'the hub has no such cluster any more',
} as const

// Whatever it holds, it is this rollout's no more. What failed stays failed: the count never goes down.
function removed(
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
function sticky(
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
  const doubted = UNDOES_NOTHING.has(progress.state) || progress.reason === FELL_BACK
  return state === 'Succeeded' && doubted ? { state, reason, message, ...kept } : progress
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

function rowOf(
  { cluster, assigned, delivered, state, reason, message, recheckAtMs, statement }: Placed,
  held: Hold | undefined,
  rows: ReadonlyMap<string, RolloutCluster>,
  nowMs: number,
): RolloutCluster {
  const was = rows.get(cluster.name)
  const why = state === 'NotStarted' ? held : undefined
  const { assignment, position } = cluster
  // A window that opens or closes, and a pause, begin a new stretch of waiting.
  const stays =
    was?.state === state && (was.reason === reason || !(STOPS_THE_CLOCK.has(was.reason) || STOPS_THE_CLOCK.has(reason)))
  const waited =
    stays && STOPS_THE_CLOCK.has(reason) ? was.waitedSeconds : Math.floor(waitedMs(delivered, was, nowMs) / 1000)
  return {
    name: cluster.name,
    state,
    reason: why?.reason ?? reason,
    message: `${why?.message ?? message}${FINISHED.has(state) ? '' : silenceOf(cluster)}`,
    since: stays ? was.since : iso(nowMs),
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

function conditionsOf(
  spec: RolloutSpec,
  phase: RolloutPhase,
  breached: boolean,
  failed: Failed,
  maxFailures: number,
  placed: readonly Placed[],
): RolloutPlan['conditions'] {
  const counted = `${failed.length} failed, ${maxFailures} tolerated`
  const left = placed.some(({ state }) => !FINISHED.has(state))
  const unlimited = isUnlimited(spec)
    ? '; maxConcurrency is 0 or not given, which is no limit on how many clusters are under way at once'
    : ''
  return [
    {
      type: 'Breached',
      status: breached ? 'True' : 'False',
      reason: breached ? 'MaxFailuresExceeded' : 'WithinBudget',
      message: !breached
        ? counted
        : [counted, ...(left ? [...wayOut(failed), AFTER_A_BREACH] : wayOn(failed))].join('; '),
    },
    phase === 'Completed'
      ? { type: 'Completed', status: 'True', ...sinceCompletion(placed, failed) }
      : { type: 'Completed', status: 'False', ...untilCompletion(phase, breached, placed, failed) },
    { type: 'Ready', status: 'True', reason: 'Planned', message: `image and placement are known${unlimited}` },
  ]
}

// What an edit of the terms takes back.
function wayOut(failed: Failed): string[] {
  const are = (wanted: string, what: string) => {
    const count = failed.filter(({ reason }) => reason === wanted).length
    return count === 0 ? [] : [`${count} of them ${what}`]
  }
  return [
    ...are(UNPROVABLE, 'cannot prove a boot: with spec.attestation warning they are sent the image again'),
    ...are(UNPROVEN, 'were not proven in time: with spec.attestation warning a warning is good enough'),
  ]
}

// What to do where nothing goes on by itself. What an edit takes back is sent again, and the rest is not.
function wayOn(failed: Failed): string[] {
  const out = wayOut(failed)
  const others = failed.filter(({ reason }) => reason !== UNPROVABLE && reason !== UNPROVEN).length
  if (others === 0) return out
  const whom = out.length === 0 ? 'where it failed' : `to the other ${others}`
  return [...out, 'find out why', `${whom} ${AFTER_FAILURES}`]
}

// A completed rollout stays one: who returns or is added later catches up, and that is told.
function sinceCompletion(placed: readonly Placed[], failed: Failed): Told {
  const catchingUp = [
    ...areSaid(placed, (state) => UNDER_WAY.has(state), 'under way since it completed'),
    ...areSaid(placed, (state) => state === 'NotStarted', 'not sent the image yet'),
  ]
  const pending = areSaid(placed, (state) => state === 'Offline', 'out of reach, to catch up on return')
  const message = [...catchingUp, ...pending, ...ended(placed, failed)].join('; ')
  if (catchingUp.length > 0) return { reason: 'CompletedCatchingUp', message }
  if (pending.length > 0) return { reason: 'CompletedPendingCatchUp', message }
  if (failed.length > 0) return { reason: 'CompletedWithFailures', message }
  return { reason: 'Completed', message: 'every cluster is settled' }
}

// A rollout that has not completed says so, and what it waits for where nothing goes on by itself.
function untilCompletion(phase: RolloutPhase, breached: boolean, placed: readonly Placed[], failed: Failed): Told {
  const going = { reason: phase, message: `the rollout is ${phase}` }
  if (breached) return going
  if (phase === 'Paused') {
    const [counted = '', ...next] = ended(placed, failed)
    return {
      reason: 'NothingSucceeded',
      message: [counted, 'no cluster is left to go on with', ...next].join('; '),
    }
  }
  if (placed.every(({ state }) => state === 'Removed')) {
    const taken = placed.length > 0 && placed.every(({ reason }) => reason === 'AssignedElsewhere')
    return taken
      ? { reason: 'Superseded', message: 'newer rollouts have every cluster' }
      : { reason: 'NoClusters', message: 'the placement selects no cluster that this rollout could send the image to' }
  }
  if (!placed.every(({ state }) => SETTLED.has(state))) return going
  const dark = areSaid(placed, (state) => state === 'Offline', 'out of reach, to be sent the image on return')
  return { reason: 'OutOfReach', message: [...dark, ...ended(placed, failed)].join('; ') }
}

type Told = { readonly reason: string; readonly message: string }

function areSaid(placed: readonly Placed[], is: (state: ClusterState) => boolean, what: string): string[] {
  const count = placed.filter(({ state }) => is(state)).length
  return count === 0 ? [] : [`${count} ${count === 1 ? 'cluster is' : 'clusters are'} ${what}`]
}

// How many succeeded and failed, and what to do; nothing where nothing failed.
function ended(placed: readonly Placed[], failed: Failed): string[] {
  if (failed.length === 0) return []
  const succeeded = placed.filter(({ state }) => state === 'Succeeded').length
  return [`${succeeded} succeeded, ${failed.length} failed`, ...wayOn(failed)]
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

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
