// Sites are machines of their own, and here they share one core of the machine that the hub runs on: what one of them has
// to sign must not hold up what another has to verify.

export type Turns = {
  /** A site has verified something now. */
  verifies(): void
  /** Resolves when nobody has verified anything for a moment; those that wait go one by one. */
  toAnswer(): Promise<void>
}

/** A site that got its order later than so long after another got its own is none of the same wave. */
const QUIET_MS = 50

export function makeTurns(): Turns {
  const waiting: (() => void)[] = []
  let verifiedAt = Number.NEGATIVE_INFINITY

  function next(): void {
    const leftMs = verifiedAt + QUIET_MS - performance.now()
    if (leftMs > 0) {
      setTimeout(next, leftMs)
      return
    }
    waiting.shift()?.()
    if (waiting.length > 0) setImmediate(next)
  }

  return {
    verifies() {
      verifiedAt = performance.now()
    },
    toAnswer() {
      const { promise, resolve } = Promise.withResolvers<void>()
      if (waiting.push(resolve) === 1) setImmediate(next)
      return promise
    },
  }
}
