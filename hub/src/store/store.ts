import { fileURLToPath } from 'node:url'
import { type Connection, toOptions } from '@skerry/supervise'
import { readMigrationFiles } from 'drizzle-orm/migrator'
import { drizzle } from 'drizzle-orm/postgres-js'
import { migrate } from 'drizzle-orm/postgres-js/migrator'
import postgres, { type Options, type Sql, type TransactionSql } from 'postgres'

/** A read needs a connection or a transaction; a write always a transaction. */
export type Tx = TransactionSql
export type Reader = Sql | TransactionSql

export type Store = {
  readonly sql: Sql
  /**
   * A connection of its own, for what lives as long as a connection does. The caller ends it; `onLost` is called when it
   * is gone, and nothing may be asked of it after that.
   */
  own(onLost: () => void): Sql
  close(): Promise<void>
}

/** Any two numbers that nobody else locks with. The first serialises writes of resources, the second migrations. */
const VERSION_LOCK = 721_100_001
const MIGRATION_LOCK = 721_100_002

const MIGRATIONS = fileURLToPath(new URL('../migrations', import.meta.url))

/** Seconds before a lost connection is tried again: at most one, where the driver's own way would take up to twenty. */
const backoff = (retries: number) => Math.min(0.05 * 2 ** retries, 1) * (0.5 + Math.random() / 2)

/** The hub's database. Connections are made anew by themselves when PostgreSQL was away. */
export function openStore(database: Connection | string): Store {
  const connect = (more: Options<Record<string, never>>) => {
    const options = { connect_timeout: 5, onnotice: () => {}, transform: { undefined: null }, backoff, ...more }
    return typeof database === 'string' ? postgres(database, options) : postgres(toOptions(database, options))
  }
  const sql = connect({ max: 12 })
  return {
    sql,
    // No lifetime: the driver would otherwise replace it within the hour.
    own: (onLost) => connect({ max: 1, max_lifetime: 0, idle_timeout: 0, onclose: onLost }),
    close: () => sql.end({ timeout: 5 }),
  }
}

/** Brings the tables to this version's form. Several hubs may start at once: one does it, the others wait. */
export async function migrateStore(database: Connection | string): Promise<void> {
  const more = { max: 1, onnotice: () => {} }
  const sql = typeof database === 'string' ? postgres(database, more) : postgres(toOptions(database, more))
  try {
    await sql`select pg_advisory_lock(${MIGRATION_LOCK})`
    await migrate(drizzle(sql), { migrationsFolder: MIGRATIONS })
  } finally {
    await sql.end({ timeout: 5 })
  }
}

/** How many steps this program's tables are ahead of the database's; below 0 when a newer program was here. */
export async function pendingMigrations({ sql }: Store): Promise<number> {
  const [row] = await sql<{ n: number }[]>`select count(*)::int as n from drizzle.__drizzle_migrations`
  return readMigrationFiles({ migrationsFolder: MIGRATIONS }).length - (row?.n ?? 0)
}

/**
 * A transaction that may write resources. It holds the version lock until it has committed, so versions become visible
 * in the order of their numbers: a watch that has seen version n has seen everything below n.
 */
export function write<T>(store: Store, act: (tx: Tx) => Promise<T>): Promise<T> {
  return store.sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(${VERSION_LOCK})`
    return act(tx)
  }) as Promise<T>
}

/** Reads that belong together: all of them see one moment of the database. */
export function read<T>(store: Store, act: (tx: Tx) => Promise<T>): Promise<T> {
  return store.sql.begin('isolation level repeatable read read only', act) as Promise<T>
}
