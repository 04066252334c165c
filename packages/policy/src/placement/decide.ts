import { type Condition, type ObjectOf, SCHEDULING_DISABLED_ANNOTATION } from '@skerry/api'
import type { Fleet } from './fleet.ts'
import { type Cut, cutGroups } from './groups.ts'
import { Look, NOBODY_CHOSEN, NOT_RANKED, type Ranking } from './look.ts'
import { OCM_BUILT_IN, weights } from './prioritizers.ts'
import { Sieve } from './sieve.ts'
import { isStrict } from './spread.ts'
import { taintsFor, tolerates } from './taints.ts'

// OCM's placement, rule by rule and decision for decision, and the only code that decides; spread is decided where a
// placement asks for it, which OCM's accept and do not carry out. What is done with the answer (kept, held, frozen) is
// schedule()'s. A look at a fleet is a few walks along its columns (sieve.ts, look.ts); what is said of each cluster is told
// from `verdicts` when somebody asks (explain.ts).

export type Decision =
  /** Nothing is to be stored. */
  | { readonly kind: 'Skipped' }
  /** The evaluation ended before anything could be stored. */
  | { readonly kind: 'Error'; readonly message: string }
  | Decided

export type Decided = {
  readonly kind: 'Decided'
  readonly status: 'Success' | 'Warning' | 'Misconfigured'
  /** Of what is misconfigured, `<plugin>:<message>`; of a warning its text. */
  readonly message: string
  readonly selected: number
  readonly unscheduled: number
  /** Of slots, by name; with `sortBy: Score` by total, and then by name. They stand until the placement is decided again. */
  readonly groups: readonly Cut[]
  /** As OCM says it; its message without the counts. */
  readonly satisfied: Omit<Condition, 'lastTransitionTime'>
  /** The names of the eligible sets. */
  readonly eligible: readonly string[]
  /**
   * By slot: what became of each cluster, as a place in VERDICTS; as far as it came where something is misconfigured. Made when
   * it is asked for, as long as the fleet does not change.
   */
  readonly verdicts: Uint8Array
  /** Whether totals say who is selected, or in which order. */
  readonly isByTotal: boolean
  /** Made when it is asked for, as long as the fleet does not change. */
  readonly ranking: () => Ranking
  readonly recheckAtMs: number | undefined
  /** When time alone changes a verdict. */
  readonly changesAtMs: number | undefined
  /** When the first score that was looked at ends. OCM does not look again then. */
  readonly scoresEndAtMs: number | undefined
}

