import type { Reader } from '../bytes.ts'
import { type PcrSelection, readSelection } from './selection.ts'
import { hex16, LARGEST_HASH, LARGEST_NAME, readSized, tpmReader } from './wire.ts'

/** TPM_GENERATED_VALUE (TPM 2.0 Part 2): a restricted key signs nothing from outside that begins so. */
const MAGIC = 0xff544347
/** TPM_ST_ATTEST_*. */
const TYPES = { certify: 0x8017, quote: 0x8018 } as const

/**
 * TPMS_CLOCK_INFO. `clockMs` is exact: a clock beyond 2^53 - 1 ms (285,000 years) is refused, so
 * that it is a number in JSON too. Both counts are obfuscated, steadily, when the key that signs lives in the owner's or the
 * null hierarchy.
 */
export type ClockInfo = {
  readonly clockMs: number
  readonly resetCount: number
  readonly restartCount: number
  readonly safe: boolean
}
/** TPMS_ATTEST up to what it attests. `firmwareVersion` is 64 bits in hex, each maker's own. */
type Attest = {
  readonly qualifiedSigner: Uint8Array
  readonly extraData: Uint8Array
  readonly clock: ClockInfo
  readonly firmwareVersion: string
}
/** TPMS_QUOTE_INFO. */
export type Quote = Attest & { readonly selection: readonly PcrSelection[]; readonly pcrDigest: Uint8Array }
/** TPMS_CERTIFY_INFO: `name` is the certified object's. */
export type Certify = Attest & { readonly name: Uint8Array; readonly qualifiedName: Uint8Array }

/** The bytes that a quote's signature covers. Throws Malformed; `WrongType` for an attestation of something else. */
export function parseQuote(bytes: Uint8Array): Quote {
  return parseAttest(bytes, 'quote', (reader) => ({
    selection: readSelection(reader),
    pcrDigest: readSized(reader, LARGEST_HASH),
  }))
}

export function parseCertify(bytes: Uint8Array): Certify {
  return parseAttest(bytes, 'certify', (reader) => ({
    name: readSized(reader, LARGEST_NAME),
    qualifiedName: readSized(reader, LARGEST_NAME),
  }))
}

function parseAttest<Attested>(
  bytes: Uint8Array,
  wanted: keyof typeof TYPES,
  read: (reader: Reader) => Attested,
): Attest & Attested {
  const reader = tpmReader(bytes, 'TPMS_ATTEST')
  // TPMS_ATTEST (Part 2): the magic before any other field is believed.
  if (reader.u32() !== MAGIC) reader.fail('BadMagic', 'no TPM made this: it does not begin with TPM_GENERATED_VALUE', 0)
  const type = reader.u16()
  if (type !== TYPES[wanted])
    reader.fail('WrongType', `${hex16(type)}, where a ${wanted} is ${hex16(TYPES[wanted])}`, 4)
  const head = {
    qualifiedSigner: readSized(reader, LARGEST_NAME),
    extraData: readSized(reader, LARGEST_NAME),
    clock: readClock(reader),
    firmwareVersion: reader.u64().toString(16).padStart(16, '0'),
  }
  const attested = read(reader)
  reader.end()
  return { ...head, ...attested }
}

function readClock(reader: Reader): ClockInfo {
  const at = reader.offset()
  const clock = reader.u64()
  if (clock > BigInt(Number.MAX_SAFE_INTEGER)) reader.fail('TooLarge', `a clock of ${clock} ms`, at)
  const resetCount = reader.u32()
  const restartCount = reader.u32()
  const safeAt = reader.offset()
  const safe = reader.u8()
  if (safe > 1) reader.fail('BadValue', `"safe" is ${safe}, neither yes nor no`, safeAt)
  return { clockMs: Number(clock), resetCount, restartCount, safe: safe === 1 }
}
