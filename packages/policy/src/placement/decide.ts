import {
  type ClusterPredicate,
  type Condition,
  type ObjectOf,
  SCHEDULING_DISABLED_ANNOTATION,
  type SpreadConstraint,
} from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { resized } from './columns.ts'
import type { Fleet } from './fleet.ts'
import { type Cut, cutGroups, type GroupSelector } from './groups.ts'
import { widenBy, wordsOf } from './masks.ts'
import { isSpread, OCM_BUILT_IN, type Score, score, type Weighted, weights } from './prioritizers.ts'
import { selectorFault } from './selectors.ts'
import { clusterSetFault } from './sets.ts'
import { type Candidate, isStrict, type Spread, spread, topologiesOf } from './spread.ts'
import { taintsFor, tolerates, tolerationFault } from './taints.ts'

// OCM's placement, rule by rule and decision for decision, and the only code that decides; spread is decided where a
// placement asks for it, which OCM's accept and do not carry out. What is done with the answer (kept, held, frozen) is schedule()'s. A look at a fleet is a few walks along its columns; what is said of each cluster
// is told from `verdicts` when somebody asks (explain.ts).

/** What became of a cluster. */
export const VERDICTS = [
  'Unknown',
  'NotInEligibleSet',
  'Deleting',
  'PredicateMismatch',
  'TaintNotTolerated',
  'OutOfNumber',
  'SpreadLimit',
  'TopologyKeyMissing',
  'Selected',
] as const
export type Verdict = (typeof VERDICTS)[number]
/** Their places, each by itself: they are written ten thousand times a look. */
const [UNKNOWN, NOT_IN_ELIGIBLE_SET, DELETING, PREDICATE_MISMATCH, TAINT_NOT_TOLERATED] = [0, 1, 2, 3, 4] as const
const [OUT_OF_NUMBER, SPREAD_LIMIT, TOPOLOGY_KEY_MISSING, SELECTED] = [5, 6, 7, 8] as const
/** Of a sieve alone: whoever passed it becomes one of the last five. */
export const MATCHES = 9

