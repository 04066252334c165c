import { Refusal, type RefusalCode } from '@skerry/api'
import { testFolder } from '@skerry/supervise/testing'
import { sha256Hex } from '@skerry/trust'
import pino from 'pino'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { openOutbox } from '../outbox/outbox.ts'
import { type Database, openDatabase } from '../store/database.ts'
import { enrollment } from '../testing.ts'
import { openRefusals, type Refusals } from './refusals.ts'

const MINUTE_MS = 60_000
const position = { timeline: 0, generation: 7 }

let database: Database
let refusals: Refusals
let atMs: number

const start = (boundBytes?: number) => {
  const outbox = openOutbox(database, enrollment, () => Date.parse('2026-06-01T00:00:00Z'), boundBytes)
  refusals = openRefusals({ database, outbox, log: pino({ level: 'silent' }), monotonicMs: () => atMs })
}
beforeEach(() => {
  database = openDatabase(testFolder())
  onTestFinished(() => database.close())
  atMs = 0
  start()
})
const unsigned = (code: RefusalCode, text: string) =>
  refusals.tell(new Refusal(code, 'no'), { document: 'DesiredState', digest: sha256Hex(text) })
const order = (code: RefusalCode, text = 'order') =>
  refusals.tell(new Refusal(code, 'no'), { document: 'DesiredState', digest: sha256Hex(text), position })
const told = () =>
  database.sql
    .prepare('select text from statement order by seq')
    .all()
    .map((row) => (JSON.parse(String(row['text'])) as { body: { code: string; position?: object } }).body)
const codes = () => told().map(({ code }) => code)

test('of garbage one refusal for each code is told in a minute, however much comes', () => {
  for (const text of ['a', 'b', 'c']) unsigned('MalformedJws', text)
  unsigned('UnknownKey', 'd')
  expect(codes()).toEqual(['MalformedJws', 'UnknownKey'])
  atMs = MINUTE_MS - 1
  unsigned('MalformedJws', 'e')
  expect(codes()).toHaveLength(2)
  atMs = MINUTE_MS
  unsigned('MalformedJws', 'f')
  expect(codes()).toEqual(['MalformedJws', 'UnknownKey', 'MalformedJws'])
})

test('what could not be written is told at the next try', () => {
  const { sql } = database
  sql.exec("create trigger full before insert on statement begin select raise(abort, 'no room'); end")
  expect(() => unsigned('MalformedJws', 'a')).toThrow('no room')
  sql.exec('drop trigger full')
  unsigned('MalformedJws', 'a')
  expect(codes()).toEqual(['MalformedJws'])
})

test("the hub's own orders are each told at once, and once, also over a restart", () => {
  for (const text of ['a', 'b', 'a']) order('HardwareMismatch', text)
  start()
  order('HardwareMismatch', 'b')
  expect(codes()).toEqual(['HardwareMismatch', 'HardwareMismatch'])
  expect(told()[0]).toMatchObject({ position })
})

test('an order that was refused is refused anew where what said so may be lost, once', () => {
  order('HardwareMismatch')
  // As the outbox keeps it with a gap statement.
  database.save('gap', { seq: 9, fromSeq: 1, toSeq: 8 })
  for (let looks = 0; looks < 2; looks += 1) order('HardwareMismatch')
  expect(codes()).toEqual(['HardwareMismatch', 'HardwareMismatch'])
})

test('what waits is told once for each thing it waits for, and names no place, which would refuse it for good', () => {
  for (const code of ['TargetUnknown', 'TargetUnknown', 'MetadataExpired', 'TargetUnknown'] as const) order(code)
  start()
  order('MetadataExpired')
  expect(codes()).toEqual(['TargetUnknown', 'MetadataExpired'])
  expect(told().some(({ position }) => position)).toBe(false)
  order('HardwareMismatch')
  expect(told().at(-1)).toMatchObject({ code: 'HardwareMismatch', position })
})

test('so many are remembered that the newest 64 are not told again', () => {
  for (let n = 0; n < 70; n += 1) order('HardwareMismatch', `${n}`)
  order('HardwareMismatch', '6')
  expect(codes()).toHaveLength(70)
  order('HardwareMismatch', '5')
  expect(codes()).toHaveLength(71)
})

test('what there was no room for is counted once, and told when it comes again and there is', () => {
  start(1)
  for (const text of ['a', 'a', 'b']) order('HardwareMismatch', text)
  expect(codes()).toEqual([])
  expect(database.load('left_out')).toMatchObject({ counts: { refused: 2 } })
  start()
  order('HardwareMismatch', 'b')
  expect(codes()).toEqual(['OutboxFull', 'HardwareMismatch'])
})
