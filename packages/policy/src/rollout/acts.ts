import {
  type ActVerb,
  comparePositions,
  type ObjectOf,
  Refusal,
  type RolloutAct,
  type RolloutCluster,
  type RolloutSpec,
} from '@skerry/api'
import { durationMs } from '../duration.ts'
import { deliveryOf, isTrying, OUT_OF_REACH } from './cluster-state.ts'
import type { ClusterFacts, NodeFacts, Order } from './facts.ts'
import { FAILURES, NOTHING_LEFT } from './states.ts'

// What people do to a rollout: whether it may be done, and what all that was done comes to. The acts of a rollout come
// oldest first, and a later one takes the place of an earlier one; none is ever changed.

type Rollout = ObjectOf<'Rollout'>

/** What a person asks for. */
export type AskedAct = { readonly by: string; readonly reason: string } & (
  | { readonly verb: 'pause' | 'resume' | 'abort' }
  | { readonly verb: 'retry'; readonly clusters?: readonly string[] | undefined }
  | { readonly verb: 'approve'; readonly gate: string }
)

export type ActFacts = {
  readonly rollout: Rollout
  /** Of the rollout's image now; undefined while there is no such OSImage. */
  readonly manifestSha256: string | undefined
  /** Of this rollout, oldest first. */
  readonly acts: readonly RolloutAct[]
  /** Who made the last change of its spec; undefined where nobody knows. */
  readonly changedBy: string | undefined
}

/** `Stands`: it was done before and still holds, so nothing is written. */
export type JudgedAct =
  | { readonly kind: 'New'; readonly act: Omit<RolloutAct, 'id'> }
  | { readonly kind: 'Stands'; readonly act: RolloutAct }
  | { readonly kind: 'Refused'; readonly refusal: Refusal }

/** Whether a person's act is a new one, stands already, or may not be. */
export function judgeAct(asked: AskedAct, facts: ActFacts, nowMs: number): JudgedAct {
  const steered = steeredBy(facts.acts)
  if (steered.state === 'Aborted') {
    if (asked.verb === 'abort') return { kind: 'Stands', act: steered.act }
    const { by, at, reason } = steered.act
    return refused(
      'RolloutAborted',
      `${called(facts)} was aborted by ${by} at ${at} (${reason}), which is final: make another rollout`,
    )
  }
  switch (asked.verb) {
    case 'abort':
      return made(asked, facts, nowMs)
    case 'pause':
      return isSamePause(asked, steered) ? { kind: 'Stands', act: steered.act } : made(asked, facts, nowMs)
    case 'resume':
      return judgeResume(asked, facts, steered, nowMs)
    case 'retry':
      return judgeRetry(asked, facts, nowMs)
    case 'approve':
      return judgeApproval(asked, facts, nowMs)
    default: {
      const never: never = asked
      return never
    }
  }
}

// Another reason, or another person's, takes the place of the one that stands: whoever looks is told the last word.
function isSamePause({ by, reason }: AskedAct, steered: Steered): steered is Steered & { state: 'Paused' } {
  return steered.state === 'Paused' && steered.act.by === by && steered.act.reason === reason
}

/** What pause, resume and abort have come to. */
export type Steered =
  | { readonly state: 'Going'; readonly resumed?: RolloutAct }
  | { readonly state: 'Paused' | 'Aborted'; readonly act: RolloutAct }

/** An abort is final; else the last word of pause and resume holds. */
export function steeredBy(acts: readonly RolloutAct[]): Steered {
  const aborted = acts.find(({ verb }) => verb === 'abort')
  if (aborted) return { state: 'Aborted', act: aborted }
  const last = acts.findLast(({ verb }) => verb === 'pause' || verb === 'resume')
  if (last?.verb === 'pause') return { state: 'Paused', act: last }
  return { state: 'Going', ...(last ? { resumed: last } : {}) }
}

/** How many people must approve at a gate. */
export function approvalsNeeded({ approvals = {}, strategy }: RolloutSpec, gate: string): number {
  if (gate === 'Start') return approvals.start ?? 0
  if (gate === 'Completion') return approvals.completion ?? 0
  // The first group begins with the rollout: its gate is Start. Only after a mandatory one the group of index 0 has its own.
  return gate === 'Group/0' && !hasMandatory(strategy) ? 0 : (approvals.betweenGroups ?? 0)
}

function hasMandatory(strategy: RolloutSpec['strategy']): boolean {
  const of = strategy?.type === 'Progressive' ? strategy.progressive : strategy?.progressivePerGroup
  return (of?.mandatoryDecisionGroups ?? []).length > 0
}

export type Approvals = {
  readonly needed: number
  /** The newest of each person that counts. */
  readonly given: readonly RolloutAct[]
  /** When the first of them ends, which may close the gate again. */
  readonly recheckAtMs?: number
}

/**
 * Who has approved these bytes at a gate. A person counts once; an approval counts for its manifest alone, until it ends,
 * and not where it is by whoever made the last change of the spec and the rollout asks for somebody else.
 */
