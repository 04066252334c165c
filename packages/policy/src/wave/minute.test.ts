import type { Waves } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fractionOf, minuteOf } from './minute.ts'

const START = Date.parse('2026-06-01T12:00:30Z')
const [MINUTE, HOUR] = [60_000, 3_600_000]
const [A, B] = ['a'.repeat(64), 'b'.repeat(64)]
/** [hours until it begins, hours over which it is spread, percent] */
const wavesOf = (...schedule: [number, number, number][]): Waves => ({
  startsAt: new Date(START).toISOString(),
  schedule: schedule.map(([after, spread, percent]) => ({
    startAfterSeconds: after * 3600,
    spreadSeconds: spread * 3600,
    percent,
  })),
})
const WEEK = wavesOf([0, 4, 1], [4, 20, 10], [24, 48, 50], [72, 72, 100])
const names = (count: number, name: (n: number) => string) => Array.from({ length: count }, (_, n) => name(n))

describe('fractionOf', () => {
  test.each<[string, (n: number) => string]>([
    ['numbered', (n) => `site-${n}`],
    ['numbered with zeroes', (n) => `shop-${String(n).padStart(5, '0')}`],
    ['numbered in front', (n) => `${n}-oslo`],
    ['in two numbers', (n) => `rack-${n % 100}-host-${Math.floor(n / 100)}`],
  ])('ten thousand clusters that are %s are spread evenly, in a hundred parts', (_, name) => {
    for (const manifest of [A, B, '0'.repeat(64)]) {
      const parts = new Map<number, number>()
      for (const one of names(10_000, name)) {
        const part = Math.floor(fractionOf(one, manifest) * 100)
        parts.set(part, (parts.get(part) ?? 0) + 1)
      }
      expect(parts.size).toBe(100)
      // Each is 100, give or take 10: five times that is one in a million.
      for (const count of parts.values()) expect(Math.abs(count - 100)).toBeLessThan(50)
    }
  })

  test('another manifest gives another order', () => {
    const first = (manifest: string) =>
      new Set(names(10_000, (n) => `site-${n}`).filter((name) => fractionOf(name, manifest) < 0.1))
    const [one, other] = [first(A), first(B)]
    const both = [...one].filter((name) => other.has(name))
    // A tenth of a tenth: chance, and no more.
    expect(both.length).toBeGreaterThan(50)
    expect(both.length).toBeLessThan(150)
  })
})

describe('minuteOf', () => {
  test('each wave has its part of the fleet, and begins and ends when it says', () => {
    const after = names(10_000, (n) => `site-${n}`).map((name) => minuteOf(WEEK, name, A) - START)
    const within = (fromHours: number, toHours: number) =>
      after.filter((ms) => ms >= fromHours * HOUR && ms < toHours * HOUR + MINUTE).length
    for (const [from, to, percent] of [
      [0, 4, 1],
      [4, 24, 9],
      [24, 72, 40],
      [72, 144, 50],
    ] as const)
      expect(Math.abs(within(from, to) - percent * 100)).toBeLessThan(5 * Math.sqrt(percent * 100))
    // Inside a wave as well: a quarter of the last one in each quarter of its time.
    for (const from of [72, 90, 108, 126]) expect(Math.abs(within(from, from + 18) - 1250)).toBeLessThan(175)
  })

  test('it is a whole minute, and never before the wave begins', () => {
    const only = wavesOf([1, 0, 100])
    expect(new Date(minuteOf(only, 'shop', A)).toISOString()).toBe('2026-06-01T13:01:00.000Z')
  })

  // Worked out by another program: sites that are months behind the hub must find the same.
  test('known values', () => {
    expect(names(5, (n) => `shop-${n}`).map((name) => new Date(minuteOf(WEEK, name, A)).toISOString())).toEqual([
      '2026-06-05T20:37:00.000Z',
      '2026-06-07T10:55:00.000Z',
      '2026-06-04T22:12:00.000Z',
      '2026-06-06T00:22:00.000Z',
      '2026-06-06T18:00:00.000Z',
    ])
  })

  const schedules = fc
    .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 1, max: 99 })), {
      maxLength: 6,
      selector: ([after]) => after,
    })
    .map((pairs) => {
      const starts = pairs.map(([after]) => after).toSorted((a, b) => a - b)
      const percents = [...new Set(pairs.map(([, percent]) => percent))].toSorted((a, b) => a - b)
      const some = percents.map((percent, index): [number, number] => [starts[index] ?? 0, percent])
      const all = [...some, [(some.at(-1)?.[0] ?? 0) + 1, 100] as [number, number]]
      return wavesOf(
        ...all.map(([after, percent], index): [number, number, number] => [
          after,
          (all[index + 1]?.[0] ?? after + 10) - after,
          percent,
        ]),
      )
    })

  test('who stands before another never comes after it: a later wave includes the earlier ones', () => {
    fc.assert(
      fc.property(schedules, fc.uniqueArray(fc.string(), { minLength: 2, maxLength: 30 }), (waves, clusters) => {
        const ordered = clusters.toSorted((a, b) => fractionOf(a, A) - fractionOf(b, A))
        const minutes = ordered.map((name) => minuteOf(waves, name, A))
        expect(minutes).toEqual(minutes.toSorted((a, b) => a - b))
        const { schedule } = waves
        for (const [index, name] of ordered.entries()) {
          // Once a wave is over, all of its percent had their minute.
          for (const { startAfterSeconds, spreadSeconds, percent } of schedule)
            if (fractionOf(name, A) * 100 < percent)
              expect(minutes[index]).toBeLessThanOrEqual(START + (startAfterSeconds + spreadSeconds) * 1000 + MINUTE)
          expect((minutes[index] ?? 0) % MINUTE).toBe(0)
        }
      }),
    )
  })

  test('a schedule that ends below 100 percent has all others at the end of its last wave, and nobody before', () => {
    const half = wavesOf([0, 4, 1], [24, 4, 50])
    const others = names(100, (n) => `site-${n}`).filter((name) => fractionOf(name, A) >= 0.5)
    expect(new Set(others.map((name) => new Date(minuteOf(half, name, A)).toISOString()))).toEqual(
      new Set(['2026-06-02T16:01:00.000Z']),
    )
  })

  test('whatever a schedule says that was not judged, there is a minute', () => {
    const any = fc.array(
      fc.record({
        startAfterSeconds: fc.nat(31_536_000),
        spreadSeconds: fc.nat(31_536_000),
        percent: fc.integer({ min: 1, max: 100 }),
      }),
      { minLength: 1, maxLength: 32 },
    )
    fc.assert(
      fc.property(any, fc.string(), (schedule, name) => {
        const minute = minuteOf({ startsAt: new Date(START).toISOString(), schedule }, name, A)
        expect(Number.isSafeInteger(minute)).toBe(true)
        expect(minute).toBeGreaterThanOrEqual(START)
        expect(minute).toBeLessThanOrEqual(START + 2 * 31_536_000_000 + MINUTE)
      }),
    )
  })
})
