import type { ActivationWindow } from '@skerry/api'
import { Cron } from 'croner'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openingAt, windowFaults } from './window.ts'

const MINUTE = 60_000
const at = (text: string) => Date.parse(text)
const window = (cron: string, timeZone: string, minutes: number): ActivationWindow => ({
  at: cron,
  timeZone,
  durationSeconds: minutes * 60,
})
const shown = (windows: ActivationWindow[], now: string) => {
  const opening = openingAt(windows, at(now))
  const ms = opening.open ? opening.untilMs : opening.nextMs
  return `${opening.open ? 'open until' : 'closed until'} ${ms === undefined ? 'ever' : new Date(ms).toISOString().slice(0, 16)}`
}

describe('when a window is open', () => {
  const night = window('0 2 * * *', 'UTC', 120)
  test.each<[string, ActivationWindow[], string, string]>([
    ['no window is always open', [], '2026-06-01T12:00:00Z', 'open until ever'],
    ['before it', [night], '2026-06-01T01:59:59.999Z', 'closed until 2026-06-01T02:00'],
    ['its first instant', [night], '2026-06-01T02:00:00Z', 'open until 2026-06-01T04:00'],
    ['its last instant', [night], '2026-06-01T03:59:59.999Z', 'open until 2026-06-01T04:00'],
    ['its end is outside', [night], '2026-06-01T04:00:00Z', 'closed until 2026-06-02T02:00'],
    ['over midnight', [window('0 23 * * *', 'UTC', 120)], '2026-06-02T00:30:00Z', 'open until 2026-06-02T01:00'],
    [
      'a union is open as long as its longest',
      [night, window('0 3 * * *', 'UTC', 300)],
      '2026-06-01T03:30:00Z',
      'open until 2026-06-01T08:00',
    ],
    [
      'a union opens with its first',
      [night, window('0 1 * * 1', 'UTC', 60)],
      '2026-06-01T00:30:00Z',
      'closed until 2026-06-01T01:00',
    ],
    [
      'longer than its period: the later start counts',
      [window('0 * * * *', 'UTC', 90)],
      '2026-06-01T12:10:00Z',
      'open until 2026-06-01T13:30',
    ],
    [
      'much longer than its period',
      [window('0 * * * *', 'UTC', 400)],
      '2026-06-01T12:10:00Z',
      'open until 2026-06-01T18:40',
    ],
    ['a leap day', [window('0 0 29 2 *', 'UTC', 60)], '2026-06-01T00:00:00Z', 'closed until 2028-02-29T00:00'],
    [
      'a zone of half hours',
      [window('0 2 * * *', 'Asia/Kolkata', 60)],
      '2026-06-01T20:45:00Z',
      'open until 2026-06-01T21:30',
    ],
    [
      'a zone of quarter hours',
      [window('0 2 * * *', 'Asia/Kathmandu', 60)],
      '2026-06-01T20:00:00Z',
      'closed until 2026-06-01T20:15',
    ],
    [
      'a day that is tomorrow there',
      [window('0 1 * * 2', 'Pacific/Kiritimati', 60)],
      '2026-06-01T11:30:00Z',
      'open until 2026-06-01T12:00',
    ],
    // Oslo springs forward on 2026-03-29 at 02:00 and falls back on 2026-10-25 at 03:00.
    [
      'Oslo, a skipped hour runs at the next valid minute',
      [window('30 2 * * *', 'Europe/Oslo', 30)],
      '2026-03-29T00:00:00Z',
      'closed until 2026-03-29T01:00',
    ],
    [
      'Oslo, the day after runs by summer time',
      [window('30 2 * * *', 'Europe/Oslo', 30)],
      '2026-03-30T00:00:00Z',
      'closed until 2026-03-30T00:30',
    ],
    [
      'Oslo, a doubled hour runs at its first',
      [window('30 2 * * *', 'Europe/Oslo', 30)],
      '2026-10-25T00:00:00Z',
      'closed until 2026-10-25T00:30',
    ],
    [
      'Oslo, and not at its second',
      [window('30 2 * * *', 'Europe/Oslo', 30)],
      '2026-10-25T01:35:00Z',
      'closed until 2026-10-26T01:30',
    ],
    // New York on 2026-03-08 and 2026-11-01.
    [
      'New York, a skipped hour runs at the next valid minute',
      [window('30 2 * * *', 'America/New_York', 30)],
      '2026-03-08T06:00:00Z',
      'closed until 2026-03-08T07:00',
    ],
    [
      'New York, a doubled hour runs at its first',
      [window('30 1 * * *', 'America/New_York', 30)],
      '2026-11-01T05:00:00Z',
      'closed until 2026-11-01T05:30',
    ],
    [
      'New York, and not at its second',
      [window('30 1 * * *', 'America/New_York', 30)],
      '2026-11-01T06:35:00Z',
      'closed until 2026-11-02T06:30',
    ],
    [
      'a length is time that passes, also over a change',
      [window('0 1 * * *', 'Europe/Oslo', 180)],
      '2026-03-29T02:59:00Z',
      'open until 2026-03-29T03:00',
    ],
  ])('%s', (_, windows, now, wanted) => {
    expect(shown(windows, now)).toBe(wanted)
  })

  test('agrees with a list of its starts, at any minute of two years', () => {
    const crons = fc.constantFrom(
      '0 2 * * *',
      '*/20 * * * *',
      '15 23 * * 5',
      '30 1,13 * * 1-5',
      '0 0 1 * *',
      '59 23 31 12 *',
      '0 4 29 2 *',
    )
    const zones = fc.constantFrom(
      'UTC',
      'Europe/Oslo',
      'America/New_York',
      'Asia/Kathmandu',
      'Australia/Lord_Howe',
      'Pacific/Apia',
    )
    const any = fc
      .tuple(crons, zones, fc.integer({ min: 1, max: 2_000 }))
      .map(([cron, zone, minutes]) => window(cron, zone, minutes))
    const [from, minutes] = [at('2026-01-01T00:00:00Z'), 2 * 365 * 24 * 60]
    const instant = fc.tuple(fc.nat(minutes), fc.nat(MINUTE - 1)).map(([minute, ms]) => from + minute * MINUTE + ms)
    fc.assert(
      fc.property(fc.array(any, { minLength: 1, maxLength: 3 }), instant, (windows, now) => {
        const opening = openingAt(windows, now)
        const starts = windows.flatMap((one) =>
          startsOf(one, now - one.durationSeconds * 1_000 - 1_000, now).map(
            (start) => start + one.durationSeconds * 1_000,
          ),
        )
        const until = Math.max(...starts.filter((end) => end > now))
        expect(opening.open).toBe(until > now)
        if (opening.open) {
          expect(opening.untilMs).toBe(until)
          return
        }
        expect(opening.nextMs).toBeGreaterThan(now)
        expect(openingAt(windows, (opening.nextMs ?? 0) - 1).open).toBe(false)
        expect(openingAt(windows, opening.nextMs ?? 0).open).toBe(true)
      }),
      { numRuns: 300 },
    )
  })
})

