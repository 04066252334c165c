import type { ClusterState, Condition, RolloutCluster, RolloutPhase, RolloutStatus } from '@skerry/api'
import { type Standing, standingOf } from './cluster-state.ts'
import type { ClusterFacts, RolloutFacts } from './facts.ts'
import { termsOf } from './strategy.ts'

// Which clusters get the image now, and why the others do not. OCM's strategies with Skerry's additions (A-nn).

export type Hold = {
  readonly cluster: string
  readonly reason: string
  readonly message: string
  readonly recheckAtMs?: number
}

export type RolloutPlan = {
  readonly phase: RolloutPhase
  readonly advance: readonly string[]
  /** Every cluster that is neither sent anything now nor finished, with its reason. */
  readonly hold: readonly Hold[]
  readonly clusters: readonly RolloutCluster[]
  readonly counts: NonNullable<RolloutStatus['counts']>
  readonly conditions: readonly Omit<Condition, 'lastTransitionTime'>[]
  readonly recheckAtMs?: number
}

const HOLDS_A_SLOT: ReadonlySet<ClusterState> = new Set(['Sent', 'Delivered', 'Staging', 'Activating', 'Soaking'])
const FAILURES: ReadonlySet<ClusterState> = new Set(['Failed', 'TimeOut', 'RolledBack'])
const SETTLED: ReadonlySet<ClusterState> = new Set([
  'Succeeded',
  'Failed',
  'TimeOut',
  'RolledBack',
  'Removed',
  'Offline',
])

/** Plans one rollout. The same facts in any order give the same plan. */
export function planRollout(facts: RolloutFacts, nowMs: number): RolloutPlan {
  const { rollout, image, decided } = facts
  if (!image) return waiting(facts, 'ImageUnknown', `there is no OSImage ${rollout.spec.image.name}`)
  if (!decided)
    return waiting(
      facts,
      'PlacementUndecided',
      `placement ${rollout.spec.placementRef.name} is missing or not decided yet`,
    )

  const before = sameImage(rollout.status, image.manifestSha256) ? rollout.status : undefined
  const known = new Map(facts.clusters.map((cluster) => [cluster.name, cluster]))
  const names = [...new Set(decided)].toSorted(byCodeUnit)
  const terms = termsOf(rollout.spec, names.length)
  const standings = names.map((name) => {
    const cluster = known.get(name) ?? { name, reachability: 'NeverSeen' as const, nodes: [] }
    return {
      cluster,
      ...sticky(
        standingOf(cluster, rollout.metadata.uid, image.manifestSha256, rollout.spec, terms, nowMs),
        before,
        name,
      ),
    }
  })

  // every failure is counted before anything is filled.
  const failures = standings.filter(({ state }) => FAILURES.has(state)).length
  const breached = condition(before, 'Breached') === 'True' || failures > terms.maxFailures
  const inUse = standings.filter(({ state }) => HOLDS_A_SLOT.has(state)).length
  const ready = standings.filter(({ state }) => state === 'NotStarted').map(({ cluster }) => cluster.name)
  const advance = breached ? [] : ready.slice(0, Math.max(0, terms.maxConcurrency - inUse))
  const held = standings.filter(({ cluster, state }) => state !== 'Succeeded' && !advance.includes(cluster.name))
  const hold = held.map((standing) => holdOf(standing, breached, terms.maxConcurrency))

  const rechecks = standings.map(({ recheckAtMs }) => recheckAtMs).filter((at) => at !== undefined && at > nowMs)
  const deselected = (before?.clusters ?? [])
    .filter(({ name }) => !names.includes(name))
    .map((cluster) => ({
      ...cluster,
      state: 'Removed' as const,
      reason: 'Deselected',
      message: 'the placement no longer selects it',
    }))
  const clusters = [...standings.map((standing) => rowOf(standing, hold, before, nowMs)), ...deselected].toSorted(
    (a, b) => byCodeUnit(a.name, b.name),
  )
  const phase = phaseOf(
    standings.map(({ state }) => state),
    breached,
    before,
  )
  return {
    phase,
    advance,
    hold,
    clusters,
    counts: count(standings.map(({ state }) => state)),
    conditions: conditionsOf(phase, breached, failures, terms.maxFailures, standings),
    ...(rechecks.length > 0 ? { recheckAtMs: Math.min(...(rechecks as number[])) } : {}),
  }
}

