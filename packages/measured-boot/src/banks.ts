import { createHash, hash } from 'node:crypto'
import { concat } from './bytes.ts'

/** The hash algorithms a TPM keeps banks of, by their id in TCG's registry. SHA-1 can be named and is never judged. */
export const BANKS = {
  sha1: { id: 0x0004, size: 20 },
  sha256: { id: 0x000b, size: 32 },
  sha384: { id: 0x000c, size: 48 },
  sha512: { id: 0x000d, size: 64 },
} as const
export type BankName = keyof typeof BANKS
/** Banks whose values may count as evidence, best first. */
export const TRUSTED_BANKS = ['sha512', 'sha384', 'sha256'] as const
export type Bank = (typeof TRUSTED_BANKS)[number]

const BY_ID = new Map<number, BankName>(Object.entries(BANKS).map(([name, { id }]) => [id, name as BankName]))

export function bankOf(id: number): BankName | undefined {
  return BY_ID.get(id)
}

export function isTrusted(bank: BankName): bank is Bank {
  return bank !== 'sha1'
}

export function digest(bank: BankName, ...parts: readonly Uint8Array[]): Uint8Array {
  // No Buffer comes out: its slice() is no copy, and whoever gets a Uint8Array expects one.
  const [only, ...more] = parts
  // By way of hex: Node makes a text of a digest several times faster than a buffer, and logs are many small digests.
  if (only !== undefined && more.length === 0) return new Uint8Array(Buffer.from(hash(bank, only, 'hex'), 'hex'))
  const hashing = createHash(bank)
  for (const part of parts) hashing.update(part)
  return new Uint8Array(hashing.digest())
}

/** TPM2_PCR_Extend: what a PCR holds after one more measurement. */
export function extend(bank: BankName, pcr: Uint8Array, measured: Uint8Array): Uint8Array {
  return digest(bank, concat(pcr, measured))
}

/** What a PCR holds that was extended with these digests, in this order; it started at zero unless another start is given. */
export function extended(
  bank: BankName,
  digests: readonly Uint8Array[],
  start: Uint8Array = new Uint8Array(BANKS[bank].size),
): Uint8Array {
  if (digests.length === 0) return new Uint8Array(start)
  const { size } = BANKS[bank]
  if (start.length !== size) throw new RangeError(`${start.length} bytes are no start of a ${bank} PCR`)
  // Both halves of what is hashed lie in one place, where the hash is written back: logs are many small extends.
  const both = Buffer.allocUnsafe(size * 2)
  both.set(start)
  for (const measured of digests) {
    if (measured.length !== size) throw new RangeError(`${measured.length} bytes are no ${bank} digest`)
    both.set(measured, size)
    both.write(hash(bank, both, 'binary'), 'latin1')
  }
  const value = new Uint8Array(size)
  for (let at = 0; at < size; at++) value[at] = both[at] ?? 0
  return value
}
