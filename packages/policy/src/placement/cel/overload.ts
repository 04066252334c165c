import { parseType, parseTypes, type Type } from './types.ts'
import type { Outcome, Value } from './values.ts'

/** What a call costs, of its first two arguments and its result: cel-go's runtime cost model. */
export type CostOf = (a: Outcome, b: Outcome, result: Outcome) => number

/** In about bytes, of the first two arguments, before the call is made. */
export type EffortOf = (a: Outcome, b: Outcome) => number

/** One way to call a function. */
export type Overload = {
  readonly name: string
  /** Called as `a.name(b)`: the target is the first parameter. */
  readonly member: boolean
  readonly params: readonly Type[]
  readonly result: Type
  readonly run: (...args: Value[]) => Outcome
  /** Absent: 1. */
  readonly cost?: CostOf
  /** What the call does with its arguments (effort.ts); absent: it walks along each once. */
  readonly effort?: EffortOf
}

/** A library: overloads by function name. */
export type Library = ReadonlyMap<string, readonly Overload[]>

/** `string.charAt(int): string` is a member, `size(string): int` is not, `optional::of(A): …` has a name with a dot. */
const SIGNATURE = /^(?:(.+)\.)?([A-Za-z_@!?[\]<>=&|+\-*/%:0-9]+)\((.*)\): (.+)$/

/**
 * An overload from its signature. `run` may name the types of its arguments: it is called with values of the kinds that the
 * signature names and no others.
 */
export function overload<Args extends Value[]>(
  signature: string,
  run: (...args: Args) => Outcome,
  cost?: CostOf,
  effort?: EffortOf,
): Overload {
  const match = SIGNATURE.exec(signature)
  if (!match) throw new Error(`no signature: ${signature}`)
  const [, target, name = '', params = '', result = ''] = match
  const own = parseTypes(params)
  return {
    name: name.replaceAll('::', '.'),
    member: target !== undefined,
    params: target === undefined ? own : [parseType(target), ...own],
    result: parseType(result),
    // The one place where values become arguments: the signature is what the evaluator holds them against.
    run: run as unknown as Overload['run'],
    ...(cost ? { cost } : {}),
    ...(effort ? { effort } : {}),
  }
}

export function library(...parts: readonly (readonly Overload[])[]): Library {
  const found = new Map<string, Overload[]>()
  for (const one of parts.flat()) {
    const known = found.get(one.name)
    if (known) known.push(one)
    else found.set(one.name, [one])
  }
  return found
}
