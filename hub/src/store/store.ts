import { fileURLToPath } from 'node:url'
import { type Connection, toOptions } from '@skerry/supervise'
import { drizzle } from 'drizzle-orm/postgres-js'
import { migrate } from 'drizzle-orm/postgres-js/migrator'
import postgres, { type Sql, type TransactionSql } from 'postgres'

/** A read needs a connection or a transaction; a write always a transaction. */
export type Tx = TransactionSql
export type Reader = Sql | TransactionSql

export type Store = { readonly sql: Sql; close(): Promise<void> }

/** Any two numbers that nobody else locks with. The first serialises writes of resources, the second migrations. */
const VERSION_LOCK = 721_100_001
const MIGRATION_LOCK = 721_100_002

/** The hub's database. Connections are made anew by themselves when PostgreSQL was away. */
export function openStore(database: Connection | string): Store {
  const more = { max: 12, connect_timeout: 5, onnotice: () => {}, transform: { undefined: null } }
  const sql = typeof database === 'string' ? postgres(database, more) : postgres(toOptions(database, more))
  return { sql, close: () => sql.end({ timeout: 5 }) }
}

/** Brings the tables to this version's form. Several hubs may start at once: one does it, the others wait. */
export async function migrateStore(database: Connection | string): Promise<void> {
  const more = { max: 1, onnotice: () => {} }
  const sql = typeof database === 'string' ? postgres(database, more) : postgres(toOptions(database, more))
  try {
    await sql`select pg_advisory_lock(${MIGRATION_LOCK})`
    await migrate(drizzle(sql), { migrationsFolder: fileURLToPath(new URL('../migrations', import.meta.url)) })
  } finally {
    await sql.end({ timeout: 5 })
  }
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
