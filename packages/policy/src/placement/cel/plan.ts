import type { Checked } from './check.ts'
import { EFFORT_LIMIT, ENTRY, flat, ITEM, toCompare, toFind } from './effort.ts'
import { CompileFault } from './lexer.ts'
import { type Score, scoresCost, scoresIn } from './library/ocm.ts'
import { regex, toRead } from './library/regex.ts'
import type { Overload } from './overload.ts'
import type { Call, Expr, Fold, ListLiteral, MapLiteral, Select } from './syntax.ts'
import type { Type } from './types.ts'
import {
  CelError,
  equal,
  fail,
  find,
  isError,
  isList,
  isMap,
  kindOf,
  Optional,
  type Outcome,
  sizeOf,
  TypeValue,
  Uint,
  type Value,
} from './values.ts'

// A checked expression as functions that call each other, each paying cel-go's price for what it does
// (interpreter/runtimecost.go): an identifier and each step into it 1, a list 10, a map 30, a call what its overload costs.
// cel-go pays after a step, whether it failed or not; so does this.

export type Frame = {
  cost: number
  readonly limit: number
  effort: number
  readonly variables: (Outcome | undefined)[]
  readonly scoresOf: (cluster: string, name: string) => readonly Score[] | undefined
}
export type Step = (frame: Frame) => Outcome

/** Thrown where the price goes over the limit: nothing absorbs it. */
export const OVER_BUDGET = Symbol('over budget')

function pay(frame: Frame, cost: number): void {
  frame.cost += cost
  if (frame.cost > frame.limit) throw OVER_BUDGET
}

/** Thrown where an evaluation does more than it may, whatever its price: nothing absorbs that either. */
export const OVER_EFFORT = Symbol('over effort')

function toil(frame: Frame, effort: number): void {
  frame.effort += effort
  if (frame.effort > EFFORT_LIMIT) throw OVER_EFFORT
}

/** Where `managedCluster` is in a frame. */
const CLUSTER_SLOT = 0

/** Throws a CompileFault for what upstream refuses when it makes a program. */
export function plan(checked: Checked): Step {
  return new Planner(checked).plan(checked.expr, { name: 'managedCluster', slot: CLUSTER_SLOT }).step
}

type Scope = {
  readonly name: string
  readonly slot: number
  /** What the variable begins as, computed where it is first asked for. */
  readonly init?: Step
  readonly outer?: Scope
}

/** A step into a value: by a key that is known, or one that is computed first. */
type Qualifier = {
  readonly key: Step
  /** The key, where it is a name that is known. */
  readonly name?: string
  readonly optional: boolean
  readonly test: boolean
}
/** Something that can be stepped into. A choice pays nothing for itself, everything else 1. */
type Attribute = { readonly base: Step; readonly qualifiers: readonly Qualifier[]; readonly isChoice: boolean }
type Planned = { readonly step: Step; readonly attribute?: Attribute; readonly literal?: Value }

class Planner {
  readonly #checked: Checked
  readonly #planned = new Map<Expr, { readonly planned: Planned; readonly scope: Scope }>()
  #slots = CLUSTER_SLOT + 1

  constructor(checked: Checked) {
    this.#checked = checked
  }

  plan(expr: Expr, scope: Scope): Planned {
    const known = this.#planned.get(expr)
    if (known?.scope === scope) return known.planned
    const planned = this.#plan(expr, scope)
    this.#planned.set(expr, { planned, scope })
    return planned
  }

