import { CelError, fail, MAX_INT, MIN_INT, type Opaque } from './values.ts'

// Kubernetes quantities: exact, with the way they were written, because what is written back depends on it.

type Format = 'DecimalSI' | 'DecimalExponent' | 'BinarySI'

/** `value × 10^scale`. `small`: upstream keeps it as a 64-bit integer, and says only of those whether they are integers. */
export class Quantity implements Opaque {
  readonly kind = 'kubernetes.Quantity'
  readonly value: bigint
  readonly scale: number
  readonly small: boolean
  readonly format: Format
  /** The text, where it is canonical as it was written. */
  readonly #text: string | undefined

  constructor(value: bigint, scale: number, small: boolean, format: Format, text?: string) {
    this.value = value
    this.scale = scale
    this.small = small
    this.format = format
    this.#text = text
  }

  equals(other: Opaque): boolean {
    return other instanceof Quantity && this.compare(other) === 0
  }

  compare(other: Quantity): -1 | 0 | 1 {
    const scale = Math.min(this.scale, other.scale)
    const [a, b] = [this.#at(scale), other.#at(scale)]
    return a < b ? -1 : a > b ? 1 : 0
  }

  /** The sum, `sign` 1, or the difference, -1. */
  plus(other: Quantity, sign: 1n | -1n): Quantity {
    const scale = this.value === 0n ? other.scale : other.value === 0n ? this.scale : Math.min(this.scale, other.scale)
    const value = (this.value === 0n ? 0n : this.#at(scale)) + sign * (other.value === 0n ? 0n : other.#at(scale))
    const format = this.value === 0n ? other.format : this.format
    return new Quantity(value, scale, this.small && other.small && fits(value), format)
  }

  /** The integer that it is, if upstream would say so. */
  integer(): bigint | undefined {
    if (!this.small || this.scale < 0) return undefined
    const value = this.#at(0)
    return fits(value) ? value : undefined
  }

  approximate(): number {
    return this.scale === 0 ? Number(this.value) : Number(this.value) * Number(`1e${this.scale}`)
  }

  /** The canonical text: what the API server gives back. */
  toString(): string {
    if (this.#text !== undefined) return this.#text
    if (this.value === 0n) return '0'
    if (this.format === 'BinarySI') {
      const size = this.value < 0n ? -this.value : this.value
      const whole = this.scale >= 0 || this.value % 10n ** BigInt(-this.scale) === 0n
      const isLarge = new Quantity(size, this.scale, true, 'DecimalSI').compare(KIBI) >= 0
      if (isLarge && whole) return this.#binary()
    }
    let { value, scale } = this
    while (value % 10n === 0n) {
      value /= 10n
      scale++
    }
    while (scale % 3 !== 0) {
      value *= 10n
      scale--
    }
    if (this.format === 'DecimalExponent') return scale === 0 ? String(value) : `${value}e${scale}`
    return `${value}${DECIMAL.get(scale) ?? ''}`
  }

  #binary(): string {
    let value = this.scale >= 0 ? this.#at(0) : this.value / 10n ** BigInt(-this.scale)
    let power = 0
    while (value % 1024n === 0n) {
      value /= 1024n
      power += 10
    }
    return `${value}${BINARY.get(power) ?? ''}`
  }

  #at(scale: number): bigint {
    return this.value * 10n ** BigInt(this.scale - scale)
  }
}

const fits = (value: bigint): boolean => value <= MAX_INT && value >= MIN_INT
const DECIMAL: ReadonlyMap<number, string> = new Map([
  [-9, 'n'],
  [-6, 'u'],
  [-3, 'm'],
  [0, ''],
  [3, 'k'],
  [6, 'M'],
  [9, 'G'],
  [12, 'T'],
  [15, 'P'],
  [18, 'E'],
])
const BINARY: ReadonlyMap<number, string> = new Map([
  [0, ''],
  [10, 'Ki'],
  [20, 'Mi'],
  [30, 'Gi'],
  [40, 'Ti'],
  [50, 'Pi'],
  [60, 'Ei'],
])
const powers = (names: ReadonlyMap<number, string>): ReadonlyMap<string, number> =>
  new Map([...names].map(([power, name]) => [name, power]))
const [DECIMAL_POWERS, BINARY_POWERS] = [powers(DECIMAL), powers(BINARY)]
const KIBI = new Quantity(1024n, 0, true, 'DecimalSI')
// A quantity of more digits than this is nobody's memory; upstream would compute with it.
const MAX_EXPONENT = 1000
const MAX_LENGTH = 1000

// The sign and zeros, the rest of the whole part, the fraction, the suffix. Upstream takes also "" or "." for the number.
const SHAPE = /^([+-]?)0*((?:[1-9]\d*)?)(?:\.(\d*))?((?:[eEinumkKMGTP]+[-+]?\d*)?)$/

/** As upstream parses it: finer than nano is rounded up, a binary one is capped at 2^63 - 1. */
export function parseQuantity(text: string): Quantity | CelError {
  const bad = fail(`"${text.slice(0, MAX_LENGTH)}" is no quantity`)
  const match = text === '' || text.length > MAX_LENGTH ? null : SHAPE.exec(text)
  if (!match) return bad
  const [, sign = '', digits = '', fraction = '', suffix = ''] = match
  const read = readSuffix(suffix)
  if (!read) return bad
  const { power, format } = read
  const whole = digits === '' ? '0' : digits
  const minus = sign === '-' ? -1n : 1n
  const isBinary = format === 'BinarySI'
  const scale = (isBinary ? 0 : power) - fraction.length
  const room = isBinary
    ? fraction === ''
      ? 15 - whole.length - Math.trunc((power * 3) / 10) - 1
      : -1
    : 18 - whole.length - fraction.length
  const shifted = whole + fraction
  const value = BigInt(shifted) * (isBinary ? 2n ** BigInt(power) : 1n)
  if (room >= 0 && scale >= -9 && fits(value)) {
    const canonical = isBinary
      ? power % 10 === 0 && (BigInt(shifted) & 7n) !== 0n
      : scale % 3 === 0 && !shifted.endsWith('000') && !shifted.startsWith('0')
    return new Quantity(minus * value, scale, true, format, canonical ? text : undefined)
  }
  return large(value, scale, minus, format)
}

function large(value: bigint, scale: number, minus: bigint, format: Format): Quantity {
  let [amount, at] = [value, scale]
  if (at < -9) {
    const step = 10n ** BigInt(-9 - at)
    amount = (amount + step - 1n) / step
    at = -9
  }
  const exact = new Quantity(amount, at, false, format)
  if (format !== 'BinarySI') return new Quantity(minus * amount, at, false, format)
  if (exact.compare(new Quantity(MAX_INT, 0, true, format)) > 0) return new Quantity(minus * MAX_INT, 0, false, format)
  const isPart = amount > 0n && exact.compare(new Quantity(1n, 0, true, format)) < 0
  return new Quantity(minus * amount, at, false, isPart ? 'DecimalSI' : format)
}

function readSuffix(suffix: string): { power: number; format: Format } | undefined {
  const decimal = DECIMAL_POWERS.get(suffix)
  if (decimal !== undefined) return { power: decimal, format: 'DecimalSI' }
  const binary = BINARY_POWERS.get(suffix)
  if (binary !== undefined) return { power: binary, format: 'BinarySI' }
  const exponent = /^[eE]([+-]?\d+)$/.exec(suffix)
  if (!exponent || Math.abs(Number(exponent[1])) > MAX_EXPONENT) return undefined
  return { power: Number(exponent[1]), format: 'DecimalExponent' }
}

export const isQuantity = (text: string): boolean => !(parseQuantity(text) instanceof CelError)

/** A quantity as a double, in the steps that Kubernetes makes; undefined for what is none. */
export function approximate(quantity: string | number): number | undefined {
  const read = parseQuantity(String(quantity).trim())
  return read instanceof CelError ? undefined : read.approximate()
}
