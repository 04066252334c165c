import type { IntOrPercent, RolloutSpec } from '@skerry/api'

/** A strategy's durations worked out, in ms; an undefined deadline is none. */
export type Durations = { readonly soakMs: number; readonly deadlineMs: number | undefined }
/** A strategy with its sizes worked out for a fleet of so many clusters. */
export type Sizes = { readonly maxConcurrency: number; readonly maxFailures: number }

/** OCM's durations. All knows no soak. */
export function durationsOf({ strategy }: RolloutSpec): Durations {
  if (strategy?.type !== 'Progressive') return { soakMs: 0, deadlineMs: durationMs(strategy?.all?.progressDeadline) }
  const { minSuccessTime, progressDeadline } = strategy.progressive ?? {}
  return { soakMs: durationMs(minSuccessTime) ?? 0, deadlineMs: durationMs(progressDeadline) }
}

/** OCM's sizes, but that one beyond the fleet is the fleet, where OCM makes it 0. All has everything at once and tolerates it all. */
export function sizesOf({ strategy }: RolloutSpec, total: number): Sizes {
  if (strategy?.type !== 'Progressive') return { maxConcurrency: total, maxFailures: total }
  const concurrency = sizeOf(strategy.progressive?.maxConcurrency, total)
  return {
    maxConcurrency: concurrency > 0 ? concurrency : total,
    maxFailures: sizeOf(strategy.progressive?.maxFailures, total),
  }
}

/** 0, 0% and none at all are no limit on concurrency, as in OCM. Asked of a strategy that could have one. */
export function isUnlimited({ strategy }: RolloutSpec): boolean {
  return strategy?.type === 'Progressive' && sizeOf(strategy.progressive?.maxConcurrency, 100) === 0
}

function sizeOf(value: IntOrPercent | undefined, total: number): number {
  if (value === undefined) return 0
  // The order of operations is OCM's: 7 / 100 * 100 is more than 7.
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
