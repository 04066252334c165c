import type { ObjectOf } from '@skerry/api'
import { firstOf } from '../words.ts'
import { type Group, names } from './strategy.ts'

/** What a rollout names, as far as it is there when the rollout is written. */
export type References = {
  readonly placementExists: boolean
  /** The groups that the placement has decided; undefined while it has not. */
  readonly groups: readonly Group[] | undefined
  /** undefined while there is no such OSImage. */
  readonly releaseCounter: number | undefined
  /** Whether a boot of the image can be measured, and so proven. */
  readonly bootMeasured: boolean
  /** Clusters that the placement selects now and that confirmed an image with a higher counter than that. */
  readonly above: readonly { readonly cluster: string; readonly releaseCounter: number }[]
}

/** Clusters that a sentence names. */
const NAMED = 3

/** What a person who writes a rollout should know and may want: none of it keeps the rollout from being written. */
export function rolloutWarnings(
  { metadata, spec }: Pick<ObjectOf<'Rollout'>, 'spec'> & { metadata: { namespace?: string } },
  { placementExists, groups, releaseCounter, bootMeasured, above }: References,
): string[] {
  const warnings: string[] = []
  if (!placementExists)
    warnings.push(
      `spec.placementRef.name: there is no Placement ${spec.placementRef.name} in namespace ${metadata.namespace} yet; the rollout waits for it`,
    )
  warnings.push(...unused(spec), ...(groups ? unknownGroups(spec, groups) : []))
  if (releaseCounter === undefined)
    warnings.push(
      `spec.image.name: there is no OSImage ${spec.image.name} yet; the rollout waits until it is published`,
    )
  else if (!bootMeasured && (spec.attestation ?? 'affirming') === 'affirming')
    warnings.push(
      `spec.attestation: affirming${spec.attestation === undefined ? ', the default,' : ''} asks for a boot that is proven, and nothing measures the boot of ${spec.image.name}: every site will refuse it; warning is what it can be`,
    )
  if (above.length > 0) {
    const named = above.map(({ cluster, releaseCounter: counter }) => `${cluster} (${counter})`)
    warnings.push(
      `spec.image.name: the release counter of ${spec.image.name} is ${releaseCounter}, and a site takes none below the one it confirmed: ${firstOf(named, NAMED)} will refuse it`,
    )
  }
  return warnings
}

type Spec = ObjectOf<'Rollout'>['spec']

// Limits of a type that the strategy is not of limit nothing.
function unused({ strategy }: Spec): string[] {
  const type = strategy?.type ?? 'All'
  const blocks = { all: 'All', progressive: 'Progressive', progressivePerGroup: 'ProgressivePerGroup' } as const
  return Object.entries(blocks).flatMap(([name, of]) =>
    strategy?.[name as keyof typeof blocks] === undefined || of === type
      ? []
      : [`spec.strategy.${name}: counts for nothing, because the type of the strategy is ${type}`],
  )
}

// OCM ignores a group that is not there, and so a canary that is misspelt is none.
function unknownGroups(
  { strategy, groupOfflinePolicies = [], placementRef }: Spec,
  groups: readonly Group[],
): string[] {
  const block = strategy?.type === 'Progressive' ? 'progressive' : 'progressivePerGroup'
  const mandatory = (strategy?.type ?? 'All') === 'All' ? [] : (strategy?.[block]?.mandatoryDecisionGroups ?? [])
  const known = groups.map(({ index, name }) => (name === '' ? `${index}` : `${index} (${name})`)).join(', ')
  return [
    ...mandatory.map((one, at) => ({ one, field: `spec.strategy.${block}.mandatoryDecisionGroups[${at}]` })),
    ...groupOfflinePolicies.map((one, at) => ({ one, field: `spec.groupOfflinePolicies[${at}]` })),
  ]
    .filter(({ one }) => !groups.some((group) => names(one, group)))
    .map(
      ({ field }) =>
        `${field}: counts for nothing, because Placement ${placementRef.name} has no such group; it has ${known || 'none'}`,
    )
}
