import { CompileFault } from './lexer.ts'
import { mixedOrdering } from './library/operators.ts'
import type { Library, Overload } from './overload.ts'
import { type Call, dotted, type Expr, type Ident, type Select } from './syntax.ts'
import { at, BOOL, DYN, Inference, optionalOf, parseType, STRING, same, shown, type Type, type } from './types.ts'

// Gives every part of an expression a type and every call its overloads, or says why there are none. After cel-go's checker.

/** Names that stand for types: `type(1) == int`. */
const TYPES: Readonly<Record<string, Type>> = {
  bool: BOOL,
  bytes: type('bytes'),
  double: type('double'),
  int: type('int'),
  string: STRING,
  uint: type('uint'),
  null_type: type('null_type'),
  list: parseType('list(dyn)'),
  map: parseType('map(dyn, dyn)'),
  type: type('type'),
  optional_type: parseType('optional_type(dyn)'),
  'net.CIDR': type('net.CIDR'),
  'net.IP': type('net.IP'),
  'google.protobuf.Duration': type('duration'),
  'google.protobuf.Timestamp': type('timestamp'),
}

/** What the checker knows of a call: `operands` are the target, if there is one, and the arguments. */
type Resolved = { readonly overloads: readonly Overload[]; readonly operands: readonly Expr[] }

export type Checked = {
  readonly expr: Expr
  readonly calls: ReadonlyMap<Call, Resolved>
  readonly types: ReadonlyMap<Expr, Type>
  /** Selections and names that stand for a type. */
  readonly typeNames: ReadonlyMap<Expr, string>
}

/** Throws a CompileFault. */
export function check(expr: Expr, variables: Readonly<Record<string, Type>>, functions: Library): Checked {
  const checker = new Checker(functions)
  checker.typeOf(expr, { names: new Map(Object.entries(variables)) })
  return { expr, calls: checker.calls, types: checker.types(), typeNames: checker.typeNames }
}

type Scope = { readonly names: ReadonlyMap<string, Type>; readonly outer?: Scope }

function lookUp(scope: Scope | undefined, name: string): Type | undefined {
  for (let one = scope; one; one = one.outer) {
    const found = one.names.get(name)
    if (found) return found
  }
  return undefined
}

class Checker {
  readonly calls = new Map<Call, Resolved>()
  readonly typeNames = new Map<Expr, string>()
  readonly #types = new Map<Expr, { readonly type: Type; readonly scope: Scope }>()
  readonly #functions: Library
  readonly #inference = new Inference()
  /** Whether a macro was met: from there on cel-go's checker takes `1 < 1.5`, because a scope forgets what it left out. */
  #isMixed = false

  constructor(functions: Library) {
    this.#functions = functions
  }

  /** What is known at the end; what is still unknown may be anything. */
  types(): ReadonlyMap<Expr, Type> {
    return new Map([...this.#types].map(([expr, one]) => [expr, this.#inference.settled(one.type)]))
  }

  typeOf(expr: Expr, scope: Scope): Type {
    // optMap() has its target twice: a chain of them would be looked at more often with each link, twice as often.
    const known = this.#types.get(expr)
    if (known?.scope === scope) return known.type
    const found = this.#typeOf(expr, scope)
    this.#types.set(expr, { type: found, scope })
    return found
  }

  #typeOf(expr: Expr, scope: Scope): Type {
    switch (expr.kind) {
      case 'literal':
        return literalType(expr.value)
      case 'ident':
        return this.#ident(expr, scope)
      case 'select':
        return this.#select(expr, scope)
      case 'call':
        return this.#call(expr, scope)
      case 'list': {
        let item: Type | undefined
        for (const { value, optional } of expr.items) {
          const own = this.#unwrapped(value, optional, scope)
          item = item ? this.#joined(item, own) : own
        }
        return type('list', item ?? this.#inference.fresh())
      }
      case 'map': {
        let [key, value]: (Type | undefined)[] = []
        for (const entry of expr.entries) {
          const ownKey = this.typeOf(entry.key, scope)
          key = key ? this.#joined(key, ownKey) : ownKey
          const own = this.#unwrapped(entry.value, entry.optional, scope)
          value = value ? this.#joined(value, own) : own
        }
        return type('map', key ?? this.#inference.fresh(), value ?? this.#inference.fresh())
      }
      case 'fold': {
        const range = this.#inference.settled(this.typeOf(expr.range, scope))
        const init = this.typeOf(expr.init, scope)
        this.#isMixed = true
        const outer: Scope = { names: new Map([[expr.accumulator, init]]), outer: scope }
        const inner: Scope = { names: new Map([[expr.item, this.#itemOf(range, expr.range)]]), outer }
        this.#mustBe(expr.condition, this.typeOf(expr.condition, inner), BOOL)
        this.#mustBe(expr.step, this.typeOf(expr.step, inner), init)
        return this.#inference.settled(this.typeOf(expr.result, outer))
      }
      default: {
        const never_: never = expr
        return never_
      }
    }
  }

  #ident(expr: Ident, scope: Scope): Type {
    const variable = lookUp(scope, expr.name)
    if (variable) return variable
    return this.#typeName(expr, expr.name) ?? stop(`nothing is named "${expr.name}"`, expr)
  }

  #typeName(expr: Expr, name: string): Type | undefined {
    const named = Object.hasOwn(TYPES, name) ? TYPES[name] : undefined
    if (named) this.typeNames.set(expr, name)
    return named && type('type', named)
  }

  #select(expr: Select, scope: Scope): Type {
    const name = dotted(expr)
    const named = name === undefined ? undefined : this.#typeName(expr, name)
    if (named) return named
    const field = this.#fieldOf(expr.operand, expr, scope, false)
    return expr.test ? BOOL : this.#inference.settled(field)
  }

  /** The type of a field; of an optional's field it is optional. */
  #fieldOf(operand: Expr, where: Expr, scope: Scope, optional: boolean): Type {
    const whole = this.#inference.settled(this.typeOf(operand, scope))
    const target = whole.name === 'optional_type' ? at(whole, 0) : whole
    let field = DYN
    if (target.name === 'map') field = at(target, 1)
    else if (target.name.startsWith('#')) this.#inference.assignable([DYN], [target])
    else if (target.name !== 'dyn') stop(`${shown(target)} has no fields`, where)
    return optional || target !== whole ? optionalOf(field) : field
  }

  #itemOf(range: Type, where: Expr): Type {
    if (range.name === 'list' || range.name === 'map') return at(range, 0)
    if (range.name.startsWith('#')) this.#inference.assignable([DYN], [range])
    else if (range.name !== 'dyn') stop(`${shown(range)} is no range: a list or a map is`, where)
    return DYN
  }

  #call(expr: Call, scope: Scope): Type {
    if (expr.name === '_?._') return this.#optionalField(expr, scope)
    const prefix = expr.target && dotted(expr.target)
    const spaced = prefix === undefined ? undefined : this.#functions.get(`${prefix}.${expr.name}`)
    const args = expr.args.map((arg) => this.typeOf(arg, scope))
    if (spaced) return this.#resolved(expr, spaced, expr.args, args, false)
    const target = expr.target && this.typeOf(expr.target, scope)
    const known = this.#functions.get(expr.name)
    if (!known) stop(`there is no function ${expr.name}()`, expr)
    const mixed = this.#isMixed ? mixedOrdering.get(expr.name) : undefined
    if (mixed) return this.#resolved(expr, mixed, expr.args, args, false)
    return expr.target && target
      ? this.#resolved(expr, known, [expr.target, ...expr.args], [target, ...args], true)
      : this.#resolved(expr, known, expr.args, args, false)
  }

  #optionalField(expr: Call, scope: Scope): Type {
    const [operand, field] = expr.args
    if (!operand || !field) stop('a selection has an operand and a field', expr)
    this.calls.set(expr, { overloads: [], operands: expr.args })
    return this.#inference.settled(this.#fieldOf(operand, expr, scope, true))
  }

