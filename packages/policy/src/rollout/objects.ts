import { DECISION_GROUP_INDEX_LABEL, DECISION_GROUP_NAME_LABEL, type ObjectOf } from '@skerry/api'
import type { RolloutFacts } from './facts.ts'
import type { Image } from './roll-back.ts'

// Objects of the API as facts.

/** Whom a placement selects, by its groups, lowest index first; or why there is nobody to tell. `slices`: its decisions. */
export function decidedBy(
  placement: ObjectOf<'Placement'> | undefined,
  slices: readonly ObjectOf<'PlacementDecision'>[],
): RolloutFacts['decided'] {
  if (!placement) return 'Missing'
  if (placement.status?.observedGeneration !== placement.metadata.generation) return 'Undecided'
  const groups = new Map<number, { name: string; clusters: string[] }>()
  for (const { metadata, status } of slices) {
    const { [DECISION_GROUP_INDEX_LABEL]: index = '0', [DECISION_GROUP_NAME_LABEL]: name = '' } = metadata.labels ?? {}
    const group = groups.get(Number(index)) ?? { name, clusters: [] }
    for (const { clusterName } of status?.decisions ?? []) group.clusters.push(clusterName)
    groups.set(Number(index), group)
  }
  return [...groups].map(([index, group]) => ({ index, ...group })).toSorted((a, b) => a.index - b.index)
}

/** What a rollout must know of an image. */
export function imageFacts({ spec }: ObjectOf<'OSImage'>): Image {
  const { target, manifestSha256, image, releaseCounter, version } = spec
  return { target, manifestSha256, imageSha256: image.sha256, releaseCounter, version }
}
