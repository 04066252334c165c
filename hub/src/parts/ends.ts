/** How to end what was started. A part adds its own as soon as it runs, so that a start that fails half way leaves nothing. */
export type Ends = (() => Promise<unknown>)[]

/** Ends everything once, the newest first; one that fails does not keep the others from ending. */
export async function endAll(ends: Ends, onError: (error: unknown) => void): Promise<void> {
  for (const end of ends.splice(0).toReversed()) await end().catch(onError)
}
