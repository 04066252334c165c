import { comparePositions, type Position, TIMELINE_AHEAD_MS } from '@skerry/api'

// Where the next desired state of a cluster goes. A site refuses whatever is below what it holds, so a hub whose database
// was put back to an earlier state has to begin a new timeline above that. What a site holds is its nodes' word for it.

/** The newest desired state that the hub has of a cluster, or what a node says that it holds. */
export type Held = { readonly position: Position; readonly digest: string }

export type NextPosition =
  | { readonly kind: 'Follows'; readonly position: Position }
  /** In a new timeline: what is held is to be issued again there, changed or not. */
  | { readonly kind: 'Begins'; readonly position: Position; readonly above: Position }
  /** It would begin another timeline, which is not due before `notBeforeMs`. */
  | { readonly kind: 'HeldBack'; readonly position: Position; readonly above: Position; readonly notBeforeMs: number }
  /** Nobody can have signed what is claimed. */
  | { readonly kind: 'Impossible'; readonly position: Position; readonly above: Position }

/** The least time between two timelines of a cluster; twice as long after each. */
const BETWEEN_MS = 3_600_000

/**
 * The position of a cluster's next desired state. `stored`: the newest that the hub has; `claims`: what its nodes say that
 * they hold; `begun`: how many timelines the hub began for this cluster.
 *
 * A node may lie. It can then have its own cluster's order issued again, at the same contents, after an hour, two, four …;
 * and a timeline is never further ahead of the hub's clock than a site would take one.
 */
export function nextPosition(
  stored: Held | undefined,
  claims: readonly Held[],
  begun: number,
  nowMs: number,
): NextPosition {
  const position = stored
    ? { timeline: stored.position.timeline, generation: stored.position.generation + 1 }
    : { timeline: 0, generation: 1 }
  const ahead = claims
    .filter((claim) => isAhead(claim, stored))
    .map((claim) => claim.position)
    .toSorted((a, b) => comparePositions(b, a))
  const [highest] = ahead
  if (!highest) return { kind: 'Follows', position }
  const above = ahead.find((claim) => timelineAbove(claim, nowMs) * 1000 <= nowMs + TIMELINE_AHEAD_MS)
  if (!above) return { kind: 'Impossible', position, above: highest }
  const notBeforeMs =
    begun === 0 || !stored ? 0 : stored.position.timeline * 1000 + BETWEEN_MS * 2 ** Math.min(begun - 1, 20)
  if (nowMs < notBeforeMs) return { kind: 'HeldBack', position, above, notBeforeMs }
  const timeline = timelineAbove(above, nowMs)
  return { kind: 'Begins', position: { timeline, generation: position.generation }, above }
}

// Equal positions with unequal contents are two histories as well.
function isAhead(claim: Held, stored: Held | undefined): boolean {
  if (!stored) return true
  const order = comparePositions(claim.position, stored.position)
  return order > 0 || (order === 0 && claim.digest !== stored.digest)
}

// A timeline is named by the second it begins in, so that two restores of one backup differ.
function timelineAbove({ timeline }: Position, nowMs: number): number {
  return Math.max(Math.floor(nowMs / 1000), timeline + 1)
}
