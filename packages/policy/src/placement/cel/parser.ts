import { CompileFault, type Token, tokens } from './lexer.ts'
import type { Call, Expr, Fold, Ident, ListLiteral, Literal } from './syntax.ts'
import { MAX_INT, MAX_UINT, Uint } from './values.ts'

// The grammar of cel-go 0.26 with optional syntax. No library for JavaScript parses `[?x]`, `{?k: v}` and `.?f` all three
// (DESIGN.md, "CEL").

const RESERVED = new Set(
  'as break const continue else for function if import let loop package namespace return var void while'.split(' '),
)
// cel-go's own limits.
const MAX_DEPTH = 250
const MAX_CODE_POINTS = 100_000
const RESULT = '@result'

export function parse(text: string): Expr {
  if (text.length > MAX_CODE_POINTS && [...text].length > MAX_CODE_POINTS)
    throw new CompileFault(`an expression has at most ${MAX_CODE_POINTS} characters`, 0)
  const parser = new Parser(tokens(text))
  return parser.whole()
}

/** `a op b op c`, as the balanced tree that cel-go makes of it: the order of evaluation is the same, the tree is flat. */
function balanced(name: string, terms: readonly Expr[], ats: readonly number[]): Expr {
  const [only] = terms
  if (terms.length === 1 && only) return only
  const half = Math.ceil(terms.length / 2)
  const left = balanced(name, terms.slice(0, half), ats.slice(0, half - 1))
  const right = balanced(name, terms.slice(half), ats.slice(half))
  return { kind: 'call', name, args: [left, right], at: ats[half - 1] ?? 0 }
}

class Parser {
  readonly #tokens: readonly Token[]
  #next = 0
  #depth = 0
  /** How many choices, operators, selections, indexes and member calls stand above one another in an expression. */
  readonly #heights = new Map<Expr, number>()

  constructor(found: readonly Token[]) {
    this.#tokens = found
  }

  whole(): Expr {
    const expr = this.#expr()
    if (this.#peek().kind !== 'end') this.#unexpected()
    return expr
  }

  #peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.#next + ahead, this.#tokens.length - 1)] ?? { kind: 'end', text: '', at: 0 }
  }