/** Whether one of these verdicts, as a place in VERDICTS, passed every filter. */
export const passedFilters = (verdict: number) => verdict >= OUT_OF_NUMBER

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
  sieve.clear()
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
  const { chosen, wanted } = fault === undefined ? look.choose(number, ranked) : NOBODY_CHOSEN
  const unscheduled = wanted - chosen.length
  const { totals } = ranked
  const ordered = isSorted ? sorted(chosen, totals) : chosen

  const cut = cutGroups(ordered, spec.decisionStrategy, (selector) => look.takes(selector), sieve.room)
  const wrong = cut.fault === undefined ? fault : `:${cut.fault}`
  const warning = scores.findLast((one) => one.warning !== undefined)?.warning
  return {
    kind: 'Decided',
    status: wrong === undefined ? (warning === undefined ? 'Success' : 'Warning') : 'Misconfigured',
    message: wrong ?? warning ?? '',
    selected: chosen.length,
    unscheduled,
    groups: cut.groups,
    satisfied: nowhere(spec.clusterSets ?? [], sieve) ?? satisfaction(chosen.length, unscheduled),
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

/**
 * What a placement's sets and predicates make of a fleet. No time and no decision changes it, so it may be kept from look
 * to look, and mended where a cluster changed; after a change of sets or bindings it is made anew.
 */
export class Sieve {
  /** The evaluation ends with it. */
  readonly error: string | undefined
  readonly eligible: readonly ObjectOf<'ManagedClusterSet'>[]
  readonly isBound: boolean
  /** By slot, as a place in VERDICTS: MATCHES for who passed. */
  verdicts: Uint8Array
  /** How many may be chosen from, and how many of these passed. */
  available = 0
  matching = 0
  readonly #fleet: Fleet
  readonly #predicates: readonly ClusterPredicate[]
  readonly #fault: string | undefined
  #buffer = new Int32Array(0)
  #used = 0

  constructor(fleet: Fleet, { metadata: { namespace = '' }, spec }: ObjectOf<'Placement'>) {
    const wanted = spec.clusterSets ?? []
    const bound = fleet.boundSets(namespace)
    this.#fleet = fleet
    this.#predicates = spec.predicates ?? []
    this.#fault = firstFault(this.#predicates, fleet)
    this.isBound = bound.length > 0
    this.eligible = wanted.length > 0 ? bound.filter((set) => wanted.includes(set.metadata.name)) : bound
    this.error = this.eligible.map((set) => clusterSetFault(set)).find((fault) => fault !== undefined)
    this.verdicts = new Uint8Array(fleet.room)
    if (this.error === undefined) this.#sift()
  }

  /** Whatever was made in this room by an earlier look is over. */
  clear(): void {
    this.#used = 0
  }

  /** Room for so many slots, until the next look: made each time it would be what a look costs most. */
  readonly room = (length: number): Int32Array => {
    if (this.#used + length > this.#buffer.length) {
      this.#buffer = new Int32Array(this.#used + length + (length >> 3))
      this.#used = 0
    }
    this.#used += length
    return this.#buffer.subarray(this.#used - length, this.#used)
  }

  /** What is wrong with the predicates, as `<plugin>:<message>`. Nobody looks at them while there is no cluster. */
  get fault(): string | undefined {
    return this.#fault === undefined || this.available === 0 ? undefined : `Predicate:${this.#fault}`
  }

  /** Looks at one slot again; what it was and what it is. */
  mend(slot: number): { readonly before: number; readonly after: number } {
    if (slot >= this.verdicts.length) this.verdicts = resized(this.verdicts, this.#fleet.room)
    const before = this.verdicts[slot] ?? UNKNOWN
    if (this.error !== undefined) return { before, after: before }
    const after = this.#verdictOf(slot)
    this.available += Number(isAvailable(after)) - Number(isAvailable(before))
    this.matching += Number(after === MATCHES) - Number(before === MATCHES)
    this.verdicts[slot] = after
    return { before, after }
  }

  #verdictOf(slot: number): number {
    const fleet = this.#fleet
    if (fleet.present[slot] !== 1) return UNKNOWN
    if (fleet.membersOf(this.eligible)[slot] !== 1) return NOT_IN_ELIGIBLE_SET
    if (fleet.deleting[slot] === 1) return DELETING
    if (this.#predicates.length === 0 || this.#fault !== undefined) return MATCHES
    return this.#predicates.some(
      ({ requiredClusterSelector: required }) =>
        fleet.labels.meets(slot, required?.labelSelector) &&
        fleet.claims.meets(slot, required?.claimSelector) &&
        fleet.celHolds(slot, required?.celSelector?.celExpressions ?? []),
    )
      ? MATCHES
      : PREDICATE_MISMATCH
  }

  #sift(): void {
    const fleet = this.#fleet
    const members = fleet.membersOf(this.eligible)
    const available = members.slice()
    const [isMember, isAvailable] = [wordsOf(members), wordsOf(available)]
    const [isPresent, isDeleting, verdict] = [wordsOf(fleet.present), wordsOf(fleet.deleting), wordsOf(this.verdicts)]
    for (let at = 0; at < isMember.length; at += 1) isAvailable[at] = (isMember[at] ?? 0) & ~(isDeleting[at] ?? 0)
    const matched = this.#predicates.length === 0 || this.#fault !== undefined ? available : this.#matched(available)
    const matches = wordsOf(matched)
    for (let at = 0; at < isMember.length; at += 1) {
      const [can, does] = [isAvailable[at] ?? 0, matches[at] ?? 0]
      this.available += ones(can)
      this.matching += ones(does)
      verdict[at] =
        ((isPresent[at] ?? 0) & ~(isMember[at] ?? 0)) * NOT_IN_ELIGIBLE_SET +
        ((isMember[at] ?? 0) & (isDeleting[at] ?? 0)) * DELETING +
        (can & ~does) * PREDICATE_MISMATCH +
        does * MATCHES
    }
  }

  // ORed.
  #matched(available: Uint8Array): Uint8Array {
    const matched = new Uint8Array(available.length)
    for (const { requiredClusterSelector: required } of this.#predicates) {
      const mask = available.slice()
      this.#fleet.labels.narrow(mask, required?.labelSelector)
      this.#fleet.claims.narrow(mask, required?.claimSelector)
      const expressions = required?.celSelector?.celExpressions ?? []
      if (expressions.length > 0) this.#fleet.narrowByCel(mask, expressions)
      widenBy(matched, mask)
    }
    return matched
  }
}

