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
    /** More failed than is tolerated, and not all of it was there when a person let the rollout go on as it was. */
    readonly isExceeded: boolean
  }

/** Where people must approve before the rollout goes on. `before`: the stage that waits; none of it at the end. */
export type Gate = {
  readonly name: string
  readonly before: Staged | undefined
  readonly needed: number
  readonly given: number
  readonly recheckAtMs?: number
}
/** What people have approved at a gate. */
export type Asks = (gate: string) => Omit<Gate, 'name' | 'before'>

export type Standing = {
  readonly stages: readonly Staged[]
  /** Whose turn it is; undefined at a gate, and once every stage is through. */
  readonly current: Staged | undefined
  /** Closed: what comes next waits for people. */
  readonly gate: Gate | undefined
  /** Groups that have their turn or had it. */
  readonly opened: ReadonlySet<number>
  /** Groups that are through. */
  readonly passed: ReadonlySet<number>
}

/** Who is in each stage, by the groups that are fixed. What had failed by `acceptedMs` a person has let pass. */
export function stagedOf(
  spec: RolloutSpec,
  groups: Groups,
  placed: readonly Placed[],
  dropped: readonly RolloutCluster[],
  acceptedMs: number,
): Staged[] {
  const all = placed.filter(isAttempted).length
  return stagesOf(spec, groups.all).map((stage) => {
    const isOf = new Set(stage.groups.map(({ index }) => index))
    const members = placed.filter(({ group }) => isOf.has(group))
    const lost = dropped.filter(({ name, state }) => FAILURES.has(state) && isOf.has(groups.of(name)))
    // Every failure is counted before anybody is sent anything.
    const failing = members.filter(({ state }) => FAILURES.has(state))
    const failed = [...failing, ...lost]
    const sizes = stage.sizesOf(members.filter(isAttempted).length, all)
    const isNew =
      failing.some(({ failedAtMs = acceptedMs }) => failedAtMs > acceptedMs) ||
      lost.some(({ since }) => Date.parse(since) > acceptedMs)
    return { ...stage, ...sizes, members, failed, isExceeded: failed.length > sizes.maxFailures && isNew }
  })
}

/** Who is out of reach, or another rollout's, is in no denominator. */
export function isAttempted({ state }: Pick<Placed, 'state'>): boolean {
  return state !== 'Offline' && state !== 'Removed'
}

/**
 * Goes from stage to stage as far as they are through and people have approved; while the rollout is stopped none has its
 * turn that had it not. An approval that ends closes no gate that was passed.
 */
export function standingOf(
  spec: RolloutSpec,
  groups: Groups,
  stages: readonly Staged[],
  asks: Asks,
  isStopped: boolean,
  wasCompleted: boolean,
): Standing {
  const had = (what: 'openedAt' | 'passedAt') =>
    new Set([...groups.told.values()].flatMap((told) => (told[what] === undefined ? [] : [told.index])))
  const [opened, passed] = [had('openedAt'), had('passedAt')]
  let current: Staged | undefined
  let gate: Gate | undefined
  for (const stage of stages) {
    const indices = stage.groups.map(({ index }) => index)
    if (wasCompleted) for (const index of indices) passed.add(index)
    if (indices.every((index) => passed.has(index))) continue
    // Nobody is in it: it holds up nobody, and has had no turn.
    if (stage.members.every(({ state }) => state === 'Removed')) continue
    if (!indices.some((index) => opened.has(index))) {
      // Whichever stage has the first turn: those before it may have nobody.
      gate = closed(gateName(stage, opened.size === 0), stage, asks)
      if (gate) break
    }
    current = stage
    if (isStopped) break
    for (const index of indices) opened.add(index)
    if (!isThrough(stage, spec)) break
    for (const index of indices) passed.add(index)
    current = undefined
  }
  const isOver = !current && !gate && passed.size > 0
  if (isOver && !wasCompleted) gate = closed('Completion', undefined, asks)
  return { stages, current, gate, opened, passed }
}

/** The gate before a stage: that of the first turn of all is Start. */
export function gateName({ groups }: Pick<Stage, 'groups'>, isFirst: boolean): string {
  return isFirst ? 'Start' : `Group/${Math.min(...groups.map(({ index }) => index))}`
}

function closed(name: string, before: Staged | undefined, asks: Asks): Gate | undefined {
  const asked = asks(name)
  return asked.given < asked.needed ? { name, before, ...asked } : undefined
}

/** Nothing is under way or to come there but from who is out of reach and skipped, and it has shown at least one success. */
function isThrough({ members, isMandatory, groups }: Staged, spec: RolloutSpec): boolean {
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