  #is(mark: string): boolean {
    const token = this.#peek()
    return token.kind === 'mark' && token.text === mark
  }

  #take(mark: string): boolean {
    const is = this.#is(mark)
    if (is) this.#next++
    return is
  }

  #expect(mark: string): void {
    if (!this.#take(mark)) this.#unexpected(mark)
  }

  #unexpected(wanted?: string): never {
    const token = this.#peek()
    const what = token.kind === 'end' ? 'the end' : `"${token.text}"`
    throw new CompileFault(`${what} is not expected here${wanted ? `, but "${wanted}"` : ''}`, token.at)
  }

  #over(expr: Expr, own: 0 | 1, parts: readonly Expr[]): Expr {
    const height = own + parts.reduce((most, part) => Math.max(most, this.#heights.get(part) ?? 0), 0)
    if (height > MAX_DEPTH) throw new CompileFault(`operators and selections nested deeper than ${MAX_DEPTH}`, expr.at)
    if (height > 0) this.#heights.set(expr, height)
    return expr
  }

  #deeper<T>(rule: () => T): T {
    if (++this.#depth > MAX_DEPTH) throw new CompileFault(`nested deeper than ${MAX_DEPTH}`, this.#peek().at)
    const result = rule()
    this.#depth--
    return result
  }

  #expr(): Expr {
    return this.#deeper(() => {
      const condition = this.#chain('||', '_||_', () => this.#chain('&&', '_&&_', () => this.#relation()))
      const { at } = this.#peek()
      if (!this.#take('?')) return condition
      const yes = this.#chain('||', '_||_', () => this.#chain('&&', '_&&_', () => this.#relation()))
      this.#expect(':')
      const args = [condition, yes, this.#expr()]
      return this.#over({ kind: 'call', name: '_?_:_', args, at }, 1, args)
    })
  }

  #chain(mark: string, name: string, term: () => Expr): Expr {
    const terms = [term()]
    const ats: number[] = []
    while (this.#is(mark)) {
      ats.push(this.#peek().at)
      this.#next++
      terms.push(term())
    }
    return this.#over(balanced(name, terms, ats), 0, terms)
  }

  #relation(): Expr {
    let left = this.#sum()
    for (;;) {
      const token = this.#peek()
      const isIn = token.kind === 'name' && token.text === 'in'
      if (!isIn && !(token.kind === 'mark' && ['==', '!=', '<', '<=', '>', '>='].includes(token.text))) return left
      this.#next++
      const args = [left, this.#sum()]
      left = this.#over({ kind: 'call', name: isIn ? '@in' : `_${token.text}_`, args, at: token.at }, 1, args)
    }
  }

  #sum(): Expr {
    return this.#left(['+', '-'], () => this.#left(['*', '/', '%'], () => this.#unary()))
  }

  #left(marks: readonly string[], term: () => Expr): Expr {
    let left = term()
    for (;;) {
      const token = this.#peek()
      if (token.kind !== 'mark' || !marks.includes(token.text)) return left
      this.#next++
      const args = [left, term()]
      left = this.#over({ kind: 'call', name: `_${token.text}_`, args, at: token.at }, 1, args)
    }
  }

  #unary(): Expr {
    const { text, at } = this.#peek()
    if (!this.#is('!') && !this.#is('-')) return this.#member()
    // One sign belongs to its number, or the smallest int could not be written.
    if (text === '-' && ['int', 'double'].includes(this.#peek(1).kind)) return this.#member()
    let count = 0
    while (this.#take(text)) count++
    const operand = this.#member()
    if (count % 2 === 0) return operand
    return this.#over({ kind: 'call', name: text === '!' ? '!_' : '-_', args: [operand], at }, 0, [operand])
  }

  #member(): Expr {
    let expr = this.#primary()
    for (;;) {
      const { at } = this.#peek()
      if (this.#take('.')) {
        const optional = this.#take('?')
        const field = this.#field()
        const target = expr
        if (!optional && this.#take('(')) expr = this.#called(field, target, this.#items(')'), at)
        else if (optional)
          expr = { kind: 'call', name: '_?._', args: [target, { kind: 'literal', value: field, at }], at }
        else expr = { kind: 'select', operand: target, field, test: false, at }
        if (optional || expr.kind === 'select') this.#over(expr, 1, [target])
      } else if (this.#take('[')) {
        const name = this.#take('?') ? '_[?_]' : '_[_]'
        const index = this.#expr()
        this.#expect(']')
        const args = [expr, index]
        expr = this.#over({ kind: 'call', name, args, at }, 1, args)
      } else return expr
    }
  }

  #field(): string {
    const token = this.#peek()
    if (token.kind !== 'name' || ['in', 'true', 'false', 'null'].includes(token.text)) this.#unexpected()
    this.#next++
    return token.text
  }

  /** Expressions up to `close`, which is taken; no comma after the last one. */
  #items(close: string): Expr[] {
    const items: Expr[] = []
    if (this.#take(close)) return items
    do items.push(this.#expr())
    while (this.#take(','))
    this.#expect(close)
    return items
  }

  #primary(): Expr {
    const token = this.#peek()
    const { at, text } = token
    if (token.kind === 'mark') {
      if (this.#take('(')) {
        const expr = this.#expr()
        this.#expect(')')
        return expr
      }
      if (this.#take('[')) return this.#list(at)
      if (this.#take('{')) return this.#map(at)
      if (text === '-' && ['int', 'double'].includes(this.#peek(1).kind)) {
        this.#next++
        return this.#number('-')
      }
      if (this.#take('.')) return this.#named(this.#field(), at)
      this.#unexpected()
    }
    if (token.kind === 'end') this.#unexpected()
    if (token.kind === 'int' || token.kind === 'double' || token.kind === 'uint') return this.#number('')
    this.#next++
    if (token.kind === 'string') return { kind: 'literal', value: text, at }
    if (token.kind === 'bytes') return { kind: 'literal', value: token.bytes ?? new Uint8Array(), at }
    if (text === 'true' || text === 'false') return { kind: 'literal', value: text === 'true', at }
    if (text === 'null') return { kind: 'literal', value: null, at }
    if (text === 'in') {
      this.#next--
      this.#unexpected()
    }
    return this.#named(text, at)
  }

  #named(name: string, at: number): Expr {
    if (this.#is('{')) throw new CompileFault('messages are not supported', at)
    if (RESERVED.has(name)) throw new CompileFault(`"${name}" is a reserved word`, at)
    return this.#take('(') ? this.#called(name, undefined, this.#items(')'), at) : { kind: 'ident', name, at }
  }

  #number(sign: string): Literal {
    const { kind, text, at } = this.#peek()
    this.#next++
    if (kind === 'double') {
      const value = Number(sign + text)
      if (!Number.isFinite(value)) throw new CompileFault(`${text} is no double`, at)
      return { kind: 'literal', value, at }
    }
    const size = BigInt(text.replace(/[uU]$/, ''))
    const value = sign ? -size : size
    const fits = kind === 'uint' ? value <= MAX_UINT : value <= MAX_INT && value >= -MAX_INT - 1n
    if (!fits) throw new CompileFault(`${sign}${text} is no 64-bit integer`, at)
    return { kind: 'literal', value: kind === 'uint' ? new Uint(value) : value, at }
  }

  #list(at: number): Expr {
    const items: ListLiteral['items'][number][] = []
    while (!this.#take(']')) {
      // A list may be `[,]`: the grammar has its last comma also where there is no item.
      if (items.length === 0 && this.#take(',')) {
        this.#expect(']')
        break
      }
      const optional = this.#take('?')
      items.push({ optional, value: this.#expr() })
      if (!this.#take(',') && !this.#is(']')) this.#unexpected(']')
    }
    const parts = items.map(({ value }) => value)
    return this.#over({ kind: 'list', items, at }, 0, parts)
  }

  #map(at: number): Expr {
    const entries: { key: Expr; value: Expr; optional: boolean }[] = []
    while (!this.#take('}')) {
      if (entries.length === 0 && this.#take(',')) {
        this.#expect('}')
        break
      }
      const optional = this.#take('?')
      const key = this.#expr()
      this.#expect(':')
      entries.push({ optional, key, value: this.#expr() })
      if (!this.#take(',') && !this.#is('}')) this.#unexpected('}')
    }
    const parts = entries.flatMap(({ key, value }) => [key, value])
    return this.#over({ kind: 'map', entries, at }, 0, parts)
  }

  #called(name: string, target: Expr | undefined, args: Expr[], at: number): Expr {
    const expr = macro(name, target, args, at) ?? { kind: 'call', name, ...(target ? { target } : {}), args, at }
    return target ? this.#over(expr, 1, [target, ...args]) : this.#over(expr, 0, args)
  }
}

/** A call that is a macro, written out; undefined when it is none. */
function macro(name: string, target: Expr | undefined, args: readonly Expr[], at: number): Expr | undefined {
  const [first, second, third] = args
  if (!target) {
    if (name !== 'has' || args.length !== 1 || !first) return undefined
    if (first.kind !== 'select' || first.test) throw new CompileFault('has() takes a selection like a.b', at)
    return { ...first, test: true }
  }
  if (!first || !second) return undefined
  const call = (fn: string, ...of: Expr[]): Call => ({ kind: 'call', name: fn, args: of, at })
  const literal = (value: boolean | bigint): Literal => ({ kind: 'literal', value, at })
  const list = (...items: Expr[]): ListLiteral => ({
    kind: 'list',
    items: items.map((value) => ({ value, optional: false })),
    at,
  })
  const result: Ident = { kind: 'ident', name: RESULT, at }
  const item = (): string => {
    if (first.kind !== 'ident') throw new CompileFault(`the first argument of ${name}() is a simple name`, first.at)
    if (first.name === RESULT || first.name === '__result__') throw new CompileFault('that name is taken', first.at)
    return first.name
  }
  const fold = (parts: Pick<Fold, 'init' | 'condition' | 'step'> & Partial<Fold>): Fold => ({
    kind: 'fold',
    range: target,
    item: item(),
    accumulator: RESULT,
    result,
    at,
    ...parts,
  })
  const always = literal(true)
  if (args.length === 3 && third && name === 'map')
    return fold({
      init: list(),
      condition: always,
      step: call('_?_:_', second, call('_+_', result, list(third)), result),
    })
  if (args.length !== 2) return undefined
  switch (name) {
    case 'all':
      return fold({
        init: literal(true),
        condition: call('@not_strictly_false', result),
        step: call('_&&_', result, second),
      })
    case 'exists':
      return fold({
        init: literal(false),
        condition: call('@not_strictly_false', call('!_', result)),
        step: call('_||_', result, second),
      })
    case 'exists_one':
      return fold({
        init: literal(0n),
        condition: always,
        step: call('_?_:_', second, call('_+_', result, literal(1n)), result),
        result: call('_==_', result, literal(1n)),
      })
    case 'map':
      return fold({ init: list(), condition: always, step: call('_+_', result, list(second)) })
    case 'filter':
      return fold({
        init: list(),
        condition: always,
        step: call('_?_:_', second, call('_+_', result, list(first)), result),
      })
    case 'optMap':
    case 'optFlatMap': {
      const on = (fn: string): Call => ({ kind: 'call', name: fn, target, args: [], at })
      const bound: Fold = {
        kind: 'fold',
        range: list(),
        item: '#unused',
        accumulator: item(),
        init: on('value'),
        condition: literal(false),
        step: { kind: 'ident', name: item(), at },
        result: second,
        at,
      }
      return call(
        '_?_:_',
        on('hasValue'),
        name === 'optMap' ? call('optional.of', bound) : bound,
        call('optional.none'),
      )
    }
    default:
      return undefined
  }
}