/** How many of the four bytes of a word are 1. */
const ones = (word: number) => Math.imul(word, 0x01010101) >>> 24
function selectAll(verdicts: Uint8Array): void {
  for (let slot = 0; slot < verdicts.length; slot += 1) if (verdicts[slot] === MATCHES) verdicts[slot] = SELECTED
}
const NOBODY: ReadonlySet<number> = new Set()
/** Of all verdicts of a sieve MATCHES alone has this bit, and in a word it says that there is one among four. */
const SOME_MATCHES = 0x08080808
/** Fewer than one in so many are sorted rather than found by walking along all names. */
const FEW = 16
const isAvailable = (verdict: number) => verdict === MATCHES || verdict === PREDICATE_MISMATCH

/** Slots in the order of their names, and how many were wanted. */
type Chosen = { readonly chosen: Int32Array; readonly wanted: number }
const NOBODY_CHOSEN: Chosen = { chosen: new Int32Array(0), wanted: 0 }

// Those of equal totals stay as they stand.
const sorted = (chosen: Int32Array, totals: Int32Array) =>
  Int32Array.from([...chosen].toSorted((a, b) => (totals[b] ?? 0) - (totals[a] ?? 0)))

/** By slot: the sums, and what each prioritizer says; how it was spread, where a term of spread or its weight says anything. */
type Ranking = { readonly totals: Int32Array; readonly scores: readonly Score[]; readonly spread?: Spread }
const NOT_RANKED: Ranking = { totals: new Int32Array(0), scores: [] }

/** One look at those that a sieve let pass. */
class Look {
  /** When the first toleration of a taint ends. */
  changesAtMs: number | undefined
  readonly #fleet: Fleet
  readonly #mine: Int32Array
  readonly #nowMs: number
  readonly #sieve: Sieve
  readonly #placement: ObjectOf<'Placement'>
  /** Whom a taint keeps out. */
  readonly #refused: number[] = []
  #areAllTaken = false
  #verdicts: Uint8Array | undefined

  constructor(fleet: Fleet, mine: Int32Array, nowMs: number, sieve: Sieve, placement: ObjectOf<'Placement'>) {
    this.#fleet = fleet
    this.#mine = mine
    this.#nowMs = nowMs
    this.#sieve = sieve
    this.#placement = placement
  }

