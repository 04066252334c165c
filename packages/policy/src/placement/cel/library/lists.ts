import { toSearch, weightOf } from '../effort.ts'
import { type EffortOf, type Overload, overload } from '../overload.ts'
import {
  CelError,
  compare,
  Duration,
  equal,
  fail,
  int,
  isError,
  kindOf,
  MAX_UINT,
  type Outcome,
  Uint,
  type Value,
} from '../values.ts'
import { durationOf } from './time.ts'

// The list library of Kubernetes.

const toOrder: EffortOf = (list) => (isError(list) ? 0 : weightOf(list))
const COMPARABLE = ['int', 'uint', 'double', 'bool', 'duration', 'timestamp', 'string', 'bytes']

/** An item that has no order at all: null, a list, an address. */
const unordered = (list: readonly Value[]): CelError | undefined => {
  const found = list.find((item) => !COMPARABLE.includes(kindOf(item)))
  return found === undefined ? undefined : fail(`${kindOf(found)} has no order`)
}

function isSorted(list: readonly Value[]): Outcome {
  for (const [index, item] of list.entries()) {
    const next = list[index + 1]
    if (next === undefined) break
    const order = compare(item, next)
    // What has no order is taken to be in order, as upstream takes it.
    if (!(order instanceof CelError) && order !== undefined && order > 0) return false
  }
  return unordered(list) ?? true
}

/** The first of those that no other one is before, by `sign`. */
function extreme(list: readonly Value[], sign: 1 | -1, name: string): Outcome {
  const odd = unordered(list)
  if (odd) return odd
  let found: Value | undefined
  for (const item of list) {
    if (found === undefined) {
      found = item
      continue
    }
    const order = compare(found, item)
    if (!(order instanceof CelError) && order !== undefined && order * sign > 0) found = item
  }
  return found === undefined ? fail(`${name}() of an empty list`) : found
}

function sum(zero: Value, add: (a: Value, b: Value) => Outcome): (list: readonly Value[]) => Outcome {
  return (list) => {
    let total: Outcome = zero
    for (const item of list) {
      if (total instanceof CelError) return total
      total = add(total, item)
    }
    return total
  }
}

const mixed = (): Outcome => fail('sum() of values of different types')
const sums: Readonly<Record<string, (list: readonly Value[]) => Outcome>> = {
  int: sum(0n, (a, b) => (typeof a === 'bigint' && typeof b === 'bigint' ? int(a + b) : mixed())),
  uint: sum(new Uint(0n), (a, b) => {
    if (!(a instanceof Uint && b instanceof Uint)) return mixed()
    return a.n + b.n > MAX_UINT ? fail('unsigned integer overflow') : new Uint(a.n + b.n)
  }),
  double: sum(0, (a, b) => (typeof a === 'number' && typeof b === 'number' ? a + b : mixed())),
  duration: sum(new Duration(0n), (a, b) =>
    a instanceof Duration && b instanceof Duration ? durationOf(a.ns + b.ns) : mixed(),
  ),
}

export const lists: readonly Overload[] = [
  ...COMPARABLE.flatMap((of) => [
    overload(`list(${of}).isSorted(): bool`, isSorted, undefined, toOrder),
    overload(`list(${of}).max(): ${of}`, (list: readonly Value[]) => extreme(list, -1, 'max'), undefined, toOrder),
    overload(`list(${of}).min(): ${of}`, (list: readonly Value[]) => extreme(list, 1, 'min'), undefined, toOrder),
  ]),
  ...Object.entries(sums).map(([of, run]) => overload(`list(${of}).sum(): ${of}`, run)),
  overload(
    'list(A).indexOf(A): int',
    (list: readonly Value[], wanted: Value) => BigInt(list.findIndex((item) => equal(item, wanted) === true)),
    undefined,
    toSearch,
  ),
  overload(
    'list(A).lastIndexOf(A): int',
    (list: readonly Value[], wanted: Value) => BigInt(list.findLastIndex((item) => equal(item, wanted) === true)),
    undefined,
    toSearch,
  ),
]