/** Decides one placement over a fleet; `sieve`: what is kept of an earlier look at it; as OCM: what OCM does not carry out is not. */
export function decide(
  fleet: Fleet,
  placement: ObjectOf<'Placement'>,
  nowMs: number,
  sieve: Sieve = new Sieve(fleet, placement),
  as: 'Skerry' | 'OCM' = 'Skerry',
): Decision {
  const { annotations = {}, deletionTimestamp, namespace = '', name } = placement.metadata
  if (deletionTimestamp || annotations[SCHEDULING_DISABLED_ANNOTATION] === 'true') return { kind: 'Skipped' }
  if (sieve.error !== undefined) return { kind: 'Error', message: sieve.error }
  const { spec } = placement
  const number = spec.numberOfClusters ?? undefined
  const mine = fleet.decidedBy(namespace, name)
  const look = new Look(fleet, mine, nowMs, sieve, placement)
  const terms = as === 'OCM' ? [] : (spec.spreadPolicy?.spreadConstraints ?? [])
  const weighted =
    as === 'OCM'
      ? weights(spec.prioritizerPolicy, false, OCM_BUILT_IN)
      : weights(spec.prioritizerPolicy, terms.length > 0)
  const fault = sieve.fault ?? look.withstand() ?? ('fault' in weighted ? `:${weighted.fault}` : undefined)
  const prioritizers = 'fault' in weighted ? [] : weighted
  // Where all are taken, scores decide nothing: they are made when somebody asks. What an add-on tells may have ended.
  const isSorted = as === 'Skerry' && spec.sortBy === 'Score'
  const isByTotal = number !== undefined || isSorted || terms.some(isStrict)
  const isAsked = fault === undefined && (isByTotal || prioritizers.some(({ coordinate }) => coordinate.addOn))
  const ranking = () => (fault === undefined ? look.rank(prioritizers, terms, number) : NOT_RANKED)
  const ranked = isAsked ? ranking() : NOT_RANKED
  const { scores } = ranked
  const { parts, selected, wanted } = fault === undefined ? look.choose(number, ranked, isSorted) : NOBODY_CHOSEN
  const unscheduled = wanted - selected
  const cut = cutGroups(parts, selected, spec.decisionStrategy)
  const wrong = cut.fault === undefined ? fault : `:${cut.fault}`
  const warning = scores.findLast((one) => one.warning !== undefined)?.warning
  return {
    kind: 'Decided',
    status: wrong === undefined ? (warning === undefined ? 'Success' : 'Warning') : 'Misconfigured',
    message: wrong ?? warning ?? '',
    selected,
    unscheduled,
    groups: cut.groups,
    satisfied: nowhere(spec.clusterSets ?? [], sieve) ?? satisfaction(selected, unscheduled),
    eligible: sieve.eligible.map((set) => set.metadata.name),
    get verdicts() {
      return look.verdicts
    },
    isByTotal,
    // Made already where something was decided by it.
    ranking: isAsked ? () => ranked : ranking,
    recheckAtMs: fault === undefined ? earliestExpiry(fleet, mine, placement, nowMs) : undefined,
    changesAtMs: look.changesAtMs,
    scoresEndAtMs: scores.reduce(
      (first: number | undefined, { endsAtMs }) =>
        endsAtMs === undefined ? first : Math.min(first ?? endsAtMs, endsAtMs),
      undefined,
    ),
  }
}
type Satisfied = Decided['satisfied']
const not = (reason: string, message: string): Satisfied => ({
  type: 'PlacementSatisfied',
  status: 'False',
  reason,
  message,
})

// Why there is nothing to choose from; undefined where there is something.
function nowhere(wanted: readonly string[], { isBound, eligible, available }: Sieve): Satisfied | undefined {
  if (!isBound)
    return not('NoManagedClusterSetBindings', 'No valid ManagedClusterSetBindings found in placement namespace')
  if (eligible.length === 0)
    return not('NoIntersection', `None of ManagedClusterSets [${wanted.join(',')}] is bound to placement namespace`)
  const names = eligible.map((set) => set.metadata.name).join(',')
  if (available === 0)
    return not('AllManagedClusterSetsEmpty', `All ManagedClusterSets [${names}] have no member ManagedCluster`)
  return undefined
}

function satisfaction(selected: number, unscheduled: number): Satisfied {
  if (selected === 0) return not('NoManagedClusterMatched', 'No ManagedCluster matches any of the cluster predicate')
  if (unscheduled > 0) return not('NotAllDecisionsScheduled', `${unscheduled} cluster decisions unscheduled`)
  return {
    type: 'PlacementSatisfied',
    status: 'True',
    reason: 'AllDecisionsScheduled',
    message: 'All cluster decisions scheduled',
  }
}

// Over the clusters of the previous decisions, also those that are no longer eligible.
function earliestExpiry(
  fleet: Fleet,
  mine: Int32Array,
  placement: ObjectOf<'Placement'>,
  nowMs: number,
): number | undefined {
  const { tolerations = [] } = placement.spec
  let earliest: number | undefined
  if (!tolerations.some(({ tolerationSeconds }) => tolerationSeconds !== undefined && tolerationSeconds !== null))
    return undefined
  for (const slot of mine) {
    if (!fleet.tainted.has(slot)) continue
    const taints = taintsFor(placement, fleet.clusterAt(slot))
    const { expiresAtMs } = tolerates(taints, tolerations, true, nowMs)
    if (expiresAtMs !== undefined) earliest = Math.min(earliest ?? expiresAtMs, expiresAtMs)
  }
  return earliest
}