  /** MATCHES for who is still in. */
  get verdicts(): Uint8Array {
    if (this.#verdicts) return this.#verdicts
    const { verdicts: sifted } = this.#sieve
    const { room } = this.#fleet
    const verdicts = sifted.length === room ? sifted.slice() : resized(sifted, room)
    for (const slot of this.#refused) verdicts[slot] = TAINT_NOT_TOLERATED
    if (this.#areAllTaken) selectAll(verdicts)
    this.#verdicts = verdicts
    return verdicts
  }

  /** Puts out whom a taint keeps out; or what is wrong with the tolerations, as `<plugin>:<message>`. */
  withstand(): string | undefined {
    const { tolerations = [] } = this.#placement.spec
    const fault = this.#sieve.matching > 0 ? tolerationFault(tolerations) : undefined
    if (fault) return `TaintToleration:${fault}`
    const { verdicts } = this.#sieve
    const { tainted } = this.#fleet
    const own = tainted.size > 0 ? new Set(this.#mine) : NOBODY
    for (const slot of tainted) {
      if (verdicts[slot] !== MATCHES) continue
      const taints = taintsFor(this.#placement, this.#fleet.clusterAt(slot))
      const { refusedBy, expiresAtMs } = tolerates(taints, tolerations, own.has(slot), this.#nowMs)
      if (expiresAtMs !== undefined) this.changesAtMs = Math.min(this.changesAtMs ?? expiresAtMs, expiresAtMs)
      if (refusedBy) this.#refused.push(slot)
    }
    return undefined
  }

  rank(weighted: readonly Weighted[], terms: readonly SpreadConstraint[], number: number | undefined): Ranking {
    const { size } = this.#fleet
    const totals = new Int32Array(size)
    const mask = new Uint8Array(size)
    for (let slot = 0; slot < size; slot += 1) if (passedFilters(this.verdicts[slot] ?? UNKNOWN)) mask[slot] = 1
    const own = new Uint8Array(size)
    for (const slot of this.#mine) own[slot] = (own[slot] ?? 0) + 1
    const field = {
      fleet: this.#fleet,
      mask,
      own,
      tolerations: this.#placement.spec.tolerations ?? [],
      nowMs: this.#nowMs,
    }
    const scores = weighted.map((one) => {
      const { weight } = one
      const scored = score(one, field)
      const { values } = scored
      for (let slot = 0; slot < totals.length; slot += 1)
        totals[slot] = (totals[slot] ?? 0) + (values[slot] ?? 0) * weight
      return scored
    })
    // Terms that keep nobody out and count nothing change nothing.
    const counts = terms.length > 0 && (terms.some(isStrict) || weighted.some(isSpread))
    if (!counts) return { totals, scores }
    return this.#spread(terms, number, { totals, scores }, mask)
  }

  /** The slots of the best `number`, or of all, by name; how many were wanted. */
  choose(number: number | undefined, { totals, spread }: Ranking): Chosen {
    if (spread) return this.#take(spread, number)
    const chosen = number === undefined ? this.#everybody() : Int32Array.from(this.#best(number, totals))
    return { chosen, wanted: number ?? chosen.length }
  }

  #everybody(): Int32Array {
    const fleet = this.#fleet
    const { verdicts, matching } = this.#sieve
    const { marks, isInOrder } = fleet
    this.#areAllTaken = true
    if (this.#verdicts) selectAll(this.#verdicts)
    const all = new Int32Array(matching)
    let count = 0
    for (const slot of this.#refused) marks[slot] = 1
    if (!isInOrder && matching * FEW > fleet.size) {
      const order = fleet.byName()
      for (let place = 0; place < order.length; place += 1) {
        const slot = order[place] ?? 0
        if (verdicts[slot] === MATCHES && marks[slot] === 0) all[count++] = slot
      }
    } else {
      const words = wordsOf(verdicts)
      for (let at = 0; at < words.length; at += 1) {
        if (((words[at] ?? 0) & SOME_MATCHES) === 0) continue
        for (let slot = at * 4; slot < at * 4 + 4; slot += 1)
          if (verdicts[slot] === MATCHES && marks[slot] === 0) all[count++] = slot
      }
    }
    for (const slot of this.#refused) marks[slot] = 0
    const chosen = all.subarray(0, count)
    if (!isInOrder && matching * FEW <= fleet.size) chosen.sort((a, b) => byCodeUnit(fleet.nameOf(a), fleet.nameOf(b)))
    return chosen
  }

  #best(number: number, totals: Int32Array): number[] {
    const least = this.#least(number, totals)
    let equals = least?.equals ?? 0
    const chosen: number[] = []
    const { verdicts } = this
    const order = this.#fleet.byName()
    for (let place = 0; place < order.length; place += 1) {
      const slot = order[place] ?? 0
      if (verdicts[slot] !== MATCHES) continue
      const total = totals[slot] ?? 0
      // Among equals the smaller names.
      if (least && (total < least.total || (total === least.total && --equals < 0))) verdicts[slot] = OUT_OF_NUMBER
      else {
        verdicts[slot] = SELECTED
        chosen.push(slot)
      }
    }
    return chosen
  }

  #spread(
    terms: readonly SpreadConstraint[],
    number: number | undefined,
    { totals, scores }: Ranking,
    mask: Uint8Array,
  ): Ranking {
    const candidates: Candidate[] = []
    for (const slot of this.#fleet.byName()) {
      const cluster = mask[slot] === 1 ? this.#fleet.clusterAt(slot) : undefined
      if (!cluster) continue
      candidates.push({ slot, total: totals[slot] ?? 0, values: topologiesOf(terms, cluster) })
    }
    const score = scores.find(({ name }) => name === 'Spread')
    const weight = score?.weight ?? 0
    const found = spread(candidates, terms, weight, number ?? candidates.length)
    for (const [slot, value] of found.values) {
      if (score) score.values[slot] = value
      totals[slot] = (totals[slot] ?? 0) + weight * value
    }
    return { totals, scores, spread: found }
  }

  #take({ picked, limited, keyless }: Spread, number: number | undefined): Chosen {
    const selected = new Set(picked)
    const chosen: number[] = []
    let passed = 0
    for (const slot of this.#fleet.byName()) {
      if (this.verdicts[slot] !== MATCHES) continue
      passed += 1
      if (selected.has(slot)) chosen.push(slot)
      this.verdicts[slot] = selected.has(slot)
        ? SELECTED
        : keyless.has(slot)
          ? TOPOLOGY_KEY_MISSING
          : limited.has(slot)
            ? SPREAD_LIMIT
            : OUT_OF_NUMBER
    }
    return { chosen: Int32Array.from(chosen), wanted: number ?? passed }
  }

  /** Whom the selector of a group takes, by slot, until it is asked again. */
  takes(selector: GroupSelector | undefined): Uint8Array {
    const mask = this.#fleet.scratch.fill(1)
    this.#fleet.labels.narrow(mask, selector?.labelSelector)
    this.#fleet.claims.narrow(mask, selector?.claimSelector)
    return mask
  }

  // The total of the last one chosen, and how many of those that have it are: undefined where all are.
  #least(number: number, totals: Int32Array): { total: number; equals: number } | undefined {
    const counts = new Map<number, number>()
    const { verdicts } = this
    let candidates = 0
    for (let slot = 0; slot < verdicts.length; slot += 1)
      if (verdicts[slot] === MATCHES) {
        const total = totals[slot] ?? 0
        counts.set(total, (counts.get(total) ?? 0) + 1)
        candidates += 1
      }
    if (candidates <= number) return undefined
    let room = number
    for (const [total, count] of [...counts].toSorted(([a], [b]) => b - a)) {
      if (count >= room) return { total, equals: room }
      room -= count
    }
    return undefined
  }
}

function firstFault(predicates: readonly ClusterPredicate[], fleet: Fleet): string | undefined {
  for (const { requiredClusterSelector: required } of predicates) {
    const fault =
      selectorFault(required?.labelSelector) ??
      selectorFault(required?.claimSelector) ??
      fleet.celFault(required?.celSelector?.celExpressions ?? [])
    if (fault) return fault
  }
  return undefined
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
  let earliest: number | undefined
  for (const slot of mine) {
    if (!fleet.tainted.has(slot)) continue
    const taints = taintsFor(placement, fleet.clusterAt(slot))
    const { expiresAtMs } = tolerates(taints, placement.spec.tolerations ?? [], true, nowMs)
    if (expiresAtMs !== undefined) earliest = Math.min(earliest ?? expiresAtMs, expiresAtMs)
  }
  return earliest
}
