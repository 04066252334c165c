import { byCodeUnit } from '../order.ts'
import type { Fleet } from './fleet.ts'
import { type GroupSelector, parted } from './groups.ts'

// Where all who pass are taken, a cluster that changes comes, goes or moves from one part to another, and nobody else does: so
// the parts of the last look are mended, ten thousand clusters at the cost of a few.

/** From so many clusters on, parting all of them anew is less work. */
const MANY = 64

/** Slots by name, with room for a few more behind them. */
type Part = { slots: Int32Array; count: number }

/** The clusters that a placement takes, by the group that takes them; the last part is of those that no group does. */
export class Partition {
  readonly #fleet: Fleet
  readonly #selectors: readonly (GroupSelector | undefined)[]
  #parts: Part[] | undefined
  /** Who changed since the last look. */
  #changed: Set<number> | undefined
  #refused: readonly number[] = []

  /** None of the selectors has a fault. */
  constructor(fleet: Fleet, selectors: readonly (GroupSelector | undefined)[]) {
    this.#fleet = fleet
    this.#selectors = selectors
  }

  /** A cluster of the fleet is not what it was. */
  touch(slot: number): void {
    if (!this.#parts) return
    this.#changed ??= new Set()
    this.#changed.add(slot)
    if (this.#changed.size <= MANY) return
    this.#parts = undefined
    this.#changed = undefined
  }

  /**
   * The parts as they are now, each by name: they stand until somebody asks again. `passes` says it of one cluster, but for those
   * that are `refused` at this time; `everybody` finds all who are taken, by name.
   */
  look(
    passes: (slot: number) => boolean,
    refused: readonly number[],
    everybody: () => Int32Array,
  ): readonly Int32Array[] {
    if (!isSame(refused, this.#refused)) {
      const [before, now] = [new Set(this.#refused), new Set(refused)]
      for (const slot of [...before, ...now]) if (before.has(slot) !== now.has(slot)) this.touch(slot)
      this.#refused = refused
    }
    const parts = this.#parts ?? this.#partedAnew(everybody())
    this.#parts = parts
    if (this.#changed) {
      const first = this.#fleet.groupingOf(this.#selectors)
      for (const slot of this.#changed) {
        for (const part of parts) this.#remove(part, slot)
        const part = passes(slot) && !refused.includes(slot) ? parts[first[slot] ?? 0] : undefined
        if (part) this.#insert(part, slot)
      }
      this.#changed = undefined
    }
    return parts.map(({ slots, count }) => slots.subarray(0, count))
  }

  #partedAnew(all: Int32Array): Part[] {
    return partsOf(this.#fleet, all, this.#selectors).map((slots) => ({ slots, count: slots.length }))
  }

  #remove(part: Part, slot: number): void {
    const place = this.#placeOf(part, slot)
    if (place === part.count || part.slots[place] !== slot) return
    part.slots.copyWithin(place, place + 1, part.count)
    part.count -= 1
  }

  #insert(part: Part, slot: number): void {
    if (part.count === part.slots.length) {
      const slots = new Int32Array(part.count + (part.count >> 5) + 8)
      slots.set(part.slots)
      part.slots = slots
    }
    const place = this.#placeOf(part, slot)
    part.slots.copyWithin(place + 1, place, part.count)
    part.slots[place] = slot
    part.count += 1
  }

  /** Where a slot stands in a part, or would. */
  #placeOf({ slots, count }: Part, slot: number): number {
    const fleet = this.#fleet
    const name = fleet.nameOf(slot)
    let [low, high] = [0, count]
    while (low < high) {
      const middle = (low + high) >> 1
      if (byCodeUnit(fleet.nameOf(slots[middle] ?? 0), name) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Those that each selector is the first to take, and last those that none does; each in the order in which they came. */
export function partsOf(
  fleet: Fleet,
  chosen: Int32Array,
  selectors: readonly (GroupSelector | undefined)[],
): readonly Int32Array[] {
  return selectors.length === 0 ? [chosen] : parted(chosen, fleet.groupingOf(selectors), selectors.length + 1)
}

const isSame = (one: readonly number[], other: readonly number[]) =>
  one.length === other.length && one.every((slot, at) => slot === other[at])
