import type { ActVerb, ClusterState, RolloutPhase, RolloutStatus } from '@skerry/api'
import type { JudgedAct } from './acts.ts'
import type { RolloutPlan } from './plan.ts'
import { HOLDS_A_SLOT } from './states.ts'

// What a simulated rollout is told by: what changed, who was sent the image together, and what held whom.

export type TimelineEntry = { readonly atMs: number } & (
  | { readonly kind: 'Rollout'; readonly phase: RolloutPhase; readonly reason: string; readonly message: string }
  | { readonly kind: 'Breach'; readonly breached: boolean; readonly message: string }
  | { readonly kind: 'Group'; readonly index: number; readonly name: string; readonly turn: 'Opened' | 'Passed' }
  | { readonly kind: 'Sent'; readonly clusters: readonly string[] }
  | { readonly kind: 'OrderedBack'; readonly clusters: readonly string[] }
  | {
      readonly kind: 'Cluster'
      readonly cluster: string
      readonly state: ClusterState
      readonly reason: string
      readonly message: string
      /** When time alone, or the next regular look, may change it. */
      readonly recheckAtMs?: number
    }
  | {
      readonly kind: 'Act'
      readonly verb: ActVerb
      readonly by: string
      readonly outcome: JudgedAct['kind']
      readonly message: string
    }
)

/** Clusters that were sent the image together. */
export type Batch = { readonly atMs: number; readonly clusters: readonly string[]; readonly catchingUp: boolean }

/** What one reason held, whom, and for how long; the longest first. */
export type HeldFor = {
  readonly reason: string
  readonly totalMs: number
  readonly clusters: readonly { readonly cluster: string; readonly ms: number }[]
}

type Stretch = { readonly reason: string; readonly sinceMs: number }

/** Changes of single clusters that are told. What else is told is a few entries a look, and looks are bounded themselves. */
export const MOST_CHANGES = 100_000

export class Timeline {
  readonly #most: number
  readonly #entries: TimelineEntry[] = []
  readonly #batches: Batch[] = []
  readonly #waits = new Map<string, Stretch>()
  readonly #held = new Map<string, Map<string, number>>()
  #changes = 0

  /** `most`: so many changes of single clusters are kept, the first ones. */
  constructor(most: number) {
    this.#most = most
  }

