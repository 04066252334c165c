import { BATCH_BYTES, STATEMENTS_PER_BATCH, type Statement } from '@skerry/api'
import { sha256Hex } from '@skerry/trust'
import type { Enrollment } from '../registration/enrollment.ts'
import type { Database } from '../store/database.ts'

// Statements, in order and chained, from the moment they are true until the hub has committed them. Appended in the same
// transaction as the state they tell of; trimmed by the hub's signed watermark and by nothing else.

/** Acknowledged statements are kept for so long: a hub restored from a backup may ask for them again. */
const KEPT_MS = 7 * 86_400_000
const KEPT_COUNT = 50_000

type Row = { seq: number; kind: string; text: string; digest: string; at: string; acknowledged_at: string | null }
/** What a statement says; the outbox adds who, when and after what. */
type Said = Pick<Statement, 'kind' | 'body'>

export type Outbox = {
  /** Appends a statement; `make` gets what evidence needs: its number, the one before, the newest marker. */
  append(make: Said | ((place: { seq: number; prev: string; marker: string }) => Said)): void
  /** The oldest statements that the hub has not committed, as one batch. */
  pending(): readonly string[]
  newest(): { seq: number; digest?: string }
  /** The number of the oldest statement that the hub has not committed. */
  oldest(): number | undefined
  /** Number of statements that wait. */
  length(): number
  /**
   * Takes the hub's word, verified. A watermark that grew is believed. One that went back is that of a hub restored from a
   * backup only with a marker newer than any seen, and brings what is still kept back; otherwise it is an old word again.
   */
  acknowledged(watermark: number, marker: { readonly digest: string; readonly atMs: number }): void
  onAppend(listener: () => void): void
}

export function openOutbox(database: Database, enrollment: Enrollment, now: () => number): Outbox {
  const { sql } = database
  const last = sql.prepare('select seq, digest from statement order by seq desc limit 1')
  const insert = sql.prepare('insert into statement (seq, kind, text, digest, at) values (?, ?, ?, ?, ?)')
  const waiting = sql.prepare('select text from statement where acknowledged_at is null order by seq limit ?')
  const first = sql.prepare('select seq from statement where acknowledged_at is null order by seq limit 1')
  const count = sql.prepare('select count(*) as n from statement where acknowledged_at is null')
  const acknowledge = sql.prepare('update statement set acknowledged_at = ? where seq <= ? and acknowledged_at is null')
  const bringBack = sql.prepare(
    'update statement set acknowledged_at = null where seq > ? and acknowledged_at is not null',
  )
  // The head stays whatever its age: what is said next is chained to it.
  const forget = sql.prepare(
    `with head as (select max(seq) as seq from statement)
     delete from statement where seq < (select seq from head) and acknowledged_at is not null
       and (acknowledged_at < ? or seq <= (select seq from head) - ?)`,
  )
  const unheard = sql.prepare('select 1 from statement where seq <= ? and acknowledged_at is null limit 1')
  const listeners: (() => void)[] = []
  const newest = () => last.get() as Pick<Row, 'seq' | 'digest'> | undefined
  const marker = () => database.load<string>('marker') ?? sha256Hex(enrollment.acceptance)

  return {
    append(make) {
      database.transact(() => {
        const before = newest()
        const seq = (before?.seq ?? 0) + 1
        const place = { seq, prev: before?.digest ?? enrollment.transcript, marker: marker() }
        const { kind, body } = typeof make === 'function' ? make(place) : make
        const { cluster, node, incarnation } = enrollment
        const text = JSON.stringify({
          kind,
          cluster,
          node,
          incarnation,
          ...place,
          time: { wall: new Date(now()).toISOString() },
          body,
        })
        insert.run(seq, kind, text, sha256Hex(text), new Date(now()).toISOString())
      })
      for (const listener of listeners) queueMicrotask(listener)
    },
    pending() {
      const texts: string[] = []
      let bytes = 0
      for (const { text } of waiting.all(STATEMENTS_PER_BATCH) as Pick<Row, 'text'>[]) {
        bytes += Buffer.byteLength(JSON.stringify(text))
        if (texts.length > 0 && bytes > BATCH_BYTES) break
        texts.push(text)
      }
      return texts
    },
    newest() {
      const row = newest()
      return row ? { seq: row.seq, digest: row.digest } : { seq: 0 }
    },
    oldest: () => (first.get() as Pick<Row, 'seq'> | undefined)?.seq,
    length: () => (count.get() as { n: number }).n,
    acknowledged(watermark, { digest, atMs }) {
      const isNews = atMs > (database.load<number>('marker_at') ?? 0)
      // The same word comes again with every heartbeat: it costs no write.
      if (!isNews && unheard.get(watermark) === undefined) return
      database.transact(() => {
        acknowledge.run(new Date(now()).toISOString(), watermark)
        forget.run(new Date(now() - KEPT_MS).toISOString(), KEPT_COUNT)
        if (!isNews) return
        bringBack.run(watermark)
        database.save('marker', digest)
        database.save('marker_at', atMs)
      })
    },
    onAppend: (listener) => listeners.push(listener),
  }
}
