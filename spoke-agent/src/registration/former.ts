import type { Database } from '../store/database.ts'
import type { LeftOut } from '../store/left-out.ts'

// What ended lives had said. Another life is another chain, told from its beginning, and the hub has no place for what the
// one before had not brought up yet. It stays here, for whoever comes to look: the hub may begin lives, but it may not make
// a node forget what it saw.

/** Texts of all ended lives together. */
const FORMER_BYTES = 16 * 1024 ** 2

export type FormerLife = {
  /** Of the exchange that began it: `prev` of its first statement. */
  readonly transcript: string
  readonly statements: number
  /** Those that the hub never committed. */
  readonly unheard: number
}

/**
 * Ends the life of this transcript: what it had said is put away, refusals with it. Beyond the bound the oldest that the
 * hub has gives way, then the oldest; how many did is counted, with those that had no room to be said at all.
 */
export function endLife(database: Database, transcript: string | undefined, mostBytes = FORMER_BYTES): void {
  const { sql } = database
  database.transact(() => {
    sql
      .prepare(
        `insert or ignore into former_statement (transcript, seq, text, digest, at, acknowledged_at)
         select ?, seq, text, digest, at, acknowledged_at from statement order by seq`,
      )
      .run(transcript ?? 'unknown')
    const { changes } = sql
      .prepare(
        `delete from former_statement where rowid in (
           select id from (
             select rowid as id, sum(octet_length(text)) over (order by acknowledged_at is not null, rowid desc) as bytes from former_statement
           ) where bytes > ?)`,
      )
      .run(mostBytes)
    const unsaid = Object.values(database.load<LeftOut>('left_out')?.counts ?? {}).reduce(
      (sum, count) => sum + count,
      0,
    )
    const gone = Number(changes) + unsaid
    if (gone > 0) database.save('former_dropped', (database.load<number>('former_dropped') ?? 0) + gone)
    sql.exec('delete from statement')
    database.forget('marker', 'refused', 'left_out', 'gap')
  })
}

/** The ended lives, oldest first. */
export function formerLives({ sql }: Pick<Database, 'sql'>): FormerLife[] {
  return sql
    .prepare(
      `select transcript, count(*) as statements, count(*) - count(acknowledged_at) as unheard
       from former_statement group by transcript order by min(rowid)`,
    )
    .all() as FormerLife[]
}
