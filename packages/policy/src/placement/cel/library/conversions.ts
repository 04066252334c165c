import { type Overload, overload } from '../overload.ts'
import {
  type Duration,
  fail,
  int,
  kindOf,
  MAX_INT,
  MAX_UINT,
  MIN_INT,
  type Outcome,
  sizeOf,
  type Timestamp,
  TypeValue,
  typeName,
  Uint,
  type Value,
} from '../values.ts'
import { COSTS } from './operators.ts'
import { parseDuration, parseTimestamp, shownDuration, shownTimestamp, timestampOf } from './time.ts'

// From one type to another, as cel-go converts.

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

function text(bytes: Uint8Array): Outcome {
  try {
    return utf8.decode(bytes)
  } catch {
    return fail('the bytes are no UTF-8')
  }
}

const TRUE = new Set(['1', 't', 'T', 'true', 'TRUE', 'True'])
const FALSE = new Set(['0', 'f', 'F', 'false', 'FALSE', 'False'])

function wholeOf(value: string, smallest: bigint, largest: bigint, signed: boolean): bigint | undefined {
  if (!(signed ? /^[+-]?\d+$/ : /^\d+$/).test(value)) return undefined
  // Longer than 64 bits ever are: reading a million digits takes its time.
  if (value.replace(/^[+-]?0*/, '').length > 20) return undefined
  const n = BigInt(value.replace('+', ''))
  return n >= smallest && n <= largest ? n : undefined
}

/** As Go reads a double: also hexadecimal, infinities and NaN, and digits may be parted by underscores; no spaces. */
function double(text: string): Outcome {
  const bad = fail(`"${text}" is no double`)
  const value = text.replace(/(?<=[0-9a-fA-FxX])_(?=[0-9a-fA-F])/g, '')
  if (/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(value)) {
    const n = Number(value)
    return Number.isFinite(n) ? n : bad
  }
  if (/^nan$/i.test(value)) return Number.NaN
  const infinite = /^([+-]?)inf(inity)?$/i.exec(value)
  if (infinite) return infinite[1] === '-' ? -Infinity : Infinity
  const hex = /^([+-]?)0[xX]([0-9a-fA-F]*)(?:\.([0-9a-fA-F]*))?[pP]([+-]?\d+)$/.exec(value)
  if (!hex || (!hex[2] && !hex[3])) return bad
  const [, sign, whole = '', fraction = '', power = '0'] = hex
  const size = Number.parseInt(whole + fraction, 16) * 2 ** (Number(power) - 4 * fraction.length)
  return sign === '-' ? -size : size
}

/** `%g` of Go: the fewest digits that tell the double apart, with an exponent below 1e-4 and from 1e6. */
function shownDouble(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf'
  if (value === 0) return Object.is(value, -0) ? '-0' : '0'
  const [mantissa = '', exponent = '0'] = value.toExponential().split('e')
  const power = Number(exponent)
  if (power >= -4 && power < 6) return String(value)
  return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
}

const fromDouble = (value: number, smallest: bigint, largest: bigint): bigint | undefined => {
  // The ends of the range are no doubles themselves: cel-go refuses them.
  if (!Number.isFinite(value) || value <= Number(smallest) || value >= Number(largest)) return undefined
  return BigInt(Math.trunc(value))
}

export const conversions: readonly Overload[] = [
  overload('bool(bool): bool', (value: boolean) => value),
  overload(
    'bool(string): bool',
    (value: string) => TRUE.has(value) || (!FALSE.has(value) ? fail(`"${value}" is no bool`) : false),
  ),
  overload('bytes(bytes): bytes', (value: Uint8Array) => value),
  overload('bytes(string): bytes', (value: string) => encoder.encode(value), COSTS.ofFirst),
  overload('double(double): double', (value: number) => value),
  overload('double(int): double', (value: bigint) => Number(value)),
  overload('double(string): double', double),
  overload('double(uint): double', ({ n }: Uint) => Number(n)),
  overload('duration(duration): duration', (value: Duration) => value),
  // Declared upstream, and an error whatever is given.
  overload('duration(int): duration', () => fail('an int is no duration')),
  overload('duration(string): duration', parseDuration),
  overload('dyn(A): dyn', (value: Value) => value),
  overload('int(int): int', (value: bigint) => value),
  overload('int(double): int', (value: number) => fromDouble(value, MIN_INT, MAX_INT) ?? fail('integer overflow')),
  overload('int(duration): int', ({ ns }: Duration) => ns),
  overload(
    'int(string): int',
    (value: string) => wholeOf(value, MIN_INT, MAX_INT, true) ?? fail(`"${value}" is no integer`),
  ),
  overload('int(timestamp): int', ({ ns }: Timestamp) => {
    const seconds = ns / 1_000_000_000n
    return ns < 0n && ns % 1_000_000_000n !== 0n ? seconds - 1n : seconds
  }),
  overload('int(uint): int', ({ n }: Uint) => int(n)),
  overload('string(string): string', (value: string) => value),
  overload('string(bool): string', (value: boolean) => String(value)),
  overload('string(bytes): string', text, COSTS.ofFirst),
  overload('string(double): string', shownDouble),
  overload('string(duration): string', shownDuration),
  overload('string(int): string', (value: bigint) => String(value)),
  overload('string(timestamp): string', (value: Timestamp) => shownTimestamp(value)),
  overload('string(uint): string', ({ n }: Uint) => String(n)),
  overload('timestamp(timestamp): timestamp', (value: Timestamp) => value),
  overload('timestamp(int): timestamp', (value: bigint) => timestampOf(value * 1_000_000_000n)),
  overload('timestamp(string): timestamp', parseTimestamp),
  overload('type(A): type(A)', (value: Value) => new TypeValue(typeName(kindOf(value)))),
  overload('uint(uint): uint', (value: Uint) => value),
  overload('uint(double): uint', (value: number) => {
    if (value < 0) return fail('unsigned integer overflow')
    const n = value === 0 ? 0n : fromDouble(value, -1n, MAX_UINT)
    return n === undefined ? fail('unsigned integer overflow') : new Uint(n)
  }),
  overload('uint(int): uint', (value: bigint) => (value < 0n ? fail('unsigned integer overflow') : new Uint(value))),
  overload('uint(string): uint', (value: string) => {
    const n = wholeOf(value, 0n, MAX_UINT, false)
    return n === undefined ? fail(`"${value}" is no unsigned integer`) : new Uint(n)
  }),
  ...['bytes', 'list(A)', 'map(A, B)', 'string'].flatMap((of) => [
    overload(`size(${of}): int`, (value: Value) => BigInt(sizeOf(value))),
    overload(`${of}.size(): int`, (value: Value) => BigInt(sizeOf(value))),
  ]),
]
