import type { EdgeNodeStatus, ObjectOf, OSImageStatus, Reachability } from '@skerry/api'
import { reachability } from '@skerry/policy'
import { type FleetNode, loadFleet } from '../store/fleet.ts'
import { writeFenced } from '../store/leases.ts'
import { getObject, listObjects, saveStatus } from '../store/resources.ts'
import type { Tx } from '../store/store.ts'
import { setCondition } from './conditions.ts'
import type { ReachabilityLimits } from './rollout.ts'
import type { Controller } from './run.ts'

/** Shows what nodes last said and how long ago they were heard: EdgeNode status, a cluster's reachability, use of images. */
export function clusterStatusController(
  limits: ReachabilityLimits,
  onReachability: (counts: ReadonlyMap<Reachability, number>) => void,
): Controller {
  return {
    name: 'cluster-status',
    async reconcile({ store, lease, now }) {
      const nowMs = now()
      const [fleet, clusters, images] = await Promise.all([
        loadFleet(store.sql),
        listObjects(store.sql, 'ManagedCluster'),
        listObjects(store.sql, 'OSImage'),
      ])
      const bySha256 = new Map(images.map((image) => [image.spec.image.sha256, image]))
      const counts = new Map<Reachability, number>()
      const rechecks: number[] = []
      for (const cluster of clusters) {
        const nodes = fleet.filter((node) => node.cluster === cluster.metadata.name)
        const heard = Math.max(...nodes.map(({ lastHeardAt }) => lastHeardAt?.getTime() ?? Number.NEGATIVE_INFINITY))
        const { state, changesAtMs } = reachability(Number.isFinite(heard) ? heard : undefined, limits, nowMs)
        counts.set(state, (counts.get(state) ?? 0) + 1)
        if (changesAtMs !== undefined) rechecks.push(changesAtMs)
        await writeFenced(store, lease, async (tx) => {
          await saveReachability(tx, cluster, state, nowMs)
          for (const node of nodes)
            await saveNode(tx, node, reachability(node.lastHeardAt?.getTime(), limits, nowMs).state, bySha256)
        })
      }
      await writeFenced(store, lease, async (tx) => {
        for (const image of images) await saveStatus(tx, 'OSImage', '', image.metadata.name, usage(image, fleet))
      })
      onReachability(counts)
      return rechecks.length > 0 ? { recheckAtMs: Math.min(...rechecks) } : {}
    },
  }
}

async function saveReachability(
  tx: Tx,
  cluster: ObjectOf<'ManagedCluster'>,
  state: Reachability,
  nowMs: number,
): Promise<void> {
  const current = await getObject(tx, 'ManagedCluster', '', cluster.metadata.name)
  if (!current) return
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
  await saveStatus(tx, 'ManagedCluster', '', cluster.metadata.name, { ...current.status, conditions })
}

async function saveNode(
  tx: Tx,
  node: FleetNode,
  state: Reachability,
  images: ReadonlyMap<string, ObjectOf<'OSImage'>>,
): Promise<void> {
  const { status, transition } = node
  const [result] = node.results
  const booted = result?.evidence.imageSha256 ?? status?.booted.imageSha256
  const image = booted === undefined ? undefined : images.get(booted)
  const shown: EdgeNodeStatus = {
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
  await saveStatus(tx, 'EdgeNode', node.cluster, node.node, shown)
}

function usage({ spec }: ObjectOf<'OSImage'>, fleet: readonly FleetNode[]): OSImageStatus {
  const { sha256 } = spec.image
  return {
    nodesRunning: fleet.filter(({ results }) => results[0]?.evidence.imageSha256 === sha256).length,
    nodesFailed: fleet.filter(({ failed }) => failed?.body.imageSha256 === sha256).length,
  }
}