/** Every start of a window in (from, to], asked one by one. */
function startsOf({ at: cron, timeZone }: ActivationWindow, from: number, to: number): number[] {
  const starts: number[] = []
  const job = new Cron(cron, { timezone: timeZone, paused: true })
  for (let next = job.nextRun(new Date(from)); next && next.getTime() <= to; next = job.nextRun(next))
    starts.push(next.getTime())
  return starts
}

describe('what is wrong with a window', () => {
  const NOW = at('2026-06-01T00:00:00Z')
  const faults = (cron: string, timeZone = 'UTC') =>
    windowFaults(window(cron, timeZone, 60), NOW).map(({ field, message }) => `${field}: ${message}`)
  const five = 'a cron expression of five fields is wanted (minute, hour, day of month, month, day of week)'
  const example = ', such as "0 2 * * 1-5" for 02:00 from Monday to Friday'
  const wanted = (values: string) => `is wrong: *, ${values}, a list, a range or a step of them is wanted`

  test.each([
    ['0 2 * *', `"0 2 * *" has 4 fields, and ${five}`],
    ['0 0 2 * * *', `"0 0 2 * * *" has 6 fields, and ${five}`],
    ['@daily', `"@daily" has 1 field, and ${five}`],
    [' ', `" " has 0 fields, and ${five}`],
    ['61 2 * * *', `minute "61" in "61 2 * * *" ${wanted('0-59')}`],
    ['0 24 * * *', `hour "24" in "0 24 * * *" ${wanted('0-23')}`],
    ['0 2 0 * *', `day of month "0" in "0 2 0 * *" ${wanted('1-31')}`],
    ['0 2 * 13 *', `month "13" in "0 2 * 13 *" ${wanted('1-12 or JAN-DEC')}`],
    ['0 2 * * 5-1', `day of week "5-1" in "0 2 * * 5-1" ${wanted('0-7 or SUN-SAT')}`],
    ['0 2 * * moon', `day of week "moon" in "0 2 * * moon" ${wanted('0-7 or SUN-SAT')}`],
    ['a b c d e', `minute "a" in "a b c d e" ${wanted('0-59')}`],
    ['0 0 31 2 *', '"0 0 31 2 *" never comes, since no month it names has such a day: a time that does is wanted'],
  ])('%s', (cron, message) => {
    expect(faults(cron)).toEqual([`at: ${message}${example}`])
  })

  test.each(['Europe/Oz', '', 'UTC+1', 'CEST/'])('a zone that does not exist: "%s"', (zone) => {
    expect(faults('0 2 * * *', zone)).toEqual([
      `timeZone: "${zone}" is no time zone that is known here: an IANA zone is wanted, such as "Europe/Oslo" or "UTC"`,
    ])
  })

  test('both are told', () => {
    expect(faults('61 2 * * *', 'Europe/Oz').map((fault) => fault.split(':')[0])).toEqual(['at', 'timeZone'])
  })

  test.each(['0 2 * * *', ' 0  2 * * 1-5 ', '*/20 1,13 1-7 jan,JUL sun', '0 0 29 2 *', '0 2 L * *', '0 2 * * 7'])(
    'nothing: "%s"',
    (cron) => {
      expect(faults(cron, 'Europe/Oslo')).toEqual([])
      expect(openingAt([window(cron, 'Europe/Oslo', 60)], NOW)).toBeDefined()
    },
  )
})
