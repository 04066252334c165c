import { once } from 'node:events'
import { request } from 'node:http'
import Fastify from 'fastify'
import { expect, onTestFinished, test } from 'vitest'
import { goneSignal } from './gone.ts'

test.each(['before it is asked', 'while it is listened for'])('who goes %s is gone', async (when) => {
  const app = Fastify()
  onTestFinished(() => app.close())
  const asked = Promise.withResolvers<void>()
  const gone = Promise.withResolvers<boolean>()
  app.post('/', async (_, reply) => {
    const signal = when === 'before it is asked' ? undefined : goneSignal(reply)
    // A body that was read whole is no going away.
    expect(signal?.aborted ?? false).toBe(false)
    asked.resolve()
    await once(reply.raw, 'close')
    gone.resolve((signal ?? goneSignal(reply)).aborted)
    return {}
  })
  const address = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const client = request({ host: address.hostname, port: address.port, method: 'POST' })
  client.on('error', () => undefined)
  client.setHeader('content-type', 'application/json').end('{"a":1}')
  await asked.promise
  client.destroy()
  expect(await gone.promise).toBe(true)
})
