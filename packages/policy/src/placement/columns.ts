import type { ClaimSelector, LabelSelector } from '@skerry/api'

// Labels or claims of a fleet, a column a key: the values as numbers, one for each cluster. A selector is a few walks along
// columns, whatever the number of clusters, and a changed cluster is a few numbers.

/** The value of a cluster that does not have the key. */
const ABSENT = 0
const SPARE = 1_024

class Column {
  /** By slot: the number of its value. */
  at: Int32Array
  readonly numbers = new Map<string, number>()

  constructor(room: number) {
    this.at = new Int32Array(room)
  }

  numberOf(value: string): number {
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
    for (const column of this.#columns.values()) column.at = resized(column.at, room)
  }

  /** Puts the values of a slot in the place of those that it had. */
  put(slot: number, before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): void {
    for (const key of before.keys()) {
      const column = this.#columns.get(key)
      if (column && !after.has(key)) column.at[slot] = ABSENT
    }
    for (const [key, value] of after) {
      let column = this.#columns.get(key)
      if (!column) {
        column = new Column(this.#room)
        this.#columns.set(key, column)
      }
      column.at[slot] = column.numberOf(value)
    }
  }

  /** How many values of a key are remembered. */
  valuesOf(key: string): number {
    return this.#columns.get(key)?.numbers.size ?? 0
  }

  /** Clears in `mask` every slot that does not meet a selector without fault. */
  narrow(mask: Uint8Array, selector: LabelSelector | ClaimSelector | undefined): void {
    const labels = selector && 'matchLabels' in selector ? (selector.matchLabels ?? {}) : {}
    for (const [key, value] of Object.entries(labels)) this.#keep(mask, key, [value], true)
    for (const { key, operator, values = [] } of selector?.matchExpressions ?? []) {
      if (operator === 'In') this.#keep(mask, key, values, true)
      else if (operator === 'NotIn') this.#keep(mask, key, values, false)
      else this.#keepPresent(mask, key, operator === 'Exists')
    }
  }

  /** What narrow() would say of one slot. */
  meets(slot: number, selector: LabelSelector | ClaimSelector | undefined): boolean {
    const one = (key: string, values: readonly string[]) => {
      const column = this.#columns.get(key)
      const number = column?.at[slot] ?? ABSENT
      return number !== ABSENT && values.some((value) => column?.numbers.get(value) === number)
    }
    const labels = selector && 'matchLabels' in selector ? (selector.matchLabels ?? {}) : {}
    if (!Object.entries(labels).every(([key, value]) => one(key, [value]))) return false
    return (selector?.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      if (operator === 'In' || operator === 'NotIn') return one(key, values) === (operator === 'In')
      return ((this.#columns.get(key)?.at[slot] ?? ABSENT) !== ABSENT) === (operator === 'Exists')
    })
  }

  #keep(mask: Uint8Array, key: string, values: readonly string[], wanted: boolean): void {
    const column = this.#columns.get(key)
    const numbers = values.flatMap((value) => column?.numbers.get(value) ?? [])
    if (!column || numbers.length === 0) {
      if (wanted) mask.fill(0)
      return
    }
    const { at } = column
    const [first = ABSENT] = numbers
    if (numbers.length === 1) {
      for (let slot = 0; slot < mask.length; slot += 1) if ((at[slot] === first) !== wanted) mask[slot] = 0
      return
    }
    const listed = new Uint8Array(column.numbers.size + 1)
    for (const number of numbers) listed[number] = 1
    const keeps = wanted ? 1 : 0
    for (let slot = 0; slot < mask.length; slot += 1) if (listed[at[slot] ?? ABSENT] !== keeps) mask[slot] = 0
  }

  #keepPresent(mask: Uint8Array, key: string, wanted: boolean): void {
    const at = this.#columns.get(key)?.at
    if (!at) {
      if (wanted) mask.fill(0)
      return
    }
    for (let slot = 0; slot < mask.length; slot += 1) if ((at[slot] !== ABSENT) !== wanted) mask[slot] = 0
  }
}

/** The same numbers in an array of another length, at least as long. */
export function resized<T extends Int32Array | Uint8Array | Float64Array>(array: T, room: number): T {
  const larger = new (array.constructor as new (length: number) => T)(room)
  larger.set(array)
  return larger
}
