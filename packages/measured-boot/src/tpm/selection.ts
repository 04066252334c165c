import { BANKS, type BankName, bankOf } from '../banks.ts'
import { big, concat, type Reader } from '../bytes.ts'
import { hex16 } from './wire.ts'

/** A bank, or the id of an algorithm that has no name here (TPMs keep SM3 and SHA-3 banks too). */
type BankId = BankName | `0x${string}`
/** TPMS_PCR_SELECTION (TPM 2.0 Part 2): PCRs of one bank, rising. */
export type PcrSelection = { readonly bank: BankId; readonly pcrs: readonly number[] }

/** PC Client TPMs have 24 PCRs and write them as three bytes, no fewer and no more. */
const PCRS = 24
const BITMAP = PCRS / 8
/** HASH_COUNT of the reference implementation is smaller; no TPM has more banks. */
const MOST_BANKS = 16

/** TPML_PCR_SELECTION (TPM 2.0 Part 2), from a reader that goes on behind it. */
export function readSelection(reader: Reader): PcrSelection[] {
  const at = reader.offset()
  const count = reader.u32()
  if (count > MOST_BANKS) reader.fail('TooLarge', `${count} banks announced`, at)
  return Array.from({ length: count }, () => {
    const id = reader.u16()
    const sizeAt = reader.offset()
    const size = reader.u8()
    if (size !== BITMAP) reader.fail('BadValue', `a bitmap of ${size} bytes, where a PC's TPM writes ${BITMAP}`, sizeAt)
    return { bank: bankOf(id) ?? hex16(id), pcrs: pcrsOf(reader.raw(size)) }
  })
}

/** TPML_PCR_SELECTION of these banks, in this order. A PCR that a TPM does not have is a RangeError. */
export function writeSelection(selection: readonly PcrSelection[]): Uint8Array {
  return concat(
    big.u32(selection.length),
    ...selection.map(({ bank, pcrs }) => concat(big.u16(idOf(bank)), big.u8(BITMAP), bitmapOf(pcrs))),
  )
}

const idOf = (bank: BankId): number => (isBank(bank) ? BANKS[bank].id : Number(bank))
const isBank = (bank: BankId): bank is BankName => Object.hasOwn(BANKS, bank)

/** PCR p is bit p & 7 of byte p >> 3. */
function pcrsOf(bitmap: Uint8Array): number[] {
  const pcrs: number[] = []
  for (let pcr = 0; pcr < bitmap.length * 8; pcr++)
    if ((((bitmap[pcr >> 3] ?? 0) >> (pcr & 7)) & 1) === 1) pcrs.push(pcr)
  return pcrs
}

function bitmapOf(pcrs: readonly number[]): Uint8Array {
  const bitmap = new Uint8Array(BITMAP)
  for (const pcr of pcrs) {
    if (!Number.isInteger(pcr) || pcr < 0 || pcr >= PCRS) throw new RangeError(`there is no PCR ${pcr}`)
    bitmap[pcr >> 3] = (bitmap[pcr >> 3] ?? 0) | (1 << (pcr & 7))
  }
  return bitmap
}
