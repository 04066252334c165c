import type { RolloutCluster, RolloutStatus } from '@skerry/api'
import type { DecidedGroup } from './facts.ts'
import type { Group } from './strategy.ts'

type Told = NonNullable<RolloutStatus['groups']>[number]

/** The groups of a rollout, and whose each cluster is. */
export type Groups = {
  readonly all: readonly Group[]
  /** What was told of a group before. */
  readonly told: ReadonlyMap<number, Told>
  readonly of: (cluster: string) => number
}

/**
 * Groups are what the placement says until the first of them has its turn, and fixed from then on: one that moved behind
 * the stage under way would never have its turn, and one that moved before it would have it twice. Who joins later is of
 * the last group.
 */
export function groupsOf(
  decided: readonly DecidedGroup[],
  before: RolloutStatus | undefined,
  rows: ReadonlyMap<string, RolloutCluster>,
  areFixed: boolean,
): Groups {
  const told = new Map((before?.groups ?? []).map((group) => [group.index, group]))
  // Told once and kept: who was sent the image may be nobody any more.
  const begun = areFixed && [...told.values()].some(({ openedAt }) => openedAt !== undefined)
  const now = new Map(decided.flatMap(({ index, clusters }) => clusters.map((cluster) => [cluster, index])))
  if (begun) {
    const last = Math.max(...told.keys())
    const all = [...told.values()].map(({ index, name }) => ({ index, name }))
    return { all, told, of: (cluster) => rows.get(cluster)?.group ?? last }
  }
  const all = decided.map(({ index, name }) => ({ index, name }))
  // One that nobody is in: a rollout has a group even where its placement selects nobody.
  return {
    all: all.length > 0 ? all : [{ index: 0, name: '' }],
    told,
    of: (cluster) => now.get(cluster) ?? rows.get(cluster)?.group ?? 0,
  }
}

/** How a group is called in sentences. */
export function groupName({ index, name }: Group): string {
  return name === '' ? `group ${index}` : `group ${index} (${name})`
}
