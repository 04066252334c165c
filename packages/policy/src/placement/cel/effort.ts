import { isBytes, isError, isList, isMap, isOpaque, Optional, type Outcome, Uint, type Value } from './values.ts'

// What an evaluation reads and makes, beside its price: upstream's price of many calls is 1, whatever they are given. A list
// that is added to itself sixty times, or compared when it holds itself twice at each of sixty levels, would cost next to
// nothing and end the hub. An effort is about a byte made or looked at, and known before the work is done.

/** What one expression may do for one cluster. No expression that somebody means comes near it. */
export const EFFORT_LIMIT = 64_000_000

/** No cost limits what `replace`, `join` and `format` make, so this does. */
export const LONGEST_TEXT = 4_000_000
/** Of an item of a list, an entry of a map. */
export const ITEM = 8
export const ENTRY = 64

/** What is copied or walked where a value is, and not what stands in it. */
export function flat(value: Outcome): number {
  if (typeof value === 'string') return value.length
  if (typeof value !== 'object' || value === null || isError(value)) return 0
  if (isList(value)) return value.length * ITEM
  if (isBytes(value)) return value.length
  return isOpaque(value) ? (value.weight ?? 0) : 0
}

const weights = new WeakMap<object, number>()

/** A value to its bottom: what stands in it twice is twice looked at. */
export function weightOf(value: Value): number {
  if (value instanceof Optional) return value.value === undefined ? 0 : weightOf(value.value)
  if (typeof value !== 'object' || value === null || !(isList(value) || isMap(value))) return flat(value)
  const known = weights.get(value)
  if (known !== undefined) return known
  const weight = isMap(value)
    ? weightOfMap(value)
    : value.reduce<number>((sum, item) => sum + weightOf(item), flat(value))
  weights.set(value, weight)
  return weight
}

function weightOfMap(map: ReadonlyMap<Value, Value>): number {
  let weight = map.size * ENTRY
  let scans = 0
  for (const [key, value] of map) {
    weight += flat(key) + weightOf(value)
    scans += toFind(map, key)
  }
  return weight + scans
}

/** What it takes to find a key: numbers are looked for across their types, one by one. */
export function toFind(map: ReadonlyMap<Value, Value>, key: Value): number {
  return key instanceof Uint || typeof key === 'number' ? map.size * ITEM : 0
}

/** What it takes to compare two values. */
export function toCompare(a: Outcome, b: Outcome): number {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || isError(a) || isError(b)) return 0
  return Math.min(weightOf(a), weightOf(b))
}

/** What it takes to look for a value in a list, a key in a map or a part in a text. */
export function toSearch(whole: Outcome, wanted: Outcome): number {
  if (isError(whole) || isError(wanted)) return 0
  if (typeof whole === 'string') return whole.length * (1 + (typeof wanted === 'string' ? wanted.length / 32 : 0))
  if (isMap(whole)) return toFind(whole, wanted)
  if (!isList(whole)) return 0
  return whole.length * ITEM + Math.min(whole.length * weightOf(wanted), weightOf(whole))
}
