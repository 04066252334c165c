import { testFolder } from '@skerry/supervise/testing'
import { createKey, sha256Hex } from '@skerry/trust'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { openOutbox } from '../outbox/outbox.ts'
import { type Database, openDatabase } from '../store/database.ts'
import { enrollment } from '../testing.ts'
import { endLife, formerLives } from './former.ts'

const [one, two] = [sha256Hex('one'), sha256Hex('two')]
let database: Database

beforeEach(() => {
  database = openDatabase(testFolder())
  onTestFinished(() => database.close())
})

/** Says so much in a life, of which the hub commits the first `heard`. */
function say(transcript: string, count: number, heard: number): void {
  const outbox = openOutbox(database, { ...enrollment, transcript }, () => Date.parse('2026-06-01T00:00:00Z'))
  for (let n = 0; n < count; n += 1) outbox.append({ kind: 'gap', body: { fromSeq: 1, toSeq: 1, reason: 'Compacted' } })
  outbox.acknowledged(heard, { digest: sha256Hex('marker'), by: 'a key', atMs: 1, keys: [] })
}
const kept = () =>
  database.sql
    .prepare('select transcript, seq, text, digest from former_statement order by rowid')
    .all()
    .map(({ transcript, seq, text, digest }) => ({ transcript, seq, text: String(text), digest }))

test('what an ended life had said stays as it was said, word for word and in its chain; the next begins at one', () => {
  say(one, 3, 1)
  const said = database.sql.prepare('select seq, text, digest from statement order by seq').all()
  endLife(database, one)
  expect(kept()).toEqual(said.map((row) => ({ transcript: one, ...row })))
  for (const { text, digest } of kept()) expect(sha256Hex(text)).toBe(digest)
  expect(formerLives(database)).toEqual([{ transcript: one, statements: 3, unheard: 2 }])
  say(two, 1, 0)
  expect(database.sql.prepare('select seq, text from statement').all()).toMatchObject([
    { seq: 1, text: expect.stringContaining(`"prev":"${two}"`) },
  ])
  endLife(database, two)
  expect(formerLives(database).map(({ transcript }) => transcript)).toEqual([one, two])
})

test('what an ended life had closed is nothing to the next', () => {
  say(one, 3, 3)
  database.sql.exec('delete from statement where seq < 3')
  const open = (incarnation: number) => openOutbox(database, { ...enrollment, incarnation }, () => 0)
  const key = createKey('EdDSA')
  const keys = [{ jwk: key.jwk, notBefore: '1970-01-01T00:00:00Z' }]
  open(1).acknowledged(0, { digest: sha256Hex('later'), by: key.thumbprint, atMs: 2, keys })
  expect(open(1).chapter()).toBe('1.4')
  endLife(database, one)
  expect(open(2).chapter()).toBe('2')
})

test('a life that is ended twice, because the power failed, is kept once', () => {
  say(one, 3, 0)
  endLife(database, one)
  say(one, 3, 0)
  endLife(database, one)
  expect(kept()).toHaveLength(3)
})

test('beyond the bound gives way what the hub has, oldest first; then the oldest; and it is counted', () => {
  say(one, 2, 0)
  const bytes = Buffer.byteLength(
    String(database.sql.prepare('select text from statement limit 1').get()?.['text'] ?? ''),
  )
  const room = (statements: number) => bytes * statements + bytes / 2
  endLife(database, one, room(5))
  say(two, 4, 3)
  endLife(database, two, room(5))
  const places = () => kept().map(({ transcript, seq }) => `${transcript === one ? 'one' : 'two'} ${seq}`)
  expect(places()).toEqual(['one 1', 'one 2', 'two 2', 'two 3', 'two 4'])
  endLife(database, 'nothing', room(3))
  expect(places()).toEqual(['one 1', 'one 2', 'two 4'])
  endLife(database, 'nothing', room(2))
  expect(places()).toEqual(['one 2', 'two 4'])
  expect(database.load('former_dropped')).toBe(4)
})

test('what had no room to be said in an ended life is counted with what was dropped of it', () => {
  const at = '2026-06-01T00:00:00Z'
  database.save('left_out', { sinceAt: at, untilAt: at, counts: { refused: 3, evidence: 1 } })
  endLife(database, one)
  expect(database.load('former_dropped')).toBe(4)
  expect(database.load('left_out')).toBeUndefined()
})
