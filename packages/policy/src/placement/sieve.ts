import type { ClusterPredicate, ObjectOf } from '@skerry/api'
import { resized } from './columns.ts'
import type { Fleet } from './fleet.ts'
import { type GroupSelector, selectorsOf } from './groups.ts'
import { widenBy, wordsOf } from './masks.ts'
import { Partition } from './partition.ts'
import { selectorFault } from './selectors.ts'
import { clusterSetFault } from './sets.ts'
import { DELETING, MATCHES, NOT_IN_ELIGIBLE_SET, PREDICATE_MISMATCH, UNKNOWN } from './verdicts.ts'

/**
 * What a placement's sets and predicates make of a fleet. No time and no decision changes it, so it may be kept from look
 * to look, and mended where a cluster changed; after a change of sets or bindings it is made anew.
 */
export class Sieve {
  /** The evaluation ends with it. */
  readonly error: string | undefined
  readonly eligible: readonly ObjectOf<'ManagedClusterSet'>[]
  readonly isBound: boolean
  /** Of the groups, as far as none has a fault. */
  readonly selectors: readonly (GroupSelector | undefined)[]
  /** By slot, as a place in VERDICTS: MATCHES for who passed. */
  verdicts: Uint8Array
  /** How many may be chosen from, and how many of these passed. */
  available = 0
  matching = 0
  readonly #fleet: Fleet
  readonly #predicates: readonly ClusterPredicate[]
  readonly #fault: string | undefined
  /** Who is taken where all who pass are; mended as this is. */
  readonly partition: Partition

  constructor(fleet: Fleet, { metadata: { namespace = '' }, spec }: ObjectOf<'Placement'>) {
    const wanted = spec.clusterSets ?? []
    const bound = fleet.boundSets(namespace)
    this.#fleet = fleet
    this.#predicates = spec.predicates ?? []
    this.#fault = firstFault(this.#predicates, fleet)
    this.isBound = bound.length > 0
    this.eligible = wanted.length > 0 ? bound.filter((set) => wanted.includes(set.metadata.name)) : bound
    this.error = this.eligible.map((set) => clusterSetFault(set)).find((fault) => fault !== undefined)
    this.selectors = selectorsOf(spec.decisionStrategy)
    this.partition = new Partition(fleet, this.selectors)
    this.verdicts = new Uint8Array(fleet.room)
    if (this.error === undefined) this.#sift()
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
    if (before !== after) this.partition.touch(slot)
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
    const available = fleet.scratch
    const [isMember, isAvailable] = [wordsOf(members), wordsOf(available)]
    const [isPresent, isDeleting, verdict] = [wordsOf(fleet.present), wordsOf(fleet.deleting), wordsOf(this.verdicts)]
    for (let at = 0; at < isMember.length; at += 1) isAvailable[at] = (isMember[at] ?? 0) & ~(isDeleting[at] ?? 0)
    this.#match(available)
    for (let at = 0; at < isMember.length; at += 1) {
      const [can, does] = [isAvailable[at] ?? 0, verdict[at] ?? 0]
      this.available += ones(can)
      this.matching += ones(does)
      verdict[at] =
        ((isPresent[at] ?? 0) & ~(isMember[at] ?? 0)) * NOT_IN_ELIGIBLE_SET +
        ((isMember[at] ?? 0) & (isDeleting[at] ?? 0)) * DELETING +
        (can & ~does) * PREDICATE_MISMATCH +
        does * MATCHES
    }
  }

  // Leaves in `verdicts` 1 for those of whom one of the predicates holds.
  #match(available: Uint8Array): void {
    const [first, ...others] = this.#fault === undefined ? this.#predicates : []
    this.verdicts.set(available)
    if (first) this.#narrow(this.verdicts, first)
    for (const predicate of others) {
      const mask = available.slice()
      this.#narrow(mask, predicate)
      widenBy(this.verdicts, mask)
    }
  }

  #narrow(mask: Uint8Array, { requiredClusterSelector: required }: ClusterPredicate): void {
    this.#fleet.labels.narrow(mask, required?.labelSelector)
    this.#fleet.claims.narrow(mask, required?.claimSelector)
    const expressions = required?.celSelector?.celExpressions ?? []
    if (expressions.length > 0) this.#fleet.narrowByCel(mask, expressions)
  }
}

/** How many of the four bytes of a word are 1. */
const ones = (word: number) => Math.imul(word, 0x01010101) >>> 24
const isAvailable = (verdict: number) => verdict === MATCHES || verdict === PREDICATE_MISMATCH

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
