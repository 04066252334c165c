import { type Checked, check } from './check.ts'
import type { PreparedCluster } from './cluster.ts'
import { EFFORT_LIMIT } from './effort.ts'
import { FUNCTIONS, VARIABLES } from './environment.ts'
import { checkFormats } from './format-check.ts'
import { CompileFault } from './lexer.ts'
import { parse } from './parser.ts'
import { type Frame, OVER_BUDGET, OVER_EFFORT, plan, type Step } from './plan.ts'
import { isError, kindOf, Optional, type Outcome } from './values.ts'

// CEL as Open Cluster Management evaluates it for placements (DESIGN.md of this package, "CEL").

export { celCluster, type PreparedCluster, type ScoresOf } from './cluster.ts'
export type { Score } from './library/ocm.ts'
export { approximate } from './quantity.ts'

/** An expression that compiles. */
export type CelExpression = { readonly text: string; readonly step: Step }

/** What one expression may cost, and all of one predicate for one cluster. */
export const EXPRESSION_BUDGET = 1_000_000
export const PREDICATE_BUDGET = 10_000_000

/** Parses and checks an expression against OCM's environment. A fault is a sentence with the place in the text. */
export function compileCel(text: string): CelExpression | { readonly fault: string } {
  try {
    const checked: Checked = check(parse(text), VARIABLES, FUNCTIONS)
    checkFormats(checked)
    return { text, step: plan(checked) }
  } catch (error) {
    if (error instanceof CompileFault) return { fault: `${error.message} (character ${error.at + 1})` }
    throw error
  }
}

export type Evaluation = {
  readonly matches: boolean
  /** In units of cel-go's cost model; of an evaluation that was stopped, what it had cost. */
  readonly cost: number
  /** Why it does not match, as a short sentence. */
  readonly why?: string
}

/** Whether an expression holds for a cluster: it does only if it is true, or an optional that holds true. Never throws. */
export function evaluate({ step }: CelExpression, cluster: PreparedCluster, budget: number): Evaluation {
  const frame: Frame = {
    cost: 0,
    limit: EXPRESSION_BUDGET,
    effort: 0,
    variables: [cluster.object],
    scoresOf: cluster.scoresOf,
  }
  const value = run(step, frame)
  const { cost } = frame
  if (value === OVER_EFFORT)
    return { matches: false, cost, why: `reads and makes more than the ${EFFORT_LIMIT} bytes that it may` }
  if (value === OVER_BUDGET || cost > budget) {
    const limit = value === OVER_BUDGET ? EXPRESSION_BUDGET : budget
    return { matches: false, cost, why: `costs more than the ${limit} units that it may` }
  }
  if (isError(value)) return { matches: false, cost, why: value.error }
  const held = unwrapped(value)
  if (held === true) return { matches: true, cost }
  return {
    matches: false,
    cost,
    why: held === false ? 'is false' : `is no bool but ${isError(held) ? held.error : kindOf(held)}`,
  }
}

/** The first expression that does not hold for a cluster, as a sentence; undefined when all do. They share one budget. */
export function celMismatch(expressions: readonly CelExpression[], cluster: PreparedCluster): string | undefined {
  let budget = PREDICATE_BUDGET
  for (const expression of expressions) {
    const { matches, cost, why } = evaluate(expression, cluster, budget)
    if (!matches) return `CEL ${shortened(expression.text)} ${shortened(why ?? '', LONGEST_WHY)}`
    budget -= cost
  }
  return undefined
}

// It is told of each of ten thousand clusters, and an error may hold the text that it is about.
const LONGEST_WHY = 200
const shortened = (text: string, longest = 80): string =>
  text.length > longest ? `${text.slice(0, longest - 1)}…` : text

function run(step: Step, frame: Frame): Outcome | typeof OVER_BUDGET | typeof OVER_EFFORT {
  try {
    return step(frame)
  } catch (error) {
    if (error === OVER_BUDGET) return OVER_BUDGET
    if (error === OVER_EFFORT) return OVER_EFFORT
    throw error
  }
}

function unwrapped(value: Outcome): Outcome {
  let held = value
  while (held instanceof Optional && held.value !== undefined) held = held.value
  return held
}
