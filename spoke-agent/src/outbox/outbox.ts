import {
  BATCH_BYTES,
  type HubKey,
  Refusal,
  STATEMENTS_PER_BATCH,
  type Statement,
  type StatementKind,
} from '@skerry/api'
import { countedTime, sha256Hex } from '@skerry/trust'
import type { Enrollment } from '../registration/enrollment.ts'
import type { Database } from '../store/database.ts'
import type { LeftOut } from '../store/left-out.ts'
import { BOUND_MIB, bytesInUse, calmBytes, leftOutWords, noRoom, type Room, roomOf } from './room.ts'

// Statements, in order and chained, from the moment they are true until the hub has committed them. Appended in the same
// transaction as the state they tell of; trimmed by the hub's signed watermark and by nothing else. What has no room gets
// no number: it is counted, and the count is said when there is room again.

/** Acknowledged statements are kept for so long: a hub restored from a backup may ask for them again. */
const KEPT_MS = 7 * 86_400_000
const KEPT_COUNT = 50_000
/** Why a node has no more what it said: the hub had acknowledged it, and it was kept for as long as that obliges to. */
const NOT_KEPT = 'NotKept'
/** Of the acknowledged ones so many give way at a time when the room is short. */
const GIVING_WAY = 500

type Row = { seq: number; kind: string; text: string; digest: string; at: string; acknowledged_at: string | null }
/** The hub's word on what time it is, as far as it counts. `keys` are those that may give it now. */
type Marker = {
  readonly digest: string
  readonly by: string
  readonly atMs: number
  readonly keys: readonly HubKey[]
}
/** The newest gap statement of this life, and what it closes. */
type Gap = { readonly seq: number; readonly fromSeq: number; readonly toSeq: number }
/** Where a statement stands in the chain: what evidence answers. */
export type Place = { readonly seq: number; readonly prev: string; readonly marker: string }
/** What a statement says; the outbox adds who, when and after what. */
type Said = Pick<Statement, 'kind' | 'body'>

export type Outbox = {
  /**
   * Appends a statement, whatever the room: one that proves an upgrade. `make` gets what evidence needs: its number, the
   * one before, the newest marker.
   */
  append(make: Said | ((place: Place) => Said)): void
  /** The place that the next statement would have now. */
  place(): Place
  /** Appends a statement if there is room for what proves no upgrade; otherwise counts it as left out. Returns whether. */
  offer(said: Said): boolean
  /** Counts one that nobody will be able to say any more. */
  leaveOut(kind: StatementKind): void
  room(): Room
  /** Why nothing may be begun now that would have to be proven; undefined while it may. */
  full(): Refusal | undefined
  /** The oldest statements that the hub has not committed, as one batch. */
  pending(): readonly string[]
  /**
   * The gap statement that closes what is missing right below `pending()`, until the hub's watermark has passed that: the
   * hub takes it by itself, however far above the gap it stands.
   */
  closing(): string | undefined
  /**
   * The part of the chain in which what holds has to have been said: another after each life's beginning and after each gap
   * statement, because what said it before may be lost.
   */
  chapter(): string
  newest(): { seq: number; digest?: string }
  /** The number of the oldest statement that the hub has not committed. */
  oldest(): number | undefined
  /** Number of statements that wait. */
  length(): number
  /**
   * Takes the hub's word, verified. A watermark that grew is believed. One that went back is that of a hub restored from a
   * backup only with a marker newer than any seen, and brings what is still kept back; otherwise it is an old word again.
   * What that hub lacks below all that is kept is closed by one gap statement, appended in the same transaction.
   */
  acknowledged(watermark: number, marker: Marker): void
  onAppend(listener: () => void): void
}

