// Durations as Go writes them, of hours, minutes and seconds (`1h30m`).

/** What Go's int64 of nanoseconds holds, 292 years. A date ends a while behind it, and what is told is a date. */
const LONGEST_MS = 9_223_372_036_854

/** ms of a Go duration of hours, minutes and seconds, at most 292 years; undefined for none. The schema has refused other texts. */
export function durationMs(text: string | undefined): number | undefined {
  const ms = writtenMs(text)
  return ms === undefined ? undefined : Math.min(ms, LONGEST_MS)
}

/** Whether a duration is longer than any that Go, and so OCM, can read. */
export function isTooLong(text: string | undefined): boolean {
  return (writtenMs(text) ?? 0) > LONGEST_MS
}

function writtenMs(text: string | undefined): number | undefined {
  if (text === undefined || text === '' || text === 'None') return undefined
  const unit = { h: 3_600_000, m: 60_000, s: 1_000 }
  return [...text.matchAll(/(\d+)([hms])/g)].reduce(
    (sum, [, count, name]) => sum + Number(count) * unit[name as 'h' | 'm' | 's'],
    0,
  )
}
