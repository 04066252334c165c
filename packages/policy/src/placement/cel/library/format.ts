import { LONGEST_TEXT } from '../effort.ts'
import {
  CelError,
  Duration,
  fail,
  isBytes,
  isList,
  isMap,
  kindOf,
  type Outcome,
  Timestamp,
  TypeValue,
  Uint,
  type Value,
} from '../values.ts'
import { plainDouble, shownDuration, shownTimestamp } from './time.ts'

// `"%s is %d".format([…])`, as the second version of cel-go's strings library does it.

type Clause = { readonly verb: string; readonly precision: number; readonly index: number }
/** Go's own limit. */
const MAX_PRECISION = 1_000_000

type Parsed = { readonly parts: readonly (string | Clause)[]; readonly fault?: string }

/** The text and the clauses of a format, up to the first fault. */
export function parseFormat(text: string): Parsed {
  const parts: (string | Clause)[] = []
  let index = 0
  let from = 0
  const pattern = /%(?:(%)|(?:\.(\d*))?([\s\S])?)/g
  for (const match of text.matchAll(pattern)) {
    parts.push(text.slice(from, match.index))
    from = match.index + match[0].length
    const [, percent, precision, verb] = match
    if (percent) {
      parts.push('%')
      continue
    }
    if (verb === undefined) return { parts, fault: 'the format ends inside a clause' }
    if (precision === '' || Number(precision ?? 0) > Number.MAX_SAFE_INTEGER)
      return { parts, fault: 'a precision is a number' }
    if (!'sdfebxXo'.includes(verb)) return { parts, fault: `there is no clause %${verb}` }
    parts.push({ verb, precision: Number(precision ?? 6), index: index++ })
  }
  parts.push(text.slice(from))
  return { parts }
}

/** The kinds of values that a clause takes; undefined: any that has a text. */
export function takes(verb: string): readonly string[] {
  switch (verb) {
    case 'd':
    case 'f':
    case 'e':
      return ['int', 'uint', 'double']
    case 'b':
      return ['bool', 'int', 'uint']
    case 'x':
    case 'X':
      return ['int', 'uint', 'string', 'bytes']
    case 'o':
      return ['int', 'uint']
    default:
      return [
        'list',
        'map',
        'int',
        'uint',
        'double',
        'bool',
        'string',
        'timestamp',
        'bytes',
        'duration',
        'type',
        'null_type',
      ]
  }
}

export function format(text: string, args: readonly Value[]): Outcome {
  const { parts, fault } = parseFormat(text)
  let made = ''
  for (const part of parts) {
    if (typeof part === 'string') {
      made += part
      continue
    }
    const arg = args[part.index]
    if (arg === undefined) return fail(`the format has no argument ${part.index}`)
    if (!takes(part.verb).includes(kindOf(arg))) return fail(`%${part.verb} does not take ${kindOf(arg)}`)
    if (part.precision > MAX_PRECISION) return fail(`a precision is at most ${MAX_PRECISION}`)
    const shown = clause(part, arg)
    if (shown instanceof CelError) return shown
    made += shown
    if (made.length > LONGEST_TEXT) return fail('the text is too long')
  }
  return fault ? fail(fault) : made
}

function clause({ verb, precision }: Clause, arg: Value): string | CelError {
  const number = arg instanceof Uint ? arg.n : arg
  switch (verb) {
    case 'd':
      return typeof number === 'number' ? doubleText(number) : String(number)
    case 'f':
      return typeof number === 'number'
        ? fixed(number, precision)
        : `%!f(${goType(arg)}=${shownInt(number, precision)})`
    case 'e':
      return typeof number === 'number'
        ? scientific(number, precision)
        : `%!e(${goType(arg)}=${shownInt(number, precision)})`
    case 'b':
      return typeof arg === 'boolean' ? (arg ? '1' : '0') : radix(number, 2)
    case 'o':
      return radix(number, 8)
    case 'x':
    case 'X': {
      const text =
        typeof arg === 'string' ? hexOf(new TextEncoder().encode(arg)) : isBytes(arg) ? hexOf(arg) : radix(number, 16)
      return verb === 'X' ? text.toUpperCase() : text
    }
    default:
      return shownValue(arg)
  }
}