  #plan(expr: Expr, scope: Scope): Planned {
    const typeName = this.#checked.typeNames.get(expr)
    if (typeName !== undefined) return literal(new TypeValue(typeName))
    switch (expr.kind) {
      case 'literal':
        return literal(expr.value)
      case 'ident': {
        let found: Scope | undefined = scope
        while (found && found.name !== expr.name) found = found.outer
        return attribute({ base: variable(found), qualifiers: [], isChoice: false })
      }
      case 'select':
        return this.#select(expr, scope)
      case 'call':
        return this.#call(expr, scope)
      case 'list':
        return { step: this.#list(expr, scope) }
      case 'map':
        return { step: this.#map(expr, scope) }
      case 'fold':
        return { step: this.#fold(expr, scope) }
      default: {
        const never_: never = expr
        return never_
      }
    }
  }

  #select({ operand, field, test }: Select, scope: Scope): Planned {
    const from = this.plan(operand, scope)
    const into = stepped(from, { key: () => field, name: field, optional: false, test })
    if (!test) return into
    // has(): of an optional, whether it has a value.
    const { step } = into
    return {
      ...into,
      step: (frame) => {
        const value = step(frame)
        return value instanceof Optional ? value.value !== undefined : value
      },
    }
  }

  #call(expr: Call, scope: Scope): Planned {
    const resolved = this.#checked.calls.get(expr)
    const operands = (resolved?.operands ?? expr.args).map((operand) => this.plan(operand, scope))
    const steps = operands.map(({ step }) => step)
    const [a = none, b = none, c = none] = operands
    switch (expr.name) {
      case '_&&_':
        return { step: logical(a.step, b.step, false) }
      case '_||_':
        return { step: logical(a.step, b.step, true) }
      case '_?_:_':
        return choice(a.step, b, c)
      case '_==_':
        return { step: equality(a.step, b.step, true) }
      case '_!=_':
        return { step: equality(a.step, b.step, false) }
      case '_?._':
      case '_[?_]':
        return stepped(a, { key: indexStep(b, expr), optional: true, test: false })
      case '_[_]':
        return stepped(a, { key: indexStep(b, expr), ...named(b), optional: false, test: false })
      case '@not_strictly_false':
        return {
          step: (frame) => {
            const value = a.step(frame)
            pay(frame, 1)
            return value !== false
          },
        }
      case 'or':
      case 'orValue':
        return { step: orElse(a.step, b.step, expr.name === 'orValue') }
      case 'scores':
        return { step: scores(a.step, b.step) }
      case 'find':
      case 'findAll': {
        // Upstream reads a pattern that is known when it makes the program, and only for these two.
        const read = typeof b.literal === 'string' ? regex(b.literal) : undefined
        if (read instanceof CelError) throw new CompileFault(read.error, expr.at)
        const eager = read === undefined && steps.length <= 2
        return { step: called(expr.name, resolved?.overloads ?? [], read ? steps : patterned(steps), eager) }
      }
      case 'matches':
        return {
          step: called(expr.name, resolved?.overloads ?? [], b.literal === undefined ? patterned(steps) : steps),
        }
      case '_<_':
      case '_<=_':
      case '_>_':
      case '_>=_':
        return { step: called(expr.name, inAnyOrder(resolved?.overloads ?? []), steps) }
      default:
        return { step: called(expr.name, resolved?.overloads ?? [], steps) }
    }
  }

  #list({ items }: ListLiteral, scope: Scope): Step {
    const steps = items.map(({ value, optional }) => ({ step: this.plan(value, scope).step, optional }))
    return (frame) => {
      toil(frame, steps.length * ITEM)
      const made = listOf(frame, steps)
      pay(frame, 10)
      return made
    }
  }

  #map({ entries }: MapLiteral, scope: Scope): Step {
    const steps = entries.map(({ key, value, optional }) => ({
      key: this.plan(key, scope).step,
      value: this.plan(value, scope).step,
      optional,
    }))
    return (frame) => {
      toil(frame, steps.length * ENTRY)
      const made = mapOf(frame, steps)
      pay(frame, 30)
      return made
    }
  }

  #fold(expr: Fold, scope: Scope): Step {
    const range = this.plan(expr.range, scope).step
    const init = this.plan(expr.init, scope).step
    const [total, item] = [this.#slots++, this.#slots++]
    const outer: Scope = { name: expr.accumulator, slot: total, init, outer: scope }
    const inner: Scope = { name: expr.item, slot: item, outer }
    const condition = this.plan(expr.condition, inner).step
    const accumulated = variable(outer)
    const step = this.#growing(expr, inner, accumulated) ?? this.plan(expr.step, inner).step
    const result = this.plan(expr.result, outer).step
    return (frame) => {
      const over = range(frame)
      if (isError(over)) return over
      if (!isList(over) && !isMap(over)) return fail(`${kindOf(over)} is no range`)
      const { variables } = frame
      variables[total] = undefined
      for (const one of isMap(over) ? over.keys() : over) {
        // A step may be without a price.
        toil(frame, ITEM)
        variables[item] = one
        if (condition(frame) !== true) break
        variables[total] = step(frame)
      }
      return result(frame)
    }
  }

  /** `result + [item]` and `test ? result + [item] : result` add to the list that the fold made: copies would be quadratic. */
  #growing(expr: Fold, scope: Scope, total: Step): Step | undefined {
    if (expr.accumulator !== '@result' || expr.init.kind !== 'list' || expr.step.kind !== 'call') return undefined
    const [first, grown] = expr.step.args
    if (expr.step.name === '_+_') return this.#grow(expr.step, scope, total)
    if (expr.step.name !== '_?_:_' || !first || grown?.kind !== 'call') return undefined
    const test = this.plan(first, scope).step
    const grow = this.#grow(grown, scope, total)
    return (frame) => {
      const yes = test(frame)
      if (typeof yes !== 'boolean') return notBool(yes)
      // The branch that is only a name has no price of its own.
      return yes ? grow(frame) : total(frame)
    }
  }

  #grow(sum: Call, scope: Scope, total: Step): Step {
    const [, list] = sum.args
    const [only] = list?.kind === 'list' ? list.items : []
    const value = only ? this.plan(only.value, scope).step : none.step
    return (frame) => {
      const grown = total(frame)
      pay(frame, 1)
      const made = value(frame)
      pay(frame, 10)
      pay(frame, 1)
      if (isError(grown)) return grown
      if (isError(made)) return made
      if (Array.isArray(grown)) grown.push(made)
      return grown
    }
  }
}

