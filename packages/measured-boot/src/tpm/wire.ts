import { BANKS, type BankName, bankOf } from '../banks.ts'
import { big, concat, Malformed, type MalformedCode, type Reader, readerOf } from '../bytes.ts'

/** TPM_ALG_ID of everything that is no hash (TPM 2.0 Part 2); the hashes are in `banks.ts`. */
export const ALG = {
  rsa: 0x0001,
  aes: 0x0006,
  null: 0x0010,
  rsassa: 0x0014,
  rsapss: 0x0016,
  ecdsa: 0x0018,
  ecc: 0x0023,
  cfb: 0x0043,
} as const

/** A digest, a name or a nonce is at most TPMT_HA: an algorithm's id and the longest digest there is. */
export const LARGEST_HASH = BANKS.sha512.size
export const LARGEST_NAME = 2 + LARGEST_HASH

/** What every part of a room says "no" with. */
export type Fault<Code extends string> = { readonly code: Code; readonly message: string }

export const faultOf = ({ code, message }: Malformed): Fault<MalformedCode> => ({ code, message })

/** For those that are total: a value, or why there is none. */
export function attempt<Value>(read: () => Value): Value | Malformed {
  try {
    return read()
  } catch (error) {
    if (error instanceof Malformed) return error
    throw error
  }
}

export const tpmReader = (bytes: Uint8Array, what: string, base = 0): Reader => readerOf(bytes, what, 'big', base)

/** TPM2B: a length of two bytes, then that many, of which this structure allows at most `most`. */
export function readSized(reader: Reader, most: number): Uint8Array {
  const at = reader.offset()
  const size = reader.u16()
  if (size > most) reader.fail('TooLarge', `${size} bytes announced where at most ${most} may be`, at)
  return reader.raw(size)
}

export function sized(bytes: Uint8Array): Uint8Array {
  if (bytes.length > 0xffff) throw new RangeError(`${bytes.length} bytes do not fit into a TPM2B`)
  return concat(big.u16(bytes.length), bytes)
}

export function readHash(reader: Reader): BankName {
  const at = reader.offset()
  const id = reader.u16()
  return bankOf(id) ?? reader.fail('Unsupported', `hash algorithm ${hex16(id)}`, at)
}

export const hex16 = (id: number): `0x${string}` => `0x${id.toString(16).padStart(4, '0')}`
