import type { Logger } from 'pino'
import type { Check } from '../http/health.ts'
import { pause } from '../pause.ts'

/** A loop that runs so long has begun again well: until then its part is not ready. */
const WELL_AFTER_MS = 60_000
const LEAST_WAIT_MS = 1_000
const MOST_WAIT_MS = 30_000

/**
 * What this hub does without being asked, for as long as it runs. A loop that ends by itself, whether it failed or just
 * returned, is begun again after a second, then two, and 30 at most; until it has run for a minute that is a fault of its part.
 */
export function makeLoops(
  log: Logger,
  clock: () => number = () => performance.now(),
  { leastWaitMs, mostWaitMs } = { leastWaitMs: LEAST_WAIT_MS, mostWaitMs: MOST_WAIT_MS },
) {
  const over = new AbortController()
  const running = new Map<string, Promise<void>>()
  /** Why a loop ended last, and since when it runs again; it may wait still. */
  const ended = new Map<string, { readonly why: string; readonly begunAtMs: number }>()

  async function keep(what: string, begin: () => Promise<unknown>): Promise<void> {
    let waitMs = leastWaitMs
    while (!over.signal.aborted) {
      const begunAtMs = clock()
      const last = ended.get(what)
      if (last) ended.set(what, { ...last, begunAtMs })
      const error: unknown = await begin().then(
        () => new Error('it returned without being asked'),
        (thrown: unknown) => thrown,
      )
      if (over.signal.aborted) return
      if (clock() - begunAtMs >= WELL_AFTER_MS) waitMs = leastWaitMs
      log.error({ err: error, what, waitMs }, 'a loop of this hub ended and begins again')
      ended.set(what, {
        why: error instanceof Error ? error.message : String(error),
        begunAtMs: Number.POSITIVE_INFINITY,
      })
      await pause(waitMs, over.signal)
      waitMs = Math.min(2 * waitMs, mostWaitMs)
    }
  }

  return {
    signal: over.signal,
    run(what: string, begin: () => Promise<unknown>): void {
      running.set(
        what,
        keep(what, begin).then(() => void running.delete(what)),
      )
    },
    check: (what: string): Check => ({
      name: what,
      async fault() {
        const last = ended.get(what)
        if (!last || clock() - last.begunAtMs > WELL_AFTER_MS) return undefined
        return `it ended (${last.why}), and begins again by itself; where that goes on, restart this hub`
      },
    }),
    /** Those that have not ended, by name. */
    still: (): string => [...running.keys()].join(', '),
    async end(): Promise<void> {
      over.abort()
      await Promise.all(running.values())
    },
  }
}
