import { isDeepStrictEqual } from 'node:util'
import {
  comparePositions,
  DEFAULT_GATES,
  type ObjectOf,
  PLACEMENT_LABEL,
  type RolloutSpec,
  type RolloutStatus,
} from '@skerry/api'
import { type ClusterFacts, type NodeFacts, planRollout, type RolloutPlan, reachability } from '@skerry/policy'
import { type Assignment, listAssignments, saveAssignments, saveTerms } from '../store/assignments.ts'
import { newestDesired, type StoredDesired } from '../store/desired-states.ts'
import { recordEvent } from '../store/events.ts'
import { type FleetNode, loadFleet } from '../store/fleet.ts'
import { type Lease, writeFenced } from '../store/leases.ts'
import { getObject, listObjects, saveStatus } from '../store/resources.ts'
import type { Store, Tx } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import { setCondition } from './conditions.ts'
import type { Controller } from './run.ts'

export type ReachabilityLimits = { readonly lateMs: number; readonly offlineMs: number; readonly staleMs: number }

type Rollout = ObjectOf<'Rollout'>
type Fleet = {
  readonly rollouts: readonly Rollout[]
  readonly images: ReadonlyMap<string, ObjectOf<'OSImage'>>
  readonly placements: ReadonlyMap<string, ObjectOf<'Placement'>>
  readonly slices: readonly ObjectOf<'PlacementDecision'>[]
  /** What was assigned when it was read, and what this look assigned since. */
  readonly assignments: Map<string, Assignment>
  readonly desired: ReadonlyMap<string, StoredDesired>
  readonly nodes: ReadonlyMap<string, readonly FleetNode[]>
}

/** Plans every rollout and stores the plan: assignments for what advances, status for all of it, in one transaction a rollout. */
export function rolloutController(limits: ReachabilityLimits): Controller {
  return {
    name: 'rollout',
    async reconcile({ store, lease, now }) {
      // Newest first: an older rollout then sees what a newer one took.
      const rollouts = (await listObjects(store.sql, 'Rollout')).toSorted(newestFirst)
      if (rollouts.length === 0) return {}
      const fleet = await loadFacts(store, rollouts)
      let recheckAtMs: number | undefined
      for (const rollout of rollouts) {
        const nowMs = now()
        const image = imageOf(fleet, rollout)
        const decided = decidedBy(fleet, rollout)
        const clusters = (decided ?? []).map((name) => clusterFacts(fleet, rollout, name, image, limits, nowMs))
        const plan = planRollout({ rollout, image, decided, clusters }, nowMs)
        for (const at of [plan.recheckAtMs, ...clusters.map(({ changesAtMs }) => changesAtMs)])
          if (at !== undefined && at > nowMs) recheckAtMs = Math.min(recheckAtMs ?? at, at)
        const assigned = await savePlan(store, lease, rollout, image, plan, changedTerms(fleet, rollout, plan), nowMs)
        for (const assignment of assigned) fleet.assignments.set(assignment.cluster, assignment)
      }
      return { recheckAtMs }
    },
  }
}

async function loadFacts(store: Store, rollouts: readonly Rollout[]): Promise<Fleet> {
  const { sql } = store
  const [images, placements, slices, assignments, desired, nodes] = await Promise.all([
    listObjects(sql, 'OSImage'),
    listObjects(sql, 'Placement'),
    listObjects(sql, 'PlacementDecision'),
    listAssignments(sql),
    newestDesired(sql),
    loadFleet(sql),
  ])
  const byCluster = new Map<string, FleetNode[]>()
  for (const node of nodes) byCluster.set(node.cluster, [...(byCluster.get(node.cluster) ?? []), node])
  return {
    rollouts,
    images: new Map(images.map((image) => [image.metadata.name, image])),
    placements: new Map(
      placements.map((placement) => [`${placement.metadata.namespace}/${placement.metadata.name}`, placement]),
    ),
    slices,
    assignments: new Map(assignments.map((assignment) => [assignment.cluster, assignment])),
    desired: new Map(desired.map((state) => [state.cluster, state])),
    nodes: byCluster,
  }
}

function imageOf(fleet: Fleet, { spec }: Rollout): NonNullable<RolloutStatus['image']> | undefined {
  const image = fleet.images.get(spec.image.name)?.spec
  return (
    image && {
      target: image.target,
      manifestSha256: image.manifestSha256,
      imageSha256: image.image.sha256,
      releaseCounter: image.releaseCounter,
      version: image.version,
    }
  )
}

