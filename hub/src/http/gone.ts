import type { FastifyReply } from 'fastify'

/**
 * Aborted once nobody waits for the answer any more. Fastify's `request.signal` is of the request instead: where that has a
 * body, Node closes it as soon as the body is read.
 */
export function goneSignal({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController()
  if (raw.closed) gone.abort()
  else raw.once('close', () => gone.abort())
  return gone.signal
}
