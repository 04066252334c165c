import { setImmediate } from 'node:timers/promises'

const TURN_MS = 20

/**
 * For whoever works for long, to be awaited after each step: others have the one thread once it was kept for a turn. Throws
 * the signal's reason once it is aborted.
 */
export function turns(signal: AbortSignal): () => Promise<void> {
  let turnAt = performance.now()
  return async () => {
    if (performance.now() - turnAt < TURN_MS) return
    await setImmediate()
    signal.throwIfAborted()
    turnAt = performance.now()
  }
}
