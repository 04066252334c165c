import {
  type ClusterState,
  comparePositions,
  type RolloutCluster,
  type RolloutSpec,
  type RolloutStatus,
  type StatementRef,
} from '@skerry/api'
import { asGoodAs } from '../attestation/findings.ts'
import { openingAt } from '../window/window.ts'
import type { ClusterFacts, NodeFacts } from './facts.ts'
import type { Durations } from './strategy.ts'

/** What one cluster is doing in a rollout, and why. `recheckAtMs`: when time alone may change it. */
export type Progress = {
  readonly state: ClusterState
  readonly reason: string
  readonly message: string
  readonly recheckAtMs?: number
  readonly statement?: StatementRef
}

export const DENIED =
  'the hub does not accept this cluster; "skerry get registrations" says whether that was decided or waits for a person'
/** A site's refusal of an order that asks for a better verdict than its nodes can have. */
export const UNPROVABLE = 'AttestationImpossible'
/** The verdict is worse than the rollout asks: waited for where it may still come, failed where a better one was lost. */
export const WORSE = 'AttestationInsufficient'
const OUT_OF_REACH = new Set(['Offline', 'Stale', 'NeverSeen'])
/** A site that waits for these is given the time on top of its deadline. */
export const STOPS_THE_CLOCK: ReadonlySet<string> = new Set(['WindowClosed', 'Paused'])
const AT_WORK = new Set(['Draining', 'Activating', 'Verifying', 'Confirming', 'RollingBack'])

/** When the site took what this rollout assigned to it; later terms for the same bytes are no new delivery. */
export type Delivery = { readonly atMs: number; readonly statement?: StatementRef }

/** Whether the cluster is assigned these bytes by this rollout now. */
export function isAssigned({ assignment }: ClusterFacts, rolloutUid: string, manifestSha256: string): boolean {
  return assignment?.rolloutUid === rolloutUid && assignment.manifestSha256 === manifestSha256
}

/** The delivery of what is assigned now. What the row says of it stays true while the assignment is the same one. */
export function deliveryOf(
  cluster: ClusterFacts,
  rolloutUid: string,
  manifestSha256: string,
  was: RolloutCluster | undefined,
): Delivery | undefined {
  const { accepted, assignment, position } = cluster
  if (!assignment || !isAssigned(cluster, rolloutUid, manifestSha256)) return undefined
  const statement = accepted ? { statement: accepted.statement } : {}
  if (was?.deliveredAt && was.assignedAt === new Date(assignment.atMs).toISOString())
    return { atMs: Date.parse(was.deliveredAt), ...statement }
  return accepted && position && comparePositions(accepted.position, position) >= 0
    ? { atMs: accepted.atMs, ...statement }
    : undefined
}

/** The rollout that clusters are looked at for, now. */
export type Scope = {
  readonly rolloutUid: string
  readonly image: NonNullable<RolloutStatus['image']>
  readonly spec: RolloutSpec
  readonly durations: Durations
  readonly nowMs: number
}

/**
 * What one cluster is doing in the rollout: whose it is, then what failed, then how far it has come.
 * `waitedMs`: how long closed windows and pauses have stopped this cluster's deadline so far.
 */
export function clusterStateOf(
  facts: ClusterFacts,
  { rolloutUid, image, spec, durations, nowMs }: Scope,
  delivered: Delivery | undefined,
  waitedMs: number,
): Progress {
  const cluster = { ...facts, nodes: facts.nodes.toSorted((a, b) => (a.node < b.node ? -1 : 1)) }
  const failed = cluster.nodes.find((node) => node.failure)
  const elsewhere = heldElsewhere(cluster, image.releaseCounter)
  if (elsewhere) return { state: 'Removed', ...elsewhere }
  if (cluster.denied) return { state: 'Removed', reason: 'Denied', message: DENIED }
  if (failed?.failure) return failure(failed, failed.failure)
  if (!isAssigned(cluster, rolloutUid, image.manifestSha256)) return unassigned(cluster)
  if (cluster.refused && !isAskedNoMore(cluster.refused.code, spec, cluster.refused.attestation)) {
    const { code, message, statement } = cluster.refused
    return { state: 'Failed', reason: code, message: `the site refused the image: ${message}`, statement }
  }
  if (!delivered) {
    if (OUT_OF_REACH.has(cluster.reachability))
      return {
        state: 'Offline',
        reason: 'Offline',
        message: 'sent, and the site was not heard from since; it holds no slot',
      }
    return { state: 'Sent', reason: 'AwaitingAcceptance', message: 'sent; the site has not said that it accepted it' }
  }
  const progress = progressOf(cluster, spec, durations, nowMs)
  // The clock starts with the site's own word, and a closed window or a pause stops it.
  const endsAtMs =
    durations.deadlineMs === undefined ||
    progress.state === 'Succeeded' ||
    progress.state === 'Failed' ||
    STOPS_THE_CLOCK.has(progress.reason)
      ? undefined
      : Math.max(delivered.atMs + durations.deadlineMs + waitedMs, soakedAtMs(cluster, progress, durations))
  const statement = ref(delivered.statement)
  if (endsAtMs === undefined) return { ...statement, ...progress }
  if (nowMs >= endsAtMs)
    return {
      state: 'TimeOut',
      reason: 'ProgressDeadlineExceeded',
      message: `was ${progress.state} (${progress.reason}) at its deadline`,
      ...statement,
    }
  return {
    ...statement,
    ...progress,
    recheckAtMs: Math.min(progress.recheckAtMs ?? endsAtMs, endsAtMs),
  }
}

