import type { ClaimSelector, LabelSelector, SelectorRequirement } from '@skerry/api'
import { narrowTo } from './masks.ts'

// Labels or claims of a fleet, a column a key: the values as numbers, one for each cluster. A selector is a few walks along
// columns, whatever the number of clusters, and a changed cluster is a few numbers. Whom a requirement takes is remembered,
// because placements ask the same again and again, and mended where a cluster changes.

/** The value of a cluster that does not have the key. */
const ABSENT = 0
const SPARE = 1_024
/** Of each key so many requirements are remembered: one is a byte a slot. */
const REMEMBERED = 64

type Requirement = Pick<SelectorRequirement, 'operator'> & { readonly values: readonly string[] }
type Remembered = { readonly mask: Uint8Array; readonly requirement: Requirement }

class Column {
  /** By slot: the number of its value. */
  at: Int32Array
  /** How many slots have a value. */
  held = 0
  readonly numbers = new Map<string, number>()
  readonly #remembered = new Map<string, Remembered>()

  constructor(room: number) {
    this.at = new Int32Array(room)
  }

  grow(room: number): void {
    this.at = resized(this.at, room)
    this.#remembered.clear()
  }

  put(slot: number, value: string | undefined): void {
    // First: giving a number may make `at` anew.
    const number = value === undefined ? ABSENT : this.#numberOf(value)
    this.held += (number === ABSENT ? 0 : 1) - ((this.at[slot] ?? ABSENT) === ABSENT ? 0 : 1)
    this.at[slot] = number
    for (const { mask, requirement } of this.#remembered.values()) mask[slot] = isMet(requirement, value) ? 1 : 0
  }

  /** By slot: 1 for those that meet a requirement. Nobody may write to it. */
  maskOf(requirement: Requirement): Uint8Array {
    const key = `${requirement.operator} ${requirement.values.join('\n')}`
    const known = this.#remembered.get(key)
    if (known) return known.mask
    if (this.#remembered.size >= REMEMBERED) this.#remembered.clear()
    const mask = this.#walk(requirement)
    this.#remembered.set(key, { mask, requirement })
    return mask
  }

  #walk({ operator, values }: Requirement): Uint8Array {
    const { at } = this
    const mask = new Uint8Array(at.length)
    if (operator === 'Exists' || operator === 'DoesNotExist') {
      const there = operator === 'Exists'
      for (let slot = 0; slot < mask.length; slot += 1) if ((at[slot] !== ABSENT) === there) mask[slot] = 1
      return mask
    }
    const listed = new Uint8Array(this.numbers.size + 1)
    for (const value of values) {
      const number = this.numbers.get(value)
      if (number !== undefined) listed[number] = 1
    }
    const keeps = operator === 'In' ? 1 : 0
    for (let slot = 0; slot < mask.length; slot += 1) if (listed[at[slot] ?? ABSENT] === keeps) mask[slot] = 1
    return mask
  }

  #numberOf(value: string): number {
    const known = this.numbers.get(value)
    if (known !== undefined) return known
    if (this.numbers.size > 2 * this.at.length + SPARE) this.#forget()
    const number = this.numbers.size + 1
    this.numbers.set(value, number)
    return number
  }

  // Values that nobody has any more, such as yesterday's of a claim that changes each day.
  #forget(): void {
    const used = new Set(this.at)
    const live = [...this.numbers].filter(([, number]) => used.has(number))
    const anew = new Map(live.map(([, number], place) => [number, place + 1]))
    this.numbers.clear()
    for (const [place, [value]] of live.entries()) this.numbers.set(value, place + 1)
    this.at = this.at.map((number) => anew.get(number) ?? ABSENT)
  }
}

export class Columns {
  readonly #columns = new Map<string, Column>()
  #room: number

  constructor(room: number) {
    this.#room = room
  }

  /** Makes room for so many slots. */
  grow(room: number): void {
    this.#room = room
    for (const column of this.#columns.values()) column.grow(room)
  }

  /** Puts the values of a slot in the place of those that it had. */
  put(slot: number, before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): void {
    for (const key of before.keys()) {
      const column = after.has(key) ? undefined : this.#columns.get(key)
      column?.put(slot, undefined)
      // A key that nobody has any more, such as yesterday's of a label that has the day in its name.
      if (column?.held === 0) this.#columns.delete(key)
    }
    for (const [key, value] of after) {
      if (before.get(key) === value) continue
      let column = this.#columns.get(key)
      if (!column) {
        column = new Column(this.#room)
        this.#columns.set(key, column)
      }
      column.put(slot, value)
    }
  }

  /** How many keys have a column. */
  get size(): number {
    return this.#columns.size
  }

  /** How many values of a key are remembered. */
  valuesOf(key: string): number {
    return this.#columns.get(key)?.numbers.size ?? 0
  }

  /** Clears in `mask` every slot that does not meet a selector without fault. */
  narrow(mask: Uint8Array, selector: LabelSelector | ClaimSelector | undefined): void {
    for (const { key, operator, values } of requirementsOf(selector)) {
      const column = this.#columns.get(key)
      if (column) narrowTo(mask, column.maskOf({ operator, values }))
      else if (operator === 'In' || operator === 'Exists') mask.fill(0)
    }
  }

  /** What narrow() would say of one slot. */
  meets(slot: number, selector: LabelSelector | ClaimSelector | undefined): boolean {
    return requirementsOf(selector).every(({ key, operator, values }) => {
      const column = this.#columns.get(key)
      const number = column?.at[slot] ?? ABSENT
      if (operator === 'Exists' || operator === 'DoesNotExist') return (number !== ABSENT) === (operator === 'Exists')
      const listed = number !== ABSENT && values.some((value) => column?.numbers.get(value) === number)
      return listed === (operator === 'In')
    })
  }
}

const NO_REQUIREMENTS: readonly (Requirement & { readonly key: string })[] = []
const known = new WeakMap<object, typeof NO_REQUIREMENTS>()

/** What a selector asks, label by label and term by term. */
function requirementsOf(selector: LabelSelector | ClaimSelector | undefined): typeof NO_REQUIREMENTS {
  if (!selector) return NO_REQUIREMENTS
  const made = known.get(selector)
  if (made) return made
  const labels = 'matchLabels' in selector ? (selector.matchLabels ?? {}) : {}
  const all = [
    ...Object.entries(labels).map(([key, value]) => ({ key, operator: 'In', values: [value] })),
    ...(selector.matchExpressions ?? []).map(({ key, operator, values = [] }) => ({ key, operator, values })),
  ]
  known.set(selector, all)
  return all
}

function isMet({ operator, values }: Requirement, value: string | undefined): boolean {
  if (operator === 'Exists' || operator === 'DoesNotExist') return (value !== undefined) === (operator === 'Exists')
  return (value !== undefined && values.includes(value)) === (operator === 'In')
}

/** The same numbers in an array of another length, at least as long. */
export function resized<T extends Int32Array | Uint8Array | Float64Array>(array: T, room: number): T {
  const larger = new (array.constructor as new (length: number) => T)(room)
  larger.set(array)
  return larger
}
