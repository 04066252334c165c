import { StatusError } from '../status-error.ts'

// What one source address may ask of this door in a minute. Honest sites behind one address are many and succeed;
// whoever only ever fails is cut short before any work is done for him. A site may share its address with such a one: what
// the hub knows has a purse of its own beside that of its address.

const WINDOW_MS = 60_000
const CALLS = 30_000
const FAILURES = 120
/** Purses remembered at a time; past it the oldest are forgotten. */
const SOURCES = 10_000

type Spent = { calls: number; failures: number; readonly untilMs: number }

export type Budget = {
  /**
   * Before a call: the purse that it is charged to. `purse` names the caller's own and is asked only when the address
   * failed too often. StatusError 429 when nothing is left.
   */
  take(source: string, purse: () => Promise<string | undefined>): Promise<string>
  /** After a call that failed. */
  charge(purse: string): void
}

export function makeBudget(now: () => number): Budget {
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
  const left = ({ calls, failures }: Spent): boolean => calls <= CALLS && failures < FAILURES
  return {
    async take(source, purse) {
      const mine = of(source)
      mine.calls += 1
      if (left(mine)) return source
      const name = mine.calls <= CALLS ? await purse() : undefined
      const own = name === undefined ? undefined : of(name)
      if (own) own.calls += 1
      if (name !== undefined && own && left(own)) return name
      throw new StatusError(429, 'too many registrations from this address', {
        retryAfterSeconds: Math.max(1, Math.ceil((mine.untilMs - now()) / 1000)),
        code: 'TooManyRequests',
      })
    },
    charge(purse) {
      of(purse).failures += 1
    },
  }
}
