import { StatusError } from './status-error.ts'

/** `signal`: whoever waits in line leaves it once that is aborted. */
export type Gate = <T>(act: () => Promise<T>, signal?: AbortSignal) => Promise<T>

const AGAIN_SECONDS = 5

/** The line is full: nothing that the caller did. */
export class LineFull extends StatusError {
  constructor(what: string) {
    super(429, `too many ${what} at once; try again in ${AGAIN_SECONDS} s`, {
      retryAfterSeconds: AGAIN_SECONDS,
      code: 'TooManyRequests',
    })
  }
}

/**
 * Of what holds a connection and a fleet. There are twelve connections for everything: reports, explanations, dry runs and
 * facts of rollouts, two of each, hold eight, and ingest and controllers have four.
 */
const AT_ONCE = 2
const MAX_WAITING = 20

/**
 * Lets so many through at a time; the others wait in line, and past its end they are told when to come back
 * (LineFull): whoever asks for much at once must not take the database from the others. `what` is asked for, in the plural.
 */
export function makeGate(what: string, atOnce = AT_ONCE, maxWaiting = MAX_WAITING): Gate {
  const waiting = new Set<() => void>()
  let inside = 0
  const turn = async (signal: AbortSignal | undefined) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const leave = () => {
      // Nobody reads this answer.
      if (waiting.delete(resolve)) reject(new StatusError(400, 'whoever asked did not wait for the answer'))
    }
    waiting.add(resolve)
    signal?.addEventListener('abort', leave, { once: true })
    if (signal?.aborted) leave()
    try {
      await promise
    } finally {
      signal?.removeEventListener('abort', leave)
    }
  }
  return async (act, signal) => {
    if (inside >= atOnce) {
      if (waiting.size >= maxWaiting) throw new LineFull(what)
      await turn(signal)
    } else inside += 1
    try {
      return await act()
    } finally {
      // Whoever waits takes the place over.
      const [next] = waiting
      if (next) {
        waiting.delete(next)
        next()
      } else inside -= 1
    }
  }
}