  #resolved(
    expr: Call,
    known: readonly Overload[],
    operands: readonly Expr[],
    given: readonly Type[],
    member: boolean,
  ): Type {
    const overloads: Overload[] = []
    let result: Type | undefined
    for (const one of known) {
      if (one.member !== member) continue
      const { params, result: own } = this.#renewed(one)
      if (!this.#inference.assignable(given, params)) continue
      overloads.push(one)
      const found = this.#inference.settled(own)
      if (!result) result = found
      else if (result.name !== 'dyn' && !same(result, found)) result = DYN
    }
    if (!result) {
      const types = given.map((one) => shown(this.#inference.settled(one))).join(', ')
      stop(`${readable(expr.name)} is not for (${types})`, expr)
    }
    this.calls.set(expr, { overloads, operands })
    return result
  }

  /** A signature whose unknown types are new ones. */
  #renewed({ params, result }: Overload): { params: Type[]; result: Type } {
    const renewed = new Map<string, Type>()
    const renew = (one: Type): Type => {
      if (one.name.length === 1) {
        const known = renewed.get(one.name) ?? this.#inference.fresh()
        renewed.set(one.name, known)
        return known
      }
      return one.of.length === 0 ? one : type(one.name, ...one.of.map(renew))
    }
    return { params: params.map(renew), result: renew(result) }
  }

  #unwrapped(value: Expr, optional: boolean, scope: Scope): Type {
    const own = this.typeOf(value, scope)
    if (!optional) return own
    if (own.name === 'optional_type') return at(own, 0)
    if (own.name !== 'dyn') stop(`"?" takes an optional value, not ${shown(own)}`, value)
    return own
  }

  #joined(before: Type, own: Type): Type {
    return this.#inference.assignable([before], [own]) ? this.#inference.wider(before, own) : DYN
  }

  #mustBe(expr: Expr, own: Type, wanted: Type): void {
    if (this.#inference.assignable([own], [wanted])) return
    const is = shown(this.#inference.settled(own))
    stop(`${is} stands where ${shown(this.#inference.settled(wanted))} is wanted`, expr)
  }
}

function literalType(value: unknown): Type {
  if (value === null) return type('null_type')
  if (typeof value === 'string') return STRING
  if (typeof value === 'bigint') return type('int')
  if (typeof value === 'number') return type('double')
  if (typeof value === 'boolean') return BOOL
  return type(value instanceof Uint8Array ? 'bytes' : 'uint')
}

/** A type that is written out may be as long as a book. */
const LONGEST_FAULT = 300
function stop(message: string, { at: where }: Expr): never {
  throw new CompileFault(message.length > LONGEST_FAULT ? `${message.slice(0, LONGEST_FAULT)}…` : message, where)
}

/** `_==_` → `==`, `charAt` → `charAt()`. */
function readable(name: string): string {
  return /^[\w.]*[A-Za-z][\w.]*$/.test(name) && !name.startsWith('_')
    ? `${name}()`
    : name.replaceAll('_', '').replace('@', '')
}
