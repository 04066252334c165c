import type { Reader } from '../bytes.ts'

/** TPMA_OBJECT (TPM 2.0 Part 2): what an object may be used for, by bit. */
const OBJECT_ATTRIBUTES = {
  fixedTPM: 1,
  stClear: 2,
  fixedParent: 4,
  sensitiveDataOrigin: 5,
  userWithAuth: 6,
  adminWithPolicy: 7,
  firmwareLimited: 8,
  svnLimited: 9,
  noDA: 10,
  encryptedDuplication: 11,
  restricted: 16,
  decrypt: 17,
  sign: 18,
  x509sign: 19,
} as const
export type ObjectAttribute = keyof typeof OBJECT_ATTRIBUTES

const BITS = Object.entries(OBJECT_ATTRIBUTES) as [ObjectAttribute, number][]
const KNOWN = BITS.reduce((mask, [, bit]) => mask + 2 ** bit, 0)

/** The attributes in the order of their bits. A reserved bit that is set is refused: nobody knows what it allows. */
export function readAttributes(reader: Reader): ObjectAttribute[] {
  const at = reader.offset()
  const word = reader.u32()
  if ((word & ~KNOWN) !== 0) reader.fail('BadValue', `reserved attributes are set in 0x${word.toString(16)}`, at)
  return BITS.filter(([, bit]) => ((word >>> bit) & 1) === 1).map(([name]) => name)
}

export function attributesWord(attributes: readonly ObjectAttribute[]): number {
  return attributes.reduce((word, name) => word | (1 << OBJECT_ATTRIBUTES[name]), 0) >>> 0
}