function variable({ slot, init }: Scope = { name: '', slot: CLUSTER_SLOT }): Step {
  if (!init) return (frame) => frame.variables[slot] ?? null
  return (frame) => {
    const known = frame.variables[slot]
    if (known !== undefined) return known
    const begun = init(frame)
    frame.variables[slot] = begun
    return begun
  }
}

const literal = (value: Value): Planned => ({ step: () => value, literal: value })
const none: Planned = literal(null)

function attribute(made: Attribute): Planned {
  const { base, qualifiers, isChoice } = made
  if (isChoice) return { step: (frame) => resolve(frame, base, qualifiers), attribute: made }
  if (qualifiers.length === 0) {
    const step: Step = (frame) => {
      pay(frame, 1)
      return base(frame)
    }
    return { step, attribute: made }
  }
  const names = qualifiers.flatMap(({ name, optional, test }) => (name === undefined || optional || test ? [] : [name]))
  const step: Step = (frame) => {
    const value =
      names.length === qualifiers.length ? follow(frame, base, names, qualifiers) : resolve(frame, base, qualifiers)
    pay(frame, 1)
    return value
  }
  return { step, attribute: made }
}

/** What resolve() does, for names alone: `managedCluster.metadata.labels["env"]`. */
function follow(frame: Frame, base: Step, names: readonly string[], qualifiers: readonly Qualifier[]): Outcome {
  let value = base(frame)
  if (isError(value)) return value
  if (value instanceof Optional) return resolve(frame, () => value, qualifiers)
  for (const name of names) {
    pay(frame, 1)
    if (!isMap(value)) return isList(value) ? fail(`${name} is no index of a list`) : fail(`no such key: ${name}`)
    const found: Value | undefined = value.get(name)
    if (found === undefined) return fail(`no such key: ${name}`)
    value = found
  }
  return value
}

/** What a plan says as an attribute: what is none is one whose base is computed. */
const asAttribute = ({ step, attribute: own }: Planned): Attribute =>
  own ?? { base: step, qualifiers: [], isChoice: false }

function stepped(from: Planned, qualifier: Qualifier): Planned {
  const { base, qualifiers, isChoice } = asAttribute(from)
  return attribute({ base, qualifiers: [...qualifiers, qualifier], isChoice })
}

const named = ({ literal: key }: Planned): { name?: string } => (typeof key === 'string' ? { name: key } : {})

/** The value of an index; a literal that is none of anything is refused before it is evaluated. */
function indexStep(index: Planned, where: Expr): Step {
  if (index.literal === null || index.literal instanceof Uint8Array)
    throw new CompileFault(`${kindOf(index.literal)} is no index`, where.at)
  return keyStep(index)
}

/** The value of an index. An attribute is resolved without its own price: the step that it makes has one. */
function keyStep({ step, attribute: own }: Planned): Step {
  return own ? (frame) => resolve(frame, own.base, own.qualifiers) : step
}

function resolve(frame: Frame, base: Step, qualifiers: readonly Qualifier[]): Outcome {
  let value = base(frame)
  if (isError(value)) return value
  let optional = false
  if (qualifiers.length > 0 && value instanceof Optional) {
    if (value.value === undefined) return value
    value = value.value
    optional = true
  }
  for (const qualifier of qualifiers) {
    optional ||= qualifier.optional
    const key = qualifier.key(frame)
    if (isError(key)) {
      if (!optional) pay(frame, 1)
      return key
    }
    if (isMap(value)) toil(frame, toFind(value, key))
    const found: Outcome | undefined = at(value, key, optional || qualifier.test)
    // What may lack has its price only where it is found.
    if (!optional || (found !== undefined && !isError(found))) pay(frame, 1)
    if (found !== undefined && isError(found)) return found
    if (qualifier.test && !optional) return found !== undefined
    if (found === undefined) return optional ? Optional.none : fail(`no such key: ${shown(key)}`)
    value = found
  }
  return optional ? new Optional(value) : value
}

