import type { ObjectOf, StatementRef } from '@skerry/api'
import {
  type ClusterFacts,
  type Holder,
  imageFacts,
  type NodeFacts,
  type ReachabilityLimits,
  type RolloutFacts,
  reachability,
} from '@skerry/policy'
import type { Assignment } from './assignments.ts'
import { isBeforeRetry, isSettled, lastHeardMs, leastAccepted, positionOf, refusalAt } from './deliveries.ts'
import type { Ordered } from './desired-states.ts'
import { type FleetNode, resultFor } from './fleet.ts'
import type { Entry, Image, RolloutFleet } from './rollout-fleet.ts'

// What a rollout is planned from, shaped from rows.

type Rollout = ObjectOf<'Rollout'>

/** The facts of one rollout. */
export function factsOf(fleet: RolloutFleet, entry: Entry, limits: ReachabilityLimits, nowMs: number): RolloutFacts {
  const { rollout, decided } = entry
  const image = imageOf(fleet, rollout)
  const names = typeof decided === 'string' ? [] : decided.flatMap(({ clusters }) => clusters)
  const changedBy = fleet.authors.get(rollout.metadata.uid)
  return {
    rollout,
    image,
    decided,
    clusters: names.map((name) => clusterFacts(fleet, rollout, name, image, limits, nowMs)),
    orders: ordersOf(fleet, rollout),
    gone: goneFrom(fleet, entry),
    acts: fleet.acts.get(rollout.metadata.uid) ?? [],
    ...(changedBy === undefined ? {} : { changedBy }),
  }
}

function ordersOf(
  { assignments, nodes, ordered }: RolloutFleet,
  { metadata }: Rollout,
): NonNullable<RolloutFacts['orders']> {
  const mine = [...assignments.values()].filter(({ rolloutUid }) => rolloutUid === metadata.uid)
  return mine.map((assignment) => {
    const { cluster, manifestSha256 } = assignment
    const settled = isSettled(assignment, nodes.get(cluster) ?? [], ordered.get(cluster))
    return { cluster, manifestSha256, isSettled: settled }
  })
}

// What else there is to say of clusters that were in a rollout when it was last planned and are not selected now.
function goneFrom({ accepted }: RolloutFleet, { rollout, selected }: Entry): RolloutFacts['gone'] {
  const gone = new Map<string, 'Denied' | 'Deleted'>()
  for (const { name } of rollout.status?.clusters ?? []) {
    if (selected?.has(name) || accepted.get(name)) continue
    gone.set(name, accepted.has(name) ? 'Denied' : 'Deleted')
  }
  return gone
}

function imageOf({ images }: RolloutFleet, { spec }: Rollout): Image | undefined {
  const image = images.get(spec.image.name)
  return image && imageFacts(image)
}

function clusterFacts(
  fleet: RolloutFleet,
  rollout: Rollout,
  name: string,
  image: Image | undefined,
  limits: ReachabilityLimits,
  nowMs: number,
): ClusterFacts {
  const nodes = fleet.nodes.get(name) ?? []
  const heardAtMs = lastHeardMs(nodes)
  const { state, changesAtMs } = reachability(heardAtMs, limits, nowMs)
  const assignment = fleet.assignments.get(name)
  const newest = fleet.newest.get(name)?.rollout
  const ordered = fleet.ordered.get(name)
  // The document carries the assignment once the desired controller composed it; before that nothing was sent.
  const position = positionOf(assignment, ordered)
  const accepted = leastAccepted(nodes)
  const refused = refusalAt(nodes, position)
  return {
    name,
    reachability: state,
    denied: fleet.accepted.get(name) === false,
    ...(changesAtMs === undefined ? {} : { changesAtMs }),
    ...(heardAtMs === undefined ? {} : { heardAtMs }),
    ...(assignment ? { assignment: assignmentFacts(fleet, assignment, rollout, nodes) } : {}),
    ...(newest && newest.metadata.uid !== rollout.metadata.uid ? { newer: newerFacts(newest) } : {}),
    ...(position ? { position } : {}),
    ...(accepted ? { accepted } : {}),
    ...(refused && ordered
      ? {
          refused: {
            attestation: ordered.attestation,
            code: refused.body.code,
            message: refused.body.message,
            atMs: refused.receivedAt.getTime(),
            statement: refused.ref,
          },
        }
      : {}),
    nodes: nodes.map((node) => nodeFacts(node, image, assignment, ordered)),
    ...lastGoodOf(fleet, nodes),
  }
}

