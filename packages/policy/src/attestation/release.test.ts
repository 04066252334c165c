import type { Statement, TransitionBody } from '@skerry/api'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { confirmedBefore, confirmedManifest, judgeRelease } from './release.ts'

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

const NEWER = 'b'.repeat(64)
const counterOf = (manifest: string) =>
  new Map([
    [MANIFEST, 2],
    [NEWER, 5],
  ]).get(manifest)
const once = (manifestSha256: string, first: number, last = first) => ({ manifestSha256, first, last })

test('the highest counter counts, not the newest statement; what is above the boot, or is nobody’s release, does not', () => {
  const before = (seq: number, ...said: ReturnType<typeof once>[]) =>
    confirmedBefore({ seq, lostUpTo: undefined }, said, counterOf)
  const said = [once(MANIFEST, 10), once(NEWER, 11), once(NEWER, 13), once('c'.repeat(64), 12)]
  expect(before(14, ...said)).toEqual({ confirmed: { counter: 5, seq: 11 } })
  expect(before(14, ...said.toReversed())).toEqual({ confirmed: { counter: 5, seq: 11 } })
  expect(before(11, ...said)).toEqual({ confirmed: { counter: 2, seq: 10 } })
  expect(before(10, ...said)).toEqual({ confirmed: undefined })
})

test('where something is lost below the boot, the lowest that was confirmed above that counts, wherever the boot stands', () => {
  const before = (seq: number, lostUpTo: number, ...said: ReturnType<typeof once>[]) =>
    confirmedBefore({ seq, lostUpTo }, said, counterOf)
  expect(before(30, 20, once(NEWER, 10))).toEqual({
    ...{ confirmed: { counter: 5, seq: 10 }, lost: { upTo: 20, leastSince: undefined } },
  })
  // Said again above the loss, or after the boot.
  expect(before(30, 20, once(NEWER, 10, 25)).lost).toEqual({ upTo: 20, leastSince: 5 })
  expect(before(30, 20, once(NEWER, 25), once(MANIFEST, 40)).lost).toEqual({ upTo: 20, leastSince: 2 })
  expect(before(30, 20, once(MANIFEST, 20), once(NEWER, 21)).lost).toEqual({ upTo: 20, leastSince: 5 })
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

test('what may have been confirmed in what is lost leaves a warning, until what was confirmed since shows that it is not above', () => {
  const lost = (leastSince?: number) => ({ upTo: 20, leastSince })
  const codes = (...[release]: Parameters<typeof judgeRelease>) =>
    judgeRelease(release).map(({ code, tier }) => [code, tier])
  const doubt = [['ConfirmedLost', 'warning']]
  expect(codes({ counter: 2, lost: lost() })).toEqual(doubt)
  expect(codes({ counter: 2, lost: lost(3) })).toEqual(doubt)
  expect(codes({ counter: 2, lost: lost(2) })).toEqual([])
  expect(codes({ counter: 3, lost: lost(2) })).toEqual([])
  // What is known to be older is no doubt.
  const confirmed = { counter: 3, seq: 12 }
  expect(codes({ counter: 2, confirmed, lost: lost(2) })).toEqual([['OlderThanConfirmed', 'contraindicated']])
  expect(judgeRelease({ counter: 2, lost: lost() })[0]?.message).toMatch(/^statements up to 20 are lost, /)
})

test('any confirmations, any loss: what a whole chain calls older is never called good by one with a hole', () => {
  const releases = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 12 })
  fc.assert(
    fc.property(releases, fc.nat(12), fc.nat(12), fc.nat(4), (raises, from, length, counter) => {
      // A node confirms nothing below what it confirmed.
      let floor = 0
      const said = raises.map((raise, at) => {
        floor = Math.max(floor, raise)
        return { seq: at + 1, counter: floor, manifestSha256: `${floor}` }
      })
      const boot = raises.length + 1
      const [lostFrom, lostUpTo] = [Math.min(from, boot - 1), Math.min(from + length, boot - 1)]
      const judged = (some: typeof said, lost: number | undefined) => {
        const byManifest = Map.groupBy(some, ({ manifestSha256 }) => manifestSha256)
        const confirmations = [...byManifest].map(([manifestSha256, all]) =>
          once(manifestSha256, all[0]?.seq ?? 0, all.at(-1)?.seq ?? 0),
        )
        const before = confirmedBefore({ seq: boot, lostUpTo: lost }, confirmations, Number)
        return judgeRelease({ counter, ...before })[0]?.code
      }
      const whole = judged(said, undefined)
      const holed = judged(
        said.filter(({ seq }) => seq < lostFrom || seq > lostUpTo),
        lostUpTo,
      )
      if (whole === 'OlderThanConfirmed') expect(holed).toBeDefined()
      if (holed === 'OlderThanConfirmed') expect(whole).toBe('OlderThanConfirmed')
    }),
  )
})
