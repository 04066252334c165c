import type { ActivationWindow, FailsBy, RolloutCluster, Waves } from '@skerry/api'
import type { ReachabilityLimits } from '../compliance/reachability.ts'
import type { ClusterFacts } from './facts.ts'
import type { Image } from './roll-back.ts'

// What a simulation is given of its sites: their outages, how fast they are, and what they have in common.

/** A time without a link, from its first to before its last moment; without `toMs` it does not end. */
type Outage = { readonly fromMs: number; readonly toMs?: number }

/** What a site takes: until it has an order, has the image's bytes, and has booted and confirmed it. */
export type Pace = { readonly deliveryMs: number; readonly stagingMs: number; readonly activationMs: number }

export type SimulatedCluster = Partial<Pace> & {
  readonly name: string
  readonly outages?: readonly Outage[]
  /** The image fails here. `times`: so often, and then no more, which a retry finds out; without it always. */
  readonly fails?: { readonly by: FailsBy; readonly times?: number }
  /** It is first heard then. */
  readonly joinsAtMs?: number
  /** What is known of it already; by default it is well and was sent nothing. */
  readonly known?: ClusterFacts
}

export const PACE: Pace = { deliveryMs: 5_000, stagingMs: 10 * 60_000, activationMs: 5 * 60_000 }

/** What all sites of a simulation have in common. */
export type World = {
  readonly rollout: { readonly uid: string; readonly name: string }
  readonly image: Image
  /** What sites run before, where nothing else is known. */
  readonly before: Image
  readonly attestation: 'affirming' | 'warning'
  readonly windows: ActivationWindow[]
  /** Of a rollout that goes on: what was told of each cluster, and the waves of what sites were sent. */
  readonly stored: { readonly rows: ReadonlyMap<string, RolloutCluster>; readonly waves: Waves | undefined }
  readonly limits: ReachabilityLimits
  readonly pace: Pace
}

type Edge = { readonly atMs: number; readonly up: boolean }

/** When a site's link goes and comes, in order. */
export function edgesOf({ outages = [], joinsAtMs }: Pick<SimulatedCluster, 'outages' | 'joinsAtMs'>): Edge[] {
  const all = merged([
    ...(joinsAtMs === undefined ? [] : [{ fromMs: Number.NEGATIVE_INFINITY, toMs: joinsAtMs }]),
    ...outages,
  ])
  return all.flatMap(({ fromMs, toMs }) => [
    { atMs: fromMs, up: false },
    ...(toMs === undefined ? [] : [{ atMs: toMs, up: true }]),
  ])
}

/** Outages in order, those that meet or overlap as one. */
function merged(outages: readonly Outage[]): Outage[] {
  const all: Outage[] = []
  for (const next of outages.toSorted((a, b) => a.fromMs - b.fromMs)) {
    const last = all.at(-1)
    if (!last || (last.toMs !== undefined && last.toMs < next.fromMs)) all.push(next)
    else if (last.toMs !== undefined) {
      const { toMs } = next
      all[all.length - 1] = toMs === undefined ? { fromMs: last.fromMs } : { ...last, toMs: Math.max(last.toMs, toMs) }
    }
  }
  return all
}
