import {
  type Condition,
  DECISION_REASONS_ANNOTATION,
  type ObjectOf,
  ON_MISCONFIGURATION_ANNOTATION,
  type PlacementStatus,
  STALE_SCORES_ANNOTATION,
} from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { type Decided, type Decision, decide } from './decide.ts'
import type { Fleet } from './fleet.ts'
import { cutSlices, type Group } from './groups.ts'
import {
  judgeRemoval,
  REMOVAL_GUARD,
  type Removal,
  type RemovalGuard,
  removalStatus,
  removalText,
  stillThere,
} from './guard.ts'
import { maskOf } from './masks.ts'
import { VERDICTS } from './verdicts.ts'

// What is done with OCM's answer. Differs on purpose: the last good decisions are kept when the placement is wrong, and when
// more of them would leave at once than may.

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
  /** The same; what was decided waits for an approval, because too many would leave. */
  | ({ readonly kind: 'Held'; readonly message: string; readonly found: Decided } & Stored)
  | ({ readonly kind: 'Decided'; readonly found: Decided } & Stored)

type Stored = {
  /** What is selected from now on, by name. */
  readonly selected: readonly string[]
  readonly unscheduled: number
  /** Of what was decided; empty otherwise. */
  readonly groups: readonly Group[]
  readonly slices: readonly Slice[]
  readonly conditions: Conditions
  readonly heldRemoval?: NonNullable<PlacementStatus['heldRemoval']>
  /** Who left within the guard's window without an approval, with those that leave now. */
  readonly recentRemovals: NonNullable<PlacementStatus['recentRemovals']>
  readonly recheckAtMs?: number
}

const NOTHING = { selected: [], unscheduled: 0, groups: [], slices: [], conditions: [], recentRemovals: [] }

/** Decides one placement. */
export function schedule(
  fleet: Fleet,
  placement: ObjectOf<'Placement'>,
  nowMs: number,
  guard: RemovalGuard = REMOVAL_GUARD,
): PlacementOutcome {
  return outcomeOf(fleet, placement, decide(fleet, placement, nowMs), nowMs, guard)
}

/** What is to be done with what was decided over this fleet. */
export function outcomeOf(
  fleet: Fleet,
  placement: ObjectOf<'Placement'>,
  found: Decision,
  nowMs: number,
  guard: RemovalGuard = REMOVAL_GUARD,
): PlacementOutcome {
  if (found.kind === 'Skipped') return { kind: 'Skipped', ...NOTHING }
  if (found.kind === 'Error') return frozen(fleet, placement, found, nowMs, guard)
  const { annotations = {} } = placement.metadata
  const evicts = annotations[ON_MISCONFIGURATION_ANNOTATION] === 'Evict'
  if (found.status === 'Misconfigured' && !evicts) return frozen(fleet, placement, found, nowMs, guard)
  const { unscheduled, recheckAtMs } = found
  const staying = maskOf(
    fleet.room,
    found.groups.map(({ members }) => members),
  )
  const { held: removal, recentRemovals } = judgeRemoval(fleet, placement, staying, guard, nowMs)
  const recheck = earliest([recheckAtMs, scoresEndAtMs(placement, found), removal?.changesAtMs])
  if (removal) return { ...held(fleet, placement, found, removal), recentRemovals, ...recheck }
  const groups = found.groups.map(({ members, ...group }) => ({
    ...group,
    clusters: Array.from(members, (slot) => fleet.nameOf(slot)),
  }))
  // Where all are taken, scores decided nothing, and what they are changes with every decision of others.
  const tells = annotations[DECISION_REASONS_ANNOTATION] !== 'Off'
  const totals = tells && found.isByTotal ? found.ranking().totals : undefined
  const scoreOf = (name: string) => (totals === undefined ? {} : { score: totals[fleet.slotOf(name) ?? -1] ?? 0 })
  return {
    kind: 'Decided',
    found,
    selected: namesIn(fleet, staying),
    unscheduled,
    groups,
    slices: cutSlices(placement.metadata.name, groups).map(({ clusters, ...slice }) => ({
      ...slice,
      decisions: clusters.map((clusterName) => ({
        clusterName,
        reason: tells ? 'Selected' : '',
        ...scoreOf(clusterName),
      })),
    })),
    conditions: [tells ? satisfied(found) : found.satisfied, configured(found)],
    recentRemovals,
    ...recheck,
  }
}

