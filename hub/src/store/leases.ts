import { randomUUID } from 'node:crypto'
import type { Sql } from 'postgres'
import { type Store, type Tx, write } from './store.ts'

// One hub of many runs a singleton: whoever holds the advisory lock. The lock goes with its connection; the token says
// in every write that this holder is still the newest, so one who woke up late writes nothing.

export type Lease = {
  readonly name: string
  readonly token: number
  readonly lost: AbortSignal
  release(): Promise<void>
}

/** The lease was taken by another process. */
export class LeaseLost extends Error {
  constructor(name: string) {
    super(`the lease "${name}" has another holder now`)
    this.name = 'LeaseLost'
  }
}

/** Waits until the lease is ours. Rejects when the signal aborts. */
export async function acquireLease(store: Store, name: string, signal: AbortSignal): Promise<Lease> {
  for (;;) {
    signal.throwIfAborted()
    const connection = await store.sql.reserve()
    const [tried] = await connection<
      { held: boolean }[]
    >`select pg_try_advisory_lock(hashtextextended(${`skerry/${name}`}, 0)) as held`.catch(() => [])
    if (!tried?.held) {
      connection.release()
      await pause(1_000, signal)
      continue
    }
    const [row] = await connection<{ token: string }[]>`
      insert into controller_lease (name, token, holder, acquired_at) values (${name}, 1, ${randomUUID()}, now())
      on conflict (name) do update set token = controller_lease.token + 1, holder = excluded.holder, acquired_at = now() returning token`
    return hold(connection, name, Number(row?.token))
  }
}

function hold(connection: Awaited<ReturnType<Sql['reserve']>>, name: string, token: number): Lease {
  const lost = new AbortController()
  // The lock lives as long as this connection: ask it now and then, and when it fails the lease is gone.
  const timer = setInterval(() => {
    connection`select 1`.catch(() => end())
  }, 2_000)
  const end = () => {
    clearInterval(timer)
    lost.abort(new LeaseLost(name))
  }
  return {
    name,
    token,
    lost: lost.signal,
    async release() {
      end()
      await connection`select pg_advisory_unlock(hashtextextended(${`skerry/${name}`}, 0))`.catch(() => undefined)
      connection.release()
    },
  }
}

/** A write of a lease's holder: nothing is written when another holder has come since. */
export function writeFenced<T>(store: Store, lease: Lease, act: (tx: Tx) => Promise<T>): Promise<T> {
  return write(store, async (tx) => {
    const [row] =
      await tx`select 1 from controller_lease where name = ${lease.name} and token = ${lease.token} for share`
    if (!row) throw new LeaseLost(lease.name)
    return act(tx)
  })
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer)
        reject(signal.reason)
      },
      { once: true },
    )
  })
}
