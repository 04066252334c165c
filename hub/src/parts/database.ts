import { join } from 'node:path'
import { type Connection, createDatabase, keepRunning, type Say, startPostgres } from '@skerry/supervise'
import { createObject, getObject } from '../store/resources.ts'
import { migrateStore, openStore, type Store, write } from '../store/store.ts'
import type { Ends } from './ends.ts'

/** A part of the hub's own (`nats`, `postgres`) ended by itself and runs again under this process id. */
export type OnRestart = (part: string, pid: number) => void

export type Database = { readonly store: Store; pids(): Readonly<Record<string, number>> }

/** The store on `databaseUrl`, or on a PostgreSQL of the hub's own in `dir`, brought to this version's form. */
export async function openDatabase(
  {
    dir,
    databaseUrl,
    say,
    warn,
    onRestart,
  }: { dir: string; databaseUrl: string | undefined; say: Say; warn: Say; onRestart: OnRestart },
  ends: Ends,
): Promise<Database> {
  if (databaseUrl !== undefined)
    return { store: await openTables(parseDatabaseUrl(databaseUrl), ends), pids: () => ({}) }
  const own = await keepRunning(
    'PostgreSQL',
    () => startPostgres({ dataDir: join(dir, 'pg'), durable: true, say }),
    warn,
    ({ pid }) => onRestart('postgres', pid),
  )
  ends.push({ what: 'PostgreSQL', end: () => own.stop(), withinMs: 30_000 })
  const connection = await createDatabase(own.current().connection, 'skerry')
  return { store: await openTables(connection, ends), pids: () => ({ postgres: own.current().pid }) }
}

/** A DATABASE_URL as postgres.js takes it; libpq's form for a unix socket (`postgres://user@%2Frun%2Fpostgresql/name`) is understood too. */
export function parseDatabaseUrl(text: string): string | Connection {
  if (!URL.canParse(text))
    throw new Error('DATABASE_URL is no URL; its form is postgres://user:password@host:5432/database')
  const url = new URL(text)
  const folder = decodeURIComponent(url.hostname)
  if (!folder.startsWith('/')) return text
  const port = Number(url.port || 5432)
  return {
    host: join(folder, `.s.PGSQL.${port}`),
    port,
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)),
  }
}

async function openTables(connection: string | Connection, ends: Ends): Promise<Store> {
  await migrateStore(connection)
  const store = openStore(connection)
  ends.push({ what: 'connections to PostgreSQL', end: () => store.close(), withinMs: 10_000 })
  await write(store, async (tx) => {
    for (const [name, clusterSelector] of FIRST_SETS) {
      if (await getObject(tx, 'ManagedClusterSet', '', name)) continue
      await createObject(tx, 'ManagedClusterSet', { metadata: { name }, spec: { clusterSelector } })
    }
  })
  return store
}

/** The cluster sets that OCM's hub makes by itself. */
const FIRST_SETS = [
  ['default', { selectorType: 'ExclusiveClusterSetLabel' }],
  ['global', { selectorType: 'LabelSelector', labelSelector: {} }],
] as const