function decidedBy(fleet: Fleet, { metadata, spec }: Rollout): string[] | undefined {
  const placement = fleet.placements.get(`${metadata.namespace}/${spec.placementRef.name}`)
  if (placement?.status?.observedGeneration !== placement?.metadata.generation || !placement) return undefined
  return fleet.slices
    .filter(
      (slice) =>
        slice.metadata.namespace === metadata.namespace &&
        slice.metadata.labels?.[PLACEMENT_LABEL] === placement.metadata.name,
    )
    .flatMap((slice) => (slice.status?.decisions ?? []).map(({ clusterName }) => clusterName))
}

function clusterFacts(
  fleet: Fleet,
  rollout: Rollout,
  name: string,
  image: RolloutStatus['image'],
  limits: ReachabilityLimits,
  nowMs: number,
): ClusterFacts & { changesAtMs?: number } {
  const nodes = fleet.nodes.get(name) ?? []
  const heard = nodes.map(({ lastHeardAt }) => lastHeardAt?.getTime()).filter((at) => at !== undefined)
  const { state, changesAtMs } = reachability(
    heard.length > 0 ? Math.max(...(heard as number[])) : undefined,
    limits,
    nowMs,
  )
  const assignment = fleet.assignments.get(name)
  const desired = fleet.desired.get(name)
  // The document carries the assignment once the desired controller composed it; before that nothing was sent.
  const position =
    assignment &&
    desired?.document.image?.sha256 === assignment.manifestSha256 &&
    desired.document.image.rollout === keyOf(assignment)
      ? desired.position
      : undefined
  const accepted = leastAccepted(nodes)
  const refused = nodes
    .map((node) => node.refused)
    .find((said) => said?.body.position && position && comparePositions(said.body.position, position) === 0)
  return {
    name,
    reachability: state,
    ...(changesAtMs === undefined ? {} : { changesAtMs }),
    ...(assignment
      ? {
          assignment: {
            rolloutUid: assignment.rolloutUid,
            rolloutName: assignment.rolloutName,
            manifestSha256: assignment.manifestSha256,
            atMs: assignment.assignedAt.getTime(),
            newer: isNewer(fleet, assignment, rollout),
          },
        }
      : {}),
    ...(position ? { position } : {}),
    ...(accepted ? { accepted } : {}),
    ...(refused
      ? {
          refused: {
            code: refused.body.code,
            message: refused.body.message,
            atMs: refused.receivedAt.getTime(),
            statement: refused.ref,
          },
        }
      : {}),
    nodes: nodes.map((node) => nodeFacts(node, image)),
  }
}

// A cluster has accepted what the last of its nodes has accepted.
function leastAccepted(nodes: readonly FleetNode[]): ClusterFacts['accepted'] {
  const said = nodes.map((node) => node.accepted)
  const [first] = said.toSorted((a, b) => (a && b ? comparePositions(a.body, b.body) : a ? 1 : -1))
  return (
    first && {
      position: { timeline: first.body.timeline, generation: first.body.generation },
      atMs: first.receivedAt.getTime(),
      statement: first.ref,
    }
  )
}

function nodeFacts(node: FleetNode, image: RolloutStatus['image']): NodeFacts {
  const { transition, confirmed, failed } = node
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
  const result = boot && node.results.find(({ bootId }) => bootId === boot.bootId)
  // A failure counts until a later confirmation of the same bytes, which only a person's retry can bring about.
  const stands = failed && isTarget(failed.body.imageSha256) && (!boot || failed.ref.seq > boot.statement.seq)
  return {
    node: node.node,
    phase: transition?.body.to ?? 'Idle',
    reason: transition?.body.reason ?? 'NotStarted',
    message: transition?.body.message ?? 'has said nothing yet',
    ...(transition ? { statement: transition.ref } : {}),
    ...(boot ? { confirmed: boot } : {}),
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
    ...(result ? { verdict: { bootId: result.bootId, verdict: result.verdict, reason: result.reason } } : {}),
  }
}

async function savePlan(
  store: Store,
  lease: Lease,
  rollout: Rollout,
  image: RolloutStatus['image'],
  plan: RolloutPlan,
  changed: readonly { cluster: string; terms: Assignment['terms'] }[],
  nowMs: number,
): Promise<readonly Assignment[]> {
  return writeFenced(store, lease, async (tx) => {
    const { namespace = '', name } = rollout.metadata
    const current = await getObject(tx, 'Rollout', namespace, name)
    if (current?.metadata.generation !== rollout.metadata.generation) return []
    const order = image && plan.advance.length > 0 ? orderOf(current, image) : undefined
    if (order) await saveAssignments(tx, plan.advance, order)
    await saveTerms(tx, rollout.metadata.uid, changed)
    if (order || changed.length > 0) await wake(tx, 'assignment')
    let conditions = current.status?.conditions ?? []
    for (const condition of plan.conditions)
      conditions = setCondition(conditions, { ...condition, observedGeneration: current.metadata.generation }, nowMs)
    const status: RolloutStatus = {
      phase: plan.phase,
      observedGeneration: current.metadata.generation,
      ...(image ? { image } : {}),
      clusters: [...plan.clusters],
      counts: plan.counts,
      ...(plan.recheckAtMs === undefined ? {} : { recheckAt: new Date(plan.recheckAtMs).toISOString() }),
      startedAt: current.status?.startedAt ?? new Date(nowMs).toISOString(),
      ...(plan.phase === 'Completed'
        ? { completedAt: current.status?.completedAt ?? new Date(nowMs).toISOString() }
        : {}),
      conditions,
    }
    const news = await saveStatus(tx, 'Rollout', namespace, name, status)
    if (news) await tell(tx, current, status)
    return order ? plan.advance.map((cluster) => ({ ...order, cluster, assignedAt: new Date(nowMs) })) : []
  })
}

