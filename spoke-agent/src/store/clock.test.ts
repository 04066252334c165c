import type { HubKey } from '@skerry/api'
import { testFolder } from '@skerry/supervise/testing'
import { createKey } from '@skerry/trust'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { openClock } from './clock.ts'
import { openDatabase } from './database.ts'

// What is true of now(), whatever was signed when, and whatever hub.json says of the keys afterwards.

const roles = ['desiredState', 'ack'] as const
const signers = [0, 1, 2].map(() => createKey('EdDSA'))
const YEAR_MS = 365 * 86_400_000
const timeMs = fc.integer({ min: 0, max: 200 }).map((years) => years * YEAR_MS)
const said = fc.record({ role: fc.constantFrom(...roles), who: fc.nat({ max: 2 }), atMs: timeMs })
/** For each signer: listed without an end, until a time, or not at all. */
const ends = fc.array(fc.oneof(fc.constant('always' as const), timeMs, fc.constant(undefined)), {
  minLength: 3,
  maxLength: 3,
})
type Ends = readonly ('always' | number | undefined)[]
const listing = (of: Ends): HubKey[] =>
  of.flatMap((end, who) => {
    const signer = signers[who]
    if (!signer || end === undefined) return []
    const notBefore = '1970-01-01T00:00:00Z'
    return [{ jwk: signer.jwk, notBefore, ...(end === 'always' ? {} : { notAfter: new Date(end).toISOString() }) }]
  })

test('a floor counts up to the notAfter of the key that signed it, while hub.json lists that key for that; and no further', () => {
  const database = openDatabase(testFolder())
  onTestFinished(() => database.close())
  fc.assert(
    fc.property(fc.array(said, { maxLength: 8 }), timeMs, ends, ends, (heard, wallMs, desiredState, ack) => {
      database.sql.exec('delete from kept')
      const listed: Record<(typeof roles)[number], Ends> = { desiredState, ack }
      let now: Record<(typeof roles)[number], Ends> = {
        desiredState: ['always', 'always', 'always'],
        ack: ['always', 'always', 'always'],
      }
      const clock = openClock(
        database,
        () => wallMs,
        () => ({ desiredState: listing(now.desiredState), ack: listing(now.ack) }),
      )
      for (const { role, who, atMs } of heard) clock.heard({ role, by: signers[who]?.thumbprint ?? '', atMs })
      expect(clock.now()).toBe(Math.max(wallMs, ...heard.map(({ atMs }) => atMs)))
      now = listed
      const counts = heard.map(({ role, who, atMs }) => {
        const end = listed[role][who]
        return end === undefined ? 0 : end === 'always' ? atMs : Math.min(atMs, end)
      })
      expect(clock.now()).toBe(Math.max(wallMs, ...counts))
    }),
  )
})

test('with no hub.json to ask, all that was heard counts; and it outlives a restart', () => {
  const dir = testFolder()
  const first = openDatabase(dir)
  openClock(
    first,
    () => 0,
    () => undefined,
  ).heard({ role: 'ack', by: 'a key', atMs: 7 })
  first.close()
  const database = openDatabase(dir)
  onTestFinished(() => database.close())
  expect(
    openClock(
      database,
      () => 0,
      () => undefined,
    ).now(),
  ).toBe(7)
})

test('a key that left hub.json leaves the floors with the next word of another: none piles up', () => {
  const database = openDatabase(testFolder())
  onTestFinished(() => database.close())
  let keys = { desiredState: listing(['always', 'always', 'always']), ack: [] as HubKey[] }
  const clock = openClock(
    database,
    () => 0,
    () => keys,
  )
  const [one, two] = signers.map(({ thumbprint }) => thumbprint)
  clock.heard({ role: 'desiredState', by: one ?? '', atMs: 5 })
  keys = { ...keys, desiredState: listing([undefined, 'always', 'always']) }
  clock.heard({ role: 'desiredState', by: two ?? '', atMs: 3 })
  keys = { ...keys, desiredState: listing(['always', 'always', 'always']) }
  expect(clock.now()).toBe(3)
})
