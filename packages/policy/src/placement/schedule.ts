import type { Condition, ObjectOf } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { type Decided, type Decision, decide, VERDICTS } from './decide.ts'
import type { Fleet } from './fleet.ts'
import { cutSlices, type Group } from './groups.ts'

// What is done with OCM's answer. Differs on purpose: the last good decisions are kept when the placement is wrong.

/** A PlacementDecision as it is stored. */
type Slice = {
  readonly name: string
  readonly groupName: string
  readonly groupIndex: number
  /** With a score where scores decided: where a number of clusters is wanted. */
  readonly decisions: readonly { clusterName: string; reason: string; score?: number }[]
}

type Conditions = readonly Omit<Condition, 'lastTransitionTime'>[]

export type PlacementOutcome =
  /** Nothing is stored. */
  | ({ readonly kind: 'Skipped' } & Stored)
  /** The stored decisions stay, but for clusters that are gone or going. */
  | ({ readonly kind: 'Frozen'; readonly message: string } & Stored)
  | ({ readonly kind: 'Decided'; readonly found: Decided } & Stored)

type Stored = {
  /** What is selected from now on, by name. */
  readonly selected: readonly string[]
  readonly unscheduled: number
  /** Of what was decided; empty otherwise. */
  readonly groups: readonly Group[]
  readonly slices: readonly Slice[]
  readonly conditions: Conditions
  readonly recheckAtMs?: number
}

const NOTHING = { selected: [], unscheduled: 0, groups: [], slices: [], conditions: [] }

/** Decides one placement. */
export function schedule(fleet: Fleet, placement: ObjectOf<'Placement'>, nowMs: number): PlacementOutcome {
  return outcomeOf(fleet, placement, decide(fleet, placement, nowMs))
}

/** What is to be done with what was decided over this fleet. */
export function outcomeOf(fleet: Fleet, placement: ObjectOf<'Placement'>, found: Decision): PlacementOutcome {
  if (found.kind === 'Skipped') return { kind: 'Skipped', ...NOTHING }
  if (found.kind === 'Error') return frozen(fleet, placement, 'EvaluationError', found.message)
  if (found.status === 'Misconfigured') return frozen(fleet, placement, 'Misconfigured', found.message)
  const { unscheduled, recheckAtMs, scoresEndAtMs } = found
  const groups = found.groups.map(({ members, ...group }) => ({
    ...group,
    clusters: members.map((slot) => fleet.nameOf(slot)),
  }))
  // Where all are taken, scores decided nothing, and what they are changes with every decision of others.
  const totals = found.isByTotal ? found.ranking().totals : undefined
  const scoreOf = (name: string) => (totals === undefined ? {} : { score: totals[fleet.slotOf(name) ?? -1] ?? 0 })
  // Also when a score ends: nothing goes stale in silence.
  const recheck = [recheckAtMs, scoresEndAtMs].filter((one) => one !== undefined)
  return {
    kind: 'Decided',
    found,
    selected: groups.flatMap(({ clusters }) => clusters).toSorted(byCodeUnit),
    unscheduled,
    groups,
    slices: cutSlices(placement.metadata.name, groups).map(({ clusters, ...slice }) => ({
      ...slice,
      decisions: clusters.map((clusterName) => ({ clusterName, reason: 'Selected', ...scoreOf(clusterName) })),
    })),
    conditions: [satisfied(found), WELL_CONFIGURED],
    ...(recheck.length === 0 ? {} : { recheckAtMs: Math.min(...recheck) }),
  }
}

export const WELL_CONFIGURED: Omit<Condition, 'lastTransitionTime'> = {
  type: 'PlacementMisconfigured',
  status: 'False',
  reason: 'Succeedconfigured',
  message: 'Placement configurations check pass',
}

// OCM's condition, and why the others are not selected: those that no predicate takes, and those that a taint keeps out.
function satisfied({ satisfied, verdicts }: Decided): Omit<Condition, 'lastTransitionTime'> {
  if (satisfied.reason !== 'NoManagedClusterMatched' && satisfied.reason !== 'NotAllDecisionsScheduled')
    return satisfied
  const counts = new Map<string, number>()
  for (const number of verdicts) {
    const verdict = VERDICTS[number] ?? 'Unknown'
    if (verdict !== 'Unknown' && verdict !== 'Selected') counts.set(verdict, (counts.get(verdict) ?? 0) + 1)
  }
  if (counts.size === 0) return satisfied
  const list = [...counts].toSorted(([a], [b]) => byCodeUnit(a, b)).map(([verdict, count]) => `${verdict}: ${count}`)
  return { ...satisfied, message: `${satisfied.message} (${list.join(', ')})` }
}

// An error or a misconfiguration changes no decision; the conditions say what is wrong and which generation is in
// force. Frozen is not immortal: a cluster that is gone, or being deleted, leaves.
function frozen(
  fleet: Fleet,
  { metadata: { namespace = '', name }, status }: ObjectOf<'Placement'>,
  reason: 'Misconfigured' | 'EvaluationError',
  message: string,
): PlacementOutcome {
  const good = status?.conditions?.find(({ type }) => type === 'PlacementSatisfied')?.observedGeneration
  const force = good === undefined ? 'there is no good evaluation yet' : `the decisions of generation ${good} stay`
  const stay = [...new Set(fleet.decidedBy(namespace, name))].filter(
    (slot) => fleet.present[slot] === 1 && fleet.deleting[slot] === 0,
  )
  return {
    kind: 'Frozen',
    message,
    ...NOTHING,
    selected: stay.map((slot) => fleet.nameOf(slot)).toSorted(byCodeUnit),
    conditions: [
      reason === 'Misconfigured'
        ? { type: 'PlacementMisconfigured', status: 'True', reason, message }
        : WELL_CONFIGURED,
      { type: 'DecisionsFrozen', status: 'True', reason, message: `${force}: ${message}` },
    ],
  }
}