// What every node of a cluster confirmed last, by the signed manifest that names those bytes.
function lastGoodOf({ byBytes }: RolloutFleet, nodes: readonly FleetNode[]): Pick<ClusterFacts, 'lastGood'> {
  const confirmed = new Set(nodes.map((node) => node.confirmed?.body.imageSha256))
  const [only] = confirmed
  const lastGood = confirmed.size === 1 && only !== undefined ? byBytes.get(only) : undefined
  return lastGood ? { lastGood } : {}
}

function newerFacts({ metadata, status }: Rollout): NonNullable<ClusterFacts['newer']> {
  return { name: metadata.name, isAborted: status?.phase === 'Aborted' }
}

function assignmentFacts(
  fleet: RolloutFleet,
  assignment: Assignment,
  rollout: Rollout,
  nodes: readonly FleetNode[],
): NonNullable<ClusterFacts['assignment']> {
  const releaseCounter = fleet.counters.get(assignment.manifestSha256)
  return {
    rolloutUid: assignment.rolloutUid,
    rolloutName: assignment.rolloutName,
    manifestSha256: assignment.manifestSha256,
    atMs: assignment.assignedAt.getTime(),
    holder: holderOf(fleet, assignment, rollout),
    attestation: assignment.terms.attestation,
    paused: assignment.terms.paused ?? false,
    ...(assignment.terms.retry ? { retry: assignment.terms.retry.act } : {}),
    confirmed: nodes.some(({ confirmedOnce }) => confirmedOnce?.body.imageSha256 === assignment.imageSha256),
    ...(releaseCounter === undefined ? {} : { releaseCounter }),
  }
}

// The newest rollout that exists and selects a cluster has it. Of one that was deleted it is only known that it was there
// when it assigned the cluster: a rollout that was made after that is newer.
function holderOf({ entries }: RolloutFleet, { cluster, rolloutUid, assignedAt }: Assignment, asking: Rollout): Holder {
  const { uid, creationTimestamp } = asking.metadata
  if (rolloutUid === uid) return 'This'
  const holder = entries.get(rolloutUid)
  if (!holder) return Date.parse(creationTimestamp) > assignedAt.getTime() ? 'Older' : 'Released'
  if (holder.place > (entries.get(uid)?.place ?? 0)) return 'Older'
  // While it is not known whom a rollout selects, it keeps whom it has.
  return !holder.selected || holder.selected.has(cluster) ? 'Newer' : 'Released'
}

/**
 * The newest boot that the node told of, the one that it confirmed or a later one; and a bad one of the same bytes, if that
 * was heard of since the cluster was assigned what it is: one rollout's bad boot is not held against the next.
 */
function bootsOf(
  node: FleetNode,
  confirmed: NonNullable<NodeFacts['confirmed']>,
  assignedAt: Date | undefined,
): Pick<NodeFacts, 'boot' | 'bad'> {
  const { booted, results } = node
  const { bootId, imageSha256, statement } = confirmed
  const { incarnation } = statement
  const mine = results.filter((one) => one.incarnation === incarnation)
  const first = mine.find((one) => one.bootId === bootId)
  const bad = mine.find(
    (one) =>
      (one.seq > node.confirmedSince || one.bootId === bootId) &&
      one.imageSha256 === imageSha256 &&
      one.verdict === 'contraindicated' &&
      one.firstVerdict === 'contraindicated' &&
      one.receivedAt >= (assignedAt ?? one.receivedAt),
  )
  const newest = booted?.ref.incarnation === incarnation ? booted : undefined
  // A confirmation may come long after the boot that it names, when another one runs already.
  const later = newest && newest.body.bootId !== bootId && newest.ref.seq > (first?.seq ?? statement.seq)
  const runs = later ? newest.body : { bootId, imageSha256 }
  const verdict = resultFor(node, runs, statement)
  const heard = newest && newest.body.bootId === runs.bootId ? newest : undefined
  return {
    boot: {
      ...runs,
      // Until its evidence is heard, the confirmation is all that is known of a boot.
      atMs: heard?.receivedAt.getTime() ?? confirmed.atMs,
      statement: later ? newest.ref : statement,
      ...(verdict ? { verdict } : {}),
    },
    ...(bad
      ? {
          bad: { bootId: bad.bootId, imageSha256, atMs: bad.receivedAt.getTime(), statement: refOf(bad), verdict: bad },
        }
      : {}),
  }
}

