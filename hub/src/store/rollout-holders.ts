import { type ReachabilityLimits, type Reached, reachability } from '@skerry/policy'
import { type Assignment, listAssignments } from './assignments.ts'
import { isSettled, lastHeardMs, leastAccepted, positionOf } from './deliveries.ts'
import { loadOrdered } from './desired-states.ts'
import { loadClusters } from './fleet.ts'
import { read, type Store, type Tx } from './store.ts'

/** Clusters of which documents and statements are in memory at a time. */
const AT_ONCE = 1_000

/** What the clusters that a rollout has were sent, have accepted, and whether they are in reach; of one moment. */
export function holdersOf(
  store: Store,
  rolloutUid: string,
  limits: ReachabilityLimits,
  nowMs: number,
): Promise<Reached[]> {
  return read(store, async (tx) => {
    const assigned = (await listAssignments(tx)).filter((assignment) => assignment.rolloutUid === rolloutUid)
    const holders: Reached[] = []
    for (let from = 0; from < assigned.length; from += AT_ONCE)
      holders.push(...(await some(tx, assigned.slice(from, from + AT_ONCE), limits, nowMs)))
    return holders
  })
}

async function some(
  tx: Tx,
  assigned: readonly Assignment[],
  limits: ReachabilityLimits,
  nowMs: number,
): Promise<Reached[]> {
  const clusters = assigned.map(({ cluster }) => cluster)
  const ordered = await loadOrdered(tx, clusters)
  const nodesOf = Map.groupBy(await loadClusters(tx, clusters), ({ cluster }) => cluster)
  return assigned.map((assignment): Reached => {
    const { cluster, rolloutUid, rolloutName, manifestSha256, imageSha256, assignedAt, terms } = assignment
    const nodes = nodesOf.get(cluster) ?? []
    const position = positionOf(assignment, ordered.get(cluster))
    const accepted = leastAccepted(nodes)
    return {
      name: cluster,
      reachability: reachability(lastHeardMs(nodes), limits, nowMs).state,
      assignment: {
        rolloutUid,
        rolloutName,
        manifestSha256,
        atMs: assignedAt.getTime(),
        holder: 'This',
        attestation: terms.attestation,
        paused: terms.paused ?? false,
        confirmed: nodes.some(({ confirmed }) => confirmed?.body.imageSha256 === imageSha256),
      },
      isSettled: isSettled(assignment, nodes, ordered.get(cluster)),
      nodes: nodes.map(({ transition }) => ({
        phase: transition?.body.to ?? 'Idle',
        ...(transition?.body.imageSha256 ? { about: transition.body.imageSha256 } : {}),
      })),
      ...(position ? { position } : {}),
      ...(accepted ? { accepted } : {}),
    }
  })
}
