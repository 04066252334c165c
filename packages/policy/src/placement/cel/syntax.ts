import type { Value } from './values.ts'

// The tree of an expression once its macros are written out.

type At = { readonly at: number }
export type Literal = At & { readonly kind: 'literal'; readonly value: Value }
export type Ident = At & { readonly kind: 'ident'; readonly name: string }
export type Select = At & {
  readonly kind: 'select'
  readonly operand: Expr
  readonly field: string
  /** has(operand.field) */
  readonly test: boolean
}
export type Call = At & { readonly kind: 'call'; readonly name: string; readonly target?: Expr; readonly args: Expr[] }
export type ListLiteral = At & {
  readonly kind: 'list'
  readonly items: readonly { readonly value: Expr; readonly optional: boolean }[]
}
export type MapLiteral = At & {
  readonly kind: 'map'
  readonly entries: readonly { readonly key: Expr; readonly value: Expr; readonly optional: boolean }[]
}
/** What every macro over a range becomes: `init`, then `step` for each item while `condition` holds, then `result`. */
export type Fold = At & {
  readonly kind: 'fold'
  readonly range: Expr
  readonly item: string
  readonly accumulator: string
  readonly init: Expr
  readonly condition: Expr
  readonly step: Expr
  readonly result: Expr
}
export type Expr = Literal | Ident | Select | Call | ListLiteral | MapLiteral | Fold

/** `a.b.c` of a chain of names; undefined for any other expression. */
export function dotted(expr: Expr): string | undefined {
  if (expr.kind === 'ident') return expr.name
  if (expr.kind !== 'select' || expr.test) return undefined
  const before = dotted(expr.operand)
  return before === undefined ? undefined : `${before}.${expr.field}`
}
