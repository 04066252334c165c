const SPREAD_MS = 2_000
const HOUR_MS = 3_600_000

/**
 * Pauses before an entry that was forced from outside: nodes that were cut off together come back spread over two
 * seconds, and one that is cut off again and again over twice as long for each entry of the last hour. Times are monotonic
 * milliseconds, `random` is from 0 to 1.
 */
export type EntryPauses = {
  nextMs(nowMs: number, random: number): number
  entered(nowMs: number): void
}

export function makeEntryPauses(): EntryPauses {
  const entries: number[] = []
  return {
    nextMs(nowMs, random) {
      while (entries[0] !== undefined && nowMs - entries[0] > HOUR_MS) entries.shift()
      return Math.min(random * SPREAD_MS * 2 ** entries.length, HOUR_MS)
    },
    entered: (nowMs) => void entries.push(nowMs),
  }
}
