/**
 * Why bytes could not be read as what they claim to be, and where: `offset` counts from the first byte of what was
 * given, `what` is the structure in the specification's own name. The only error that this package throws for bytes.
 */
export class Malformed extends Error {
  override readonly name = 'Malformed'
  readonly code: MalformedCode
  readonly what: string
  readonly offset: number

  constructor(code: MalformedCode, what: string, offset: number, message: string) {
    super(`${what}, byte ${offset}: ${message}`)
    this.code = code
    this.what = what
    this.offset = offset
  }
}

const MALFORMED = {
  Truncated: 'ends before the structure does',
  TrailingBytes: 'goes on after the structure has ended',
  TooLarge: 'is larger than anything this structure may hold',
  BadMagic: 'does not begin as this structure begins',
  WrongType: 'is another structure than the one that was asked for',
  BadValue: 'holds a value that this structure may not hold',
  Unsupported: 'is of a kind that is not judged here',
} as const
export type MalformedCode = keyof typeof MALFORMED

/** Reads one structure from front to back. Every read is bounded by the bytes there are; none copies. */
export type Reader = {
  u8(): number
  u16(): number
  u32(): number
  u64(): bigint
  /** A length in 64 bits: exact up to 2^53, and what is above is as large. */
  length64(): number
  raw(length: number): Uint8Array
  /** Where the next read begins, from the first byte of the whole that was given. */
  offset(): number
  left(): number
  /** Refuses bytes that nobody has read. */
  end(): void
  fail(code: MalformedCode, message: string, at?: number): never
}

/** `base` is where `bytes` begin in the whole that errors speak of. TPM structures are big-endian, all of UEFI is little-endian. */
export function readerOf(bytes: Uint8Array, what: string, order: 'big' | 'little', base = 0): Reader {
  return new BytesReader(bytes, what, order === 'little', base)
}

/** A class, because a log is read by thousands of these: methods that they share cost a third of closures of their own. */
class BytesReader implements Reader {
  readonly #bytes: Uint8Array
  readonly #buffer: ArrayBufferLike
  /** Where the bytes begin in their buffer. */
  readonly #begins: number
  readonly #what: string
  readonly #little: boolean
  readonly #base: number
  #at = 0

  constructor(bytes: Uint8Array, what: string, little: boolean, base: number) {
    this.#bytes = bytes
    this.#buffer = bytes.buffer
    this.#begins = bytes.byteOffset
    this.#what = what
    this.#little = little
    this.#base = base
  }

  u8(): number {
    return this.#number(1)
  }
  u16(): number {
    return this.#number(2)
  }
  u32(): number {
    return this.#number(4)
  }
  u64(): bigint {
    if (this.left() < 8) this.#take(8)
    const [first, second] = [BigInt(this.#number(4)), BigInt(this.#number(4))]
    return this.#little ? (second << 32n) | first : (first << 32n) | second
  }
  length64(): number {
    return this.#number(8)
  }
  raw(length: number): Uint8Array {
    // No subarray: that takes half as long again, and is a Buffer where `bytes` is one, which costs several times as much.
    const from = this.#take(length)
    return new Uint8Array(this.#buffer, this.#begins + from, length)
  }
  offset(): number {
    return this.#base + this.#at
  }
  left(): number {
    return this.#bytes.length - this.#at
  }
  end(): void {
    if (this.left() > 0) this.fail('TrailingBytes', `${this.left()} bytes follow`)
  }
  fail(code: MalformedCode, message: string, at = this.offset()): never {
    throw new Malformed(code, this.#what, at, message)
  }

  /** No DataView: making one costs more than all that a structure's numbers cost. */
  #number(size: number): number {
    const from = this.#take(size)
    const bytes = this.#bytes
    let value = 0
    if (this.#little) for (let at = from + size - 1; at >= from; at--) value = value * 256 + (bytes[at] ?? 0)
    else for (let at = from; at < from + size; at++) value = value * 256 + (bytes[at] ?? 0)
    return value
  }
  #take(length: number): number {
    if (length > this.left()) this.fail('Truncated', `${length} bytes wanted, ${this.left()} left`)
    const from = this.#at
    this.#at += length
    return from
  }
}

/** Numbers as TPM structures write them: big-endian. */
export const big = {
  u8: (value: number) => Uint8Array.of(value),
  u16: (value: number) => Uint8Array.of(value >>> 8, value & 0xff),
  u32: (value: number) => Uint8Array.of(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff),
} as const

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  // In Node's pool: more than 64 bytes with memory of their own take four times as long. No Buffer comes out of it.
  const { buffer, byteOffset, length } = Buffer.concat(parts)
  return new Uint8Array(buffer, byteOffset, length)
}

export function equal(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return false
  return true
}

export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== 0) return false
  return true
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}