const goType = (arg: Value): string => (arg instanceof Uint ? 'uint64' : 'int64')
/** Go's complaint shows the integer with the clause's precision, which for integers is the fewest digits. */
const shownInt = (value: Value, precision: number): string => {
  const text = String(value)
  return text.startsWith('-') ? `-${text.slice(1).padStart(precision, '0')}` : text.padStart(precision, '0')
}
const radix = (value: Value, base: number): string => (typeof value === 'bigint' ? value.toString(base) : '')
const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

function doubleText(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity'
  return plainDouble(value)
}

/** All decimal digits of a positive double, which are finitely many, and how many of them stand before the point. */
function exactDigits(value: number): { digits: string; point: number } {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value)
  const bits = view.getBigUint64(0)
  const exponent = Number((bits >> 52n) & 0x7ffn)
  const mantissa = (bits & 0xfffffffffffffn) + (exponent === 0 ? 0n : 1n << 52n)
  const power = Math.max(exponent, 1) - 1075
  if (power >= 0) {
    const digits = String(mantissa << BigInt(power))
    return { digits, point: digits.length }
  }
  const digits = String(mantissa * 5n ** BigInt(-power))
  return { digits, point: digits.length + power }
}

/** The digits cut to `length`, exactly rounded, halves to even; one more where rounding carries. */
function rounded(digits: string, length: number): string {
  if (length < 0) return '0'
  if (digits.length <= length) return digits.padEnd(length, '0')
  const kept = BigInt(digits.slice(0, length) || '0')
  const rest = digits.slice(length)
  const half = `5${'0'.repeat(rest.length - 1)}`
  const isUp = rest > half || (rest === half && kept % 2n === 1n)
  return String(kept + (isUp ? 1n : 0n)).padStart(length, '0')
}

function fixed(value: number, precision: number): string {
  if (!Number.isFinite(value)) return doubleText(value)
  const sign = value < 0 || Object.is(value, -0) ? '-' : ''
  const { digits, point } = exactDigits(Math.abs(value))
  const all = rounded(digits, point + precision).padStart(precision + 1, '0')
  const cut = all.length - precision
  return `${sign}${all.slice(0, cut)}${precision > 0 ? `.${all.slice(cut)}` : ''}`
}

function scientific(value: number, precision: number): string {
  if (!Number.isFinite(value)) return doubleText(value)
  const sign = value < 0 || Object.is(value, -0) ? '-' : ''
  const { digits, point } = exactDigits(Math.abs(value))
  const all = rounded(digits, precision + 1)
  // Rounding may have carried into one more digit.
  const power = value === 0 ? 0 : point - 1 + (all.length - precision - 1)
  const shown = all.slice(0, precision + 1)
  const fraction = precision > 0 ? `.${shown.slice(1)}` : ''
  return `${sign}${shown[0]}${fraction}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
}

function shownValue(value: Value): string | CelError {
  if (value === null) return 'null'
  if (typeof value === 'string') return value
  if (typeof value === 'number') return doubleText(value)
  if (typeof value === 'bigint' || typeof value === 'boolean') return String(value)
  if (value instanceof Uint) return String(value.n)
  if (isBytes(value)) return new TextDecoder().decode(value)
  if (value instanceof Duration) return shownDuration(value)
  if (value instanceof Timestamp) return shownTimestamp(value, true)
  if (value instanceof TypeValue) return value.name
  if (isList(value)) {
    const items: string[] = []
    for (const item of value) {
      const shown = shownValue(item)
      if (shown instanceof CelError) return shown
      items.push(shown)
    }
    return `[${items.join(', ')}]`
  }
  if (!isMap(value)) return fail(`%s does not take ${kindOf(value)}`)
  const entries: [string, string][] = []
  for (const [key, item] of value) {
    const [name, shown] = [shownValue(key), shownValue(item)]
    if (name instanceof CelError) return name
    if (shown instanceof CelError) return shown
    entries.push([name, shown])
  }
  entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return `{${entries.map(([name, shown]) => `${name}: ${shown}`).join(', ')}}`
}
