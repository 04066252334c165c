import { isDeepStrictEqual } from 'node:util'
import type { Condition, EdgeNodeStatus, NodeTrouble, ObjectOf, Reachability } from '@skerry/api'
import {
  type NewCondition,
  type ReachabilityLimits,
  reachability,
  reachabilityTaints,
  setCondition,
} from '@skerry/policy'
import { inTurn, makeQuiet } from '../quiet.ts'
import { placeOf, type ResultDetails, resultDetails } from '../store/attestations.ts'
import { answeredSince } from '../store/closed-gaps.ts'
import { recordEvents } from '../store/events.ts'
import { type FleetNode, resultFor } from '../store/fleet.ts'
import { writeFenced } from '../store/leases.ts'
import { getObjects, listObjects, saveStatuses, updateObjects } from '../store/resources.ts'
import { type Gap, lowestGaps } from '../store/statements.ts'
import { chainCondition, gapEvent, STANDS_AFTER_MS, standsAtMs } from './missing-statements.ts'
import type { Controller } from './run.ts'

/** From what a node's status was worked out, beside the images, and the version that it had then. */
type Shown = {
  readonly state: Reachability
  readonly mark: string
  readonly version: string | undefined
  /** When a gap in its chain, which is too young to be told of, will be told of. */
  readonly gapStandsAtMs: number | undefined
}

/** Objects written in one transaction. */
const AT_ONCE = 500

/**
 * Shows what nodes last said and how long ago they were heard: EdgeNode status, a cluster's reachability, use of images.
 * Everything is worked out from what was read; only what differs is written.
 */
export function clusterStatusController(
  limits: ReachabilityLimits,
  onReachability: (counts: ReadonlyMap<Reachability, number>) => void,
): Controller {
  // Of each node as it was last written or found right.
  const shown = new Map<string, Shown>()
  let shownImages = ''
  // A site closes numbers and sends them after all as often as it likes.
  let quiet = makeQuiet()
  return {
    name: 'cluster-status',
    async reconcile({ store, lease, mirrors, now }) {
      const nowMs = now()
      const [fleet, clusters, versions, images] = await Promise.all([
        mirrors.fleet(),
        mirrors.clusters(),
        mirrors.nodeVersions(),
        listObjects(store.sql, 'OSImage'),
      ])
      const heard = new Map<string, number>()
      for (const { cluster, lastHeardAt } of fleet)
        if (lastHeardAt) heard.set(cluster, Math.max(heard.get(cluster) ?? 0, lastHeardAt.getTime()))
      const counts = new Map<Reachability, number>()
      const rechecks: number[] = []
      const moved = new Map<string, Reachability>()
      for (const [name, cluster] of clusters) {
        const { state, changesAtMs } = reachability(heard.get(name), limits, nowMs)
        counts.set(state, (counts.get(state) ?? 0) + 1)
        if (changesAtMs !== undefined) rechecks.push(changesAtMs)
        if (!shows(cluster, state)) moved.set(name, state)
      }
      for (const some of chunks([...moved]))
        await writeFenced(store, lease, async (tx) => {
          // The registration controller writes the same status: what is changed is what is there now.
          const current = await getObjects(
            tx,
            'ManagedCluster',
            some.map(([name]) => ({ namespace: '', name })),
          )
          await updateObjects(
            tx,
            'ManagedCluster',
            some.flatMap(([name, state]) => tainted(current.get(`/${name}`), state, nowMs) ?? []),
          )
          const statuses = some.flatMap(([name, state]) => {
            const cluster = current.get(`/${name}`)
            return cluster ? [{ namespace: '', name, status: shownReachability(cluster, state, nowMs) }] : []
          })
          await saveStatuses(tx, 'ManagedCluster', statuses)
        })

      const bySha256 = new Map(images.map((image) => [image.spec.image.sha256, image]))
      const named = images.map(({ metadata, spec }) => `${metadata.name} ${spec.version} ${spec.image.sha256}`).join()
      if (named !== shownImages) shown.clear()
      shownImages = named
      const due = fleet.flatMap((node) => {
        const { state } = reachability(node.lastHeardAt?.getTime(), limits, nowMs)
        const place = `${node.cluster}/${node.node}`
        const held = shown.get(place)
        const same = held?.state === state && held.mark === node.mark && held.version === versions.get(place)
        if (!same || nowMs >= (held.gapStandsAtMs ?? Number.POSITIVE_INFINITY)) return [{ node, state, place }]
        if (held.gapStandsAtMs !== undefined) rechecks.push(held.gapStandsAtMs)
        return []
      })
      for (const some of chunks(due)) {
        const lossy = some.filter(({ node }) => node.closed.length > 0).map(({ node }) => node)
        const [details, gaps, refuted] = await Promise.all([
          resultDetails(
            store.sql,
            some.flatMap(({ node }) => resultOf(node) ?? []),
          ),
          lowestGaps(
            store.sql,
            some.map(({ node }) => node),
          ),
          answeredSince(store.sql, lossy, STANDS_AFTER_MS),
        ])
        const written = await writeFenced(store, lease, async (tx) => {
          const gapped = some.filter(({ place, node }) => gaps.has(place) || node.closed.length > 0)
          const before = await getObjects(
            tx,
            'EdgeNode',
            gapped.map(({ node }) => ({ namespace: node.cluster, name: node.node })),
          )
          const statuses = some.map(({ node, state, place }) => {
            const conditions = before.get(place)?.status?.conditions
            const lost = { stretches: node.closed, refutedUpTo: refuted.get(place) }
            const chain = chainCondition(gaps.get(place), lost, conditions, nowMs)
            return {
              namespace: node.cluster,
              name: node.node,
              status: shownNode(node, state, chain, bySha256, details),
            }
          })
          const saved = await saveStatuses(tx, 'EdgeNode', statuses)
          await recordEvents(
            tx,
            statuses.flatMap((node) => {
              const held = before.get(`${node.namespace}/${node.name}`)
              const told = held ? gapEvent(node, node.status.conditions, held.status?.conditions) : []
              return told.flatMap((event) => inTurn(event, quiet, nowMs))
            }),
          )
          return saved
        }).catch((error: unknown) => {
          // What was not written was not told.
          quiet = makeQuiet()
          throw error
        })
        for (const { node, state, place } of some) {
          const gapStandsAtMs = young(gaps.get(place), nowMs)
          if (gapStandsAtMs !== undefined) rechecks.push(gapStandsAtMs)
          shown.set(place, {
            state,
            mark: node.mark,
            version: written.get(place) ?? versions.get(place),
            gapStandsAtMs,
          })
        }
      }
      if (shown.size > fleet.length) {
        const there = new Set(fleet.map(({ cluster, node }) => `${cluster}/${node}`))
        for (const place of shown.keys()) if (!there.has(place)) shown.delete(place)
      }

      const [running, failed] = [new Map<string, number>(), new Map<string, number>()]
      for (const node of fleet) {
        count(running, node.booted?.body.imageSha256)
        count(failed, node.failed?.body.imageSha256)
      }
      const used = images.flatMap(({ metadata: { name }, spec, status }) => {
        const { sha256 } = spec.image
        const usage = { nodesRunning: running.get(sha256) ?? 0, nodesFailed: failed.get(sha256) ?? 0 }
        return isDeepStrictEqual(status, usage) ? [] : [{ namespace: '', name, status: usage }]
      })
      for (const some of chunks(used)) await writeFenced(store, lease, (tx) => saveStatuses(tx, 'OSImage', some))
      onReachability(counts)
      return rechecks.length > 0 ? { recheckAtMs: rechecks.reduce((a, b) => Math.min(a, b)) } : {}
    },
  }
}

