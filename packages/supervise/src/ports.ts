import { createServer } from 'node:net'

/**
 * Where ports are picked: below those that systems hand to whoever asks for any. A server of ours that is down for a
 * moment, over a restart, finds its port again and not a passing connection's end on it.
 */
const FIRST = 20_000
const COUNT = 10_000

// Processes that start at one time have numbers side by side: each begins elsewhere, and goes on from there.
let next = (process.pid * 61) % COUNT

/** A free TCP port on 127.0.0.1: the preferred one when nobody has it, otherwise one that this process was not given lately. */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred && (await isFree(preferred))) return preferred
  for (let tried = 0; tried < COUNT; tried += 1) {
    const port = FIRST + next
    next = (next + 1) % COUNT
    if (await isFree(port)) return port
  }
  throw new Error(`no port from ${FIRST} to ${FIRST + COUNT - 1} is free on 127.0.0.1`)
}

/** Whether nobody listens on this port of 127.0.0.1. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