/**
 * Whether a cluster failed for want of a proof that is asked for no more: that was a fault of the terms, not of the bytes,
 * and the edit has mended it. `asked` is what the order asked for, where it is known; only `affirming` can be too much.
 */
export function isAskedNoMore(reason: string, { attestation }: RolloutSpec, asked = 'affirming'): boolean {
  return (reason === UNPROVABLE || reason === WORSE) && asked === 'affirming' && attestation === 'warning'
}

// Who confirmed has the time of its soak to be proven, and proven again, however short the deadline is.
function soakedAtMs({ nodes }: ClusterFacts, { state }: Progress, { soakMs }: Durations): number {
  return state === 'Soaking' ? Math.max(...nodes.map(({ confirmed }) => (confirmed?.atMs ?? 0) + soakMs)) : 0
}

/**
 * Why a cluster that another rollout assigned an image to is not this one's to have. What a rollout ordered that has the
 * cluster no more falls to whoever selects it, but for what cannot be taken back: an activation that is under way, and a
 * confirmed image that this one is below (the site would refuse it).
 */
function heldElsewhere(
  { assignment, nodes }: ClusterFacts,
  releaseCounter: number,
): Pick<Progress, 'reason' | 'message'> | undefined {
  if (assignment?.holder === 'Newer')
    return { reason: 'AssignedElsewhere', message: `the newer rollout ${assignment.rolloutName} has this cluster` }
  if (assignment?.holder !== 'Released') return undefined
  const { rolloutName, confirmed, releaseCounter: floor } = assignment
  const busy = nodes.find(({ phase }) => AT_WORK.has(phase))
  if (busy)
    return {
      reason: 'AssignedElsewhere',
      message: `node ${busy.node} activates what the rollout ${rolloutName} sent, which has this cluster no more; it is decided when that has ended`,
    }
  if (confirmed && !(floor !== undefined && floor <= releaseCounter))
    return {
      reason: 'NewerImageConfirmed',
      message: `runs what the rollout ${rolloutName} sent, which has this cluster no more; its release counter ${floor === undefined ? 'is not known and may be' : `${floor} is`} above ${releaseCounter}, and a site takes no lower one`,
    }
  return undefined
}

function unassigned(cluster: ClusterFacts): Progress {
  if (OUT_OF_REACH.has(cluster.reachability)) {
    const never = cluster.reachability === 'NeverSeen'
    return {
      state: 'Offline',
      reason: never ? 'NeverSeen' : 'Offline',
      message: never
        ? 'was never heard from; it is sent the image when it is'
        : 'is not reachable; it is sent the image when it returns, and holds no slot',
    }
  }
  return { state: 'NotStarted', reason: 'NotStarted', message: 'nothing was sent yet' }
}

/** What is added to the row of a cluster that something is still to come of, while it is silent; empty when it is not. */
export function silenceOf({ reachability, heardAtMs }: ClusterFacts): string {
  if (heardAtMs === undefined || reachability === 'Online' || reachability === 'NeverSeen') return ''
  const at = new Date(heardAtMs).toISOString()
  return reachability === 'Late' ? `; late, last heard ${at}` : `; not heard since ${at}`
}

function failure(node: NodeFacts, failed: NonNullable<NodeFacts['failure']>): Progress {
  const state = failed.outcome === 'RolledBack' ? 'RolledBack' : 'Failed'
  return { state, reason: failed.reason, message: `node ${node.node}: ${failed.message}`, statement: failed.statement }
}

function progressOf(cluster: ClusterFacts, spec: RolloutSpec, durations: Durations, nowMs: number): Progress {
  const doubts = cluster.nodes.flatMap((node) => doubtOf(node, spec.attestation ?? 'affirming') ?? [])
  const bad = doubts.find(({ state }) => state === 'Failed')
  if (bad) return bad
  if (cluster.nodes.length === 0)
    return { state: 'Delivered', reason: 'NoNodes', message: 'the cluster has no registered node' }
  const busy = cluster.nodes.find((node) => AT_WORK.has(node.phase))
  if (busy)
    return {
      state: 'Activating',
      reason: busy.phase,
      message: `node ${busy.node}: ${busy.message}`,
      ...ref(busy.statement),
    }
  const open = cluster.nodes.find((node) => !node.confirmed)
  if (open?.phase === 'Staged' && open.reason === 'WindowClosed') return waiting(open, spec, nowMs)
  if (open && (open.phase === 'Preflight' || open.phase === 'Staging' || open.phase === 'Staged'))
    return {
      state: 'Staging',
      reason: open.reason || open.phase,
      message: `node ${open.node}: ${open.message}`,
      ...ref(open.statement),
    }
  if (open)
    return {
      state: 'Delivered',
      reason: 'Accepted',
      message: `node ${open.node} has the desired state and has not begun`,
    }
  return doubts[0] ?? soak(cluster.nodes, durations, nowMs)
}