export function approvalsAt(
  gate: string,
  { rollout: { spec }, manifestSha256, acts, changedBy }: ActFacts,
  nowMs: number,
): Approvals {
  const given = new Map<string, RolloutAct>()
  for (const act of acts) {
    const { verb, by } = act
    const counts =
      verb === 'approve' &&
      act.gate === gate &&
      manifestSha256 !== undefined &&
      act.manifestSha256 === manifestSha256 &&
      (act.expiresAt === undefined || nowMs < Date.parse(act.expiresAt)) &&
      isSecondPerson(by, spec, changedBy)
    if (counts) given.set(by, act)
  }
  const ends = [...given.values()].flatMap(({ expiresAt }) => (expiresAt ? [Date.parse(expiresAt)] : []))
  return {
    needed: approvalsNeeded(spec, gate),
    given: [...given.values()],
    ...(ends.length > 0 ? { recheckAtMs: Math.min(...ends) } : {}),
  }
}

/** The newest retry of these bytes for each cluster that one concerns. */
export function retriesOf(manifestSha256: string, acts: readonly RolloutAct[] = []): ReadonlyMap<string, RolloutAct> {
  const retries = new Map<string, RolloutAct>()
  for (const act of acts)
    if (act.verb === 'retry' && act.manifestSha256 === manifestSha256)
      for (const cluster of act.clusters ?? []) retries.set(cluster, act)
  return retries
}

/** Of a cluster, as far as it decides whether a pause reaches it. */
export type Reached = Pick<ClusterFacts, 'name' | 'reachability' | 'assignment' | 'position' | 'accepted'> &
  Pick<Order, 'isSettled'> & {
    /** Where each of its nodes stands, as it said last. */
    readonly nodes: readonly Pick<NodeFacts, 'phase' | 'about'>[]
  }

/**
 * Clusters that hold this rollout's order and are out of reach: they may activate it in their window whatever is done now,
 * until they hear of it (A-07). By name.
 */
export function heldInTheDark(clusters: readonly Reached[], { metadata, status }: Rollout): string[] {
  const rows = new Map(status?.clusters?.map((row) => [row.name, row]))
  return clusters
    .filter((cluster) => {
      const row = rows.get(cluster.name)
      if (!OUT_OF_REACH.has(cluster.reachability) || cluster.assignment?.rolloutUid !== metadata.uid) return false
      // Until it takes the order back, or after it refused that, the one that failed is in force there; but what it was sent
      // before that it may hold as well.
      const { assignment, accepted, position } = cluster
      const image = status?.image
      const back = assignment.manifestSha256 === image?.manifestSha256 ? undefined : row?.backTo
      const isTaken = accepted && position && comparePositions(accepted.position, position) >= 0
      if (image && back && back.state !== 'Accepted') {
        if (!isTaken && cluster.nodes.some((node) => isTrying(node, image.imageSha256))) return true
        if (back.manifestSha256 === assignment.manifestSha256) return false
      }
      return !cluster.isSettled && deliveryOf({ ...cluster, nodes: [] }, true, row) !== undefined
    })
    .map(({ name }) => name)
    .toSorted()
}

function judgeResume(asked: AskedAct, facts: ActFacts, steered: Steered, nowMs: number): JudgedAct {
  if (steered.state === 'Paused') return made(asked, facts, nowMs)
  const { status } = facts.rollout
  const breach = status?.conditions?.find(({ type }) => type === 'Breached')
  const resumed = steered.state === 'Going' ? steered.resumed : undefined
  if (breach?.status === 'True')
    // One that came after this breach is carried out with the controller's next look.
    return resumed && Date.parse(resumed.at) >= Date.parse(breach.lastTransitionTime)
      ? { kind: 'Stands', act: resumed }
      : made(asked, facts, nowMs)
  // A status may be of before what a person did last: only its reason tells a pause that nobody made.
  const isStuck = status?.conditions?.some(({ type, reason }) => type === 'Completed' && reason === NOTHING_LEFT)
  const next = isStuck
    ? 'it is Paused because all that was left has failed: retry it, or name another image in spec.image.name'
    : resumed
      ? `it was resumed by ${resumed.by} at ${resumed.at}, and nobody has paused it since`
      : `it is ${status?.phase ?? 'Pending'}, and nobody has paused it`
  return refused('NotPaused', `${called(facts)} is not to be resumed: ${next}`)
}

