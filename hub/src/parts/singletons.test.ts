import { join } from 'node:path'
import { REMOVAL_GUARD } from '@skerry/policy'
import { until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import pino from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { openKeys } from '../keys/keys.ts'
import { openStore } from '../store/store.ts'
import { stretchPauses } from '../testing.ts'
import { openWorld, silent } from '../transport/fixture.ts'
import type { HubConnection } from '../transport/index.ts'
import { type Ends, endAll } from './ends.ts'
import { openWakes } from './hints.ts'
import { runSingletons, type Singletons } from './singletons.ts'

/** All of them on a world of their own and a hub connection seen through `through`, until the test ends or `end()`. */
async function runAll(through: (hub: HubConnection) => HubConnection, more: Partial<Singletons> = {}) {
  const world = await openWorld()
  onTestFinished(() => world.close())
  const ends: Ends = []
  const wakes = await openWakes(world.store, ends)
  onTestFinished(() => endAll(ends, () => {}))
  const keys = { ...openKeys(join(testFolder(), 'keys')), nats: world.keys }
  const { snapshot, timestamp } = keys
  const { store } = world
  const over = new AbortController()
  const now = () => Date.now()
  const running = runSingletons({
    ...{ store, hub: through(world.hub), keys, wakes, now, log: silent, signal: over.signal },
    reachability: { lateMs: 90_000, offlineMs: 300_000, staleMs: 1_000_000 },
    removalGuard: REMOVAL_GUARD,
    sealer: { snapshot, timestamp, now },
    onPublished: () => {},
    onReachability: () => {},
    ...more,
  })
  const end = async () => {
    over.abort()
    await running
  }
  onTestFinished(end)
  return { store, end }
}

test('a term that is over listens no more: after three terms as many listen for connections as in the first', async () => {
  let listening = 0
  const { store } = await runAll((hub) => ({
    ...hub,
    onConnected(listener) {
      listening += 1
      const end = hub.onConnected(listener)
      return () => {
        listening -= 1
        end()
      }
    },
  }))

  const seen: number[] = []
  for (let term = 1; term <= 3; term += 1) {
    const held = async () => (await store.sql`select 1 from controller_lease where token = ${term}`).length === 1
    await until(held, `term ${term}`, 30_000)
    await until(() => listening === (seen[0] ?? 4), `the listeners of term ${term}`, 30_000)
    seen.push(listening)
    await store.sql`select pg_terminate_backend(pid) from pg_locks
      where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())
      and pid in (select pid from pg_stat_activity where query like '%controller_lease%')`
  }
  expect(seen).toEqual([4, 4, 4])
})

test('a return of NATS is a reason to look: who is revoked is told again at once, not at the next look by time', async () => {
  let told = 0
  const listeners = new Set<() => void>()
  await runAll((hub) => ({
    ...hub,
    async pushSites() {
      told += 1
    },
    onConnected(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }))
  await until(() => told >= 1, 'the first word', 30_000)
  const before = told
  for (const listener of listeners) listener()
  // A look by time alone comes after half a minute.
  await until(() => told > before, 'the word after a return', 20_000)
})

test('a wait for the lease ends with the signal, not when its pause is over', async () => {
  const nowhere = openStore('postgres://nobody@127.0.0.1:1/none')
  onTestFinished(() => nowhere.close())
  const waits = Promise.withResolvers<void>()
  const log = pino({ level: 'warn' }, { write: () => waits.resolve() })
  stretchPauses()
  const { end } = await runAll((hub) => hub, { store: nowhere, log })
  await waits.promise
  await end()
})