function count(counts: Map<string, number>, key: string | undefined): void {
  if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + 1)
}

function chunks<T>(items: readonly T[]): T[][] {
  const parts: T[][] = []
  for (let from = 0; from < items.length; from += AT_ONCE) parts.push(items.slice(from, from + AT_ONCE))
  return parts
}

function reachabilityConditions(
  { spec }: ObjectOf<'ManagedCluster'>,
  state: Reachability,
): [NewCondition, NewCondition] {
  // However lately it was heard: its credentials are ended, and nothing that it says is taken in. Who was never heard has
  // nothing to be cut off from, and waits to be accepted.
  if (spec.hubAcceptsClient !== true && state !== 'NeverSeen') {
    const denied = { status: 'False', message: 'the hub does not accept this cluster; its nodes are cut off' } as const
    return [
      { ...denied, type: 'Reachable', reason: 'Denied' },
      { ...denied, type: 'ManagedClusterConditionAvailable', reason: 'HubClusterAdminDenied' },
    ]
  }
  const reached = state === 'Online' || state === 'Late'
  return [
    {
      type: 'Reachable',
      status: reached ? 'True' : 'False',
      reason: state,
      message: `the site is ${state} by the hub's own receive time`,
    },
    reached
      ? {
          type: 'ManagedClusterConditionAvailable',
          status: 'True',
          reason: 'ManagedClusterAvailable',
          message: 'Managed cluster is available',
        }
      : {
          type: 'ManagedClusterConditionAvailable',
          status: 'Unknown',
          reason: 'NotHeardFrom',
          message: 'the site was not heard from; it stays selected and goes on by itself',
        },
  ]
}

function shows(cluster: ObjectOf<'ManagedCluster'>, state: Reachability): boolean {
  if (tainted(cluster, state, 0)) return false
  return reachabilityConditions(cluster, state).every((wanted) =>
    cluster.status?.conditions?.some(
      ({ type, status, reason, message }) =>
        type === wanted.type && status === wanted.status && reason === wanted.reason && message === wanted.message,
    ),
  )
}

