import { type ObjectOf, PLACEMENT_LABEL } from '@skerry/api'
import type { FleetFacts } from '@skerry/policy'
import { listObjects } from './resources.ts'
import type { Reader } from './store.ts'

/** Everything a placement is judged by: the same for the controller that decides and for whoever asks why. */
export type PlacementFacts = FleetFacts & {
  readonly placements: readonly ObjectOf<'Placement'>[]
  readonly slices: readonly ObjectOf<'PlacementDecision'>[]
}

/** `clusters`: all of them, where they were read already. */
export async function loadPlacementFacts(
  tx: Reader,
  clusters?: readonly ObjectOf<'ManagedCluster'>[],
): Promise<PlacementFacts> {
  const slices = await listObjects(tx, 'PlacementDecision')
  const scores = await listObjects(tx, 'AddOnPlacementScore')
  return {
    placements: await listObjects(tx, 'Placement'),
    sets: await listObjects(tx, 'ManagedClusterSet'),
    bindings: await listObjects(tx, 'ManagedClusterSetBinding'),
    clusters: clusters ?? (await listObjects(tx, 'ManagedCluster')),
    slices,
    decisions: slices.flatMap(({ metadata, status }) =>
      (status?.decisions ?? []).map(({ clusterName }) => ({
        namespace: metadata.namespace ?? '',
        placement: metadata.labels?.[PLACEMENT_LABEL] ?? '',
        cluster: clusterName,
      })),
    ),
    scores: scores.map(({ metadata: { name, namespace = '' }, status }) => ({
      namespace,
      name,
      validUntil: status?.validUntil ?? undefined,
      scores: status?.scores ?? [],
    })),
  }
}

/** The stored slices of a placement. */
export function slicesOf(
  { slices }: Pick<PlacementFacts, 'slices'>,
  { metadata }: ObjectOf<'Placement'>,
): ObjectOf<'PlacementDecision'>[] {
  return slices.filter(
    (slice) =>
      slice.metadata.namespace === metadata.namespace && slice.metadata.labels?.[PLACEMENT_LABEL] === metadata.name,
  )
}
