import type { RolloutCluster } from '@skerry/api'
import type { Progress } from './cluster-state.ts'
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

/** A cluster's part of the spread: the same whoever works it out, another one for each image. FNV-1a, 32 bits. */
export function spreadMs(cluster: string, manifestSha256: string, withinMs: number): number {
  let hash = 0x811c9dc5
  for (const character of `${manifestSha256}/${cluster}`)
    hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0
  // FNV's low bits are the better ones, and its high bits alike for names that differ in the last letter.
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39) >>> 0
  return Math.floor(((hash ^ (hash >>> 15)) >>> 0) * (withinMs / 2 ** 32))
}
