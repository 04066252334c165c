import type { RolloutCluster, RolloutSpec, RolloutStatus } from '@skerry/api'
import { type Groups, groupName } from './groups.ts'
import { iso, type Placed } from './rows.ts'
import { FAILURES, FINISHED } from './states.ts'
import { type Group, offlinePolicyOf, type Sizes, type Stage, stagesOf } from './strategy.ts'

// How far a rollout has come through its stages. A stage has its turn once those before it are through, and is through for
// good: who returns to it later catches up.

/** A stage and who is in it. */
export type Staged = Stage &
  Sizes & {
    readonly members: readonly Placed[]
    /** Also of those that the placement dropped since: a budget never grows. */
    readonly failed: readonly { readonly reason: string }[]
    readonly isExceeded: boolean
  }

export type Standing = {
  readonly stages: readonly Staged[]
  /** Whose turn it is; undefined once every stage is through. */
  readonly current: Staged | undefined
  /** Groups that have their turn or had it. */
  readonly opened: ReadonlySet<number>
  /** Groups that are through. */
  readonly passed: ReadonlySet<number>
}

/** Who is in each stage, by the groups that are fixed. `all` are as many as were attempted. */
export function stagedOf(
  spec: RolloutSpec,
  groups: Groups,
  placed: readonly Placed[],
  dropped: readonly RolloutCluster[],
): Staged[] {
  const all = placed.filter(isAttempted).length
  return stagesOf(spec, groups.all).map((stage) => {
    const isOf = new Set(stage.groups.map(({ index }) => index))
    const members = placed.filter(({ group }) => isOf.has(group))
    const lost = dropped.filter(({ name, state }) => FAILURES.has(state) && isOf.has(groups.of(name)))
    // Every failure is counted before anybody is sent anything.
    const failed = [...members.filter(({ state }) => FAILURES.has(state)), ...lost]
    const sizes = stage.sizesOf(members.filter(isAttempted).length, all)
    return { ...stage, ...sizes, members, failed, isExceeded: failed.length > sizes.maxFailures }
  })
}

/** Who is out of reach, or another rollout's, is in no denominator. */
export function isAttempted({ state }: Placed): boolean {
  return state !== 'Offline' && state !== 'Removed'
}

/** Goes from stage to stage as far as they are through; while the rollout is stopped none has its turn that had it not. */
export function standingOf(
  spec: RolloutSpec,
  groups: Groups,
  stages: readonly Staged[],
  isStopped: boolean,
  wasCompleted: boolean,
): Standing {
  const had = (what: 'openedAt' | 'passedAt') =>
    new Set([...groups.told.values()].flatMap((told) => (told[what] === undefined ? [] : [told.index])))
  const [opened, passed] = [had('openedAt'), had('passedAt')]
  let current: Staged | undefined
  for (const stage of stages) {
    const indices = stage.groups.map(({ index }) => index)
    if (wasCompleted) for (const index of indices) passed.add(index)
    if (indices.every((index) => passed.has(index))) continue
    // Nobody is in it: it holds up nobody, and has had no turn.
    if (stage.members.every(({ state }) => state === 'Removed')) continue
    current = stage
    if (isStopped) break
    for (const index of indices) opened.add(index)
    if (!isThrough(stage, spec)) break
    for (const index of indices) passed.add(index)
    current = undefined
  }
  return { stages, current, opened, passed }
}

/** Nothing is under way or to come there but from who is out of reach and skipped, and it has shown at least one success. */
function isThrough({ members, isMandatory, groups, isExceeded }: Staged, spec: RolloutSpec): boolean {
  if (isExceeded) return false
  const byIndex = new Map(groups.map((group) => [group.index, group]))
  const skips = (index: number) => {
    const group = byIndex.get(index)
    return group !== undefined && offlinePolicyOf(spec, group, isMandatory) === 'Skip'
  }
  if (!members.every(({ state, group }) => FINISHED.has(state) || (state === 'Offline' && skips(group)))) return false
  return members.some(({ state }) => state === 'Succeeded')
}

/** What is stored of the groups. */
export function groupsTold(
  groups: Groups,
  { stages, opened, passed }: Standing,
  nowMs: number,
): RolloutStatus['groups'] {
  const counts = new Map<number, { total: number; succeeded: number; failed: number }>()
  for (const { members } of stages)
    for (const { group, state } of members) {
      const { total, succeeded, failed } = counts.get(group) ?? { total: 0, succeeded: 0, failed: 0 }
      counts.set(group, {
        total: total + 1,
        succeeded: succeeded + (state === 'Succeeded' ? 1 : 0),
        failed: failed + (FAILURES.has(state) ? 1 : 0),
      })
    }
  return groups.all
    .toSorted((a, b) => a.index - b.index)
    .map(({ index, name }) => {
      const told = groups.told.get(index)
      return {
        index,
        name,
        ...(opened.has(index) ? { openedAt: told?.openedAt ?? iso(nowMs) } : {}),
        ...(passed.has(index) ? { passedAt: told?.passedAt ?? iso(nowMs) } : {}),
        ...(counts.get(index) ?? { total: 0, succeeded: 0, failed: 0 }),
      }
    })
}

/** How a stage is called in sentences. */
export function stageName({ groups }: { readonly groups: readonly Group[] }): string {
  const [only, ...more] = groups
  return only && more.length === 0 ? groupName(only) : `groups ${groups.map(({ index }) => index).join(', ')}`
}