  /** Takes what one look has changed. Whether that was more than what single clusters do. */
  tell(nowMs: number, before: RolloutStatus | undefined, status: RolloutStatus, plan: RolloutPlan): boolean {
    const had = this.#entries.length
    this.#tellRollout(nowMs, before, status)
    this.#tellGroups(nowMs, before, status)
    const isNews = this.#entries.length > had
    this.#tellClusters(nowMs, before, plan)
    if (plan.advance.length > 0) this.#tellSent(nowMs, status, plan.advance)
    if (plan.back.length > 0)
      this.#entries.push({
        atMs: nowMs,
        kind: 'OrderedBack',
        clusters: plan.back.map(({ cluster }) => cluster).toSorted(),
      })
    return isNews
  }

  tellAct(atMs: number, { verb, by, reason }: { verb: ActVerb; by: string; reason: string }, judged: JudgedAct): void {
    const message = judged.kind === 'Refused' ? judged.refusal.message : reason
    this.#entries.push({ atMs, kind: 'Act', verb, by, outcome: judged.kind, message })
  }

  toldUntil(nowMs: number): { timeline: TimelineEntry[]; leftOut: number; batches: Batch[]; held: HeldFor[] } {
    for (const cluster of [...this.#waits.keys()]) this.#endWait(cluster, nowMs)
    const held = [...this.#held].map(([reason, by]): HeldFor => {
      const clusters = [...by]
        .map(([cluster, ms]) => ({ cluster, ms }))
        .toSorted((a, b) => b.ms - a.ms || (a.cluster < b.cluster ? -1 : 1))
      return { reason, totalMs: clusters.reduce((sum, { ms }) => sum + ms, 0), clusters }
    })
    return {
      timeline: this.#entries,
      leftOut: Math.max(0, this.#changes - this.#most),
      batches: this.#batches,
      held: held.toSorted((a, b) => b.totalMs - a.totalMs || (a.reason < b.reason ? -1 : 1)),
    }
  }

  #tellRollout(
    atMs: number,
    before: RolloutStatus | undefined,
    { phase = 'Pending', conditions }: RolloutStatus,
  ): void {
    const of = (status: Pick<RolloutStatus, 'conditions'> | undefined, wanted: string) =>
      status?.conditions?.find(({ type }) => type === wanted)
    const breach = of({ conditions }, 'Breached')
    const isBreached = breach?.status === 'True'
    if (isBreached !== (of(before, 'Breached')?.status === 'True'))
      this.#entries.push({ atMs, kind: 'Breach', breached: isBreached, message: breach?.message ?? '' })
    const { reason = '', message = '' } = of({ conditions }, 'Completed') ?? {}
    if (before?.phase === phase && of(before, 'Completed')?.reason === reason) return
    this.#entries.push({ atMs, kind: 'Rollout', phase, reason, message })
  }

  #tellGroups(atMs: number, before: RolloutStatus | undefined, { groups = [] }: RolloutStatus): void {
    const had = new Map(before?.groups?.map((group) => [group.index, group]))
    for (const { index, name, openedAt, passedAt } of groups) {
      const was = had.get(index)
      if (openedAt && !was?.openedAt) this.#entries.push({ atMs, kind: 'Group', index, name, turn: 'Opened' })
      if (passedAt && !was?.passedAt) this.#entries.push({ atMs, kind: 'Group', index, name, turn: 'Passed' })
    }
  }

  // Of one instant there is one batch, and one of those that catch up.
  #tellSent(atMs: number, { clusters = [], groups = [] }: RolloutStatus, sent: readonly string[]): void {
    this.#entries.push({ atMs, kind: 'Sent', clusters: sent })
    const passed = new Set(groups.filter(({ passedAt }) => passedAt).map(({ index }) => index))
    const rows = new Map(clusters.map((row) => [row.name, row]))
    for (const catchingUp of [false, true]) {
      const these = sent.filter((name) => {
        const { returnedAt, group = 0 } = rows.get(name) ?? {}
        return (returnedAt !== undefined || passed.has(group)) === catchingUp
      })
      if (these.length === 0) continue
      const at = this.#batches.findIndex((batch) => batch.atMs === atMs && batch.catchingUp === catchingUp)
      const known = this.#batches[at]
      if (known) this.#batches[at] = { ...known, clusters: [...known.clusters, ...these].toSorted() }
      else this.#batches.push({ atMs, clusters: these, catchingUp })
    }
  }

  #tellClusters(atMs: number, before: RolloutStatus | undefined, plan: RolloutPlan): void {
    const rows = new Map(before?.clusters?.map((row) => [row.name, row]))
    const holds = new Map(plan.hold.map((held) => [held.cluster, held]))
    const sent = new Set(plan.advance)
    for (const { name, state, reason, message, recheckAt } of plan.clusters) {
      const waits = !sent.has(name) && holds.has(name) && (!HOLDS_A_SLOT.has(state) || reason === 'Paused')
      if (this.#waits.get(name)?.reason !== (waits ? reason : undefined)) {
        this.#endWait(name, atMs)
        if (waits) this.#waits.set(name, { reason, sinceMs: atMs })
      }
      const was = rows.get(name)
      // That it was sent is told once, as a batch.
      if (sent.has(name) || (was?.state === state && was.reason === reason)) continue
      this.#changes += 1
      if (this.#changes > this.#most) continue
      const recheckAtMs = recheckAt === undefined ? holds.get(name)?.recheckAtMs : Date.parse(recheckAt)
      const more = recheckAtMs === undefined ? {} : { recheckAtMs }
      this.#entries.push({ atMs, kind: 'Cluster', cluster: name, state, reason, message, ...more })
    }
  }

  #endWait(cluster: string, nowMs: number): void {
    const stretch = this.#waits.get(cluster)
    if (!stretch) return
    this.#waits.delete(cluster)
    const ms = nowMs - stretch.sinceMs
    if (ms === 0) return
    const by = this.#held.get(stretch.reason) ?? new Map<string, number>()
    this.#held.set(stretch.reason, by.set(cluster, (by.get(cluster) ?? 0) + ms))
  }
}
