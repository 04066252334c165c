import { STATEMENTS_PER_BATCH } from '@skerry/api'
import { testFolder } from '@skerry/supervise/testing'
import { createKey, keyRing, openBatch, readEvidence, sha256Hex, signDocument } from '@skerry/trust'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { type Database, openDatabase } from '../store/database.ts'
import { enrollment } from '../testing.ts'
import { type Outbox, openOutbox } from './outbox.ts'
import { bytesInUse, roomOf } from './room.ts'

// A site that nobody hears, and what it may keep.

const BOUND = 256 * 1024
const PAGE = 4_096
const nowMs = Date.parse('2026-06-01T00:00:00Z')
const { cluster, node, incarnation, transcript } = enrollment
const signer = createKey('ES256')
const hubKey = { jwk: signer.jwk, notBefore: '1970-01-01T00:00:00Z' }

let database: Database
let outbox: Outbox
let minute = 0
const open = (boundBytes = BOUND) => openOutbox(database, enrollment, () => nowMs, boundBytes)
beforeEach(() => {
  database = openDatabase(testFolder())
  onTestFinished(() => database.close())
  outbox = open()
})

const refuse = (n: number) =>
  outbox.offer({
    kind: 'refused',
    body: { document: 'DesiredState', code: 'MalformedJws', message: 'x'.repeat(1_000), digest: sha256Hex(`${n}`) },
  })
const accept = (generation: number) =>
  outbox.append({ kind: 'accepted', body: { timeline: 0, generation, digest: sha256Hex(`${generation}`) } })
const storm = (count: number) => Array.from({ length: count }, (_, n) => refuse(n)).filter((taken) => !taken).length
/** The hub takes all that is said, batch by batch, until nothing waits. Returns the texts it took. */
function linkIsBack(): string[] {
  const taken: string[] = []
  for (let batch = outbox.pending(); batch.length > 0; batch = outbox.pending()) {
    taken.push(...batch)
    const marker = { digest: sha256Hex('marker'), by: signer.thumbprint, atMs: nowMs + ++minute }
    outbox.acknowledged(said(batch.at(-1)).seq, { ...marker, keys: [hubKey] })
  }
  return taken
}
const said = (text: string | undefined) =>
  JSON.parse(text ?? '{}') as { seq: number; kind: string; body: { code?: string; message?: string } }

test('a dark site in a storm of refusals stays at its bound, says how many it left out once the link is back, and its chain holds', async () => {
  const unsaid = storm(400)
  expect(unsaid).toBeGreaterThan(100)
  expect(bytesInUse(database)).toBeLessThan(BOUND + 2 * PAGE)
  // The count outlives the process, and what proves an upgrade is said all the same.
  outbox = open()
  accept(1)
  expect(refuse(400)).toBe(false)
  const texts = linkIsBack()
  expect(texts).toHaveLength(400 - unsaid + 2)
  const told = texts.map(said).filter(({ body }) => body.code === 'OutboxFull')
  expect(told).toMatchObject([{ kind: 'refused', body: { message: expect.stringContaining(`${unsaid + 1} refused`) } }])
  expect(refuse(401)).toBe(true)

  const batches = []
  for (let first = 1; first <= texts.length; first += STATEMENTS_PER_BATCH) {
    const statements = texts.slice(first - 1, first - 1 + STATEMENTS_PER_BATCH)
    const batch = { kind: 'StatementBatch', cluster, node, incarnation, statements } as const
    const { seal } = await openBatch(await signDocument('StatementBatch', batch, signer), keyRing([signer.jwk]))
    batches.push({ first, last: first - 1 + statements.length, ...seal })
  }
  const read = await readEvidence({
    ...{ cluster, node, incarnation, nodeKey: signer.jwk, batches },
    registration: { transcript, acceptedBy: 'a', acceptedAt: enrollment.acceptedAt },
    statements: texts.map((text, place) => ({ seq: place + 1, text })),
  })
  expect(read.faults).toEqual([])
  expect([...read.statements.values()].filter(({ reached }) => reached === 'signed')).toHaveLength(texts.length)
})

test('what the hub has already gives way before anything is left out, and never the head', () => {
  storm(100)
  linkIsBack()
  expect(storm(100)).toBe(0)
  linkIsBack()
  const head = outbox.newest()
  outbox = open(PAGE)
  expect(outbox.newest()).toEqual(head)
  expect(database.sql.prepare('select count(*) as n from statement').get()).toEqual({ n: 1 })
})

test('what cannot be written when it is opened ends the start with its reason', () => {
  const { page_count: pages } = database.sql.prepare('pragma page_count').get() as { page_count: number }
  database.sql.exec(`pragma max_page_count = ${pages}`)
  const fill = database.sql.prepare("insert into kept (name, value) values (?, printf('%.*c', ?, 'x'))")
  for (const bytes of [1_000, 100, 1])
    expect(() => {
      for (let n = 0; ; n += 1) fill.run(`filler ${bytes} ${n}`, bytes)
    }).toThrow('full')
  // Another bound is kept before anything is judged by it.
  expect(() => open(10 ** 15)).toThrow('database or disk is full')
})

test('a greater bound at the next start is room: what was left out is told then', () => {
  const unsaid = storm(300)
  outbox = open(4 * BOUND)
  const last = database.sql.prepare('select text from statement order by seq desc limit 1').get()
  expect(said(String(last?.['text'])).body.message).toContain(`${unsaid} refused left out`)
  expect(outbox.room()).toBe('enough')
})

test('nothing may be begun above the reserve, and that is told with its reason', () => {
  storm(400)
  expect(outbox.full()).toBeUndefined()
  for (let generation = 1; outbox.full() === undefined && generation < 500; generation += 1) accept(generation)
  expect(bytesInUse(database)).toBeGreaterThanOrEqual((BOUND / 8) * 9)
  expect(outbox.full()).toMatchObject({
    code: 'OutboxFull',
    retry: 'later',
    message: expect.stringContaining('--outbox-mib'),
  })
})

test.each([
  ['below the bound', 799, false, 'enough'],
  ['at the bound', 800, false, 'short'],
  ['a little below it, while something is left out', 700, true, 'short'],
  ['an eighth below it', 699, true, 'enough'],
  ['below the end of the reserve', 899, false, 'short'],
  ['at its end', 900, true, 'none'],
])('%s', (_, bytes, leavesOut, room) => {
  expect(roomOf(bytes, 800, leavesOut)).toBe(room)
})
