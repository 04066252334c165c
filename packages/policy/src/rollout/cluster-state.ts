import {
  comparePositions,
  type NodePhase,
  type RolloutAct,
  type RolloutCluster,
  type RolloutSpec,
  type RolloutStatus,
  type StatementRef,
  type Waves,
} from '@skerry/api'
import { minuteOf } from '../wave/minute.ts'
import { openingAt } from '../window/window.ts'
import { badBootOf, FELL_BACK, REJUDGED, soakedAtMs, soakOf, UNPROVEN } from './boots.ts'
import type { ClusterFacts, NodeFacts } from './facts.ts'
import { type Progress, ref } from './progress.ts'
import { type Durations, goesAsOcm } from './strategy.ts'

export const DENIED =
  'the hub does not accept this cluster; "skerry get registrations" says whether that was decided or waits for a person'
/** A site's refusal of an order that asks for a better verdict than its nodes can have. */
export const UNPROVABLE = 'AttestationImpossible'
/** What a row says in the hub's own words: a site that chooses one of them as its reason is told by its outcome. */
const HUBS_OWN: ReadonlySet<string> = new Set([UNPROVABLE, UNPROVEN, FELL_BACK])
/** What a node had confirmed may be among statements that are lost: it says it anew. */
export const LOST = 'StatementsLost'
/** Nothing was sent before, and the look that says this sends it. */
export const SENDING = 'Sending'
const WINDOW_CLOSED = 'WindowClosed'
const WAVE_NOT_DUE = 'WaveNotDue'
const PAUSED = 'Paused'
export const OUT_OF_REACH: ReadonlySet<ClusterFacts['reachability']> = new Set(['Offline', 'Stale', 'NeverSeen'])
/** Whoever waits for these is given the time on top of its deadline: another has to do something. */
export const STOPS_THE_CLOCK: ReadonlySet<string> = new Set([WINDOW_CLOSED, WAVE_NOT_DUE, PAUSED, REJUDGED])
export const AT_WORK: ReadonlySet<string> = new Set([
  'Draining',
  'Activating',
  'Verifying',
  'Confirming',
  'RollingBack',
])
const AT_REST: ReadonlySet<NodePhase> = new Set(['Idle', 'Failed', 'RollingBack'])

/** Whether a node has this image under way, as far as it said so, and may still run it. */
export function isTrying({ phase, about }: Pick<NodeFacts, 'phase' | 'about'>, imageSha256: string): boolean {
  return !AT_REST.has(phase) && (about === undefined || about === imageSha256)
}

/** When the site took what this rollout assigned to it; later terms for the same bytes are no new delivery. */
export type Delivery = { readonly atMs: number; readonly statement?: StatementRef }

/**
 * Whether the cluster is assigned these bytes by this rollout now. An order that a site refused for what is asked no more
 * is none: it is sent the image on the new terms when its turn comes.
 */
export function isAssigned(cluster: ClusterFacts, { rolloutUid, image, spec, retryOf }: Scope): boolean {
  const { assignment, refused } = cluster
  if (assignment?.rolloutUid !== rolloutUid || assignment.manifestSha256 !== image.manifestSha256) return false
  // What was sent before a person asked to try again is over.
  const retry = retryOf(cluster.name)
  if (retry && assignment.retry !== retry.id) return false
  return !(isUnprovable(refused) && assignment.attestation === 'affirming' && spec.attestation === 'warning')
}

// Only an affirming boot can be too much to ask.
function isUnprovable(refused: ClusterFacts['refused']): boolean {
  return refused?.code === UNPROVABLE && refused.attestation === 'affirming'
}

/** The delivery of what is assigned now. What the row says of it stays true while the assignment is the same one. */
export function deliveryOf(
  cluster: ClusterFacts,
  assigned: boolean,
  was: RolloutCluster | undefined,
): Delivery | undefined {
  const { accepted, assignment, position } = cluster
  if (!assignment || !assigned) return undefined
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
  /** As sites are told them; undefined where the rollout has none. */
  readonly waves: Waves | undefined
  readonly nowMs: number
  /** By which a person asked to try these bytes again on a cluster where they had failed. */
  readonly retryOf: (cluster: string) => Pick<RolloutAct, 'id' | 'at'> | undefined
}

/** A cluster without what failed before it was sent the image once more. */
export function forgiven(cluster: ClusterFacts, { retryOf, image }: Pick<Scope, 'retryOf' | 'image'>): ClusterFacts {
  const retry = retryOf(cluster.name)
  if (!retry) return cluster
  const { refused, assignment, ...rest } = cluster
  // By one clock, that of the database.
  const sentAtMs = assignment?.retry === retry.id ? assignment.atMs : Number.POSITIVE_INFINITY
  // A refusal is of the order in force. Of an order back, which no retry sends, it is no failure of the image.
  const stands = refused && (assignment?.manifestSha256 !== image.manifestSha256 || refused.atMs > sentAtMs)
  return {
    ...rest,
    ...(assignment ? { assignment } : {}),
    ...(stands ? { refused } : {}),
    nodes: cluster.nodes.map(({ failure, ...node }) =>
      failure && failure.atMs > sentAtMs ? { ...node, failure } : node,
    ),
  }
}