// Whoever was heard once and is not any more is not chosen anew; who is chosen stays.
function tainted(
  cluster: ObjectOf<'ManagedCluster'> | undefined,
  state: Reachability,
  nowMs: number,
): ObjectOf<'ManagedCluster'> | undefined {
  const before = cluster?.spec.taints ?? []
  const isAway = state === 'Offline' || state === 'Stale'
  const taints = reachabilityTaints(before, isAway, new Date(nowMs).toISOString())
  if (!cluster || taints === before) return undefined
  const { taints: _, ...spec } = cluster.spec
  return { ...cluster, spec: taints.length > 0 ? { ...spec, taints: [...taints] } : spec }
}

function shownReachability(
  current: ObjectOf<'ManagedCluster'>,
  state: Reachability,
  nowMs: number,
): NonNullable<ObjectOf<'ManagedCluster'>['status']> {
  const conditions = reachabilityConditions(current, state).reduce<Condition[]>(
    (all, condition) => setCondition(all, condition, nowMs),
    [...(current.status?.conditions ?? [])],
  )
  return { ...current.status, conditions }
}

function young(gap: Gap | undefined, nowMs: number): number | undefined {
  const atMs = gap && standsAtMs(gap)
  return atMs !== undefined && nowMs < atMs ? atMs : undefined
}

// The node's own word: by its clock, and no longer than it says so.
function degraded([first, ...more]: readonly NodeTrouble[]): Condition[] {
  if (!first) return []
  const { reason, since } = first
  const all = [first, ...more].map((one) => `${one.reason}: ${one.message}`).join('; ')
  const message = more.length > 0 ? all : first.message
  return [{ type: 'Degraded', status: 'True', reason, message, lastTransitionTime: since }]
}

// A verdict is shown of the boot that runs alone. A node that names another boot since its newest evidence has shown
// nothing of that one.
function resultOf({ booted, status, results }: FleetNode): FleetNode['results'][number] | undefined {
  if (!booted) return undefined
  const { bootId } = booted.body
  const { incarnation, seq } = booted.ref
  if (status && status.bootId !== bootId && status.incarnation === incarnation && status.seq >= seq) return undefined
  return resultFor({ booted, results }, booted.body, booted.ref)
}

function shownNode(
  node: FleetNode,
  state: Reachability,
  chain: Condition | undefined,
  images: ReadonlyMap<string, ObjectOf<'OSImage'>>,
  details: ReadonlyMap<string, ResultDetails>,
): EdgeNodeStatus {
  const { status, transition } = node
  const result = resultOf(node)
  const { bank, findings, pcrs } = (result && details.get(placeOf(result))) ?? {}
  const phase = transition?.body.to ?? status?.phase ?? 'Idle'
  const booted = node.booted?.body.imageSha256 ?? status?.booted.imageSha256
  const image = booted === undefined ? undefined : images.get(booted)
  const conditions = [...(chain ? [chain] : []), ...degraded(status?.troubles ?? [])]
  return {
    class: node.class,
    reachability: state,
    watermark: node.watermark,
    ...(status
      ? {
          driver: status.driver,
          agentVersion: status.agentVersion,
          slot: status.slot,
          bootId: status.bootId,
          failed: status.failed,
        }
      : {}),
    ...(conditions.length > 0 ? { conditions } : {}),
    ...(status?.nextWindow ? { nextWindow: status.nextWindow } : {}),
    phase,
    // A status may be older than the newest statement.
    ...(phase === 'Staging' && status?.progress ? { progress: status.progress } : {}),
    reason: transition?.body.reason ?? status?.reason ?? 'NotHeardFrom',
    message: transition?.body.message ?? status?.message ?? 'has said nothing yet',
    ...(transition ? { lastTransitionTime: transition.receivedAt.toISOString() } : {}),
    ...(booted
      ? { image: { sha256: booted, ...(image ? { name: image.metadata.name, version: image.spec.version } : {}) } }
      : {}),
    ...(node.accepted
      ? { holds: { timeline: node.accepted.body.timeline, generation: node.accepted.body.generation } }
      : {}),
    ...(node.newest ? { statement: node.newest } : {}),
    ...(result
      ? {
          attestation: {
            verdict: result.verdict,
            reason: result.reason,
            message: result.message,
            bootId: result.bootId,
            judgedAt: result.judgedAt.toISOString(),
            ...(bank ? { bank } : {}),
            ...(findings ? { findings } : {}),
            ...(pcrs ? { pcrs } : {}),
            statement: {
              cluster: result.cluster,
              node: result.node,
              incarnation: result.incarnation,
              seq: result.seq,
              digest: result.digest,
            },
          },
        }
      : {}),
  }
}
