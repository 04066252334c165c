import { timingSafeEqual } from 'node:crypto'
import { BANKS, type Bank, type BankName, digest } from '../banks.ts'
import { concat, equal, Malformed, type MalformedCode, toHex } from '../bytes.ts'
import type { AkFaultCode } from './ak.ts'
import { type Ak, readAk } from './ak-signer.ts'
import { parseQuote, type Quote } from './attest.ts'
import type { PcrSelection } from './selection.ts'
import {
  parseSignature,
  type SIGNATURE_FAULTS,
  type Signature,
  type SignatureFault,
  type Signer,
  schemeFault,
  signatureFault,
} from './signature.ts'
import { attempt, type Fault, faultOf } from './wire.ts'

/** What is checked, in this order; the first three decide whether the rest was said by a TPM at all. */
export const QUOTE_CHECKS = [
  'akAttributes',
  'scheme',
  'signature',
  'structure',
  'nonce',
  'selection',
  'pcrDigest',
] as const
type QuoteCheckName = (typeof QUOTE_CHECKS)[number]

/** Why a check fails, besides what its structure's own readers say (`AK_FAULTS`, `SIGNATURE_FAULTS`, `MALFORMED`). */
const QUOTE_FAULTS = {
  NotEvaluated: 'what this check needs could not be read',
  WrongNonce: 'the quote answers another question',
  NoNonce: 'nothing was asked, so that the quote may be of any day',
  NoPcrs: 'comparing nothing proves nothing',
  UntrustedBank: 'a SHA-1 bank was quoted',
  TwoBanks: 'more than one selection was quoted',
  WrongBank: 'another bank was quoted than the one asked for',
  WrongSelection: 'other PCRs were quoted than the ones asked for',
  ExtraBank: 'values of a bank were supplied that was not quoted',
  ExtraPcr: 'values of PCRs were supplied that were not quoted',
  MissingPcr: 'values of PCRs were quoted and not supplied',
  WrongSize: 'a PCR value is no digest of its bank',
  WrongPcrs: 'the quoted digest is of other values',
} as const
type QuoteFaultCode = keyof typeof QUOTE_FAULTS | keyof typeof SIGNATURE_FAULTS | AkFaultCode | MalformedCode
type QuoteFault = Fault<QuoteFaultCode>
/** One check with everything that fails it: it is ok when there is nothing. */
type QuoteCheck = { readonly name: QuoteCheckName; readonly ok: boolean; readonly faults: readonly QuoteFault[] }

/** A quote as evidence brings it, and what a verifier expects of it. */
export type QuoteToCheck = {
  /**
   * The attestation key that is on record for the node: TPM2B_PUBLIC, or PEM text, which cannot say what the key is for;
   * or what `readAk` made of either, for those who check many quotes of one key.
   */
  readonly ak: Uint8Array | string | Ak
  /** TPMS_ATTEST and TPMT_SIGNATURE. */
  readonly quote: Uint8Array
  readonly signature: Uint8Array
  /** What the quote must answer. */
  readonly nonce: Uint8Array
  /** What it must be of. */
  readonly bank: Bank
  readonly selection: readonly number[]
  /** The values that came with it, of every bank that came. */
  readonly pcrs: ReadonlyMap<BankName, ReadonlyMap<number, Uint8Array>>
}

/**
 * Authenticated: a key that signs only what its TPM made signed these bytes, and they are a quote. If not, `claimed` is what
 * the bytes say when they can be read: for people to look at, nothing may follow from it. `ok` is all of `checks`.
 * `akName` is the Name of the key that was given; none of PEM, nor of a key that cannot be read.
 */
export type CheckedQuote = {
  readonly ok: boolean
  readonly checks: readonly QuoteCheck[]
  readonly akName?: Uint8Array
} & (
  | { readonly authenticated: true; readonly quote: Quote }
  | { readonly authenticated: false; readonly claimed?: Quote }
)

/**
 * Every check of a quote, as far as it can be made: a failed one does not hide the next. Total; bytes that cannot be read
 * fail their check with the code and the offset of `Malformed`. What clocks, counters and PCRs mean is not judged here.
 */
export function checkQuote(given: QuoteToCheck): CheckedQuote {
  const ak = given.ak instanceof Uint8Array || typeof given.ak === 'string' ? readAk(given.ak) : given.ak
  const signed = attempt(() => parseSignature(given.signature))
  const quoted = attempt(() => parseQuote(given.quote))
  const signer = signed instanceof Malformed ? undefined : ak.signer?.(signed)
  const quote = quoted instanceof Malformed ? undefined : quoted
  const hash = signer && !('code' in signer) ? signer.scheme.hash : undefined

  const checks = [
    check('akAttributes', ak.faults),
    check('scheme', schemeFaults(signer, signed)),
    check('signature', signatureFaults(signer, signed, given.quote)),
    check('structure', quoted instanceof Malformed ? [faultOf(quoted)] : []),
    check('nonce', quote ? nonceFaults(quote, given.nonce) : [notEvaluated('the quote')]),
    check('selection', quote ? selectionFaults(quote.selection, given) : [notEvaluated('the quote')]),
    check('pcrDigest', quote ? pcrFaults(quote, hash, given.pcrs) : [notEvaluated('the quote')]),
  ]
  const ok = checks.every((each) => each.ok)
  const authenticated = checks.slice(0, 4).every((each) => each.ok)
  const judged = { ok, checks, ...(ak.name ? { akName: ak.name } : {}) }
  if (quote && authenticated) return { ...judged, authenticated, quote }
  return { ...judged, authenticated: false, ...(quote ? { claimed: quote } : {}) }
}

