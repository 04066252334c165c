import type { DesiredState, NodePhase } from '@skerry/api'
import { minuteOf } from '../wave/minute.ts'
import { type Opening, openingAt } from '../window/window.ts'
import { counted } from '../words.ts'

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
  /** When a node that is held for its window or its wave may go. */
  readonly nextWindowMs?: number
}

const DOWN: ReadonlySet<NodePhase> = new Set(['Draining', 'Activating', 'Verifying', 'Confirming', 'RollingBack'])

/** Which staged nodes may activate now. A turn only says when; what, each agent verifies itself. */
export function planSite(
  desired: Pick<DesiredState, 'cluster' | 'image' | 'windows' | 'waves' | 'paused' | 'budget'>,
  nodes: readonly SiteNode[],
  nowMs: number,
): SitePlan {
  const staged = nodes
    .filter(({ phase }) => phase === 'Staged')
    .map(({ node }) => node)
    .toSorted()
  const when = whenOf(desired, nowMs)
  const next = when.open || when.nextMs === undefined ? {} : { nextWindowMs: when.nextMs }
  if (staged.length === 0) return { turns: [], hold: [], ...next }
  if (desired.paused)
    return {
      turns: [],
      hold: staged.map((node) => ({ node, reason: 'Paused', message: 'the rollout is paused; nothing new starts' })),
      ...next,
    }
  if (!when.open) {
    const { reason, message, nextMs } = when
    const more = nextMs === undefined ? {} : { recheckAtMs: nextMs }
    return { turns: [], hold: staged.map((node) => ({ node, reason, message, ...more })), ...next }
  }
  const free = Math.max(0, desired.budget.maxUnavailable - nodes.filter(({ phase }) => DOWN.has(phase)).length)
  return {
    turns: staged.slice(0, free),
    ...(when.untilMs === undefined ? {} : { turnsUntilMs: when.untilMs }),
    hold: staged.slice(free).map((node) => ({
      node,
      reason: 'BudgetSpent',
      message: `${counted(desired.budget.maxUnavailable, 'node')} of the site may be down at once`,
    })),
  }
}

type When =
  | (Opening & { readonly open: true })
  | (Opening & { readonly open: false; readonly reason: string; readonly message: string })

// The site's minute in the waves and its windows: both must allow it.
function whenOf(
  { cluster, image, waves, windows: { activation } }: Parameters<typeof planSite>[0],
  nowMs: number,
): When {
  const minuteMs = waves && image ? minuteOf(waves, cluster, image.sha256) : nowMs
  const opening = openingAt(activation, Math.max(nowMs, minuteMs))
  if (minuteMs <= nowMs) {
    if (opening.open) return opening
    const message =
      opening.nextMs === undefined
        ? 'no activation window ever opens'
        : `the next activation window opens at ${iso(opening.nextMs)}`
    return { ...opening, reason: 'WindowClosed', message }
  }
  const mine = `the minute of this cluster in the rollout's waves is ${iso(minuteMs)}`
  const reason = 'WaveNotDue'
  if (opening.open) return { open: false, nextMs: minuteMs, reason, message: mine }
  const window =
    opening.nextMs === undefined
      ? 'no activation window opens after it'
      : `the next activation window after it opens at ${iso(opening.nextMs)}`
  return { ...opening, reason, message: `${mine}; ${window}` }
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
