// The values of CEL. int is a bigint, double a number, a list an array; an error is a value too, because `||` and `&&` absorb it.

export const MAX_INT = 2n ** 63n - 1n
export const MIN_INT = -(2n ** 63n)
export const MAX_UINT = 2n ** 64n - 1n

export class Uint {
  readonly kind = 'uint'
  readonly n: bigint
  constructor(n: bigint) {
    this.n = n
  }
}
/** An instant, in nanoseconds since 1970. `offsetMinutes` is only how it is written: as far ahead of UTC as it was read. */
export class Timestamp {
  readonly kind = 'timestamp'
  readonly ns: bigint
  readonly offsetMinutes: number
  constructor(ns: bigint, offsetMinutes = 0) {
    this.ns = ns
    this.offsetMinutes = offsetMinutes
  }
}
/** A span, in nanoseconds. */
export class Duration {
  readonly kind = 'duration'
  readonly ns: bigint
  constructor(ns: bigint) {
    this.ns = ns
  }
}
export class TypeValue {
  readonly kind = 'type'
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}
export class Optional {
  static readonly none = new Optional(undefined)
  readonly kind = 'optional_type'
  readonly value: Value | undefined
  constructor(value: Value | undefined) {
    this.value = value
  }
}
/** A value of a library: a quantity, an address, a version. `kind` is its type's name. */
export interface Opaque {
  readonly kind: `kubernetes.${string}` | `net.${string}`
  /** In bytes, of those whose comparison has a price. */
  readonly size?: number
  /** What it takes to look at one of those that may be long: about its bytes. */
  readonly weight?: number
  equals(other: Opaque): boolean | CelError
}
/** Keys are what a literal has for them; only text, numbers and bools find anything. */
export type CelMap = ReadonlyMap<Value, Value>
export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Uint
  | Uint8Array
  | Timestamp
  | Duration
  | TypeValue
  | Optional
  | Opaque
  | CelMap
  | readonly Value[]

/** Why an evaluation has no value, as a short sentence. */
export class CelError {
  readonly error: string
  constructor(error: string) {
    this.error = error
  }
}
export type Outcome = Value | CelError
export const fail = (error: string): CelError => new CelError(error)
export const isError = (value: Outcome): value is CelError => value instanceof CelError

export const isMap = (value: Value): value is CelMap => value instanceof Map
export const isList = (value: Value): value is readonly Value[] => Array.isArray(value)
export const isBytes = (value: Value): value is Uint8Array => value instanceof Uint8Array
export const isOpaque = (value: Value): value is Opaque =>
  typeof value === 'object' && value !== null && 'equals' in value && typeof value.equals === 'function'

/** What a type is called in an expression. */
export const typeName = (kind: string): string =>
  kind === 'timestamp' || kind === 'duration'
    ? `google.protobuf.${kind === 'timestamp' ? 'Timestamp' : 'Duration'}`
    : kind

/** The name of a value's type, as the checker has it. */
export function kindOf(value: Value): string {
  switch (typeof value) {
    case 'string':
      return 'string'
    case 'bigint':
      return 'int'
    case 'number':
      return 'double'
    case 'boolean':
      return 'bool'
    default:
      if (value === null) return 'null_type'
      if (isList(value)) return 'list'
      if (isMap(value)) return 'map'
      if (isBytes(value)) return 'bytes'
      return value.kind
  }
}

export const int = (value: bigint): Outcome => (value > MAX_INT || value < MIN_INT ? fail('integer overflow') : value)

/** Code points: CEL counts and indexes text by them. */
function codePoints(text: string): number {
  let count = text.length
  for (let i = 0; i < text.length - 1; i++) {
    const unit = text.charCodeAt(i)
    if (unit >= 0xd800 && unit < 0xdc00) {
      const next = text.charCodeAt(i + 1)
      if (next >= 0xdc00 && next < 0xe000) {
        count--
        i++
      }
    }
  }
  return count
}

/** What `size()` says, and of an optional what it says of its value; 1 for what has no size. */
export function sizeOf(value: Outcome): number {
  if (typeof value === 'string') return codePoints(value)
  if (value === null || typeof value !== 'object' || isError(value)) return 1
  if (isList(value) || isBytes(value)) return value.length
  if (value instanceof Optional) return value.value === undefined ? 1 : sizeOf(value.value)
  return 'size' in value ? (value.size ?? 1) : 1
}

