import { type EffortOf, type Overload, overload } from '../overload.ts'
import { CelError, Duration, fail, MAX_INT, MIN_INT, type Outcome, Timestamp } from '../values.ts'

// Timestamps and durations. Nothing here asks what time it is.

const SECOND = 1_000_000_000n
/** The years 1 to 9999. */
const [FIRST, LAST] = [-62_135_596_800n, 253_402_300_799n]

const floorDiv = (a: bigint, b: bigint): bigint => (a >= 0n || a % b === 0n ? a / b : a / b - 1n)

export const durationOf = (ns: bigint): Outcome =>
  ns > MAX_INT || ns < MIN_INT ? fail('the duration is out of range') : new Duration(ns)
export function timestampOf(ns: bigint, offsetMinutes = 0): Outcome {
  const seconds = floorDiv(ns, SECOND)
  return seconds < FIRST || seconds > LAST ? fail('the timestamp is out of range') : new Timestamp(ns, offsetMinutes)
}

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))$/

/** As Go reads RFC 3339: to the nanosecond, no leap second. */
export function parseTimestamp(text: string): Outcome {
  const match = RFC3339.exec(text)
  if (!match) return fail(`"${text}" is no timestamp`)
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number)
  const [fraction = '', sign = '+', offsetHours = '0', offsetMinutes = '0'] = match.slice(7)
  const midnight = new Date(0)
  midnight.setUTCFullYear(year, month - 1, day)
  const exists = month >= 1 && month <= 12 && midnight.getUTCDate() === day && day >= 1
  if (!exists || hour > 23 || minute > 59 || second > 59 || Number(offsetHours) > 24 || Number(offsetMinutes) > 60)
    return fail(`"${text}" is no timestamp`)
  const offset = (Number(offsetHours) * 60 + Number(offsetMinutes)) * (sign === '-' ? -1 : 1)
  const seconds = BigInt(midnight.getTime()) / 1000n + BigInt(hour * 3600 + minute * 60 + second - offset * 60)
  return timestampOf(seconds * SECOND + BigInt(fraction.slice(0, 9).padEnd(9, '0')), offset)
}

const UNITS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1000n,
  µs: 1000n,
  μs: 1000n,
  ms: 1_000_000n,
  s: SECOND,
  m: 60n * SECOND,
  h: 3600n * SECOND,
}

/** As Go's time.ParseDuration: `1h30m`, `1.5h`, `-2s`, `0`. */
export function parseDuration(text: string): Outcome {
  const bad = fail(`"${text}" is no duration`)
  const sign = /^[+-]/.exec(text)?.[0]
  const body = sign ? text.slice(1) : text
  if (body === '0') return new Duration(0n)
  if (!/^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(body)) return bad
  let ns = 0n
  for (const [, whole = '', fraction = '', unit = ''] of body.matchAll(/(\d*)\.?(\d*)(ns|us|µs|μs|ms|s|m|h)/g)) {
    const size = UNITS[unit] ?? 1n
    ns += BigInt(whole || '0') * size
    ns += fractionOf(fraction, size)
    if (ns > MAX_INT + 1n) return bad
  }
  if (sign === '-') return durationOf(-ns)
  return ns > MAX_INT ? bad : new Duration(ns)
}

/** Digits past what an int64 holds are dropped, and the rest is a double's work: as Go has it. */
function fractionOf(digits: string, unit: bigint): bigint {
  let [whole, scale] = [0n, 1]
  for (const digit of digits) {
    if (whole > MAX_INT / 10n) break
    const next = whole * 10n + BigInt(digit)
    if (next > MAX_INT + 1n) break
    whole = next
    scale *= 10
  }
  return BigInt(Math.trunc(Number(whole) * (Number(unit) / scale)))
}

/** Seconds as a decimal with no more digits than needed, and `s`. */
export function shownDuration({ ns }: Duration): string {
  // cel-go goes through a double here, so beyond 15 digits this is what a double has.
  const seconds = Number(ns / SECOND) + Number(ns % SECOND) / 1e9
  return `${plainDouble(seconds)}s`
}

