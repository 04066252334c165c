import type { Waves } from '@skerry/api'

// When a cluster may activate by the waves of a rollout: worked out alike at the site, which has no hub to ask, and at the
// hub, which tells it.

const MINUTE_MS = 60_000

/** From when on a cluster may activate a manifest, in epoch ms: a whole minute. */
export function minuteOf({ startsAt, schedule }: Waves, cluster: string, manifestSha256: string): number {
  const percent = fractionOf(cluster, manifestSha256) * 100
  const found = schedule.findIndex((wave) => percent < wave.percent)
  // A schedule that ends below 100 has the rest in its last wave: nobody is forgotten.
  const index = found === -1 ? schedule.length - 1 : found
  const { startAfterSeconds = 0, spreadSeconds = 0, percent: upTo = 100 } = schedule[index] ?? {}
  const from = schedule[index - 1]?.percent ?? 0
  const inside = Math.min(1, (percent - from) / Math.max(1, upTo - from))
  const afterMs = (startAfterSeconds + inside * spreadSeconds) * 1000
  return Math.ceil((Date.parse(startsAt) + afterMs) / MINUTE_MS) * MINUTE_MS
}

/**
 * Where a cluster stands among all of a fleet, from 0 to below 1: the same whoever works it out, another one for each
 * image, so that it is not always the same clusters that are first. FNV-1a, 32 bits.
 */
export function fractionOf(cluster: string, manifestSha256: string): number {
  let hash = 0x811c9dc5
  for (const character of `${manifestSha256}/${cluster}`)
    hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0
  // FNV's low bits are the better ones, and its high bits alike for names that differ in the last letter.
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39) >>> 0
  return ((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32
}
