import { toSearch } from '../effort.ts'
import { type CostOf, library, type Overload, overload } from '../overload.ts'
import {
  CelError,
  type CelMap,
  compare,
  contains,
  type Duration,
  fail,
  find,
  int,
  isMap,
  MAX_UINT,
  type Outcome,
  sizeOf,
  type Timestamp,
  Uint,
  type Value,
} from '../values.ts'
import { durationOf, timestampOf } from './time.ts'

// Arithmetic, order and membership, in the order of cel-go's declarations: it decides what an unknown type becomes. Costs are those of cel-go's interpreter.

const traversal = (length: number): number => Math.ceil(length * 0.1)
const ofFirst: CostOf = (a) => traversal(sizeOf(a))
const ofShorter: CostOf = (a, b) => traversal(Math.min(sizeOf(a), sizeOf(b)))
const ofBoth: CostOf = (a, b) => traversal(sizeOf(a) + sizeOf(b))
export const COSTS = { traversal, ofFirst }

const uint = (n: bigint): Outcome => (n < 0n || n > MAX_UINT ? fail('unsigned integer overflow') : new Uint(n))

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const made = new Uint8Array(a.length + b.length)
  made.set(a)
  made.set(b, a.length)
  return made
}

const arithmetic: Overload[] = [
  overload('_+_(bytes, bytes): bytes', (a: Uint8Array, b: Uint8Array) => joined(a, b), ofBoth),
  overload('_+_(double, double): double', (a: number, b: number) => a + b),
  overload('_+_(duration, duration): duration', (a: Duration, b: Duration) => durationOf(a.ns + b.ns)),
  overload('_+_(duration, timestamp): timestamp', (a: Duration, b: Timestamp) =>
    timestampOf(a.ns + b.ns, b.offsetMinutes),
  ),
  overload('_+_(timestamp, duration): timestamp', (a: Timestamp, b: Duration) =>
    timestampOf(a.ns + b.ns, a.offsetMinutes),
  ),
  overload('_+_(int, int): int', (a: bigint, b: bigint) => int(a + b)),
  overload('_+_(list(A), list(A)): list(A)', (a: readonly Value[], b: readonly Value[]) => [...a, ...b]),
  overload('_+_(string, string): string', (a: string, b: string) => a + b, ofBoth),
  overload('_+_(uint, uint): uint', (a: Uint, b: Uint) => uint(a.n + b.n)),
  overload('_-_(double, double): double', (a: number, b: number) => a - b),
  overload('_-_(duration, duration): duration', (a: Duration, b: Duration) => durationOf(a.ns - b.ns)),
  overload('_-_(int, int): int', (a: bigint, b: bigint) => int(a - b)),
  overload('_-_(timestamp, duration): timestamp', (a: Timestamp, b: Duration) =>
    timestampOf(a.ns - b.ns, a.offsetMinutes),
  ),
  overload('_-_(timestamp, timestamp): duration', (a: Timestamp, b: Timestamp) => durationOf(a.ns - b.ns)),
  overload('_-_(uint, uint): uint', (a: Uint, b: Uint) => uint(a.n - b.n)),
  overload('_*_(double, double): double', (a: number, b: number) => a * b),
  overload('_*_(int, int): int', (a: bigint, b: bigint) => int(a * b)),
  overload('_*_(uint, uint): uint', (a: Uint, b: Uint) => uint(a.n * b.n)),
  overload('_/_(double, double): double', (a: number, b: number) => a / b),
  overload('_/_(int, int): int', (a: bigint, b: bigint) => (b === 0n ? fail('division by zero') : int(a / b))),
  overload('_/_(uint, uint): uint', (a: Uint, b: Uint) => (b.n === 0n ? fail('division by zero') : uint(a.n / b.n))),
  overload('_%_(int, int): int', (a: bigint, b: bigint) => {
    if (b === 0n) return fail('modulus by zero')
    return a === -(2n ** 63n) && b === -1n ? fail('integer overflow') : a % b
  }),
  overload('_%_(uint, uint): uint', (a: Uint, b: Uint) => (b.n === 0n ? fail('modulus by zero') : uint(a.n % b.n))),
  overload('-_(double): double', (a: number) => -a),
  overload('-_(int): int', (a: bigint) => int(-a)),
]

const ORDERS: Readonly<Record<string, (order: number) => boolean>> = {
  '_<_': (order) => order < 0,
  '_<=_': (order) => order <= 0,
  '_>_': (order) => order > 0,
  '_>=_': (order) => order >= 0,
}
function ordered(holds: (order: number) => boolean): (a: Value, b: Value) => Outcome {
  return (a, b) => {
    const order = compare(a, b)
    if (order === undefined) return fail('NaN has no order')
    return order instanceof CelError ? order : holds(order)
  }
}
const ordering = Object.entries(ORDERS).flatMap(([name, holds]) =>
  ['bool', 'int', 'uint', 'double', 'string', 'bytes', 'timestamp', 'duration'].map((of) =>
    overload(`${name}(${of}, ${of}): bool`, ordered(holds), of === 'string' || of === 'bytes' ? ofShorter : undefined),
  ),
)

const MIXED: Readonly<Record<string, readonly string[]>> = {
  int: ['double', 'uint'],
  uint: ['double', 'int'],
  double: ['int', 'uint'],
}
/** With numbers of two types. Upstream's checker leaves these out, until it has been inside a macro: check.ts. */
export const mixedOrdering = library(
  ordering.flatMap((one) => {
    const own = one.params[0]?.name ?? ''
    const holds = ORDERS[one.name]
    return [
      one,
      ...(holds ? (MIXED[own] ?? []) : []).map((other) =>
        overload(`${one.name}(${own}, ${other}): bool`, ordered(holds ?? (() => false))),
      ),
    ]
  }),
)

export const operators: readonly Overload[] = [
  ...arithmetic,
  ...ordering,
  overload('!_(bool): bool', (a: boolean) => !a),
  overload(
    '@in(A, list(A)): bool',
    (a: Value, list: readonly Value[]) => contains(list, a),
    (_, list) => sizeOf(list),
    (a, list) => toSearch(list, a),
  ),
  overload(
    '@in(A, map(A, B)): bool',
    (a: Value, map: CelMap) => isMap(map) && find(map, a) !== undefined,
    undefined,
    (a, map) => toSearch(map, a),
  ),
]
