import { until } from '@skerry/supervise'
import { afterAll, beforeAll, onTestFinished, test } from 'vitest'
import { openWorld } from './fixture.ts'

// A nats-server that hangs keeps its connections open and says nothing: neither is it away, nor does anything fail.

let world: Awaited<ReturnType<typeof openWorld>>
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world?.close())

test('ingest that is ended while it asks a hung server for its consumer ends, though the server goes on and gives it', async () => {
  const hung = world.hangNats()
  onTestFinished(hung.goOn)
  const ingest = world.ingest()
  let ended = false
  const end = ingest.stop().then(() => {
    ended = true
  })
  hung.goOn()
  await until(() => ended, 'the end of ingest', 10_000)
  await end
})