/** A double in plain decimal notation, with as few digits as tell it apart. */
export function plainDouble(value: number): string {
  const text = String(value)
  const match = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text)
  if (!match) return text === 'Infinity' ? '+Inf' : text === '-Infinity' ? '-Inf' : Object.is(value, -0) ? '-0' : text
  const [, sign = '', first = '', rest = '', exponent = '0'] = match
  const digits = first + rest
  const point = Number(exponent) + 1
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`
  return sign + digits.padEnd(point, '0')
}

export function shownTimestamp({ ns, offsetMinutes }: Timestamp, utc = false): string {
  const ahead = utc ? 0 : offsetMinutes
  const seconds = floorDiv(ns, SECOND)
  const whole = new Date((Number(seconds) + ahead * 60) * 1000).toISOString().slice(0, 19)
  const fraction = String(ns - seconds * SECOND)
    .padStart(9, '0')
    .replace(/0+$/, '')
  const two = (value: number) => String(value).padStart(2, '0')
  const size = Math.abs(ahead)
  const zone = ahead === 0 ? 'Z' : `${ahead < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`
  return `${whole}${fraction ? `.${fraction}` : ''}${zone}`
}

const zones = new Map<string, Intl.DateTimeFormat>()
/** To ask ICU about a zone. */
const toAsk: EffortOf = () => 10_000
/** How far a zone is ahead of UTC at an instant, in seconds. */
function offsetOf(zone: string, seconds: number): number | CelError {
  const colon = zone.indexOf(':')
  if (colon >= 0) {
    const [hours, minutes] = [zone.slice(0, colon), zone.slice(colon + 1)]
    if (!/^[+-]?\d+$/.test(hours) || !/^[+-]?\d+$/.test(minutes)) return fail(`"${zone}" is no time zone`)
    const sign = zone.startsWith('-') ? -1 : 1
    return (Number(hours) * 60 + sign * Number(minutes)) * 60
  }
  if (zone === '' || zone === 'UTC' || zone === 'Local') return 0
  // What is no zone is not kept: there is no end of those.
  const format = zones.get(zone) ?? formatOf(zone)
  if (!format) return fail(`"${zone}" is no time zone`)
  zones.set(zone, format)
  const written = format.formatToParts(seconds * 1000)
  const part = Object.fromEntries(written.map(({ type, value }) => [type, Number(value)]))
  const isBefore = written.some(({ type, value }) => type === 'era' && value.startsWith('B'))
  const local = new Date(0)
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part
  local.setUTCFullYear(isBefore ? 1 - year : year, month - 1, day)
  local.setUTCHours(hour % 24, minute, second)
  return local.getTime() / 1000 - seconds
}

function formatOf(timeZone: string): Intl.DateTimeFormat | undefined {
  if (!/^[A-Z][A-Za-z0-9_+/-]{0,63}$/.test(timeZone)) return undefined
  try {
    const format = new Intl.DateTimeFormat('en-US-u-ca-gregory-nu-latn', {
      timeZone,
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
      hourCycle: 'h23',
    })
    // Names are file names where OCM runs, so case counts; Intl would take any.
    const own = format.resolvedOptions().timeZone
    const isOtherCase = own !== timeZone && own.toLowerCase() === timeZone.toLowerCase()
    return isOtherCase ? undefined : format
  } catch {
    return undefined
  }
}

const DAY = 86_400_000
const parts: Readonly<Record<string, (local: Date, ns: bigint) => number>> = {
  getFullYear: (local) => local.getUTCFullYear(),
  getMonth: (local) => local.getUTCMonth(),
  getDayOfYear: (local) => Math.floor((local.getTime() - yearStart(local)) / DAY),
  getDayOfMonth: (local) => local.getUTCDate() - 1,
  getDate: (local) => local.getUTCDate(),
  getDayOfWeek: (local) => local.getUTCDay(),
  getHours: (local) => local.getUTCHours(),
  getMinutes: (local) => local.getUTCMinutes(),
  getSeconds: (local) => local.getUTCSeconds(),
  getMilliseconds: (_, ns) => Number((ns - floorDiv(ns, SECOND) * SECOND) / 1_000_000n),
}
function yearStart(local: Date): number {
  const start = new Date(0)
  start.setUTCFullYear(local.getUTCFullYear(), 0, 1)
  return start.getTime()
}

const spans: Readonly<Record<string, bigint>> = {
  getHours: 3600n * SECOND,
  getMinutes: 60n * SECOND,
  getSeconds: SECOND,
  getMilliseconds: 1_000_000n,
}

export const time: readonly Overload[] = [
  ...Object.entries(parts).flatMap(([name, part]) => [
    overload(`timestamp.${name}(): int`, ({ ns }: Timestamp) => {
      return BigInt(part(new Date(Number(floorDiv(ns, SECOND)) * 1000), ns))
    }),
    overload(
      `timestamp.${name}(string): int`,
      ({ ns }: Timestamp, zone: string) => {
        const seconds = Number(floorDiv(ns, SECOND))
        const offset = offsetOf(zone, seconds)
        return offset instanceof CelError ? offset : BigInt(part(new Date((seconds + offset) * 1000), ns))
      },
      undefined,
      toAsk,
    ),
  ]),
  ...Object.entries(spans).map(([name, unit]) => overload(`duration.${name}(): int`, ({ ns }: Duration) => ns / unit)),
]
