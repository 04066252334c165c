import { createKey, makeTargets } from '@skerry/trust'
import { expect, onTestFinished, test } from 'vitest'
import { acquireLease, LeaseLost } from './leases.ts'
import { renewSeal, seal } from './seal.ts'
import type { Store } from './store.ts'
import { openTestStore } from './testing.ts'
import { appendMetadata, newestMetadata } from './trust.ts'

const HOUR_MS = 3_600_000
const keys = { snapshot: createKey('EdDSA'), timestamp: createKey('EdDSA') }
const sealer = (afterHours = 0) => ({ ...keys, now: () => Date.now() + afterHours * HOUR_MS })

async function held(store: Store) {
  const lease = await acquireLease(store, 'controllers', AbortSignal.timeout(60_000))
  onTestFinished(() => lease.release())
  return lease
}
const putTargets = (store: Store) =>
  store.sql.begin(async (tx) => {
    await appendMetadata(
      tx,
      'targets',
      1,
      makeTargets({ previous: undefined, files: [], expires: '2100-01-01T00:00:00Z' }),
    )
    await seal(tx, sealer())
  })
const version = async (store: Store) => (await newestMetadata(store.sql, 'timestamp'))?.version ?? 0

test('what the hub signs is renewed once it is a day old, and rises above what sites have seen', async () => {
  const store = await openTestStore()
  const lease = await held(store)
  expect(await renewSeal(store, lease, sealer(25))).toBe(false)
  await putTargets(store)
  const first = await version(store)
  expect(await renewSeal(store, lease, sealer(23))).toBe(false)
  expect(await renewSeal(store, lease, sealer(25))).toBe(true)
  const second = await version(store)
  expect(second).toBeGreaterThan(first)
  // A clock that was set back takes no version back.
  await store.sql.begin((tx) => seal(tx, sealer(-1000)))
  expect(await version(store)).toBe(second + 1)
  expect((await newestMetadata(store.sql, 'snapshot'))?.version).toBe(second + 1)
})

test('a hub that lost its lease renews nothing', async () => {
  const store = await openTestStore()
  const lease = await held(store)
  await putTargets(store)
  const before = await version(store)
  await store.sql`update controller_lease set token = token + 1`
  await expect(renewSeal(store, lease, sealer(25))).rejects.toThrow(LeaseLost)
  expect(await version(store)).toBe(before)
})
