// Work of many callers that is cheaper done together: what comes while a batch runs is the next one.

export type CoalesceOptions<In, Out> = {
  readonly atOnce: number
  /** Two with the same name here are never in one batch. */
  readonly apart: (one: In) => string
  /**
   * Does all of them, or throws and has done nothing. A Refusal among the results is its caller's own; any other error
   * undoes the batch.
   */
  readonly run: (batch: readonly In[]) => Promise<PromiseSettledResult<Out>[]>
}

type Waiting<In, Out> = { one: In; resolve: (out: Out) => void; reject: (error: unknown) => void }

/** A function for one that is done with others. A batch that fails is done again one by one: a bad one spoils no other. */
export function coalesce<In, Out>({ atOnce, apart, run }: CoalesceOptions<In, Out>): (one: In) => Promise<Out> {
  let waiting: Waiting<In, Out>[] = []
  let running = false

  async function work(): Promise<void> {
    while (waiting.length > 0) await together(take())
  }

  function take(): Waiting<In, Out>[] {
    const batch: Waiting<In, Out>[] = []
    const names = new Set<string>()
    const rest: Waiting<In, Out>[] = []
    for (const next of waiting) {
      const name = apart(next.one)
      if (batch.length < atOnce && !names.has(name)) batch.push(next)
      else rest.push(next)
      names.add(name)
    }
    waiting = rest
    return batch
  }

  async function together(batch: Waiting<In, Out>[]): Promise<void> {
    try {
      const results = await run(batch.map(({ one }) => one))
      for (const [index, result] of results.entries()) {
        if (result.status === 'fulfilled') batch[index]?.resolve(result.value)
        else batch[index]?.reject(result.reason)
      }
    } catch (error) {
      if (batch.length === 1) return batch[0]?.reject(error)
      for (const one of batch) await together([one])
    }
  }

  return (one) =>
    new Promise((resolve, reject) => {
      waiting.push({ one, resolve, reject })
      if (running) return
      running = true
      // The others of this turn come along.
      setImmediate(() => void work().finally(() => (running = false)))
    })
}