function refOf({ cluster, node, incarnation, seq, digest }: StatementRef): StatementRef {
  return { cluster, node, incarnation, seq, digest }
}

// A person asked for it: the site has forgotten that these bytes failed, and said so.
function begunAgain(newest: FleetNode['transition'], failed: NonNullable<FleetNode['failed']>): boolean {
  return (
    newest !== undefined &&
    newest.ref.incarnation === failed.ref.incarnation &&
    newest.ref.seq > failed.ref.seq &&
    newest.body.imageSha256 === failed.body.imageSha256
  )
}

// The first loss, since it was assigned what it is, above which it has not said what it has confirmed: who loses again and
// again without a word gets no more time.
function lostAtMs({ closed, confirmedOnce }: FleetNode, assignedAt: Date | undefined): number | undefined {
  const answered = confirmedOnce?.body.bootId === undefined ? 0 : confirmedOnce.ref.seq
  const isOpen = ({ closedAt, toSeq }: FleetNode['closed'][number]) =>
    assignedAt !== undefined && closedAt >= assignedAt && toSeq > answered
  const since = closed.filter(isOpen).map(({ closedAt }) => closedAt.getTime())
  return since.length > 0 ? Math.min(...since) : undefined
}

function nodeFacts(
  node: FleetNode,
  image: Image | undefined,
  assignment: Assignment | undefined,
  ordered: Ordered | undefined,
): NodeFacts {
  const { transition, confirmed, failed } = node
  const assignedAt = assignment?.assignedAt
  const lostAt = lostAtMs(node, assignedAt)
  const isTarget = (sha256: string | undefined) => image !== undefined && sha256 === image.imageSha256
  const boot =
    confirmed && isTarget(confirmed.body.imageSha256) && confirmed.body.bootId
      ? {
          imageSha256: confirmed.body.imageSha256 ?? '',
          bootId: confirmed.body.bootId,
          atMs: confirmed.receivedAt.getTime(),
          statement: confirmed.ref,
        }
      : undefined
  // A failure counts until the node confirms the same bytes later, or begins them again, which it does by itself in no case.
  const stands =
    failed &&
    isTarget(failed.body.imageSha256) &&
    (!boot || failed.ref.seq > boot.statement.seq) &&
    !begunAgain(transition, failed) &&
    !(assignment && isBeforeRetry(failed, assignment, ordered))
  return {
    node: node.node,
    phase: transition?.body.to ?? 'Idle',
    ...(transition?.body.imageSha256 ? { about: transition.body.imageSha256 } : {}),
    reason: transition?.body.reason ?? 'NotStarted',
    message: transition?.body.message ?? 'has said nothing yet',
    ...(transition ? { statement: transition.ref } : {}),
    ...(boot ? { confirmed: boot } : {}),
    ...(lostAt === undefined || boot ? {} : { lostAtMs: lostAt }),
    ...(stands
      ? {
          failure: {
            outcome: failed.body.outcome ?? 'ActivationFailed',
            reason: failed.body.reason,
            message: failed.body.message,
            atMs: failed.receivedAt.getTime(),
            statement: failed.ref,
          },
        }
      : {}),
    ...(boot ? bootsOf(node, boot, assignedAt) : {}),
  }
}
