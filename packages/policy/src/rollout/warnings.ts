import type { ObjectOf } from '@skerry/api'

/** What a rollout names, as far as it is there when the rollout is written. */
export type References = {
  readonly placementExists: boolean
  /** undefined while there is no such OSImage. */
  readonly releaseCounter: number | undefined
  /** Whether a boot of the image can be measured, and so proven. */
  readonly bootMeasured: boolean
  /** Clusters that the placement selects now and that confirmed an image with a higher counter than that. */
  readonly above: readonly { readonly cluster: string; readonly releaseCounter: number }[]
}

/** Clusters that a sentence names; of more it says how many. */
const NAMED = 3

/** What a person who writes a rollout should know and may want: none of it keeps the rollout from being written. */
export function rolloutWarnings(
  { metadata, spec }: Pick<ObjectOf<'Rollout'>, 'spec'> & { metadata: { namespace?: string } },
  { placementExists, releaseCounter, bootMeasured, above }: References,
): string[] {
  const warnings: string[] = []
  if (!placementExists)
    warnings.push(
      `spec.placementRef.name: there is no Placement ${spec.placementRef.name} in namespace ${metadata.namespace} yet; the rollout waits for it`,
    )
  if (releaseCounter === undefined)
    warnings.push(
      `spec.image.name: there is no OSImage ${spec.image.name} yet; the rollout waits until it is published`,
    )
  else if (!bootMeasured && (spec.attestation ?? 'affirming') === 'affirming')
    warnings.push(
      `spec.attestation: affirming${spec.attestation === undefined ? ', the default,' : ''} asks for a boot that is proven, and nothing measures the boot of ${spec.image.name}: every site will refuse it; warning is what it can be`,
    )
  if (above.length > 0) {
    const named = above.slice(0, NAMED).map(({ cluster, releaseCounter: counter }) => `${cluster} (${counter})`)
    const more = above.length > NAMED ? ` and ${above.length - NAMED} more` : ''
    warnings.push(
      `spec.image.name: the release counter of ${spec.image.name} is ${releaseCounter}, and a site takes none below the one it confirmed: ${named.join(', ')}${more} will refuse it`,
    )
  }
  return warnings
}
