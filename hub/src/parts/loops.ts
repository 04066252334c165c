import type { Logger } from 'pino'
import type { Check } from '../http/health.ts'

/**
 * What this hub does without being asked, for as long as it runs. A loop that ends by itself, whether it failed or just
 * returned, is a fault of its part until the hub is started again.
 */
export function makeLoops(log: Logger) {
  const over = new AbortController()
  const running = new Map<string, Promise<void>>()
  const faults = new Map<string, string>()
  return {
    signal: over.signal,
    run(what: string, loop: Promise<unknown>): void {
      const ended = loop.then(
        () => new Error('it returned without being asked'),
        (error: unknown) => error,
      )
      running.set(
        what,
        ended.then((error) => {
          running.delete(what)
          if (over.signal.aborted) return
          log.error({ err: error, what }, 'a loop of this hub ended; restart this hub')
          const why = error instanceof Error ? error.message : String(error)
          faults.set(what, `it ended and does not begin again (${why}); restart this hub`)
        }),
      )
    },
    check: (what: string): Check => ({ name: what, fault: async () => faults.get(what) }),
    /** Those that have not ended, by name. */
    still: (): string => [...running.keys()].join(', '),
    async end(): Promise<void> {
      over.abort()
      await Promise.all(running.values())
    },
  }
}
