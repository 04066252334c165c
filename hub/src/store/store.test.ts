import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Connection, createDatabase, type Postgres, startPostgres, until } from '@skerry/supervise'
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
  await until(() => sleeps(store), 'the long query', 30_000)
  await store.sql`select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()`
  await cut
  expect(await one`select 1 as answer`).toEqual([{ answer: 1 }])
})

test('a query that failed after its first rows leaves none: the next answer begins at its beginning', async () => {
  const store = await openTestStore()
  const one = store.own(() => {})
  onTestFinished(() => one.end({ timeout: 5 }))
  await expect(one`select 1 / (3 - i) from generate_series(1, 5) i`).rejects.toThrow('division by zero')
  expect(await one`select 1 as answer`).toEqual([{ answer: 1 }])
})

// The socket says first that it failed and a moment later that it is closed: between the two a transaction still asks for
// its ROLLBACK. In the driver as it is released that ROLLBACK stayed behind, and the answer to it was waited for for ever.
test('a connection that is reset under a transaction keeps nothing of it: the next transaction on it ends', async () => {
  const { one, reset } = await overLine()
  const cut = expect(one.begin((tx) => tx`select pg_sleep(60)`)).rejects.toThrow()
  await reset()
  await cut
  expect(await one.begin((tx) => tx`select 1 as answer`)).toEqual([{ answer: 1 }])
})

test('a transaction that lost its connection cannot write into the one that came after it', async () => {
  const { one, reset } = await overLine()
  await one`create table kept (of text primary key)`
  const { promise: later, resolve: goOn } = Promise.withResolvers<void>()
  const { promise: asked, resolve: asks } = Promise.withResolvers<void>()
  let late: Promise<unknown> | undefined
  const first = one.begin(async (tx) => {
    await tx`select pg_sleep(60)`.catch(() => undefined)
    await later
    late = expect(tx`insert into kept values ('the first')`).rejects.toThrow('CONNECTION_CLOSED')
    asks()
    await late
  })
  const cut = expect(first).rejects.toThrow()
  await reset()
  await cut
  await one.begin(async (tx) => {
    await tx`insert into kept values ('the second')`
    goOn()
    await asked
    await late
    await tx`insert into kept values ('the second again')`
  })
  expect(await one`select of from kept order by of`).toEqual([{ of: 'the second' }, { of: 'the second again' }])
})

test('a query of a transaction that nobody waited for is refused when the transaction has ended', async () => {
  const { one } = await overLine()
  await one`create table kept (of text primary key)`
  let left: (() => PromiseLike<unknown>) | undefined
  await one.begin(async (tx) => {
    left = () => tx`insert into kept values ('too late')`
  })
  await expect(left?.()).rejects.toThrow('TRANSACTION_ENDED')
  expect(await one`select of from kept`).toEqual([])
})

test('however many queries stand before it on one connection, a transaction begins', async () => {
  const { sql } = await openTestStore()
  await Promise.all(Array.from({ length: 12 }, () => sql`select 1`))
  // A hundred may be under way on each of twelve connections: among so many BEGINs one is the last of its hundred.
  const plain = Array.from({ length: 1_190 }, () => sql`select 1 as n`.execute())
  const begun = Array.from({ length: 200 }, (_, index) => sql.begin((tx) => tx`select ${index}::int as n`))
  expect((await Promise.all(begun)).map(([row]) => row?.n)).toEqual(begun.map((_, index) => index))
  await Promise.all(plain)
})

/** One connection to a database of its own, over a line that can be reset: the client's socket then ends with an error. */
async function overLine() {
  const database = await testDatabase()
  onTestFinished(() => database.drop())
  const { host, port, ...rest } = database.connection
  const lines = new Set<Socket>()
  const server = createServer((line) => {
    const there = host.startsWith('/') ? connect({ path: host }) : connect({ host, port })
    lines.add(line)
    line.pipe(there).pipe(line)
    for (const [here, other] of [
      [line, there],
      [there, line],
    ] as const)
      here
        .on('error', () => {})
        .on('close', () => {
          lines.delete(line)
          other.destroy()
        })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const at: Connection = { ...rest, host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const store = openStore(database.connection)
  onTestFinished(() => store.close())
  const one = openStore(at).own(() => {})
  onTestFinished(() => one.end({ timeout: 5 }))
  return {
    one,
    /** Resets the line as soon as the long query is under way. */
    async reset(): Promise<void> {
      await until(() => sleeps(store), 'the long query', 30_000)
      for (const line of lines) line.resetAndDestroy()
    },
  }
}

async function sleeps({ sql }: Store): Promise<boolean> {
  const asked = sql`select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()`
  return (await asked.catch(() => [])).length > 0
}

async function answers({ sql }: Store, round: number): Promise<boolean> {
  const asked = sql<{ round: number }[]>`select ${round}::int as round`
  return (await asked.catch(() => []))[0]?.round === round
}

test('what a query was asked about is let go once it is answered: the driver keeps no frames of a place that asks', async () => {
  const { sql } = await openTestStore()
  const ask = async () => {
    const rows = Array.from({ length: 10 }, (_, index) => index)
    // In a function's own scope, as a transaction has what it writes.
    const act = async () => sql`select ${rows.length}::int`
    await act()
    return new WeakRef(rows)
  }
  const asked = await ask()
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  await until(
    () => {
      collect()
      return asked.deref() === undefined
    },
    'what was asked about being collected',
    30_000,
  )
})