// Once failed is failed in this rollout: a later report does not give a budget back (property: failures never decrease).
function sticky(standing: Standing, before: RolloutStatus | undefined, name: string): Standing {
  const was = before?.clusters?.find((cluster) => cluster.name === name)
  if (!was || !FAILURES.has(was.state) || FAILURES.has(standing.state) || standing.state === 'Removed') return standing
  return {
    state: was.state,
    reason: was.reason,
    message: was.message,
    ...(was.statement ? { statement: was.statement } : {}),
  }
}

function holdOf(
  { cluster, state, reason, message, recheckAtMs }: Standing & { cluster: ClusterFacts },
  breached: boolean,
  maxConcurrency: number,
): Hold {
  const more = recheckAtMs === undefined ? {} : { recheckAtMs }
  if (state !== 'NotStarted') return { cluster: cluster.name, reason, message, ...more }
  if (breached)
    return {
      cluster: cluster.name,
      reason: 'Breached',
      message: 'the rollout stopped: more clusters failed than it tolerates',
      ...more,
    }
  return {
    cluster: cluster.name,
    reason: 'ConcurrencyLimit',
    message: `${maxConcurrency} clusters are under way, which is as many as may be`,
    ...more,
  }
}

function rowOf(
  { cluster, state, reason, message, recheckAtMs, statement }: Standing & { cluster: ClusterFacts },
  hold: readonly Hold[],
  before: RolloutStatus | undefined,
  nowMs: number,
): RolloutCluster {
  const was = before?.clusters?.find(({ name }) => name === cluster.name)
  const why = state === 'NotStarted' ? hold.find((held) => held.cluster === cluster.name) : undefined
  const { assignment, position, accepted } = cluster
  return {
    name: cluster.name,
    state,
    reason: why?.reason ?? reason,
    message: why?.message ?? message,
    since: was?.state === state ? was.since : iso(nowMs),
    ...(assignment ? { assignedAt: iso(assignment.atMs) } : {}),
    ...(position ? { position } : {}),
    ...(accepted ? { deliveredAt: iso(accepted.atMs) } : {}),
    ...(recheckAtMs === undefined ? {} : { recheckAt: iso(recheckAtMs) }),
    ...(statement ? { statement } : {}),
  }
}

function phaseOf(states: readonly ClusterState[], breached: boolean, before: RolloutStatus | undefined): RolloutPhase {
  if (breached) return 'Paused'
  if (before?.phase === 'Completed') return 'Completed'
  // A fleet that is all dark proves nothing: completion needs one success.
  const done = states.every((state) => SETTLED.has(state)) && states.some((state) => state === 'Succeeded')
  return done ? 'Completed' : 'Running'
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
  phase: RolloutPhase,
  breached: boolean,
  failures: number,
  maxFailures: number,
  standings: readonly Standing[],
): RolloutPlan['conditions'] {
  const pending = standings.filter(({ state }) => state === 'Offline').length
  return [
    {
      type: 'Breached',
      status: breached ? 'True' : 'False',
      reason: breached ? 'MaxFailuresExceeded' : 'WithinBudget',
      message: `${failures} failed, ${maxFailures} tolerated`,
    },
    {
      type: 'Completed',
      status: phase === 'Completed' ? 'True' : 'False',
      reason: phase === 'Completed' ? (pending > 0 ? 'CompletedPendingCatchUp' : 'Completed') : phase,
      message:
        phase === 'Completed'
          ? `${pending} clusters are offline and catch up when they return`
          : `the rollout is ${phase}`,
    },
  ]
}

function waiting({ rollout }: RolloutFacts, reason: string, message: string): RolloutPlan {
  return {
    phase: 'Pending',
    advance: [],
    hold: [],
    clusters: rollout.status?.clusters ?? [],
    counts: count([]),
    conditions: [{ type: 'Completed', status: 'False', reason, message }],
  }
}

function sameImage(status: RolloutStatus | undefined, manifestSha256: string): boolean {
  return status?.image?.manifestSha256 === manifestSha256
}

function condition(status: RolloutStatus | undefined, type: string): string | undefined {
  return status?.conditions?.find((found) => found.type === type)?.status
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}

function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