function orderOf(
  { metadata, spec }: Rollout,
  image: NonNullable<RolloutStatus['image']>,
): Omit<Assignment, 'cluster' | 'assignedAt'> {
  return {
    rolloutNamespace: metadata.namespace ?? '',
    rolloutName: metadata.name,
    rolloutUid: metadata.uid,
    target: image.target,
    manifestSha256: image.manifestSha256,
    imageSha256: image.imageSha256,
    terms: termsOf(spec),
  }
}

function termsOf(spec: RolloutSpec): Assignment['terms'] {
  return {
    windows: spec.windows?.activation ?? [],
    gates: spec.gates ?? DEFAULT_GATES,
    attestation: spec.attestation ?? 'affirming',
  }
}

// A-07 and an edit reach who is under way: the same bytes, on other terms.
function changedTerms(
  fleet: Fleet,
  { spec }: Rollout,
  { underWay }: RolloutPlan,
): { cluster: string; terms: Assignment['terms'] }[] {
  const wanted = termsOf(spec)
  return underWay
    .map(({ cluster, paused }) => ({ cluster, terms: { ...wanted, paused } }))
    .filter(({ cluster, terms }) => {
      const held = fleet.assignments.get(cluster)?.terms
      return held !== undefined && !isDeepStrictEqual({ paused: false, ...held }, plain(terms))
    })
}

// As JSON has it: members that are undefined are not there.
function plain(terms: Assignment['terms']): unknown {
  return JSON.parse(JSON.stringify(terms))
}

async function tell(tx: Tx, rollout: Rollout, status: RolloutStatus): Promise<void> {
  const { namespace = '', name } = rollout.metadata
  const regarding = { kind: 'Rollout', namespace, name }
  if (rollout.status?.phase !== status.phase) {
    const breached = status.conditions?.find(({ type }) => type === 'Breached')
    const bad = breached?.status === 'True'
    await recordEvent(tx, {
      type: bad ? 'Warning' : 'Normal',
      reason: bad ? 'Breached' : `Rollout${status.phase}`,
      message: bad ? `the rollout stopped: ${breached.message}` : `the rollout is ${status.phase}`,
      component: 'rollout',
      regarding,
    })
  }
  const before = new Map((rollout.status?.clusters ?? []).map((cluster) => [cluster.name, cluster.state]))
  for (const cluster of status.clusters ?? []) {
    if (
      before.get(cluster.name) === cluster.state ||
      !['Succeeded', 'Failed', 'TimeOut', 'RolledBack'].includes(cluster.state)
    )
      continue
    const type = cluster.state === 'Succeeded' ? ('Normal' as const) : ('Warning' as const)
    await recordEvent(tx, {
      type,
      reason: cluster.state,
      message: `${cluster.name}: ${cluster.message}`,
      component: 'rollout',
      regarding,
    })
  }
}

// The newest rollout that exists wins a cluster; one that was deleted wins nothing.
function isNewer(fleet: Fleet, assignment: Assignment, rollout: Rollout): boolean {
  const other = fleet.rollouts.find(({ metadata }) => metadata.uid === assignment.rolloutUid)
  return other !== undefined && other !== rollout && newestFirst(other, rollout) < 0
}

function newestFirst(a: Rollout, b: Rollout): number {
  const [first, second] = [a.metadata, b.metadata]
  if (first.creationTimestamp !== second.creationTimestamp)
    return first.creationTimestamp > second.creationTimestamp ? -1 : 1
  // Of one second: any order that is the same for both, or each would take a cluster back from the other for ever.
  const [one, two] = [first, second].map(({ name, namespace, uid }) => `${name}/${namespace}/${uid}`)
  return String(one) < String(two) ? -1 : 1
}

function keyOf({ rolloutNamespace, rolloutName }: Assignment): string {
  return `${rolloutNamespace}/${rolloutName}`
}