/** Opens the outbox of this life. From `boundBytes` of the database on, only what proves an upgrade is said. */
export function openOutbox(
  database: Database,
  enrollment: Enrollment,
  now: () => number,
  boundBytes = BOUND_MIB * 1024 ** 2,
  /** What else says when a statement was made. */
  tpmTime: () => Omit<Statement['time'], 'wall'> | undefined = () => undefined,
): Outbox {
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
  const lowest = sql.prepare('select min(seq) as seq from statement')
  const textAt = sql.prepare('select text from statement where seq = ?')
  // The head stays whatever its age: what is said next is chained to it. Nothing goes from between: a clock that was set back
  // makes what is newer older, and what is kept shall have one gap below it and none inside.
  const forget = sql.prepare(
    `with head as (select max(seq) as seq from statement)
     delete from statement where seq < (select seq from head) and acknowledged_at is not null
       and (seq <= (select max(seq) from statement where acknowledged_at < ?) or seq <= (select seq from head) - ?)`,
  )
  const giveWay = sql.prepare(
    `delete from statement where seq in (
       select seq from statement
       where acknowledged_at is not null and seq < (select max(seq) from statement) order by seq limit ?)`,
  )
  const unheard = sql.prepare('select 1 from statement where seq <= ? and acknowledged_at is null limit 1')
  const listeners: (() => void)[] = []
  const newest = () => last.get() as Pick<Row, 'seq' | 'digest'> | undefined
  const marker = () => database.load<string>('marker') ?? sha256Hex(enrollment.acceptance)

  const gap = () => database.load<Gap>('gap')

  const leftOut = () => database.load<LeftOut>('left_out')
  const room = () => roomOf(bytesInUse(database), boundBytes, leftOut() !== undefined)
  const ring = () => {
    for (const listener of listeners) queueMicrotask(listener)
  }

  function nextPlace(): Place {
    const before = newest()
    return { seq: (before?.seq ?? 0) + 1, prev: before?.digest ?? enrollment.transcript, marker: marker() }
  }

  function add(make: Parameters<Outbox['append']>[0]): void {
    const place = nextPlace()
    const { kind, body } = typeof make === 'function' ? make(place) : make
    const { cluster, node, incarnation } = enrollment
    const at = new Date(now()).toISOString()
    const text = JSON.stringify({ kind, cluster, node, incarnation, ...place, time: { wall: at, ...tpmTime() }, body })
    insert.run(place.seq, kind, text, sha256Hex(text), at)
  }

  // A hub that was restored from a backup older than all that is kept has a gap below it that nothing can fill. One statement
  // closes it, whatever is heard of that hub meanwhile. Once more with the same upper end it closes all below that, so that
  // whoever signs as the hub, and names lower numbers again and again, gets two.
  function closeBelow(watermark: number): boolean {
    const { seq: oldest } = lowest.get() as { seq: number | null }
    const before = gap()
    const toSeq = (oldest ?? 0) - 1
    if (toSeq <= watermark || (before && before.fromSeq <= watermark + 1 && before.toSeq === toSeq)) return false
    const fromSeq = before?.toSeq === toSeq ? 1 : watermark + 1
    const { seq } = nextPlace()
    add({ kind: 'gap', body: { fromSeq, toSeq, reason: NOT_KEPT } })
    database.save('gap', { seq, fromSeq, toSeq } satisfies Gap)
    return true
  }

  function leaveOut(kind: StatementKind): void {
    const at = new Date(now()).toISOString()
    const before: Omit<LeftOut, 'untilAt'> = leftOut() ?? { sinceAt: at, counts: {} }
    const counts = { ...before.counts, [kind]: (before.counts[kind] ?? 0) + 1 }
    database.save('left_out', { ...before, untilAt: at, counts } satisfies LeftOut)
  }

  // What the hub has gives way first; and when there is room to spare, what was left out is told, once, as a number.
  // Returns whether it was.
  function makeRoom(): boolean {
    if (database.load<number>('outbox_bound') !== boundBytes) database.save('outbox_bound', boundBytes)
    while (bytesInUse(database) >= calmBytes(boundBytes)) {
      if (giveWay.run(GIVING_WAY).changes === 0) break
    }
    const missing = leftOut()
    if (!missing || room() !== 'enough') return false
    const message = leftOutWords(missing, boundBytes)
    const code = 'OutboxFull'
    add({ kind: 'refused', body: { document: 'Statement', code, message, digest: sha256Hex(`${code} ${message}`) } })
    database.forget('left_out')
    return true
  }

  // A disk that is full ends the start with that reason: whoever started this agent starts it again.
  database.transact(makeRoom)

  return {
    append(make) {
      database.transact(() => {
        makeRoom()
        add(make)
      })
      ring()
    },
    offer(said) {
      const taken = database.transact(() => {
        makeRoom()
        if (room() !== 'enough') {
          leaveOut(said.kind)
          return false
        }
        add(said)
        return true
      })
      if (taken) ring()
      return taken
    },
    place: nextPlace,
    leaveOut,
    room,
    full: () => (room() === 'none' ? new Refusal('OutboxFull', noRoom(boundBytes)) : undefined),
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
    closing() {
      const said = gap()
      const { seq } = (first.get() as Pick<Row, 'seq'> | undefined) ?? {}
      if (!said || seq !== said.toSeq + 1) return undefined
      return (textAt.get(said.seq) as Pick<Row, 'text'> | undefined)?.text
    },
    chapter() {
      const said = gap()
      return said ? `${enrollment.incarnation}.${said.seq}` : `${enrollment.incarnation}`
    },
    newest() {
      const row = newest()
      return row ? { seq: row.seq, digest: row.digest } : { seq: 0 }
    },
    oldest: () => (first.get() as Pick<Row, 'seq'> | undefined)?.seq,
    length: () => (count.get() as { n: number }).n,
    acknowledged(watermark, { digest, by, keys, ...said }) {
      const atMs = countedTime(keys, { by, atMs: said.atMs }) ?? 0
      const before = { by: database.load<string>('marker_by') ?? '', atMs: database.load<number>('marker_at') ?? 0 }
      // One of a key that is not listed any more came before all that do come now, whatever time it named.
      const isNews = atMs > (countedTime(keys, before) ?? 0)
      // The same word comes again with every heartbeat: it costs no write.
      if (!isNews && unheard.get(watermark) === undefined) return
      const hasTold = database.transact(() => {
        // Before anything is forgotten: what is old enough for that may be what this hub lacks.
        if (isNews) bringBack.run(watermark)
        acknowledge.run(new Date(now()).toISOString(), watermark)
        forget.run(new Date(now() - KEPT_MS).toISOString(), KEPT_COUNT)
        if (isNews) {
          database.save('marker', digest)
          database.save('marker_at', atMs)
          database.save('marker_by', by)
        }
        const hasClosed = closeBelow(watermark)
        return makeRoom() || hasClosed
      })
      if (hasTold) ring()
    },
    onAppend: (listener) => listeners.push(listener),
  }
}
