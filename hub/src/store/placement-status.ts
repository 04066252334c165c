import type { ObjectOf, PlacementStatus } from '@skerry/api'
import { type PlacementOutcome, scoresMoved, setCondition } from '@skerry/policy'

// The status that a placement has after a look: what the controller stores, and what a dry run answers.

type StoredSlices = readonly ObjectOf<'PlacementDecision'>[]

/** Conditions that are there while they are true. */
export const PASSING: ReadonlySet<string> = new Set(['DecisionsFrozen', 'RemovalHeld'])

/** `stored`: the slices that are there, as far as what becomes of the outcome depends on them. */
export function decidedStatus(
  current: ObjectOf<'Placement'>,
  stored: StoredSlices,
  outcome: Exclude<PlacementOutcome, { kind: 'Skipped' }>,
  nowMs: number,
): PlacementStatus {
  const observedGeneration = current.metadata.generation
  const told = new Set(outcome.conditions.map(({ type }) => type))
  let conditions = (current.status?.conditions ?? []).filter(({ type }) => told.has(type) || !PASSING.has(type))
  for (const condition of outcome.conditions)
    conditions = setCondition(conditions, { ...condition, observedGeneration }, nowMs)
  const { heldRemoval: _, recentRemovals: __, ...before } = current.status ?? {}
  const decided =
    outcome.kind === 'Decided'
      ? {
          numberOfSelectedClusters: outcome.selected.length,
          decisionGroups: groupsOf(outcome),
          ...scoredAt(current, stored, outcome, nowMs),
        }
      : {
          ...before,
          ...(before.decisionGroups ? counted(before, stored, outcome) : {}),
        }
  const heldRemoval = outcome.heldRemoval ? { heldRemoval: outcome.heldRemoval } : {}
  const { recentRemovals } = outcome
  const recent = recentRemovals.length > 0 ? { recentRemovals } : {}
  return { ...decided, ...heldRemoval, ...recent, observedGeneration, conditions }
}

// When stored scores, or the order by them, last changed; nothing where none are stored and nothing stands by them.
function scoredAt(
  { spec, status }: ObjectOf<'Placement'>,
  stored: StoredSlices,
  { slices }: PlacementOutcome,
  nowMs: number,
): Pick<PlacementStatus, 'lastScoreUpdateTime'> {
  const isScored =
    spec.sortBy === 'Score' || slices.some(({ decisions }) => decisions.some(({ score }) => score !== undefined))
  if (!isScored || slices.every(({ decisions }) => decisions.length === 0)) return {}
  const before = scoresMoved(slices, stored) ? undefined : status?.lastScoreUpdateTime
  return { lastScoreUpdateTime: before ?? new Date(nowMs).toISOString() }
}

/** The groups of what was decided, as they are stored. */
export function groupsOf({ groups, slices }: PlacementOutcome): NonNullable<PlacementStatus['decisionGroups']> {
  return groups.map(({ index, name, clusters }) => ({
    decisionGroupIndex: index,
    decisionGroupName: name,
    decisions: slices.filter(({ groupIndex }) => groupIndex === index).map((slice) => slice.name),
    clusterCount: clusters.length,
  }))
}

// Of groups that are kept, those clusters that stay.
function counted(
  { decisionGroups = [] }: PlacementStatus,
  stored: StoredSlices,
  { selected }: PlacementOutcome,
): PlacementStatus {
  const stay = new Set(selected)
  const counts = new Map(
    stored.map(({ metadata, status }) => [
      metadata.name,
      (status?.decisions ?? []).filter(({ clusterName }) => stay.has(clusterName)).length,
    ]),
  )
  return {
    numberOfSelectedClusters: selected.length,
    decisionGroups: decisionGroups.map((group) => ({
      ...group,
      clusterCount: group.decisions.reduce((sum, slice) => sum + (counts.get(slice) ?? 0), 0),
    })),
  }
}