const shown = (key: Value): string => (typeof key === 'object' ? kindOf(key) : String(key))

/** What is at a key; undefined where nothing is. */
function at(value: Value, key: Value, mayLack: boolean): Outcome | undefined {
  if (isMap(value)) return find(value, key)
  if (!isList(value)) return undefined
  const index =
    key instanceof Uint ? Number(key.n) : typeof key === 'bigint' || typeof key === 'number' ? Number(key) : Number.NaN
  if (!Number.isInteger(index)) return fail(`${shown(key)} is no index of a list`)
  const found = value[index]
  return found === undefined && !mayLack ? fail(`index out of bounds: ${shown(key)}`) : found
}

const notBool = (value: Outcome): CelError => (isError(value) ? value : fail(`${kindOf(value)} is no bool`))

/** `&&` and `||`: a side that decides wins over an error on the other one. */
function logical(a: Step, b: Step, decides: boolean): Step {
  return (frame) => {
    const left = a(frame)
    if (left === decides) return decides
    const right = b(frame)
    if (right === decides) return decides
    if (left !== !decides) return notBool(left)
    return right === !decides ? right : notBool(right)
  }
}

function choice(condition: Step, yes: Planned, no: Planned): Planned {
  const branches = [asAttribute(yes), asAttribute(no)].map(({ base, qualifiers }) => {
    return qualifiers.length === 0 ? base : (frame: Frame) => resolve(frame, base, qualifiers)
  })
  const [onTrue = none.step, onFalse = none.step] = branches
  return attribute({
    base: (frame) => {
      const value = condition(frame)
      if (typeof value !== 'boolean') return notBool(value)
      return value ? onTrue(frame) : onFalse(frame)
    },
    qualifiers: [],
    isChoice: true,
  })
}

function equality(a: Step, b: Step, wanted: boolean): Step {
  return (frame) => {
    const left = a(frame)
    const right = b(frame)
    pay(frame, Math.ceil(Math.min(priceSize(left), priceSize(right)) * 0.1))
    if (isError(left)) return left
    if (isError(right)) return right
    toil(frame, toCompare(left, right))
    const same = equal(left, right)
    // What does not compare is an error for ==, and not equal for !=.
    if (isError(same)) return wanted ? same : true
    return same === wanted
  }
}

/** Up to ten units of text cost the same, so they need not be counted. */
const priceSize = (value: Outcome): number =>
  typeof value === 'string' && value.length <= 10 ? value.length : sizeOf(value)

function orElse(a: Step, b: Step, unwrap: boolean): Step {
  return (frame) => {
    const first = a(frame)
    // What is no optional passes, as upstream lets it.
    if (!(first instanceof Optional)) return first
    if (first.value === undefined) return b(frame)
    return unwrap ? first.value : first
  }
}

/** With a pattern that is known only now. */
function patterned(steps: readonly Step[]): readonly Step[] {
  return steps.map((step, index) => {
    if (index !== 1) return step
    return (frame) => {
      const pattern = step(frame)
      toil(frame, toRead(pattern))
      return pattern
    }
  })
}

function scores(a: Step, b: Step): Step {
  return (frame) => {
    const [cluster, name] = [a(frame), b(frame)]
    const result = isError(cluster) ? cluster : isError(name) ? name : scoresIn(cluster, name, frame.scoresOf)
    pay(frame, scoresCost(result))
    return result
  }
}

/** Where types were not known before, numbers of two types are ordered by value: what is compared decides, not the signature. */
function inAnyOrder(overloads: readonly Overload[]): readonly Overload[] {
  return overloads.map((one) => ({ ...one, params: [DYN_PARAM, DYN_PARAM] }))
}
const DYN_PARAM: Type = { name: 'dyn', of: [] }