function judgeRetry(asked: AskedAct & { verb: 'retry' }, facts: ActFacts, nowMs: number): JudgedAct {
  const { manifestSha256, acts, rollout } = facts
  if (manifestSha256 === undefined) return imageMissing(facts)
  // Rows are of bytes: what failed of another image is not tried again by this.
  const { image, clusters = [] } = rollout.status ?? {}
  const rows = new Map(image?.manifestSha256 === manifestSha256 ? clusters.map((row) => [row.name, row]) : [])
  const failed = [...rows.values()].filter(({ state }) => FAILURES.has(state)).map(({ name }) => name)
  const wanted = asked.clusters ?? failed
  const retries = retriesOf(manifestSha256, acts)
  const standing = wanted.flatMap((name) => standingRetry(rows.get(name), retries.get(name)) ?? [])
  const due = wanted.filter((name) => !standingRetry(rows.get(name), retries.get(name)))
  const others = due.filter((name) => !FAILURES.has(rows.get(name)?.state ?? 'NotStarted'))
  if (others.length > 0) {
    const [name = ''] = others
    const row = rows.get(name)
    return refused(
      'NothingFailed',
      `cluster ${name} ${row ? `is ${row.state} (${row.reason})` : 'is not'} in ${called(facts)}${others.length > 1 ? `, and ${others.length - 1} more did not fail` : ''}: name clusters that failed there, or none for all of them`,
      `clusters[${wanted.indexOf(name)}]`,
    )
  }
  const [known] = standing.toSorted(newestFirst)
  if (due.length > 0) return made(asked, facts, nowMs, { manifestSha256, clusters: due.toSorted() })
  const stands = known ?? (asked.clusters ? undefined : acts.findLast((act) => isRetryOf(act, manifestSha256)))
  if (stands) return { kind: 'Stands', act: stands }
  return refused('NothingFailed', `no cluster has failed in ${called(facts)}: there is nothing to try again`)
}

/** The retry of a cluster holds as long as it has not failed since. */
function standingRetry(row: RolloutCluster | undefined, retry: RolloutAct | undefined): RolloutAct | undefined {
  if (!retry) return undefined
  const failedSince = row && FAILURES.has(row.state) && Date.parse(row.since) > Date.parse(retry.at)
  return failedSince ? undefined : retry
}

function isRetryOf({ verb, manifestSha256 }: RolloutAct, wanted: string): boolean {
  return verb === 'retry' && manifestSha256 === wanted
}

function newestFirst(a: RolloutAct, b: RolloutAct): number {
  return Date.parse(b.at) - Date.parse(a.at)
}

function judgeApproval(asked: AskedAct & { verb: 'approve' }, facts: ActFacts, nowMs: number): JudgedAct {
  const { manifestSha256, rollout, changedBy } = facts
  const { gate, by } = asked
  const { spec } = rollout
  if (approvalsNeeded(spec, gate) === 0)
    return refused(
      'GateNotAsked',
      `${called(facts)} asks for no approval at ${gate}: ${fieldOf(gate)} says how many it asks for`,
      'gate',
    )
  if (manifestSha256 === undefined) return imageMissing(facts)
  if (!isSecondPerson(by, spec, changedBy))
    return refused(
      'SecondPersonNeeded',
      changedBy === undefined
        ? `who made the last change of ${called(facts)} is not known, and it asks for a second person: apply its spec again with a change, and have somebody else approve`
        : `${by} made the last change of ${called(facts)}, and it asks for a second person (spec.approvals.fourEyes): have somebody else approve ${gate}, with a token of their own`,
    )
  const { given } = approvalsAt(gate, facts, nowMs)
  const mine = given.find((act) => act.by === by)
  if (mine) return { kind: 'Stands', act: mine }
  const lastsMs = durationMs(spec.approvals?.expireAfter)
  const expires = lastsMs === undefined ? {} : { expiresAt: new Date(nowMs + lastsMs).toISOString() }
  return made(asked, facts, nowMs, { manifestSha256, gate, ...expires })
}

function isSecondPerson(by: string, { approvals }: RolloutSpec, changedBy: string | undefined): boolean {
  return approvals?.fourEyes === false || (changedBy !== undefined && by !== changedBy)
}

function fieldOf(gate: string): string {
  if (gate === 'Start' || gate === 'Group/0') return 'spec.approvals.start'
  return gate === 'Completion' ? 'spec.approvals.completion' : 'spec.approvals.betweenGroups'
}

function imageMissing({ rollout }: ActFacts): JudgedAct {
  const { name } = rollout.spec.image
  return refused('TargetUnknown', `there is no OSImage ${name}: publish it, or name another one in spec.image.name`)
}

function made(
  { verb, by, reason }: { readonly verb: ActVerb; readonly by: string; readonly reason: string },
  { rollout, manifestSha256 }: ActFacts,
  nowMs: number,
  more: Partial<RolloutAct> = {},
): JudgedAct {
  const bytes = manifestSha256 === undefined ? {} : { manifestSha256 }
  const at = new Date(nowMs).toISOString()
  return { kind: 'New', act: { verb, by, at, reason, rolloutUid: rollout.metadata.uid, ...bytes, ...more } }
}

function refused(code: Refusal['code'], message: string, field = ''): JudgedAct {
  return { kind: 'Refused', refusal: new Refusal(code, message, { field }) }
}

function called({ rollout: { metadata } }: ActFacts): string {
  return `rollout ${metadata.namespace}/${metadata.name}`
}
