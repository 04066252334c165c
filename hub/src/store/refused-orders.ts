import type { RefusedBody, Statement } from '@skerry/api'

/** What a site says against an order that is not the one in force: it has a newer one, or another of the same place. */
const OF_THE_PAST: ReadonlySet<string> = new Set(['OlderPosition', 'PositionReused'])

/**
 * Whether a refusal may be of the order in force: of a desired state whose signature held, and so of one order, and not of one
 * that somebody played to the site again. What else is refused must not hide it; a hub of an older version that takes
 * statements in beside this one keeps such a one as the newest all the same.
 */
export function refusesOrder({ code, position }: RefusedBody): boolean {
  return position !== undefined && !OF_THE_PAST.has(code)
}

type Kept = { [K in Statement['kind']]: Pick<Extract<Statement, { kind: K }>, 'kind' | 'body'> }[Statement['kind']]

/** Of which statements of its kind the newest is kept apart: the phase a transition went to, `order` where it refuses one. */
export function phaseOf(statement: Kept): string {
  if (statement.kind === 'transition') return statement.body.to
  return statement.kind === 'refused' && refusesOrder(statement.body) ? 'order' : ''
}
