import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { reasonOf } from '../reason.ts'

// The agent's one database. synchronous=FULL: what was committed survives the power cut of the next instant.

const SCHEMA = [
  `create table kept (name text primary key, value text not null) strict;
   create table statement (seq integer primary key, kind text not null, text text not null, digest text not null, at text not null, acknowledged_at text) strict;`,
  `create table former_statement (transcript text not null, seq integer not null, text text not null, digest text not null, at text not null, acknowledged_at text, primary key (transcript, seq)) strict;`,
]

/** A row that there is one of, by its name: what each room keeps. The names and their writers stand in DESIGN.md. */
type Kept =
  | 'enrollment'
  | 'registration'
  | 'exchanges'
  | 'former_dropped'
  | 'edge_site'
  | 'edge_node'
  | 'outbox_bound'
  | 'left_out'
  | 'gap'
  | 'marker'
  | 'marker_at'
  | 'marker_by'
  | 'time_floors'
  | 'refused'
  | 'status_counter'
  | 'tpm'
  | 'slots'

export type Database = {
  /** Everything in `act` is committed together, or not at all. */
  transact<T>(act: () => T): T
  load<T>(name: Kept): T | undefined
  save(name: Kept, value: unknown): void
  forget(...names: readonly Kept[]): void
  readonly sql: DatabaseSync
  close(): void
}

/** Whoever opens it after a power cut, or is the last to close it, has the whole database for a moment: others wait, from their first word on. */
const BUSY_MS = 5_000

/** The database as it lies there, to look at and nothing else; undefined where there is none. */
export function readDatabase(dataDir: string): Pick<Database, 'load' | 'sql' | 'close'> | undefined {
  const file = join(dataDir, 'agent.db')
  if (!existsSync(file)) return undefined
  const sql = new DatabaseSync(file, { readOnly: true, timeout: BUSY_MS })
  try {
    const { user_version: version } = sql.prepare('pragma user_version').get() as { user_version: number }
    if (version !== SCHEMA.length)
      throw new Error(`of form ${version}, this agent knows ${SCHEMA.length}: start the agent on it first`)
    const select = sql.prepare('select value from kept where name = ?')
    return {
      sql,
      load<T>(name: Kept) {
        const row = select.get(name) as { value: string } | undefined
        return row && (JSON.parse(row.value) as T)
      },
      close: () => sql.close(),
    }
  } catch (error) {
    sql.close()
    throw new Error(`${file}: ${reasonOf(error)}`)
  }
}

export function openDatabase(dataDir: string): Database {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const file = join(dataDir, 'agent.db')
  const sql = new DatabaseSync(file, { timeout: BUSY_MS })
  sql.exec('pragma journal_mode = wal; pragma synchronous = full')
  chmodSync(file, 0o600)
  const { user_version: version } = sql.prepare('pragma user_version').get() as { user_version: number }
  if (version > SCHEMA.length)
    throw new Error(`agent.db is of a newer agent (form ${version}, this one knows ${SCHEMA.length})`)
  for (const [index, statements] of SCHEMA.entries()) {
    if (index < version) continue
    sql.exec(`begin immediate; ${statements} pragma user_version = ${index + 1}; commit`)
  }
  const select = sql.prepare('select value from kept where name = ?')
  const upsert = sql.prepare(
    'insert into kept (name, value) values (?, ?) on conflict (name) do update set value = excluded.value',
  )
  const remove = sql.prepare('delete from kept where name = ?')
  let depth = 0
  return {
    sql,
    transact(act) {
      if (depth > 0) return act()
      sql.exec('begin immediate')
      depth += 1
      try {
        const result = act()
        sql.exec('commit')
        return result
      } catch (error) {
        // A full disk has ended it already; its reason is the one to tell.
        if (sql.isTransaction) sql.exec('rollback')
        throw error
      } finally {
        depth -= 1
      }
    },
    load<T>(name: Kept) {
      const row = select.get(name) as { value: string } | undefined
      return row && (JSON.parse(row.value) as T)
    },
    save(name, value) {
      upsert.run(name, JSON.stringify(value))
    },
    forget(...names) {
      for (const name of names) remove.run(name)
    },
    close: () => sql.close(),
  }
}
