import type { IntOrPercent, RolloutSpec } from '@skerry/api'

/** A strategy with its durations worked out, in ms; an undefined deadline is none. */
export type Terms = { readonly soakMs: number; readonly deadlineMs: number | undefined }
/** A strategy with its sizes worked out for a fleet of so many clusters. */
export type Sizes = { readonly maxConcurrency: number; readonly maxFailures: number }

/** All knows no soak. */
export function termsOf({ strategy }: RolloutSpec): Terms {
  if (strategy?.type !== 'Progressive') return { soakMs: 0, deadlineMs: durationMs(strategy?.all?.progressDeadline) }
  const { minSuccessTime, progressDeadline } = strategy.progressive ?? {}
  return { soakMs: durationMs(minSuccessTime) ?? 0, deadlineMs: durationMs(progressDeadline) }
}

/** without X-04: a size beyond the fleet is the fleet. R-20: All has everything at once and tolerates it all. */
export function sizesOf({ strategy }: RolloutSpec, total: number): Sizes {
  if (strategy?.type !== 'Progressive') return { maxConcurrency: total, maxFailures: total }
  const concurrency = sizeOf(strategy.progressive?.maxConcurrency, total)
  return {
    maxConcurrency: concurrency > 0 ? concurrency : total,
    maxFailures: sizeOf(strategy.progressive?.maxFailures, total),
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
