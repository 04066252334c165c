import { comparePositions, type Position, TIMELINE_AHEAD_MS } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Held, type NextPosition, nextPosition } from './next.ts'

const NOW = Date.parse('2026-06-01T12:00:00Z')
const SECOND = NOW / 1000
const HOUR = 3_600_000
const DAY = 86_400
const MAX = Number.MAX_SAFE_INTEGER
const at = (timeline: number, generation: number, digest = 'd'): Held => ({
  position: { timeline, generation },
  digest,
})
const shown = ({ kind, position }: NextPosition) => `${kind} ${position.timeline}.${position.generation}`

describe('where the next desired state goes', () => {
  test.each<[string, Held | undefined, Held[], string]>([
    ['the first of a cluster', undefined, [], 'Follows 0.1'],
    ['the next in its timeline', at(0, 4), [], 'Follows 0.5'],
    ['a site that is behind', at(0, 4), [at(0, 3)], 'Follows 0.5'],
    ['a site that holds the same', at(0, 4), [at(0, 4)], 'Follows 0.5'],
    ['a site of an earlier timeline', at(9, 2), [at(0, 7)], 'Follows 9.3'],
    ['a site that is ahead', at(0, 4), [at(0, 5)], `Begins ${SECOND}.5`],
    ['the same place with other contents', at(0, 4), [at(0, 4, 'other')], `Begins ${SECOND}.5`],
    ['a site that holds what the hub has nothing of', undefined, [at(0, 7)], `Begins ${SECOND}.1`],
    ['one of its nodes is ahead', at(0, 4), [at(0, 4), at(0, 6), at(0, 2)], `Begins ${SECOND}.5`],
    ['the highest generation there is', at(0, 4), [at(0, MAX)], `Begins ${SECOND}.5`],
    ['a hub whose clock went back', at(0, 4), [at(SECOND + 60, 1)], `Begins ${SECOND + 61}.5`],
    ['the last timeline that may be', at(0, 4), [at(SECOND + DAY - 1, 1)], `Begins ${SECOND + DAY}.5`],
    ['a timeline that may not be', at(0, 4), [at(SECOND + DAY, 1)], 'Impossible 0.5'],
    ['the last place of all', at(0, 4), [at(MAX, MAX)], 'Impossible 0.5'],
    ['one that may not be, beside one that may', at(0, 4), [at(MAX, MAX), at(0, 9)], `Begins ${SECOND}.5`],
  ])('%s', (_, stored, claims, wanted) => {
    expect(shown(nextPosition(stored, claims, 0, NOW))).toBe(wanted)
  })

  test.each<[number, number, string]>([
    [1, HOUR - 1, 'HeldBack'],
    [1, HOUR, 'Begins'],
    [2, 2 * HOUR - 1, 'HeldBack'],
    [2, 2 * HOUR, 'Begins'],
    [11, 1_024 * HOUR - 1, 'HeldBack'],
    [11, 1_024 * HOUR, 'Begins'],
  ])('after %i timelines, %i ms into the last one, another one %s', (begun, laterMs, kind) => {
    const next = nextPosition(at(SECOND, 4), [at(SECOND, 99)], begun, NOW + laterMs)
    expect(next.kind).toBe(kind)
    if (next.kind === 'HeldBack') expect(next.notBeforeMs).toBe(NOW + laterMs + 1)
  })

  test('whatever is claimed, a new place is above what it answers and not beyond what sites take', () => {
    const number = fc.oneof(fc.nat(20), fc.integer({ min: SECOND - 10, max: SECOND + 2 * DAY }), fc.constant(MAX))
    const held = fc.tuple(number, number, fc.constantFrom('d', 'other')).map(([t, g, digest]) => at(t, g + 1, digest))
    fc.assert(
      fc.property(fc.option(held, { nil: undefined }), fc.array(held), fc.nat(5), (stored, claims, begun) => {
        const next = nextPosition(stored, claims, begun, NOW)
        expect(nextPosition(stored, claims.toReversed(), begun, NOW)).toEqual(next)
        if (next.kind !== 'Begins') return
        expect(comparePositions(next.position, next.above)).toBeGreaterThan(0)
        if (stored) expect(comparePositions(next.position, stored.position)).toBeGreaterThan(0)
        expect(next.position.timeline * 1000).toBeLessThanOrEqual(NOW + TIMELINE_AHEAD_MS)
      }),
    )
  })

  test('a node that always claims more has ten timelines in the first forty days, not one a look', () => {
    let stored = at(0, 1)
    const timelines = new Set<number>()
    for (let nowMs = NOW; nowMs < NOW + 40 * 24 * HOUR; nowMs += HOUR / 4) {
      const claim: Position = { ...stored.position, generation: MAX }
      const next = nextPosition(stored, [{ position: claim, digest: 'd' }], timelines.size, nowMs)
      if (next.kind !== 'Begins') continue
      stored = { position: next.position, digest: 'd' }
      timelines.add(next.position.timeline)
    }
    expect(timelines.size).toBe(10)
  })
})
