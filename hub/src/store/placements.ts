import { hash } from 'node:crypto'
import { type ObjectOf, PLACEMENT_LABEL, type PlacementDecisionStatus } from '@skerry/api'
import type { AddOnScores, FleetFacts } from '@skerry/policy'
import { listObjects } from './resources.ts'
import type { Reader } from './store.ts'

/** Everything a placement is judged by, for whoever asks why, and the slices that its decisions are from. */
export async function loadFleetFacts(
  tx: Reader,
): Promise<{ readonly facts: FleetFacts; readonly slices: readonly ObjectOf<'PlacementDecision'>[] }> {
  const slices = await listObjects(tx, 'PlacementDecision')
  const scores = await listObjects(tx, 'AddOnPlacementScore')
  const facts = {
    sets: await listObjects(tx, 'ManagedClusterSet'),
    bindings: await listObjects(tx, 'ManagedClusterSetBinding'),
    clusters: await listObjects(tx, 'ManagedCluster'),
    decisions: slices.flatMap(({ metadata, status }) =>
      (status?.decisions ?? []).map(({ clusterName }) => ({
        namespace: metadata.namespace ?? '',
        placement: metadata.labels?.[PLACEMENT_LABEL] ?? '',
        cluster: clusterName,
      })),
    ),
    scores: scores.map(scoresIn),
  }
  return { facts, slices }
}

/** The scores of one cluster, as placements are ranked by them. */
export function scoresIn({ metadata: { name, namespace = '' }, status }: ObjectOf<'AddOnPlacementScore'>): AddOnScores {
  return { namespace, name, validUntil: status?.validUntil ?? undefined, scores: status?.scores ?? [] }
}

/** A slice, as far as somebody has to remember it: a fleet's decisions are more than its clusters. */
export type StoredSlice = {
  readonly namespace: string
  readonly name: string
  readonly resourceVersion: string
  readonly placement: string
  /** The uid of the placement that it was made for. */
  readonly owner: string
  readonly clusters: readonly string[]
  readonly digest: string
}

/** `share`: gives equal names back as one. */
export function storedSlice(share: (name: string) => string): (slice: ObjectOf<'PlacementDecision'>) => StoredSlice {
  return ({ metadata: { namespace = '', name, resourceVersion, labels = {}, ownerReferences }, status }) => {
    const decisions = status?.decisions ?? []
    return {
      ...{ namespace, name, resourceVersion },
      placement: share(labels[PLACEMENT_LABEL] ?? ''),
      owner: share(ownerReferences?.[0]?.uid ?? ''),
      clusters: decisions.map(({ clusterName }) => share(clusterName)),
      digest: sliceDigest(labels, decisions),
    }
  }
}

/** Of all that is decided in a slice: its labels and its decisions, one by one. */
export function sliceDigest(
  labels: Readonly<Record<string, string>>,
  decisions: Readonly<NonNullable<PlacementDecisionStatus['decisions']>>,
): string {
  const said = [
    Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    decisions.map(({ clusterName, reason, score }) => [clusterName, reason, score]),
  ]
  return hash('sha256', JSON.stringify(said), 'base64')
}
