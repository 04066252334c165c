import type { ObjectOf, SpreadConstraint } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { resized } from './columns.ts'
import type { Fleet } from './fleet.ts'
import { wordsOf } from './masks.ts'
import { partsOf } from './partition.ts'
import { isSpread, type Score, score, type Weighted } from './prioritizers.ts'
import type { Sieve } from './sieve.ts'
import { type Candidate, isStrict, type Spread, spread, topologiesOf } from './spread.ts'
import { taintsFor, tolerates, tolerationFault } from './taints.ts'
import {
  MATCHES,
  OUT_OF_NUMBER,
  passedFilters,
  SELECTED,
  SPREAD_LIMIT,
  TAINT_NOT_TOLERATED,
  TOPOLOGY_KEY_MISSING,
  UNKNOWN,
} from './verdicts.ts'

/** Slots, by the group that takes them; how many, and how many were wanted. */
type Choice = { readonly parts: readonly Int32Array[]; readonly selected: number; readonly wanted: number }
export const NOBODY_CHOSEN: Choice = { parts: [], selected: 0, wanted: 0 }

/** By slot: the sums, and what each prioritizer says; how it was spread, where a term of spread or its weight says anything. */
export type Ranking = { readonly totals: Int32Array; readonly scores: readonly Score[]; readonly spread?: Spread }
export const NOT_RANKED: Ranking = { totals: new Int32Array(0), scores: [] }

/** One look at those that a sieve let pass. */
export class Look {
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
    if (tainted.size === 0) return undefined
    const { marks: isOwn } = this.#fleet
    for (const slot of this.#mine) isOwn[slot] = 1
    for (const slot of tainted) {
      if (verdicts[slot] !== MATCHES) continue
      const taints = taintsFor(this.#placement, this.#fleet.clusterAt(slot))
      const { refusedBy, expiresAtMs } = tolerates(taints, tolerations, isOwn[slot] === 1, this.#nowMs)
      if (expiresAtMs !== undefined) this.changesAtMs = Math.min(this.changesAtMs ?? expiresAtMs, expiresAtMs)
      if (refusedBy) this.#refused.push(slot)
    }
    for (const slot of this.#mine) isOwn[slot] = 0
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

  /** The best `number`, or all; each part by name, or where they are `sorted` by total first. */
  choose(number: number | undefined, { totals, spread }: Ranking, isSorted: boolean): Choice {
    if (spread) {
      const { chosen, passed } = this.#take(spread)
      return this.#parted(isSorted ? sorted(chosen, totals) : chosen, number ?? passed)
    }
    if (number !== undefined) {
      const chosen = this.#best(number, totals)
      return this.#parted(isSorted ? sorted(chosen, totals) : chosen, number)
    }
    this.#areAllTaken = true
    if (this.#verdicts) selectAll(this.#verdicts)
    if (isSorted) {
      const all = this.#everybody()
      return this.#parted(sorted(all, totals), all.length)
    }
    const { verdicts, partition } = this.#sieve
    const parts = partition.look(
      (slot) => verdicts[slot] === MATCHES,
      this.#refused,
      () => this.#everybody(),
    )
    const selected = parts.reduce((sum, part) => sum + part.length, 0)
    return { parts, selected, wanted: selected }
  }

  #parted(chosen: Int32Array, wanted: number): Choice {
    return { parts: partsOf(this.#fleet, chosen, this.#sieve.selectors), selected: chosen.length, wanted }
  }

  // By name.
  #everybody(): Int32Array {
    const fleet = this.#fleet
    const { verdicts, matching } = this.#sieve
    const { marks, isInOrder } = fleet
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

  #best(number: number, totals: Int32Array): Int32Array {
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
    return Int32Array.from(chosen)
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

  #take({ picked, limited, keyless }: Spread): { readonly chosen: Int32Array; readonly passed: number } {
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
    return { chosen: Int32Array.from(chosen), passed }
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
function selectAll(verdicts: Uint8Array): void {
  for (let slot = 0; slot < verdicts.length; slot += 1) if (verdicts[slot] === MATCHES) verdicts[slot] = SELECTED
}
// Those of equal totals stay as they stand.
const sorted = (chosen: Int32Array, totals: Int32Array) =>
  Int32Array.from([...chosen].toSorted((a, b) => (totals[b] ?? 0) - (totals[a] ?? 0)))
/** Of all verdicts of a sieve MATCHES alone has this bit, and in a word it says that there is one among four. */
const SOME_MATCHES = 0x08080808
/** Fewer than one in so many are sorted rather than found by walking along all names. */
const FEW = 16
