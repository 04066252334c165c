import { DECISION_GROUP_INDEX_LABEL, DECISION_GROUP_NAME_LABEL, type ObjectOf } from '@skerry/api'
import { durationMs } from '../duration.ts'
import { byCodeUnit } from '../order.ts'
import type { PlacementOutcome } from './schedule.ts'

// scoreRateLimit: scores move all the time, and what is stored of them follows at most once in that time, as long as
// nothing but scores changed. Who is selected is never late.

type Decision = PlacementOutcome['slices'][number]['decisions'][number]
type Stored = readonly ObjectOf<'PlacementDecision'>[]

const DEFAULT_LIMIT = '1m'

/** The outcome with the scores, and the order by them, that are `stored`, as long as these may not follow. */
export function paced(
  outcome: PlacementOutcome,
  { metadata, spec, status }: ObjectOf<'Placement'>,
  stored: Stored,
  nowMs: number,
): PlacementOutcome {
  const lastMs = Date.parse(status?.lastScoreUpdateTime ?? '')
  const untilMs = lastMs + (durationMs(spec.scoreRateLimit ?? DEFAULT_LIMIT) ?? 0)
  // What an edit changed is no matter of scores alone.
  if (outcome.kind !== 'Decided' || status?.observedGeneration !== metadata.generation) return outcome
  if (!(nowMs < untilMs) || !scoresMoved(outcome.slices, stored) || !isOtherwiseStored(outcome, stored)) return outcome
  const decisionsOf = new Map(stored.map((slice) => [slice.metadata.name, slice.status?.decisions ?? []]))
  const slices = outcome.slices.map((slice) => ({ ...slice, decisions: decisionsOf.get(slice.name) ?? [] }))
  const groups = outcome.groups.map((group) => {
    const own = slices.filter(({ groupIndex }) => groupIndex === group.index)
    return { ...group, clusters: own.flatMap(({ decisions }) => decisions.map(({ clusterName }) => clusterName)) }
  })
  return { ...outcome, groups, slices, recheckAtMs: Math.min(outcome.recheckAtMs ?? untilMs, untilMs) }
}

/** Whether scores, or the order of decisions, are others than those that are stored. */
export function scoresMoved(slices: PlacementOutcome['slices'], stored: Stored): boolean {
  const text = (decisions: readonly Decision[]) => JSON.stringify(decisions.map((one) => [one.clusterName, one.score]))
  const before = new Map(stored.map(({ metadata, status }) => [metadata.name, text(status?.decisions ?? [])]))
  return slices.some(({ name, decisions }) => before.get(name) !== text(decisions))
}

// Whether slices and groups are the stored ones, and each group's name stands for the same clusters as before.
function isOtherwiseStored({ slices }: PlacementOutcome, stored: Stored): boolean {
  const shape = (name: string, group = '', index = '', decisions: readonly Decision[] = []) =>
    JSON.stringify([name, group, index, decisions.length])
  const wanted = slices.map((one) => shape(one.name, one.groupName, String(one.groupIndex), one.decisions))
  const held = stored.map(({ metadata: { name, labels = {} }, status }) =>
    shape(name, labels[DECISION_GROUP_NAME_LABEL], labels[DECISION_GROUP_INDEX_LABEL], status?.decisions),
  )
  if (wanted.toSorted(byCodeUnit).join() !== held.toSorted(byCodeUnit).join()) return false
  const members = (all: readonly (readonly [string, readonly Decision[]])[]) =>
    all
      .flatMap(([group, decisions]) => decisions.map(({ clusterName }) => `${group}/${clusterName}`))
      .toSorted(byCodeUnit)
      .join()
  return (
    members(slices.map((one) => [one.groupName, one.decisions])) ===
    members(stored.map((one) => [one.metadata.labels?.[DECISION_GROUP_NAME_LABEL] ?? '', one.status?.decisions ?? []]))
  )
}
