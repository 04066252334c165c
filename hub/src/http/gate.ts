import { StatusError } from './status-error.ts'

export type Gate = <T>(act: () => Promise<T>) => Promise<T>

/** The line is full: nothing that the caller did. */
export class LineFull extends StatusError {
  constructor(what: string) {
    super(429, `too many ${what} at once`, { retryAfterSeconds: 5, code: 'TooManyRequests' })
  }
}

/** Of what holds a connection, of which there are twelve for everything, and a fleet. */
const AT_ONCE = 4
const MAX_WAITING = 20

/**
 * Lets so many through at a time; the others wait in line, and past its end they are told when to come back
 * (LineFull): whoever asks for much at once must not take the database from the others. `what` is asked for, in the plural.
 */
export function makeGate(what: string, atOnce = AT_ONCE, maxWaiting = MAX_WAITING): Gate {
  const waiting: (() => void)[] = []
  let inside = 0
  return async (act) => {
    if (inside >= atOnce) {
      if (waiting.length >= maxWaiting) throw new LineFull(what)
      await new Promise<void>((enter) => waiting.push(enter))
    } else inside += 1
    try {
      return await act()
    } finally {
      // Whoever waits takes the place over.
      const next = waiting.shift()
      if (next) next()
      else inside -= 1
    }
  }
}