const check = (name: QuoteCheckName, faults: readonly QuoteFault[]): QuoteCheck => ({
  name,
  ok: faults.length === 0,
  faults,
})

const fault = (code: keyof typeof QUOTE_FAULTS, more?: string): QuoteFault => ({
  code,
  message: more === undefined ? QUOTE_FAULTS[code] : `${QUOTE_FAULTS[code]}: ${more}`,
})

const notEvaluated = (what: string): QuoteFault => ({ code: 'NotEvaluated', message: `${what} could not be read` })

function schemeFaults(signer: Signer | SignatureFault | undefined, signed: Signature | Malformed): QuoteFault[] {
  // An algorithm that is not known is a scheme that no key here has.
  if (signed instanceof Malformed)
    return [signed.code === 'Unsupported' ? faultOf(signed) : notEvaluated('the signature')]
  if (!signer) return [notEvaluated('the AK')]
  return present('code' in signer ? signer : schemeFault(signer, signed))
}

function signatureFaults(
  signer: Signer | SignatureFault | undefined,
  signed: Signature | Malformed,
  message: Uint8Array,
): QuoteFault[] {
  if (signed instanceof Malformed) return [faultOf(signed)]
  if (!signer) return [notEvaluated('the AK')]
  if ('code' in signer) return [{ code: 'NotEvaluated', message: `without a scheme: ${signer.message}` }]
  return present(signatureFault(signer, message, signed))
}

const present = <Value>(value: Value | undefined): Value[] => (value === undefined ? [] : [value])

function nonceFaults({ extraData }: Quote, nonce: Uint8Array): QuoteFault[] {
  if (nonce.length === 0) return [fault('NoNonce')]
  if (extraData.length === nonce.length && timingSafeEqual(extraData, nonce)) return []
  return [fault('WrongNonce', `${toHex(extraData)}, expected ${toHex(nonce)}`)]
}

/** One bank, the PCRs asked for, and values of neither more nor fewer than were quoted (CVE-2022-0317 and its like). */
function selectionFaults(selection: readonly PcrSelection[], given: QuoteToCheck): QuoteFault[] {
  const asked = [...new Set(given.selection)].sort((a, b) => a - b)
  const quoted = selection.filter(({ bank }) => bank === given.bank).flatMap(({ pcrs }) => pcrs)
  const supplied = [...(given.pcrs.get(given.bank)?.keys() ?? [])]
  const faults: QuoteFault[] = []
  if (selection.every(({ pcrs }) => pcrs.length === 0)) faults.push(fault('NoPcrs'))
  if (selection.some(({ bank }) => bank === 'sha1')) faults.push(fault('UntrustedBank'))
  if (selection.length > 1) faults.push(fault('TwoBanks', selection.map(({ bank }) => bank).join(', ')))
  const others = selection.filter(({ bank }) => bank !== given.bank)
  if (others.length > 0)
    faults.push(fault('WrongBank', `${others.map(({ bank }) => bank).join(', ')}, expected ${given.bank}`))
  if (quoted.length !== asked.length || quoted.some((pcr, at) => pcr !== asked[at]))
    faults.push(fault('WrongSelection', `${list(quoted)}, expected ${list(asked)} of ${given.bank}`))
  for (const bank of given.pcrs.keys())
    if (!selection.some((one) => one.bank === bank)) faults.push(fault('ExtraBank', bank))
  const extra = supplied.filter((pcr) => !quoted.includes(pcr))
  if (extra.length > 0) faults.push(fault('ExtraPcr', list(extra)))
  const missing = quoted.filter((pcr) => !supplied.includes(pcr))
  if (missing.length > 0) faults.push(fault('MissingPcr', list(missing)))
  return faults
}

const list = (pcrs: readonly number[]): string => (pcrs.length === 0 ? 'none' : `PCR ${pcrs.join(', ')}`)

/** TPM2_Quote (Part 3): the digest, by the signing scheme's hash, of the selected PCRs, bank by bank, rising. */
function pcrFaults(
  { selection, pcrDigest }: Quote,
  hash: BankName | undefined,
  pcrs: QuoteToCheck['pcrs'],
): QuoteFault[] {
  if (!hash) return [notEvaluated('the hash that the AK signs with')]
  const values: Uint8Array[] = []
  const missing: string[] = []
  const faults: QuoteFault[] = []
  for (const { bank, pcrs: quoted } of selection)
    for (const pcr of quoted) {
      const value = isNamed(bank) ? pcrs.get(bank)?.get(pcr) : undefined
      if (!value || !isNamed(bank)) missing.push(`${bank}:${pcr}`)
      else if (value.length === BANKS[bank].size) values.push(value)
      else faults.push(fault('WrongSize', `${bank}:${pcr} has ${value.length} bytes`))
    }
  if (missing.length > 0) faults.push({ code: 'NotEvaluated', message: `not supplied: ${missing.join(', ')}` })
  if (faults.length > 0) return faults
  const computed = digest(hash, concat(...values))
  if (equal(computed, pcrDigest)) return []
  return [fault('WrongPcrs', `${toHex(computed)}, quoted ${toHex(pcrDigest)}`)]
}

const isNamed = (bank: PcrSelection['bank']): bank is BankName => Object.hasOwn(BANKS, bank)
