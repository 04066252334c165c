import type { Statement, TransitionBody } from '@skerry/api'
import { expect, test } from 'vitest'
import { confirmedManifest, judgeRelease } from './release.ts'
import { highestRelease } from './signed.ts'

const MANIFEST = 'a'.repeat(64)
const went = (body: Partial<TransitionBody>): Statement => ({
  ...{ kind: 'transition', cluster: 'shop', node: 'n', incarnation: 1, seq: 7, prev: MANIFEST, marker: MANIFEST },
  time: { wall: '2026-06-01T12:00:00Z' },
  body: { from: 'Confirming', to: 'Idle', reason: 'Confirmed', message: 'runs 2', manifestSha256: MANIFEST, ...body },
})

test.each<[string, Statement, string | undefined]>([
  ['the end of an upgrade', went({ bootId: 'b' }), MANIFEST],
  ['an image that came with the machine', went({ from: 'Idle', reason: 'AlreadyRunning', bootId: 'b' }), MANIFEST],
  ['an order that was withdrawn: nothing booted', went({ from: 'Staged', reason: 'Withdrawn' }), undefined],
  ['a failure', went({ to: 'Failed', reason: 'GatesFailed', bootId: 'b' }), undefined],
  ['a gap', { ...went({}), kind: 'gap', body: { fromSeq: 1, toSeq: 2, reason: 'Compacted' } }, undefined],
])('%s confirms a manifest or does not', (_, statement, manifest) => {
  expect(confirmedManifest(statement)).toBe(manifest)
})

test('the highest counter counts, not the newest statement; of equal ones the first', () => {
  const said = [2, 5, 1, 5].map((counter, at) => ({ counter, seq: 10 + at }))
  expect(highestRelease(said)).toEqual({ counter: 5, seq: 11 })
  expect(highestRelease(said.toReversed())).toEqual({ counter: 5, seq: 11 })
  expect(highestRelease([])).toBeUndefined()
})

test('an image below what was confirmed is contraindicated, one of equal counter is not, and what nobody knows is nothing', () => {
  const confirmed = { counter: 3, seq: 12 }
  expect(judgeRelease({ counter: 2, confirmed })).toMatchObject([
    {
      code: 'OlderThanConfirmed',
      tier: 'contraindicated',
      area: 'executables',
      message: expect.stringContaining('(statement 12)'),
      expected: ['a release counter of at least 3'],
      actual: '2',
    },
  ])
  expect([judgeRelease({ counter: 3, confirmed }), judgeRelease({ counter: 4, confirmed })]).toEqual([[], []])
  expect(judgeRelease(undefined)).toEqual([])
})
