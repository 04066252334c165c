import type { NewEvent } from './store/events.ts'

/** One of a key in so long: a site decides how often it says a thing, and must not fill the history of events. */
const QUIET_MS = 60_000
const REMEMBERED = 10_000

/** The turn of a key: how many of it were kept quiet since the last that was told, or undefined when this one is too. */
export type Quiet = (key: string, nowMs: number) => number | undefined

/** Lets the first of each key in a minute be told, and counts the others. */
export function makeQuiet(): Quiet {
  const told = new Map<string, { atMs: number; since: number }>()
  return (key, nowMs) => {
    const before = told.get(key)
    if (before && nowMs - before.atMs < QUIET_MS) {
      before.since += 1
      return undefined
    }
    told.delete(key)
    told.set(key, { atMs: nowMs, since: 0 })
    const [oldest] = told.keys()
    if (told.size > REMEMBERED && oldest !== undefined) told.delete(oldest)
    return before?.since ?? 0
  }
}

/** What is said behind an event of those that were kept quiet before it. */
export function moreSince(since: number): string {
  return since > 0 ? `; ${since} more since the last such event` : ''
}

/** The event, if it is its turn: one of an object and a reason in a minute, and how many there were since the last. */
export function inTurn(event: NewEvent, quiet: Quiet, nowMs: number): NewEvent[] {
  const { reason, message, regarding } = event
  const since = quiet(`${regarding.namespace}/${regarding.name}/${reason}`, nowMs)
  return since === undefined ? [] : [{ ...event, message: `${message}${moreSince(since)}` }]
}