/** Whether the end of a score, and a score that CEL alone reads, is no matter of this placement until it is looked at anyway. */
export const letsScoresGoStale = ({ metadata }: ObjectOf<'Placement'>) =>
  metadata.annotations?.[STALE_SCORES_ANNOTATION] === 'Wait'

/** When the first score that a placement was decided by ends: nothing goes stale in silence (D-08), unless it asks for that. */
export function scoresEndAtMs(placement: ObjectOf<'Placement'>, found: Decided): number | undefined {
  if (found.scoresEndAtMs === undefined || !letsScoresGoStale(placement)) return found.scoresEndAtMs
  // What is no score of an add-on is none of OCM's either.
  const ends = found.ranking().scores.filter(({ name }) => !name.startsWith('AddOn/'))
  return earliest(ends.map(({ endsAtMs }) => endsAtMs)).recheckAtMs
}

function namesIn(fleet: Fleet, mask: Uint8Array): string[] {
  const names: string[] = []
  for (const slot of fleet.byName()) if (mask[slot] === 1) names.push(fleet.nameOf(slot))
  return names
}

function earliest(times: readonly (number | undefined)[]): { readonly recheckAtMs?: number } {
  const known = times.filter((one) => one !== undefined)
  return known.length === 0 ? {} : { recheckAtMs: Math.min(...known) }
}

export const WELL_CONFIGURED: Omit<Condition, 'lastTransitionTime'> = {
  type: 'PlacementMisconfigured',
  status: 'False',
  reason: 'Succeedconfigured',
  message: 'Placement configurations check pass',
}

const configured = ({ status, message }: Decided): Omit<Condition, 'lastTransitionTime'> =>
  status === 'Misconfigured'
    ? { type: 'PlacementMisconfigured', status: 'True', reason: 'Misconfigured', message }
    : WELL_CONFIGURED

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
// force. Frozen is not immortal: a cluster that is gone, or being deleted, leaves, and so does one that is in none of the
// sets any more, as far as the guard lets it.
function frozen(
  fleet: Fleet,
  placement: ObjectOf<'Placement'>,
  found: Extract<Decision, { kind: 'Error' }> | Decided,
  nowMs: number,
  guard: RemovalGuard,
): PlacementOutcome {
  const { message } = found
  const reason = found.kind === 'Error' ? 'EvaluationError' : 'Misconfigured'
  const good = placement.status?.conditions?.find(({ type }) => type === 'PlacementSatisfied')?.observedGeneration
  const force = good === undefined ? 'there is no good evaluation yet' : `the decisions of generation ${good} stay`
  const there = stillThere(fleet, placement)
  const inSets =
    found.kind === 'Error' ? there : there.filter((slot) => VERDICTS[found.verdicts[slot] ?? 0] !== 'NotInEligibleSet')
  const { held: removal, recentRemovals } = judgeRemoval(fleet, placement, maskOf(fleet.room, [inSets]), guard, nowMs)
  return {
    kind: 'Frozen',
    message,
    ...NOTHING,
    selected: namesIn(fleet, maskOf(fleet.room, [removal ? there : inSets])),
    conditions: [
      found.kind === 'Error' ? WELL_CONFIGURED : configured(found),
      { type: 'DecisionsFrozen', status: 'True', reason, message: `${force}: ${message}` },
      ...(removal ? [removalHeld(removal, placement)] : []),
    ],
    recentRemovals,
    ...(removal ? { heldRemoval: removalStatus(removal) } : {}),
    ...earliest([removal?.changesAtMs]),
  }
}

const removalHeld = (removal: Removal, { metadata }: ObjectOf<'Placement'>): Omit<Condition, 'lastTransitionTime'> => ({
  type: 'RemovalHeld',
  status: 'True',
  reason: 'TooManyRemovals',
  message: removalText(removal, metadata),
})

function held(fleet: Fleet, placement: ObjectOf<'Placement'>, found: Decided, removal: Removal): PlacementOutcome {
  const condition = removalHeld(removal, placement)
  // What there would be instead, where that is no choice at all.
  const { status, reason, message } = found.satisfied
  const why = status === 'True' ? '' : ` (${reason}: ${message})`
  return {
    kind: 'Held',
    message: condition.message,
    found,
    ...NOTHING,
    selected: namesIn(fleet, maskOf(fleet.room, [stillThere(fleet, placement)])),
    conditions: [configured(found), { ...condition, message: `${condition.message}${why}` }],
    heldRemoval: removalStatus(removal),
  }
}