// The site goes on by itself once its window is open. What it does before it is heard is not known and not claimed: it
// still waits as far as the hub can tell, but its clock runs again.
function waiting(node: NodeFacts, spec: RolloutSpec, nowMs: number): Progress {
  const opening = openingAt(spec.windows?.activation ?? [], nowMs)
  if (opening.open)
    return {
      state: 'WaitingForWindow',
      reason: 'WindowOpen',
      message: `node ${node.node}: its window is open and it goes on by itself; it has not said so yet`,
      ...(opening.untilMs === undefined ? {} : { recheckAtMs: opening.untilMs }),
      ...ref(node.statement),
    }
  return {
    state: 'WaitingForWindow',
    reason: 'WindowClosed',
    message: `node ${node.node}: ${node.message}`,
    ...(opening.nextMs === undefined ? {} : { recheckAtMs: opening.nextMs }),
    ...ref(node.statement),
  }
}

/**
 * What keeps a node that confirmed the target's bytes from counting: the boot that it confirmed them in, and each later one
 * that is known, are as good as asked, or the node is in doubt. What is proven to be bad fails, and so does a warning where
 * an affirming verdict was had before. What nobody could judge is waited for, because the node is asked again, and so is
 * evidence that was good until other reference values were signed: they may be signed again.
 */
function doubtOf(
  { node, confirmed, verdict, later = [] }: NodeFacts,
  wanted: 'affirming' | 'warning',
): Progress | undefined {
  if (!confirmed) return undefined
  const boots = [
    { what: 'the boot', ...confirmed, verdict: verdict?.bootId === confirmed.bootId ? verdict : undefined },
    ...later.map((boot) => ({ what: `a later boot, ${boot.bootId}`, ...boot })),
  ]
  const bad = boots.find((boot) => boot.verdict?.verdict === 'contraindicated')
  if (bad?.verdict)
    return {
      state: 'Failed',
      reason: 'AttestationContraindicated',
      message: `node ${node}: ${bad.what}: ${bad.verdict.message} (${bad.verdict.reason})`,
      statement: bad.statement,
    }
  let wasGood = verdict?.wasAffirming === true
  for (const { what, imageSha256, verdict: judged, statement } of boots) {
    if (imageSha256 !== confirmed.imageSha256)
      return {
        state: 'Soaking',
        reason: 'AnotherImageBooted',
        message: `node ${node}: ${what}, is of another image, ${imageSha256.slice(0, 12)}…`,
        statement,
      }
    if (!judged)
      return {
        state: 'Soaking',
        reason: 'AwaitingAttestation',
        message: `node ${node}: ${what} has no attestation result yet`,
        statement,
      }
    if (!asGoodAs(judged.verdict, wanted))
      return {
        state: wasGood && judged.verdict === 'warning' && !judged.rejudged ? 'Failed' : 'Soaking',
        reason: WORSE,
        message: `node ${node}: ${what}: the verdict is ${judged.verdict} (${judged.reason}: ${judged.message}), this rollout asks for ${wanted}`,
        statement,
      }
    wasGood = true
  }
  return undefined
}

// Every node confirmed the target's bytes in a boot that is as good as asked. What is missing is time.
function soak(nodes: readonly NodeFacts[], { soakMs }: Durations, nowMs: number): Progress {
  let confirmedAtMs = 0
  let statement: StatementRef | undefined
  for (const { confirmed } of nodes) {
    if (!confirmed) continue
    if (confirmed.atMs >= confirmedAtMs) statement = confirmed.statement
    confirmedAtMs = Math.max(confirmedAtMs, confirmed.atMs)
  }
  const endsAtMs = confirmedAtMs + soakMs
  if (nowMs < endsAtMs)
    return {
      state: 'Soaking',
      reason: 'MinSuccessTime',
      message: `confirmed; counts from ${new Date(endsAtMs).toISOString()} on`,
      recheckAtMs: endsAtMs,
      ...ref(statement),
    }
  return {
    state: 'Succeeded',
    reason: 'Confirmed',
    message: 'every node runs the image in a boot that is as good as asked',
    ...ref(statement),
  }
}

function ref(statement: StatementRef | undefined): { statement?: StatementRef } {
  return statement ? { statement } : {}
}