/**
 * What one cluster is doing in the rollout: whose it is, then what failed, then how far it has come.
 * `waitedMs`: how long closed windows and pauses have stopped this cluster's deadline so far.
 */
export function clusterStateOf(
  facts: ClusterFacts,
  scope: Scope,
  assigned: boolean,
  delivered: Delivery | undefined,
  waitedMs: number,
): Progress {
  const { image, spec, durations, nowMs } = scope
  const cluster = { ...facts, nodes: facts.nodes.toSorted((a, b) => (a.node < b.node ? -1 : 1)) }
  const failed = cluster.nodes.find((node) => node.failure)
  const elsewhere = heldElsewhere(cluster, image.releaseCounter)
  if (elsewhere) return { state: 'Removed', ...elsewhere }
  if (cluster.denied) return { state: 'Removed', reason: 'Denied', message: DENIED }
  if (failed?.failure) return failure(failed, failed.failure)
  if (!assigned && cluster.newer !== undefined)
    return {
      state: 'Removed',
      reason: 'AssignedElsewhere',
      message: `the newer rollout ${cluster.newer.name} has this cluster, ${cluster.newer.isAborted ? 'and was aborted before it sent it anything: delete it, and the rollout before it goes on' : 'and has not sent it its image yet'}`,
    }
  if (!assigned) return unassigned(cluster, goesAsOcm(spec))
  // Until the new terms are composed the refusal of the old ones is still the newest word.
  if (cluster.refused && !(isUnprovable(cluster.refused) && spec.attestation === 'warning')) {
    const { code, message, statement } = cluster.refused
    return { state: 'Failed', reason: code, message: `the site refused the image: ${message}`, statement }
  }
  if (!delivered) {
    if (OUT_OF_REACH.has(cluster.reachability) && !goesAsOcm(spec))
      return {
        state: 'Offline',
        reason: 'Offline',
        message: 'sent, and the site was not heard from since; it holds no slot',
      }
    return { state: 'Sent', reason: 'AwaitingAcceptance', message: 'sent; the site has not said that it accepted it' }
  }
  const minuteMs = waveAtMs(cluster.name, scope) ?? Number.NEGATIVE_INFINITY
  const progress = progressOf(cluster, scope)
  // The clock starts with the site's own word; its wave, a closed window and a pause stop it.
  const endsAtMs =
    durations.deadlineMs === undefined ||
    progress.state === 'Succeeded' ||
    progress.state === 'Failed' ||
    STOPS_THE_CLOCK.has(progress.reason)
      ? undefined
      : Math.max(
          delivered.atMs + durations.deadlineMs + waitedMs,
          // Who is silent before its minute may be waiting for it.
          minuteMs + durations.deadlineMs,
          // Who confirmed has the time of its soak to be proven, however short the deadline is.
          progress.state === 'Soaking' ? soakedAtMs(cluster.nodes, durations) : 0,
          (progress.missingSinceMs ?? Number.NEGATIVE_INFINITY) + durations.deadlineMs,
        )
  const statement = ref(delivered.statement)
  if (endsAtMs === undefined) return { ...statement, ...progress }
  if (nowMs >= endsAtMs)
    return {
      state: 'TimeOut',
      ...(progress.reason === UNPROVEN
        ? { reason: UNPROVEN, message: `at its deadline: ${progress.message}` }
        : {
            reason: 'ProgressDeadlineExceeded',
            message: `was ${progress.state} (${progress.reason}) at its deadline`,
          }),
      ...statement,
    }
  return {
    ...statement,
    ...progress,
    recheckAtMs: Math.min(progress.recheckAtMs ?? endsAtMs, endsAtMs),
  }
}

/**
 * Whether a row failed for want of a proof that is asked for no more: that was a fault of the terms, not of the bytes, and
 * the edit has mended it.
 */
