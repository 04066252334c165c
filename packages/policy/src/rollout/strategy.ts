import type { IntOrPercent, RolloutSpec } from '@skerry/api'

/** A strategy with its numbers worked out for a fleet of `total` clusters. Durations in ms; undefined deadline is none. */
export type Terms = {
  readonly maxConcurrency: number
  readonly maxFailures: number
  readonly soakMs: number
  readonly deadlineMs: number | undefined
}

/** without X-04: a size beyond the fleet is the fleet. */
export function termsOf({ strategy }: RolloutSpec, total: number): Terms {
  if (strategy?.type !== 'Progressive') {
    // everything at once, every failure tolerated, no soak.
    return {
      maxConcurrency: total,
      maxFailures: total,
      soakMs: 0,
      deadlineMs: durationMs(strategy?.all?.progressDeadline),
    }
  }
  const { maxConcurrency, maxFailures, minSuccessTime, progressDeadline } = strategy.progressive ?? {}
  const concurrency = sizeOf(maxConcurrency, total)
  return {
    maxConcurrency: concurrency > 0 ? concurrency : total,
    maxFailures: sizeOf(maxFailures, total),
    soakMs: durationMs(minSuccessTime) ?? 0,
    deadlineMs: durationMs(progressDeadline),
  }
}

function sizeOf(value: IntOrPercent | undefined, total: number): number {
  if (value === undefined) return 0
  // The order of operations is upstream's: 7 / 100 * 100 is more than 7.
  const size = typeof value === 'number' ? value : Math.ceil((Number.parseInt(value, 10) / 100) * total)
  return Math.min(size, total)
}

/** ms of a Go duration of hours, minutes and seconds; undefined for none. The schema has refused other texts. */
export function durationMs(text: string | undefined): number | undefined {
  if (text === undefined || text === '' || text === 'None') return undefined
  const unit = { h: 3_600_000, m: 60_000, s: 1_000 }
  return [...text.matchAll(/(\d+)([hms])/g)].reduce(
    (sum, [, count, name]) => sum + Number(count) * unit[name as 'h' | 'm' | 's'],
    0,
  )
}
