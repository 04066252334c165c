import { getEventListeners } from 'node:events'
import { until } from '@skerry/supervise'
import { expect, onTestFinished, test } from 'vitest'
import { acquireLease, LeaseLost, writeFenced } from './leases.ts'
import { createObject, getObject } from './resources.ts'
import { openStore, type Store } from './store.ts'
import { openTestStore } from './testing.ts'

// Two hubs on one database: each has a store of its own.

async function hubs(): Promise<{ first: Store; second: Store }> {
  const first = await openTestStore()
  const second = openStore(first.connection)
  onTestFinished(() => second.close())
  return { first, second }
}
const never = () => AbortSignal.timeout(60_000)

test('one holds a lease, the other waits; it takes over when the first lets go, with a higher token', async () => {
  const { first, second } = await hubs()
  const held = await acquireLease(first, 'controllers', never())
  let taken = false
  const waiting = acquireLease(second, 'controllers', never()).then((lease) => {
    taken = true
    return lease
  })
  await expect(acquireLease(second, 'controllers', AbortSignal.timeout(700))).rejects.toThrow()
  expect(taken).toBe(false)
  await held.release()
  const next = await waiting
  expect(next.token).toBe(held.token + 1)
  await next.release()
})

test('a wait of any length leaves one listener at the signal, and its end none', async () => {
  const { first, second } = await hubs()
  const held = await acquireLease(first, 'controllers', never())
  let tries = 0
  const counting: Store = {
    ...second,
    own: (onLost) => {
      tries += 1
      return second.own(onLost)
    },
  }
  const { signal } = new AbortController()
  const waiting = acquireLease(counting, 'controllers', signal)
  let most = 0
  await until(
    () => {
      most = Math.max(most, getEventListeners(signal, 'abort').length)
      return tries >= 4
    },
    'four tries',
    30_000,
  )
  expect(most).toBe(1)
  await held.release()
  await (await waiting).release()
  expect(getEventListeners(signal, 'abort')).toHaveLength(0)
})

test('who lost the lease without noticing writes nothing: the token in the write is an old one', async () => {
  const { first, second } = await hubs()
  const old = await acquireLease(first, 'controllers', never())
  const make = (name: string) => (tx: Parameters<Parameters<typeof writeFenced>[2]>[0]) =>
    createObject(tx, 'ManagedClusterSet', { metadata: { name }, spec: {} })
  await writeFenced(first, old, make('while-held'))

  // The first hub sleeps: its connection is cut, and the second one comes.
  await second.sql`select pg_terminate_backend(pid) from pg_locks
    where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())`
  const fresh = await acquireLease(second, 'controllers', never())
  expect(fresh.token).toBe(old.token + 1)
  await expect(writeFenced(first, old, make('too-late'))).rejects.toThrow(LeaseLost)
  expect(await getObject(second.sql, 'ManagedClusterSet', '', 'too-late')).toBeUndefined()
  await writeFenced(second, fresh, make('mine'))
  await until(() => old.lost.aborted, 'the first hub being told', 30_000)
  await Promise.all([old.release(), fresh.release()])
})

test('a write that began under the lease ends before another holder begins', async () => {
  const { first, second } = await hubs()
  const old = await acquireLease(first, 'controllers', never())
  const inside = Promise.withResolvers<void>()
  const finish = Promise.withResolvers<void>()
  const slow = writeFenced(first, old, async (tx) => {
    await createObject(tx, 'ManagedClusterSet', { metadata: { name: 'slow' }, spec: {} })
    inside.resolve()
    await finish.promise
  })
  await inside.promise
  await old.release()
  const next = acquireLease(second, 'controllers', never())
  await until(
    async () => {
      const [row] = await first.sql<{ n: number }[]>`select count(*)::int as n from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '%controller_lease%'`
      return row?.n === 1
    },
    'the taking waiting for the write',
    30_000,
  )
  finish.resolve()
  await slow
  const fresh = await next
  expect(await getObject(second.sql, 'ManagedClusterSet', '', 'slow')).toBeDefined()
  await fresh.release()
})
