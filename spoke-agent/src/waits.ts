import { reasonOf } from './reason.ts'

/** Waits, or rejects when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', end)
      resolve()
    }, ms)
    const end = () => {
      clearTimeout(timer)
      reject(signal.reason)
    }
    signal.addEventListener('abort', end, { once: true })
  })
}

/** Something to wait for with a deadline: `ring()` ends the waits that are under way, or the next one. */
export function makeBell(): { ring(): void; wait(ms: number, signal: AbortSignal): Promise<void> } {
  let rung = false
  let wake: (() => void) | undefined
  return {
    ring() {
      rung = true
      wake?.()
    },
    async wait(ms, signal) {
      if (!rung && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const end = () => {
            clearTimeout(timer)
            signal.removeEventListener('abort', end)
            resolve()
          }
          const timer = setTimeout(end, ms)
          wake = end
          signal.addEventListener('abort', end, { once: true })
        })
      }
      rung = false
      wake = undefined
    },
  }
}

/**
 * Runs parts that need each other: when one fails, `stop` ends the others with what failed as the reason. Resolves when
 * all have ended; rejects, then too, with the first failure, which names its part.
 */
export async function together(parts: Readonly<Record<string, Promise<void>>>, stop: AbortController): Promise<void> {
  let failed: Error | undefined
  await Promise.all(
    Object.entries(parts).map(([name, part]) =>
      part.catch((error: unknown) => {
        failed ??= new Error(`${name}: ${reasonOf(error)}`, { cause: error })
        stop.abort(failed)
      }),
    ),
  )
  if (failed) throw failed
}