export function isAskedNoMore({ state, reason }: RolloutCluster, { attestation }: RolloutSpec): boolean {
  const wanted = (state === 'Failed' && reason === UNPROVABLE) || (state === 'TimeOut' && reason === UNPROVEN)
  return wanted && attestation === 'warning'
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

// In OCM a cluster that is out of reach is one as any other.
function unassigned(cluster: ClusterFacts, asOcm: boolean): Progress {
  if (OUT_OF_REACH.has(cluster.reachability) && !asOcm) {
    const never = cluster.reachability === 'NeverSeen'
    return {
      state: 'Offline',
      reason: never ? 'NeverSeen' : 'Offline',
      message: never
        ? 'was never heard from; it is sent the image when it is'
        : 'is not reachable; it is sent the image when it returns, and holds no slot',
    }
  }
  // Who is not sent it now is told why not in place of this.
  return { state: 'NotStarted', reason: SENDING, message: 'is sent the image now' }
}

/** What is added to the row of a cluster that something is still to come of, while it is silent; empty when it is not. */
export function silenceOf({ reachability, heardAtMs }: ClusterFacts): string {
  if (heardAtMs === undefined || reachability === 'Online' || reachability === 'NeverSeen') return ''
  const at = new Date(heardAtMs).toISOString()
  return reachability === 'Late' ? `; late, last heard ${at}` : `; not heard since ${at}`
}

function failure(node: NodeFacts, failed: NonNullable<NodeFacts['failure']>): Progress {
  const state = failed.outcome === 'RolledBack' ? 'RolledBack' : 'Failed'
  return {
    state,
    reason: HUBS_OWN.has(failed.reason) ? failed.outcome : failed.reason,
    message: `node ${node.node}: ${failed.message}`,
    statement: failed.statement,
  }
}

function progressOf(cluster: ClusterFacts, scope: Scope): Progress {
  const { spec, durations, nowMs } = scope
  const [bad] = cluster.nodes.flatMap((node) => badBootOf(node) ?? [])
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
  if (open?.phase === 'Staged' && (open.reason === WINDOW_CLOSED || open.reason === WAVE_NOT_DUE))
    return waiting(open, waveAtMs(cluster.name, scope), spec, nowMs)
  if (open && (open.phase === 'Preflight' || open.phase === 'Staging' || open.phase === 'Staged'))
    return {
      state: 'Staging',
      ...stagingWhy(open, cluster.assignment?.paused === true),
      ...ref(open.statement),
    }
  if (open?.lostAtMs !== undefined && open.lostAtMs >= (cluster.assignment?.atMs ?? 0))
    return {
      state: 'Delivered',
      reason: LOST,
      message: `node ${open.node}: statements of it are lost, and it has not said since what it confirmed`,
      missingSinceMs: open.lostAtMs,
    }
  if (open)
    return {
      state: 'Delivered',
      reason: 'Accepted',
      message: `node ${open.node} has the desired state and has not begun`,
    }
  return soakOf(cluster, spec, durations, nowMs)
}

/** The node says that a pause holds what it has staged. */
export function isHeldByPause({ phase, reason }: NodeFacts): boolean {
  return phase === 'Staged' && reason === PAUSED
}

// No word of a site stops its own clock: nobody would ever be given its slot. A pause does that it was told of.
function stagingWhy(open: NodeFacts, isPaused: boolean) {
  const { node, phase, reason, message } = open
  const held = isHeldByPause(open)
  if (held && !isPaused)
    return { reason: phase, message: `node ${node}: the pause is over, and it has not said yet that it heard so` }
  const told = reason === '' || (STOPS_THE_CLOCK.has(reason) && !held) ? phase : reason
  return { reason: told, message: `node ${node}: ${message}` }
}

/** A cluster's minute in the rollout's waves; undefined where it has none. */
export function waveAtMs(cluster: string, { waves, image }: Pick<Scope, 'waves' | 'image'>): number | undefined {
  return waves && minuteOf(waves, cluster, image.manifestSha256)
}

// The site goes on by itself once its minute has come and its window is open. What it does before it is heard is not known
// and not claimed: it still waits as far as the hub can tell, but its clock runs again.
function waiting(
  { node, reason, message, ...rest }: NodeFacts,
  minuteMs: number | undefined,
  spec: RolloutSpec,
  nowMs: number,
): Progress {
  const waits = { state: 'WaitingForWindow', ...ref(rest.statement) } as const
  if (minuteMs !== undefined && nowMs < minuteMs)
    return {
      ...waits,
      reason: WAVE_NOT_DUE,
      message: `node ${node}: its minute in the waves is ${new Date(minuteMs).toISOString()}`,
      recheckAtMs: minuteMs,
    }
  const wasEarly = reason === WAVE_NOT_DUE
  const opening = openingAt(spec.windows?.activation ?? [], nowMs)
  if (opening.open)
    return {
      ...waits,
      reason: wasEarly ? 'WaveDue' : 'WindowOpen',
      message: `node ${node}: ${wasEarly ? 'its minute has come' : 'its window is open'} and it goes on by itself; it has not said so yet`,
      ...(opening.untilMs === undefined ? {} : { recheckAtMs: opening.untilMs }),
    }
  return {
    ...waits,
    reason: WINDOW_CLOSED,
    message: `node ${node}: ${wasEarly ? 'its minute has come, and its window is closed' : message}`,
    ...(opening.nextMs === undefined ? {} : { recheckAtMs: opening.nextMs }),
  }
}
