import { subjects } from '@skerry/api'
import { until } from '@skerry/supervise'
import { createKey, sha256Hex } from '@skerry/trust'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { appendDesired } from '../store/desired-states.ts'
import { acquireLease } from '../store/leases.ts'
import { batchOf, chainOf, openWorld, silent } from './fixture.ts'
import { publishNew, refill } from './publisher.ts'

// The whole store of NATS is lost while everybody runs: what the hub keeps in it comes back from PostgreSQL, what a site
// had said comes again from its outbox.

let world: Awaited<ReturnType<typeof openWorld>>
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world?.close())

test('a store that was lost is filled again with the very same texts, above every number that was handed out', async () => {
  const over = new AbortController()
  const lease = await acquireLease(world.store, 'controllers', over.signal)
  const signer = createKey('EdDSA')
  const publisher = {
    store: world.store,
    lease,
    hub: world.hub,
    signer,
    log: silent,
    now: Date.now,
    onPublished: () => {},
  }
  const ingest = world.ingest()
  const node = await world.addNode('lost-1')
  const nc = await world.connectNode(node)
  const document = {
    kind: 'DesiredState',
    cluster: node.cluster,
    timeline: 0,
    generation: 1,
    issuedAt: '2026-01-01T00:00:00Z',
    windows: [],
    attestation: 'warning',
    onFailure: 'rollback',
  }
  const payload = Buffer.from(JSON.stringify(document))
  await world.store.sql.begin((tx) =>
    appendDesired(tx, [
      { cluster: node.cluster, position: { timeline: 0, generation: 1 }, payload, digest: sha256Hex(payload) },
    ]),
  )
  await publishNew(publisher)
  const get = (timeout = 30_000) => nc.request(subjects.getDesired(node.cluster, node.routingToken), '', { timeout })
  const before = await get()
  expect(Buffer.from(before.string().split('.')[1] ?? '', 'base64url')).toEqual(payload)
  expect(await refill(publisher)).toBe(0)

  await world.restartNats({ loseStore: true })
  await until(
    () =>
      refill(publisher).then(
        () => true,
        () => false,
      ),
    'the refill',
    30_000,
  )
  await until(
    () =>
      get(1_000).then(
        () => true,
        () => false,
      ),
    'the site being answered',
    30_000,
  )
  const after = await get()
  expect(after.string()).toBe(before.string())
  expect(Number(after.headers?.get('Nats-Sequence'))).toBeGreaterThan(Number(before.headers?.get('Nats-Sequence')))

  // Reports go their way again, through the consumer that ingest makes anew by itself.
  const report = await batchOf(node, chainOf(node, 3))
  await nc.request(subjects.report(node.cluster, node.node, 'statements'), report, { timeout: 30_000 })
  await until(async () => (await world.head(node))?.watermark === 3, 'the reports being taken in', 30_000)
  await ingest.stop()
  await lease.release()
})
