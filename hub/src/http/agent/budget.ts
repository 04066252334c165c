import { StatusError } from '../status-error.ts'

// What one source address may ask of this door in a minute. Honest sites behind one address are many and succeed;
// whoever only ever fails is cut short before any work is done for him.

const WINDOW_MS = 60_000
const CALLS = 30_000
const FAILURES = 120
/** Addresses remembered at a time; past it the oldest are forgotten. */
const SOURCES = 10_000

type Spent = { calls: number; failures: number; readonly untilMs: number }

/** `take` before a call (StatusError 429 when nothing is left), `charge` after one that failed. */
export function makeBudget(now: () => number): { take(source: string): void; charge(source: string): void } {
  const spent = new Map<string, Spent>()
  const of = (source: string): Spent => {
    const nowMs = now()
    const known = spent.get(source)
    if (known && known.untilMs > nowMs) return known
    const fresh = { calls: 0, failures: 0, untilMs: nowMs + WINDOW_MS }
    spent.delete(source)
    spent.set(source, fresh)
    const [oldest] = spent.keys()
    if (spent.size > SOURCES && oldest !== undefined) spent.delete(oldest)
    return fresh
  }
  return {
    take(source) {
      const mine = of(source)
      mine.calls += 1
      if (mine.calls <= CALLS && mine.failures < FAILURES) return
      throw new StatusError(429, 'too many registrations from this address', {
        retryAfterSeconds: Math.ceil((mine.untilMs - now()) / 1000),
        code: 'TooManyRequests',
      })
    },
    charge(source) {
      of(source).failures += 1
    },
  }
}
