import { randomUUID } from 'node:crypto'
import { pause } from '../pause.ts'
import { type Store, type Tx, write } from './store.ts'

// One hub of many runs a singleton: whoever holds the advisory lock. The lock goes with its connection; the token says
// in every write that this holder is still the newest, so one who woke up late writes nothing.

const RETRY_MS = 500

export type Lease = {
  readonly name: string
  readonly token: number
  /** Aborts when the lease is released, or its connection is gone. */
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

/** Waits until the lease is ours. Rejects when the signal aborts, and when PostgreSQL is away. */
export async function acquireLease(store: Store, name: string, signal: AbortSignal): Promise<Lease> {
  for (;;) {
    signal.throwIfAborted()
    const lost = new AbortController()
    // A pooled connection could be replaced under the lock; this one is gone when it is gone.
    const connection = store.own(() => lost.abort(new LeaseLost(name)))
    const release = async () => {
      lost.abort(new LeaseLost(name))
      // The lock goes with the connection.
      await connection.end({ timeout: 1 })
    }
    try {
      const [tried] = await connection<
        { held: boolean }[]
      >`select pg_try_advisory_lock(hashtextextended(${`skerry/${name}`}, 0)) as held`
      if (tried?.held) {
        const [row] = await connection<{ token: string }[]>`
          insert into controller_lease (name, token, holder, acquired_at) values (${name}, 1, ${randomUUID()}, now())
          on conflict (name) do update set token = controller_lease.token + 1, holder = excluded.holder, acquired_at = now() returning token`
        lost.signal.throwIfAborted()
        return { name, token: Number(row?.token), lost: lost.signal, release }
      }
    } catch (error) {
      await release()
      throw error
    }
    await release()
    await pause(RETRY_MS, signal)
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
