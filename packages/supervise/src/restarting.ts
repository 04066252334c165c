import { type Exit, exitText, type Say } from './child.ts'

/** A part that ends by itself only when something went wrong. */
export type Part = { readonly exited: Promise<Exit>; stop(): Promise<void> }

/**
 * Keeps a part running: when it ends without being asked, it is started again, after 0.2 s at first and up to 10 s when
 * it keeps ending. The first start is the caller's to await and may throw.
 */
export async function keepRunning<P extends Part>(
  name: string,
  start: () => Promise<P>,
  /** Hears that it ended, and each start that failed: for a log of warnings. */
  warn: Say,
  onRestart: (part: P) => void = () => {},
): Promise<{ current(): P; stop(): Promise<void> }> {
  let part = await start()
  let stopping = false
  const { promise: ending, resolve: end } = Promise.withResolvers<void>()
  const watch = (async () => {
    let waitMs = 200
    while (!stopping) {
      const startedAt = performance.now()
      const exit = await Promise.race([part.exited, ending.then(() => undefined)])
      if (stopping || exit === undefined) return
      warn(`${name} ended, ${exitText(exit)}, though nobody told it to; it is started again`)
      if (performance.now() - startedAt > 30_000) waitMs = 200
      for (let up = false; !up && !stopping; ) {
        await Promise.race([new Promise((resolve) => setTimeout(resolve, waitMs)), ending])
        if (stopping) return
        waitMs = Math.min(waitMs * 2, 10_000)
        try {
          part = await start()
          up = true
          onRestart(part)
        } catch (error) {
          warn(`${name} could not be started: ${error instanceof Error ? error.message : String(error)}`)
        }
      }
    }
  })()
  return {
    current: () => part,
    async stop() {
      stopping = true
      end()
      await watch
      await part.stop()
    },
  }
}
