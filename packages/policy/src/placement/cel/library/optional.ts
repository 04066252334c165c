import { type Overload, overload } from '../overload.ts'
import {
  Duration,
  fail,
  isBytes,
  isList,
  isMap,
  Optional,
  type Outcome,
  Timestamp,
  Uint,
  type Value,
} from '../values.ts'

// Optional values, as cel-go's library has them. `or` and `orValue` evaluate their argument only where it is needed: plan.ts.

function isZero(value: Value): boolean {
  if (value === null || value === false || value === '' || value === 0n || value === 0) return true
  if (value instanceof Uint) return value.n === 0n
  if (value instanceof Duration) return value.ns === 0n
  // The beginning of the year 1 is Go's zero time.
  if (value instanceof Timestamp) return value.ns === -62_135_596_800_000_000_000n
  if (isList(value) || isBytes(value)) return value.length === 0
  return isMap(value) && value.size === 0
}

function present(list: readonly Value[]): Outcome {
  const found: Value[] = []
  for (const item of list) {
    if (!(item instanceof Optional)) return fail('an item of the list is not optional')
    if (item.value !== undefined) found.push(item.value)
  }
  return found
}

const never = (): Outcome => fail('not called')

export const optional: readonly Overload[] = [
  overload('optional::of(V): optional_type(V)', (value: Value) => new Optional(value)),
  overload('optional::ofNonZeroValue(V): optional_type(V)', (value: Value) =>
    isZero(value) ? Optional.none : new Optional(value),
  ),
  overload('optional::none(): optional_type(V)', () => Optional.none),
  overload('optional::unwrap(list(optional_type(V))): list(V)', present),
  overload('list(optional_type(V)).unwrapOpt(): list(V)', present),
  overload(
    'optional_type(V).value(): V',
    ({ value }: Optional): Outcome => (value === undefined ? fail('the optional has no value') : value),
  ),
  overload('optional_type(V).hasValue(): bool', ({ value }: Optional) => value !== undefined),
  overload('optional_type(V).or(optional_type(V)): optional_type(V)', never),
  overload('optional_type(V).orValue(V): V', never),
  overload('list(V).first(): optional_type(V)', (list: readonly Value[]) => new Optional(list[0])),
  overload('list(V).last(): optional_type(V)', (list: readonly Value[]) => new Optional(list.at(-1))),
]

/** Only for the checker: the evaluator knows these by name. */
export const forms: readonly Overload[] = [
  overload('_==_(A, A): bool', never),
  overload('_!=_(A, A): bool', never),
  overload('_&&_(bool, bool): bool', never),
  overload('_||_(bool, bool): bool', never),
  overload('@not_strictly_false(bool): bool', never),
  overload('_?_:_(bool, A, A): A', never),
  overload('_[_](list(A), int): A', never),
  overload('_[_](map(A, B), A): B', never),
  overload('_[_](optional_type(list(V)), int): optional_type(V)', never),
  overload('_[_](optional_type(map(K, V)), K): optional_type(V)', never),
  overload('_[?_](list(V), int): optional_type(V)', never),
  overload('_[?_](optional_type(list(V)), int): optional_type(V)', never),
  overload('_[?_](map(K, V), K): optional_type(V)', never),
  overload('_[?_](optional_type(map(K, V)), K): optional_type(V)', never),
]
