import { createDatabase, type Postgres, startPostgres, until } from '@skerry/supervise'
import { testDatabase, testFolder } from '@skerry/supervise/testing'
import { expect, onTestFinished, test } from 'vitest'
import { acquireLease } from './leases.ts'
import { migrateStore, openStore, type Store, write } from './store.ts'
import { openTestStore } from './testing.ts'

// A PostgreSQL that dies takes what was under way with it, and nothing else: not the hub, not what comes after.

test('PostgreSQL is killed again and again under load: queries fail, the process lives, and the same store goes on', async () => {
  const dataDir = testFolder()
  const start = () => startPostgres({ dataDir, durable: true, say: () => {} })
  let server: Postgres = await start()
  onTestFinished(() => server.stop())
  const connection = await createDatabase(server.connection, 'skerry')
  await migrateStore(connection)
  const store = openStore(connection)
  onTestFinished(() => store.close())

  for (let round = 1; round <= 3; round += 1) {
    const lease = await acquireLease(store, 'story', AbortSignal.timeout(60_000))
    expect(lease.token).toBe(round)
    let lost = 0
    const busy = Array.from({ length: 24 }, async (_, index) => {
      try {
        for (;;)
          if (index % 2 === 0) await store.sql`select ${index}::int`
          else await store.sql.begin((tx) => tx`select ${index}::int`)
      } catch {
        lost += 1
      }
    })
    // Goes on asking a connection that is gone: the driver's own mistake was to write to it (patches/).
    const stubborn = write(store, async (tx) => {
      await tx`select pg_sleep(60)`.catch(() => undefined)
      await tx`select 1`
    })
    const refused = expect(stubborn).rejects.toThrow()
    await until(() => sleeps(store), 'the long query', 30_000)
    process.kill(server.pid, 'SIGKILL')
    await server.exited
    await Promise.all(busy)
    await refused
    expect(lost).toBe(24)
    await until(() => lease.lost.aborted, 'the lease being lost with its connection', 30_000)
    await lease.release()
    server = await start()
    // A backend of the dead server may live on for a moment and fail one query more.
    await until(() => answers(store, round), 'the same store answering', 30_000)
  }
})

test('a connection that the server cut keeps nothing of its end: the query after the one that failed is answered', async () => {
  const database = await testDatabase()
  onTestFinished(() => database.drop())
  const store = openStore(database.connection)
  onTestFinished(() => store.close())
  const one = store.own(() => {})
  onTestFinished(() => one.end({ timeout: 5 }))
  const cut = expect(one`select pg_sleep(60)`).rejects.toThrow()
  await until(() => sleeps(store), 'the long query', 10_000)
  await store.sql`select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()`
  await cut
  expect(await one`select 1 as answer`).toEqual([{ answer: 1 }])
}, 30_000)

test('a query that failed after its first rows leaves none: the next answer begins at its beginning', async () => {
  const store = await openTestStore()
  const one = store.own(() => {})
  onTestFinished(() => one.end({ timeout: 5 }))
  await expect(one`select 1 / (3 - i) from generate_series(1, 5) i`).rejects.toThrow('division by zero')
  expect(await one`select 1 as answer`).toEqual([{ answer: 1 }])
})

async function sleeps({ sql }: Store): Promise<boolean> {
  const asked = sql`select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()`
  return (await asked.catch(() => [])).length > 0
}

async function answers({ sql }: Store, round: number): Promise<boolean> {
  const asked = sql<{ round: number }[]>`select ${round}::int as round`
  return (await asked.catch(() => []))[0]?.round === round
}
