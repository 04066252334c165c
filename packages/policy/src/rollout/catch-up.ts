import type { RolloutCluster } from '@skerry/api'
import { fractionOf } from '../wave/minute.ts'
import type { Progress } from './progress.ts'
import { FINISHED } from './states.ts'

// Sites that return. They have slots of their own, and each waits a part of the spread, so that a hub or a link that comes
// back does not start every site at once.

/** When a cluster came back into reach, if it catches up: its group has its turn, or had it, while it was away. */
export function returnedAtMs(
  { state }: Progress,
  was: RolloutCluster | undefined,
  isOpen: boolean,
  nowMs: number,
): number | undefined {
  if (!was || FINISHED.has(state) || state === 'Offline') return undefined
  if (was.returnedAt !== undefined) return Date.parse(was.returnedAt)
  // Who was never there recovers from nothing.
  return was.state === 'Offline' && was.reason !== 'NeverSeen' && isOpen ? nowMs : undefined
}

/** A cluster's part of the spread: the same whoever works it out, another one for each image. */
export function spreadMs(cluster: string, manifestSha256: string, withinMs: number): number {
  return Math.floor(fractionOf(cluster, manifestSha256) * withinMs)
}