// Three arguments and more, a function of which it is not known before which overload is meant, and find() of a known pattern:
// what follows an error is not evaluated, and then the call has no price.
function called(
  name: string,
  overloads: readonly Overload[],
  steps: readonly Step[],
  isEager = steps.length <= 2 && (overloads.length === 1 || /^[_@]/.test(name)),
): Step {
  const [only] = overloads
  const [first = none.step, second = none.step] = steps
  if (overloads.length === 1 && only && steps.length === 1) return unary(name, only, first)
  if (overloads.length === 1 && only && steps.length === 2 && isEager) return binary(name, only, first, second)
  const cost = overloads.length === 1 ? only?.cost : undefined
  const effort = overloads.find((one) => one.effort)?.effort
  const guards = overloads.map(({ params }) => params.map(guard))
  return (frame) => {
    const args: Outcome[] = []
    let error: CelError | undefined
    for (const step of steps) {
      const arg = step(frame)
      args.push(arg)
      if (isError(arg)) {
        error ??= arg
        if (!isEager) break
      }
    }
    if (!error) toil(frame, effort ? effort(args[0] ?? null, args[1] ?? null) : args.reduce(sumOfFlat, 0))
    const result = error ?? dispatch(name, overloads, guards, args)
    toil(frame, flat(result))
    if (args.length === steps.length) pay(frame, cost ? cost(args[0] ?? null, args[1] ?? null, result) : 1)
    return result
  }
}

// The two shapes that nearly every call has, without lists of arguments: a placement asks ten thousand times.

function unary(name: string, { params, run, cost, effort }: Overload, step: Step): Step {
  const [test] = params.map(guard)
  return (frame) => {
    const a = step(frame)
    toil(frame, effort ? effort(a, null) : flat(a))
    const result = isError(a) ? a : test && !test(a) ? notFor(name, [a]) : run(a)
    toil(frame, flat(result))
    pay(frame, cost ? cost(a, null, result) : 1)
    return result
  }
}

function binary(name: string, { params, run, cost, effort }: Overload, first: Step, second: Step): Step {
  const [testA, testB] = params.map(guard)
  return (frame) => {
    const a = first(frame)
    const b = second(frame)
    toil(frame, effort ? effort(a, b) : flat(a) + flat(b))
    let result: Outcome
    if (isError(a)) result = a
    else if (isError(b)) result = b
    else if ((testA && !testA(a)) || (testB && !testB(b))) result = notFor(name, [a, b])
    else result = run(a, b)
    toil(frame, flat(result))
    pay(frame, cost ? cost(a, b, result) : 1)
    return result
  }
}

const sumOfFlat = (sum: number, arg: Outcome): number => sum + flat(arg)

const notFor = (name: string, values: readonly Value[]): CelError =>
  fail(`${name} is not for (${values.map(kindOf).join(', ')})`)

type Guard = ((value: Value) => boolean) | undefined
function guard({ name, of: [item] }: Type): Guard {
  if (name === 'dyn' || name.length === 1) return undefined
  if (name === 'string') return (value) => typeof value === 'string'
  // Of a list whose items were not known, the first one tells which overload is meant.
  const first = name === 'list' && item ? guard(item) : undefined
  if (first) return (value) => isList(value) && (value[0] === undefined || first(value[0]))
  return (value) => kindOf(value) === name
}

function dispatch(
  name: string,
  overloads: readonly Overload[],
  guards: readonly (readonly Guard[])[],
  args: readonly Outcome[],
): Outcome {
  const values: Value[] = []
  for (const arg of args) {
    if (isError(arg)) return arg
    values.push(arg)
  }
  for (const [index, one] of overloads.entries()) {
    const fits = guards[index]?.every((test, i) => test === undefined || test(values[i] ?? null)) ?? false
    if (fits) return one.run(...values)
  }
  return notFor(name, values)
}

type Optionally = { readonly optional: boolean }

function listOf(frame: Frame, steps: readonly (Optionally & { readonly step: Step })[]): Outcome {
  const made: Value[] = []
  for (const { step, optional } of steps) {
    const value = step(frame)
    if (isError(value)) return value
    if (!optional) made.push(value)
    else if (!(value instanceof Optional)) return fail('"?" takes an optional value')
    else if (value.value !== undefined) made.push(value.value)
  }
  return made
}

function mapOf(frame: Frame, steps: readonly (Optionally & { readonly key: Step; readonly value: Step })[]): Outcome {
  const made = new Map<Value, Value>()
  const uints = new Map<bigint, Value>()
  for (const { key: keyStep, value: valueStep, optional } of steps) {
    const key = keyStep(frame)
    if (isError(key)) return key
    const value = valueStep(frame)
    if (isError(value)) return value
    // Of a repeated key the last wins.
    let known = key
    if (key instanceof Uint) {
      known = uints.get(key.n) ?? key
      uints.set(key.n, known)
    }
    if (!optional) made.set(known, value)
    else if (!(value instanceof Optional)) return fail('"?" takes an optional value')
    else if (value.value === undefined) made.delete(known)
    else made.set(known, value.value)
  }
  return made
}
