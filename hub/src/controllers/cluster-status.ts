import { isDeepStrictEqual } from 'node:util'
import type { EdgeNodeStatus, ObjectOf, OSImageStatus, Reachability } from '@skerry/api'
import { type ReachabilityLimits, reachability } from '@skerry/policy'
import { type FleetNode, loadFleet } from '../store/fleet.ts'
import { writeFenced } from '../store/leases.ts'
import { getObject, listObjects, saveStatuses } from '../store/resources.ts'
import { setCondition } from './conditions.ts'
import type { Controller } from './run.ts'

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
  return {
    name: 'cluster-status',
    async reconcile({ store, lease, now }) {
      const nowMs = now()
      const [fleet, clusters, nodes, images] = await Promise.all([
        loadFleet(store.sql),
        listObjects(store.sql, 'ManagedCluster'),
        listObjects(store.sql, 'EdgeNode'),
        listObjects(store.sql, 'OSImage'),
      ])
      const bySha256 = new Map(images.map((image) => [image.spec.image.sha256, image]))
      const byCluster = Map.groupBy(fleet, ({ cluster }) => cluster)
      const counts = new Map<Reachability, number>()
      const rechecks: number[] = []
      const reached = new Map<string, Reachability>()
      for (const { metadata } of clusters) {
        const heard = Math.max(
          ...(byCluster.get(metadata.name) ?? []).map(
            ({ lastHeardAt }) => lastHeardAt?.getTime() ?? Number.NEGATIVE_INFINITY,
          ),
        )
        const { state, changesAtMs } = reachability(Number.isFinite(heard) ? heard : undefined, limits, nowMs)
        reached.set(metadata.name, state)
        counts.set(state, (counts.get(state) ?? 0) + 1)
        if (changesAtMs !== undefined) rechecks.push(changesAtMs)
      }

      const moved = clusters.filter((cluster) => {
        const state = reached.get(cluster.metadata.name)
        return state !== undefined && differs(cluster.status, shownReachability(cluster, state, nowMs))
      })
      for (const some of chunks(moved))
        await writeFenced(store, lease, async (tx) => {
          const statuses = []
          for (const { metadata } of some) {
            // The registration controller writes the same status: what is changed is what is there now.
            const current = await getObject(tx, 'ManagedCluster', '', metadata.name)
            const state = reached.get(metadata.name)
            if (current && state)
              statuses.push({ namespace: '', name: metadata.name, status: shownReachability(current, state, nowMs) })
          }
          await saveStatuses(tx, 'ManagedCluster', statuses)
        })

      const shown = new Map(nodes.map(({ metadata, status }) => [`${metadata.namespace}/${metadata.name}`, status]))
      const said = fleet
        .map((node) => ({
          namespace: node.cluster,
          name: node.node,
          status: shownNode(node, reachability(node.lastHeardAt?.getTime(), limits, nowMs).state, bySha256),
        }))
        .filter(({ namespace, name, status }) => differs(shown.get(`${namespace}/${name}`), status))
      for (const some of chunks(said)) await writeFenced(store, lease, (tx) => saveStatuses(tx, 'EdgeNode', some))

      const used = images
        .map((image) => ({ namespace: '', name: image.metadata.name, now: image.status, status: usage(image, fleet) }))
        .filter((image) => differs(image.now, image.status))
      for (const some of chunks(used)) await writeFenced(store, lease, (tx) => saveStatuses(tx, 'OSImage', some))
      onReachability(counts)
      return rechecks.length > 0 ? { recheckAtMs: Math.min(...rechecks) } : {}
    },
  }
}

function chunks<T>(items: readonly T[]): T[][] {
  const parts: T[][] = []
  for (let from = 0; from < items.length; from += AT_ONCE) parts.push(items.slice(from, from + AT_ONCE))
  return parts
}

// Both sides as JSON has them: members that are undefined are not there.
function differs(stored: unknown, wanted: unknown): boolean {
  return !isDeepStrictEqual(stored, JSON.parse(JSON.stringify(wanted)))
}

function shownReachability(
  current: ObjectOf<'ManagedCluster'>,
  state: Reachability,
  nowMs: number,
): NonNullable<ObjectOf<'ManagedCluster'>['status']> {
  const reached = state === 'Online' || state === 'Late'
  let conditions = setCondition(
    current.status?.conditions ?? [],
    {
      type: 'Reachable',
      status: reached ? 'True' : 'False',
      reason: state,
      message: `the site is ${state} by the hub's own receive time`,
    },
    nowMs,
  )
  conditions = setCondition(
    conditions,
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
    nowMs,
  )
  return { ...current.status, conditions }
}

function shownNode(
  node: FleetNode,
  state: Reachability,
  images: ReadonlyMap<string, ObjectOf<'OSImage'>>,
): EdgeNodeStatus {
  const { status, transition } = node
  // A verdict is shown of the boot that runs alone.
  const result = node.booted && node.results.find(({ bootId }) => bootId === node.booted?.body.bootId)
  const booted = node.booted?.body.imageSha256 ?? status?.booted.imageSha256
  const image = booted === undefined ? undefined : images.get(booted)
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
    ...(status?.nextWindow ? { nextWindow: status.nextWindow } : {}),
    phase: transition?.body.to ?? status?.phase ?? 'Idle',
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

function usage({ spec }: ObjectOf<'OSImage'>, fleet: readonly FleetNode[]): OSImageStatus {
  const { sha256 } = spec.image
  return {
    nodesRunning: fleet.filter(({ booted }) => booted?.body.imageSha256 === sha256).length,
    nodesFailed: fleet.filter(({ failed }) => failed?.body.imageSha256 === sha256).length,
  }
}
