import type { DesiredState, NodePhase } from '@skerry/api'
import { openingAt } from '../window/window.ts'

/** A node as the leader sees it. */
export type SiteNode = { readonly node: string; readonly phase: NodePhase }
type SiteHold = {
  readonly node: string
  readonly reason: string
  readonly message: string
  readonly recheckAtMs?: number
}
export type SitePlan = {
  readonly turns: readonly string[]
  /** When the window closes in which the turns were given; absent when it never does. */
  readonly turnsUntilMs?: number
  readonly hold: readonly SiteHold[]
  readonly nextWindowMs?: number
}

const DOWN: ReadonlySet<NodePhase> = new Set(['Draining', 'Activating', 'Verifying', 'Confirming', 'RollingBack'])

/** Which staged nodes may activate now. A turn only says when; what, each agent verifies itself. */
export function planSite(
  desired: Pick<DesiredState, 'windows' | 'paused' | 'budget'>,
  nodes: readonly SiteNode[],
  nowMs: number,
): SitePlan {
  const staged = nodes
    .filter(({ phase }) => phase === 'Staged')
    .map(({ node }) => node)
    .toSorted()
  const opening = openingAt(desired.windows.activation, nowMs)
  const next = opening.open ? {} : { nextWindowMs: opening.nextMs }
  if (staged.length === 0) return { turns: [], hold: [], ...defined(next) }
  if (desired.paused)
    return {
      turns: [],
      hold: staged.map((node) => ({ node, reason: 'Paused', message: 'the rollout is paused; nothing new starts' })),
      ...defined(next),
    }
  if (!opening.open) {
    const message =
      opening.nextMs === undefined
        ? 'no activation window ever opens'
        : `the next activation window opens at ${new Date(opening.nextMs).toISOString()}`
    const more = opening.nextMs === undefined ? {} : { recheckAtMs: opening.nextMs }
    return {
      turns: [],
      hold: staged.map((node) => ({ node, reason: 'WindowClosed', message, ...more })),
      ...defined(next),
    }
  }
  const free = Math.max(0, desired.budget.maxUnavailable - nodes.filter(({ phase }) => DOWN.has(phase)).length)
  return {
    turns: staged.slice(0, free),
    ...(opening.untilMs === undefined ? {} : { turnsUntilMs: opening.untilMs }),
    hold: staged.slice(free).map((node) => ({
      node,
      reason: 'BudgetSpent',
      message: `${desired.budget.maxUnavailable} nodes of the site may be down at once`,
    })),
  }
}

function defined(next: { nextWindowMs?: number | undefined }): { nextWindowMs?: number } {
  return next.nextWindowMs === undefined ? {} : { nextWindowMs: next.nextWindowMs }
}
