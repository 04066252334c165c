/** How to end what was started: what it is called (asked when it did not end), and how long it may take. */
type End = {
  readonly what: string | (() => string)
  readonly end: () => Promise<unknown>
  /** Milliseconds after which the others end without waiting for this one. */
  readonly withinMs: number
}

/** A part adds its own as soon as it runs, so that a start that fails half way leaves nothing. */
export type Ends = End[]

/**
 * Ends everything once, the newest first. One that fails, or that does not end in its time because something it asks hangs,
 * is told of and does not keep the others from ending: what they end may be what it waits for.
 */
export async function endAll(ends: Ends, onFault: (what: string, error: unknown) => void): Promise<void> {
  for (const { what, end, withinMs } of ends.splice(0).toReversed()) {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`it did not end within ${withinMs / 1000} s`)), withinMs)
    })
    await Promise.race([end(), late]).catch((error: unknown) =>
      onFault(typeof what === 'function' ? what() : what, error),
    )
    clearTimeout(timer)
  }
}
