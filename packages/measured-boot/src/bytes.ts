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

export const MALFORMED = {
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
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const little = order === 'little'
  let at = 0
  const fail = (code: MalformedCode, message: string, where = base + at): never => {
    throw new Malformed(code, what, where, message)
  }
  const take = (length: number): number => {
    if (length > bytes.length - at) fail('Truncated', `${length} bytes wanted, ${bytes.length - at} left`)
    const from = at
    at += length
    return from
  }
  return {
    u8: () => view.getUint8(take(1)),
    u16: () => view.getUint16(take(2), little),
    u32: () => view.getUint32(take(4), little),
    u64: () => view.getBigUint64(take(8), little),
    raw: (length) => {
      const from = take(length)
      return bytes.subarray(from, from + length)
    },
    offset: () => base + at,
    left: () => bytes.length - at,
    end: () => {
      if (at < bytes.length) fail('TrailingBytes', `${bytes.length - at} bytes follow`)
    },
    fail,
  }
}

/** Numbers as TPM structures write them: big-endian. */
export const big = {
  u8: (value: number) => Uint8Array.of(value),
  u16: (value: number) => Uint8Array.of(value >>> 8, value & 0xff),
  u32: (value: number) => Uint8Array.of(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff),
} as const

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

export function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at])
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}
