import type { IntOrPercent, OfflinePolicy, RolloutSpec } from '@skerry/api'
import { durationMs } from '../duration.ts'

// OCM's RolloutStrategy worked out: durations, sizes, and the stages that the groups of a placement go through.

/** A strategy's durations worked out, in ms; an undefined deadline is none. */
export type Durations = { readonly soakMs: number; readonly deadlineMs: number | undefined }
/** Sizes worked out for so many clusters. `maxFailures` of a strategy that tolerates them all is infinite. */
export type Sizes = { readonly maxConcurrency: number; readonly maxFailures: number }

/** A group of a placement's decisions. */
export type Group = { readonly index: number; readonly name: string }

/** Groups that get the image together, once those of the stages before them are through. */
export type Stage = {
  readonly groups: readonly Group[]
  /** No failure is tolerated. */
  readonly isMandatory: boolean
  /** For so many clusters of these groups, and so many of the rollout. */
  readonly sizesOf: (ofStage: number, ofAll: number) => Sizes
}

/** Whether OCM's rules alone say who is next, gaps and defects included. */
export function goesAsOcm({ semantics }: Pick<RolloutSpec, 'semantics'>): boolean {
  return semantics === 'OCM'
}

/** OCM's durations. All knows no soak. */
export function durationsOf({ strategy }: RolloutSpec): Durations {
  switch (strategy?.type ?? 'All') {
    case 'All':
      return { soakMs: 0, deadlineMs: durationMs(strategy?.all?.progressDeadline) }
    case 'Progressive':
      return limited(strategy?.progressive)
    case 'ProgressivePerGroup':
      return limited(strategy?.progressivePerGroup)
    default: {
      const never: never = strategy?.type as never
      return never
    }
  }
}

function limited(given: { minSuccessTime?: string; progressDeadline?: string } = {}): Durations {
  return { soakMs: durationMs(given.minSuccessTime) ?? 0, deadlineMs: durationMs(given.progressDeadline) }
}

/**
 * OCM's strategies as stages: mandatory groups one by one, then all the rest at once, or group by group. OCM tells the
 * groups of a stage by their index, whatever the order they are listed in.
 */
export function stagesOf(spec: RolloutSpec, groups: readonly Group[]): Stage[] {
  const { strategy } = spec
  const budgetOf = (value: IntOrPercent | undefined, total: number) =>
    goesAsOcm(spec) && sizeBeyond(value, total) > total ? 0 : sizeOf(value, total)
  const ordered = groups.toSorted((a, b) => a.index - b.index)
  if ((strategy?.type ?? 'All') === 'All')
    return [
      {
        groups: ordered,
        isMandatory: false,
        sizesOf: (n) => ({ maxConcurrency: n, maxFailures: Number.POSITIVE_INFINITY }),
      },
    ]
  const { mandatoryDecisionGroups: wanted = [] } =
    (strategy?.type === 'Progressive' ? strategy.progressive : strategy?.progressivePerGroup) ?? {}
  const isWanted = (group: Group) => wanted.some((one) => names(one, group))
  const first = ordered.filter(isWanted).map((group) => ({
    groups: [group],
    isMandatory: true,
    sizesOf: (n: number) => ({ maxConcurrency: n, maxFailures: 0 }),
  }))
  const rest = ordered.filter((group) => !isWanted(group))
  if (strategy?.type === 'Progressive') {
    const { maxConcurrency, maxFailures } = strategy.progressive ?? {}
    const sizes = (ofStage: number, ofAll: number): Sizes => ({
      maxConcurrency: sizeOf(maxConcurrency, ofStage) || ofStage,
      maxFailures: budgetOf(maxFailures, ofAll),
    })
    return rest.length === 0 && first.length > 0
      ? first
      : [...first, { groups: rest, isMandatory: false, sizesOf: sizes }]
  }
  const maxFailures = strategy?.progressivePerGroup?.maxFailures
  return [
    ...first,
    ...rest.map((group) => ({
      groups: [group],
      isMandatory: false,
      sizesOf: (n: number) => ({ maxConcurrency: n, maxFailures: budgetOf(maxFailures, n) }),
    })),
  ]
}

/** OCM's way to name groups: all of a name, else the one of an index. */
export function names(
  { groupName, groupIndex }: { groupName?: string; groupIndex?: number },
  { index, name }: Group,
): boolean {
  return groupName === undefined || groupName === '' ? groupIndex === index : groupName === name
}

/** What becomes of sites of this group that are out of reach. */
export function offlinePolicyOf(spec: RolloutSpec, group: Group, isMandatory: boolean): OfflinePolicy {
  const own = spec.groupOfflinePolicies?.find((one) => names(one, group))
  return own?.offlinePolicy ?? spec.offlinePolicy ?? (isMandatory ? 'Wait' : 'Skip')
}

const DAY_MS = 86_400_000

/** How long a site whose turn it is may be out of reach before that is a failure, where it is one. */
export function offlineAfterMs({ offlineAfter }: RolloutSpec): number {
  return offlineAfter === undefined ? DAY_MS : (durationMs(offlineAfter) ?? Number.POSITIVE_INFINITY)
}

/** How many of so many sites may catch up at once, and within how long they are spread. */
export function catchUpOf({ catchUp }: RolloutSpec, total: number): { maxConcurrency: number; jitterMs: number } {
  return {
    maxConcurrency: Math.max(1, sizeOf(catchUp?.maxConcurrency ?? '10%', total)),
    jitterMs: durationMs(catchUp?.jitter ?? '1m') ?? 0,
  }
}

/** 0, 0% and none at all are no limit on concurrency, as in OCM. Asked of a strategy that could have one. */
export function isUnlimited({ strategy }: RolloutSpec): boolean {
  return strategy?.type === 'Progressive' && sizeOf(strategy.progressive?.maxConcurrency, 100) === 0
}

/** OCM's sizes, but that one beyond the fleet is the fleet, where OCM makes it 0. */
function sizeOf(value: IntOrPercent | undefined, total: number): number {
  return Math.min(sizeBeyond(value, total), total)
}

function sizeBeyond(value: IntOrPercent | undefined, total: number): number {
  if (value === undefined) return 0
  // The order of operations is OCM's: 7 / 100 * 100 is more than 7.
  return typeof value === 'number' ? value : Math.ceil((Number.parseInt(value, 10) / 100) * total)
}