/** Text is ordered by code point, which differs from code units above U+FFFF. */
function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (x === y) continue
    const [high, low] = [x >= 0xd800 && x < 0xe000, y >= 0xd800 && y < 0xe000]
    if (high !== low) return high ? 1 : -1
    return x < y ? -1 : 1
  }
  return Math.sign(a.length - b.length)
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return Math.sign(difference)
  }
  return Math.sign(a.length - b.length)
}

const order = <T extends bigint | number | boolean>(a: T, b: T): number => (a < b ? -1 : a > b ? 1 : 0)

/** An integer against a double, as cel-go does it: beyond the range by range, inside it as doubles. */
function compareWhole(a: bigint, b: number, smallest: bigint, largest: bigint): number {
  if (b < Number(smallest)) return 1
  if (b > Number(largest)) return -1
  return order(Number(a), b)
}

/** Negative, 0 or positive; undefined where the two have no order (NaN); an error where their types have none. */
export function compare(a: Value, b: Value): number | undefined | CelError {
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
  if (isNumber(a) && isNumber(b)) return compareNumbers(a, b)
  if (typeof a === 'boolean' && typeof b === 'boolean') return order(a, b)
  if (a instanceof Timestamp && b instanceof Timestamp) return order(a.ns, b.ns)
  if (a instanceof Duration && b instanceof Duration) return order(a.ns, b.ns)
  if (isBytes(a) && isBytes(b)) return compareBytes(a, b)
  return fail(`${kindOf(a)} and ${kindOf(b)} have no order`)
}

type Numeric = bigint | number | Uint
const isNumber = (value: Value): value is Numeric =>
  typeof value === 'bigint' || typeof value === 'number' || value instanceof Uint

function compareNumbers(a: Numeric, b: Numeric): number | undefined {
  if (typeof a === 'number') {
    if (typeof b !== 'number') {
      const turned = compareNumbers(b, a)
      return turned === undefined ? undefined : -turned
    }
    return Number.isNaN(a) || Number.isNaN(b) ? undefined : order(a, b)
  }
  if (typeof b === 'number') {
    if (Number.isNaN(b)) return undefined
    return a instanceof Uint ? compareWhole(a.n, b, 0n, MAX_UINT) : compareWhole(a, b, MIN_INT, MAX_INT)
  }
  return order(a instanceof Uint ? a.n : a, b instanceof Uint ? b.n : b)
}

/** `==`. Values of different types are unequal, but numbers compare by value. */
export function equal(a: Value, b: Value): boolean | CelError {
  if (typeof a === 'string' || typeof a === 'boolean' || a === null) return a === b
  if (isNumber(a)) return isNumber(b) && compareNumbers(a, b) === 0
  if (b === null) return false
  if (isList(a)) return isList(b) && equalLists(a, b)
  if (isMap(a)) return isMap(b) && equalMaps(a, b)
  if (isBytes(a)) return isBytes(b) && compareBytes(a, b) === 0
  if (a instanceof Timestamp) return b instanceof Timestamp && a.ns === b.ns
  if (a instanceof Duration) return b instanceof Duration && a.ns === b.ns
  if (a instanceof TypeValue) return b instanceof TypeValue && a.name === b.name
  if (a instanceof Optional) {
    if (!(b instanceof Optional)) return false
    if (a.value === undefined || b.value === undefined) return a.value === b.value
    return equal(a.value, b.value)
  }
  // What libraries bring compares with its own kind alone.
  if (!isOpaque(a)) return false
  return isOpaque(b) && a.kind === b.kind ? a.equals(b) : fail(`${a.kind} and ${kindOf(b)} do not compare`)
}

// Inside lists and maps what does not compare is not held against them: so upstream has it.
function equalLists(a: readonly Value[], b: readonly Value[]): boolean {
  return a.length === b.length && a.every((item, index) => equal(item, b[index] ?? null) !== false)
}

function equalMaps(a: CelMap, b: CelMap): boolean {
  if (a.size !== b.size) return false
  for (const [key, value] of a) {
    const other = find(b, key)
    if (other === undefined || equal(value, other) === false) return false
  }
  return true
}

/** The value at a key; numbers find each other across their types. */
export function find(map: CelMap, key: Value): Value | undefined {
  if (typeof key === 'string' || typeof key === 'boolean') return map.get(key)
  if (key === null || typeof key === 'bigint' || typeof key === 'number') {
    const exact = map.get(key)
    if (exact !== undefined) return exact
  }
  if (!isNumber(key)) return undefined
  for (const [known, value] of map)
    if ((typeof known === 'bigint' || known instanceof Uint) && compareNumbers(known, key) === 0) return value
  return undefined
}

export function contains(list: readonly Value[], wanted: Value): boolean {
  return list.some((item) => equal(item, wanted) === true)
}
