import { getEventListeners } from 'node:events'
import type { NatsConnection } from '@nats-io/transport-node'
import { subjects } from '@skerry/api'
import { until } from '@skerry/supervise'
import { signDocument } from '@skerry/trust'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { makeAcknowledger } from './acknowledger.ts'
import { connectHub } from './connection.ts'
import { openWorld, silent } from './fixture.ts'
import { runHeartbeats } from './heartbeats.ts'
import { nodeDirectory } from './reports.ts'

// A nats-server that hangs keeps its connections open and says nothing: neither is it away, nor does anything fail.

let world: Awaited<ReturnType<typeof openWorld>>
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world?.close())

async function disconnected(nc: NatsConnection): Promise<void> {
  for await (const { type } of nc.status()) if (type === 'disconnect') return
}

test('ingest that is ended while it asks a hung server for its consumer ends, though the server goes on and gives it', async () => {
  const goOn = await world.hangNats()
  onTestFinished(goOn)
  const ingest = world.ingest()
  let ended = false
  const end = ingest.stop().then(() => {
    ended = true
  })
  goOn()
  await until(() => ended, 'the end of ingest', 30_000)
  await end
})

test('a server that hangs does not answer, and answers when it goes on, though nobody connected anew', async () => {
  await world.hub.answers()
  const goOn = await world.hangNats()
  onTestFinished(goOn)
  let answered = false
  const answer = world.hub.answers().then(() => {
    answered = true
  })
  await expect(world.hub.nc.request('nobody', '', { timeout: 300 })).rejects.toThrow(/timeout/i)
  expect([answered, world.hub.fault()]).toEqual([false, undefined])
  goOn()
  await answer
})

test('whoever listens for connections is told of each, until it ends', async () => {
  const told = { listening: 0, ended: 0 }
  const end = world.hub.onConnected(() => (told.listening += 1))
  world.hub.onConnected(() => (told.ended += 1))()
  expect(told).toEqual({ listening: 1, ended: 1 })
  await world.restartNats({})
  await until(() => told.listening >= 2, 'the reconnect', 30_000)
  end()
  expect(told.ended).toBe(1)
})

test('a server that is away takes the connection for heartbeats along, which is a fault once that takes longer than connecting anew', async () => {
  let clockMs = 0
  const own = { url: world.url, caPem: '', keys: world.keys, log: silent, name: 'deaf', clock: () => clockMs }
  const hub = await connectHub(own)
  onTestFinished(() => hub.close())
  const cut = disconnected(hub.hearing)
  await world.restartNats({
    async meanwhile() {
      await cut
      clockMs = 10_000
      expect(hub.hearingFault()).toBeUndefined()
      clockMs = 10_001
      expect(hub.hearingFault()).toMatch(/^no connection to NATS for heartbeats/)
    },
  })
  await until(() => hub.hearingFault() === undefined, 'the connection for heartbeats', 30_000)
  await hub.close()
  expect(hub.hearingFault()).toMatch(/^no connection to NATS for heartbeats/)
})

test('heartbeats that NATS gives no more are an error and no silence', async () => {
  const hub = await connectHub({ url: world.url, caPem: '', keys: world.keys, log: silent, name: 'closed' })
  const parts = { store: world.store, hub, directory: nodeDirectory(world.store), log: silent, onRefused: () => {} }
  const acknowledger = makeAcknowledger({ store: world.store, nc: hub.nc, signer: world.ackSigner, now: Date.now })
  const { signal } = new AbortController()
  const listening = runHeartbeats({ ...parts, acknowledger, now: Date.now, signal })
  await hub.close()
  await expect(listening).rejects.toThrow('the subscription to heartbeats ended')
  expect(getEventListeners(signal, 'abort')).toHaveLength(0)
})

test('a node that floods its heartbeats is read a few times, the others are heard, and nothing else shares the connection', async () => {
  const [loud, quiet] = [await world.addNode('loud'), await world.addNode('quiet')]
  const parts = { store: world.store, hub: world.hub, directory: nodeDirectory(world.store), log: silent }
  const acknowledger = makeAcknowledger({
    store: world.store,
    nc: world.hub.nc,
    signer: world.ackSigner,
    now: Date.now,
  })
  const over = new AbortController()
  const before = world.hub.nc.stats().inMsgs
  let refused = 0
  const onRefused = () => {
    refused += 1
  }
  const listening = runHeartbeats({ ...parts, onRefused, acknowledger, now: Date.now, signal: over.signal })
  await until(
    () =>
      world.hub.hearing.flush().then(
        () => true,
        () => false,
      ),
    'the connection for heartbeats',
    30_000,
  )
  const [asLoud, asQuiet] = [await world.connectNode(loud), await world.connectNode(quiet)]
  for (let n = 0; n < 5_000; n += 1) asLoud.publish(subjects.heartbeat(loud.cluster, loud.node), 'noise')
  await asLoud.flush()
  const { cluster, node, incarnation, signer } = quiet
  const heartbeat = { kind: 'Heartbeat' as const, cluster, node, incarnation, seq: 0 }
  asQuiet.publish(subjects.heartbeat(cluster, node), await signDocument('Heartbeat', heartbeat, signer))
  await until(async () => (await world.head(quiet)) !== undefined, 'the quiet node being heard', 30_000)
  expect(refused).toBeGreaterThan(0)
  expect(refused).toBeLessThan(1_000)
  expect(world.hub.nc.stats().inMsgs - before).toBeLessThan(1_000)
  over.abort()
  await listening
})
