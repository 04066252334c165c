/** Messages between whoever receives them and those who work on them: never more than `limit` wait. */
export function makeInbox<T>(limit: number) {
  const waiting: T[] = []
  let closed = false
  let changed = Promise.withResolvers<void>()
  const change = () => {
    changed.resolve()
    changed = Promise.withResolvers<void>()
  }
  return {
    /** Resolves once the message is in, which may wait for room. Dropped when the inbox is closed. */
    async put(message: T): Promise<void> {
      while (waiting.length >= limit && !closed) await changed.promise
      if (closed) return
      waiting.push(message)
      change()
    },
    /** What waits, up to `most`, and at least one; empty when the inbox is closed. */
    async take(most: number): Promise<T[]> {
      while (waiting.length === 0 && !closed) await changed.promise
      if (closed) return []
      const taken = waiting.splice(0, most)
      change()
      return taken
    },
    close(): void {
      closed = true
      change()
    },
  }
}
