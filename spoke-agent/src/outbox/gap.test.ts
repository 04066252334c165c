import { parse, Statement } from '@skerry/api'
import { testFolder } from '@skerry/supervise/testing'
import { createKey, sha256Hex } from '@skerry/trust'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { type Database, openDatabase } from '../store/database.ts'
import { enrollment } from '../testing.ts'
import { type Outbox, openOutbox } from './outbox.ts'

// A hub that was restored from a backup, and what of that this node has no more.

const DAY_MS = 86_400_000
const startMs = Date.parse('2026-06-01T00:00:00Z')
const signer = createKey('EdDSA')
const keys = [{ jwk: signer.jwk, notBefore: '1970-01-01T00:00:00Z' }]

let dir: string
let database: Database
let outbox: Outbox
let wallMs: number
let minute: number
const open = () => {
  database = openDatabase(dir)
  outbox = openOutbox(database, enrollment, () => wallMs)
}
beforeEach(() => {
  dir = testFolder()
  wallMs = startMs
  minute = 0
  open()
  onTestFinished(() => database.close())
})

const say = (count: number) => {
  for (let n = 1; n <= count; n += 1)
    outbox.append({ kind: 'accepted', body: { timeline: 0, generation: n, digest: sha256Hex(`${n}`) } })
}
/** The hub's word, under a marker that is newer than any before unless it says which. */
const hears = (watermark: number, atMinute = ++minute) =>
  outbox.acknowledged(watermark, {
    digest: sha256Hex(`marker ${atMinute}`),
    by: signer.thumbprint,
    atMs: startMs + atMinute * 60_000,
    keys,
  })
const read = (text: string) => parse(Statement, JSON.parse(text), 'statement')
const kept = () =>
  database.sql
    .prepare('select text from statement order by seq')
    .all()
    .map((row) => read(String(row['text'])))
const numbers = () => kept().map(({ seq }) => seq)
const gaps = () => kept().flatMap((one) => (one.kind === 'gap' ? [{ seq: one.seq, ...one.body }] : []))
const closing = () => {
  const text = outbox.closing()
  return text === undefined ? undefined : read(text).seq
}
/** Ten statements that the hub had, and forgot; of which the newest alone is kept, and three since. */
function keepsFromTen(): void {
  say(10)
  hears(10)
  wallMs += 8 * DAY_MS
  hears(10)
  say(3)
  expect(numbers()).toEqual([10, 11, 12, 13])
}
const reopen = () => {
  database.close()
  open()
}

test('what a hub that was put back lacks below all that is kept is closed by one statement, which is sent by itself until it has been passed', () => {
  keepsFromTen()
  hears(4)
  expect(gaps()).toEqual([{ seq: 14, fromSeq: 5, toSeq: 9, reason: 'NotKept' }])
  const before = kept().at(-2)
  expect(kept().at(-1)).toMatchObject({
    prev: sha256Hex(JSON.stringify(before)),
    marker: sha256Hex(`marker ${minute}`),
  })
  expect(outbox.pending().map((text) => read(text).seq)).toEqual([10, 11, 12, 13, 14])
  expect(closing()).toBe(14)
  // The same is heard again and again while it is on its way, also by an agent that died before it had sent it.
  hears(4)
  hears(4, minute)
  reopen()
  hears(4)
  expect([gaps().length, closing()]).toEqual([1, 14])
  // The hub has bridged it and nothing else: it still lacks the oldest.
  hears(9)
  expect([gaps().length, closing()]).toEqual([1, 14])
  hears(11)
  expect([gaps().length, closing(), outbox.length()]).toEqual([1, undefined, 3])
  hears(14)
  expect([closing(), outbox.length()]).toEqual([undefined, 0])
})

test('the same restore once more needs no other statement; an older backup one more, and none after that', () => {
  keepsFromTen()
  hears(4)
  hears(14)
  hears(4)
  expect([gaps().length, closing()]).toEqual([1, 14])
  hears(6)
  expect([gaps().length, closing()]).toEqual([1, 14])
  hears(2)
  expect(gaps()[1]).toEqual({ seq: 15, fromSeq: 1, toSeq: 9, reason: 'NotKept' })
  expect(closing()).toBe(15)
  // Whoever signs as the hub and names lower numbers again and again.
  hears(1)
  hears(0)
  expect([gaps().length, closing()]).toEqual([2, 15])
})

test('a later restore, of which less is kept, is another gap', () => {
  keepsFromTen()
  hears(4)
  hears(14)
  say(1)
  hears(15)
  wallMs += 8 * DAY_MS
  hears(15)
  expect(numbers()).toEqual([15])
  hears(4)
  expect(gaps()).toEqual([{ seq: 16, fromSeq: 5, toSeq: 14, reason: 'NotKept' }])
})

test.each<[string, () => void]>([
  ['has all that is missing here', () => hears(9)],
  ['is told of in an old word', () => hears(4, 1)],
  ['has everything', () => hears(13)],
])('a hub that %s is closed nothing', (_, word) => {
  keepsFromTen()
  word()
  expect([gaps(), closing()]).toEqual([[], undefined])
  expect(outbox.chapter()).toBe('1')
})

test('the power fails before it is written: nothing of that word was taken, and it is taken the next time', () => {
  keepsFromTen()
  hears(13)
  const before = [numbers(), outbox.length(), database.load('marker')]
  database.sql.exec(
    `create trigger power before insert on kept when new.name = 'gap' begin select raise(abort, 'the power'); end`,
  )
  expect(() => hears(4)).toThrow('the power')
  reopen()
  expect([numbers(), outbox.length(), database.load('marker')]).toEqual(before)
  database.sql.exec('drop trigger power')
  hears(4, minute)
  expect([gaps().length, closing(), outbox.chapter()]).toEqual([1, 14, '1.14'])
})

test('what is old enough to be forgotten is brought back first, if the hub lacks it', () => {
  say(10)
  hears(10)
  wallMs += 8 * DAY_MS
  hears(4)
  expect(numbers()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10].slice(4))
  expect([gaps(), outbox.length()]).toEqual([[], 6])
})

test('what is kept has no gap inside, whatever the clock did while it was acknowledged', () => {
  say(5)
  wallMs = startMs + 1_000 * DAY_MS
  hears(5)
  wallMs = startMs
  say(5)
  hears(10)
  say(1)
  wallMs = startMs + 8 * DAY_MS
  hears(10)
  expect(numbers()).toEqual([11])
})
