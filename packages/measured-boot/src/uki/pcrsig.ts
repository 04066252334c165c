import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { BANKS, type Bank, digest, TRUSTED_BANKS } from '../banks.ts'
import { big, concat, equal, Malformed, toHex } from '../bytes.ts'
import type { Uki } from './sections.ts'

/** One entry of `.pcrsig` as `systemd-measure sign` writes it: a policy of PCR values, and its signature. */
export type PcrSignature = {
  readonly bank: Bank
  readonly pcrs: readonly number[]
  /** SHA-256 of the signer's public key, as PKCS#1 in DER. */
  readonly keySha256: string
  readonly policy: Uint8Array
  readonly signature: Uint8Array
}

export const PCR_SIGNATURE_VERDICTS = {
  Good: 'allows this image, up to a phase, and is made by the key in .pcrpkey',
  NoKey: 'there is no .pcrpkey to check it with',
  OtherKey: 'names another key than the one in .pcrpkey',
  OtherPcrs: 'speaks of other PCRs than 11',
  OtherPolicy: 'allows no value that PCR 11 has while this image runs',
  BadSignature: 'is not made by the key in .pcrpkey',
} as const
type PcrSignatureVerdict = keyof typeof PCR_SIGNATURE_VERDICTS

/** `phase` is the one at which the policy is met, of a good entry. */
export type JudgedPcrSignature = {
  readonly bank: Bank
  readonly index: number
  readonly verdict: PcrSignatureVerdict
  readonly phase: string | undefined
}

const MOST_BYTES = 256 * 1024
const MOST_ENTRIES = 64
const IMAGE_PCR = 11
const TPM_CC_POLICY_PCR = 0x17f

/** Judges each entry of a UKI's `.pcrsig`, without a TPM, against its `.pcrpkey` and the PCR 11 predicted for a bank. */
export function judgePcrSignatures(
  sections: Uki['sections'],
  pcr11: (bank: Bank) => ReadonlyMap<string, Uint8Array>,
): readonly JudgedPcrSignature[] {
  const data = sections.get('.pcrsig')
  if (!data) return []
  const pem = sections.get('.pcrpkey')
  const key = pem && publicKey(pem)
  const keySha256 = pem && pcrKeySha256(pem)
  const entries = parsePcrSignatures(data)
  const predicted = new Map([...new Set(entries.map(({ bank }) => bank))].map((bank) => [bank, pcr11(bank)]))
  const counts = new Map<Bank, number>()
  return entries.map((entry) => {
    const index = counts.get(entry.bank) ?? 0
    counts.set(entry.bank, index + 1)
    const judged = (verdict: PcrSignatureVerdict, phase?: string) => ({ bank: entry.bank, index, verdict, phase })
    if (!key) return judged('NoKey')
    if (entry.keySha256 !== keySha256) return judged('OtherKey')
    if (entry.pcrs.length !== 1 || entry.pcrs[0] !== IMAGE_PCR) return judged('OtherPcrs')
    const met = [...(predicted.get(entry.bank) ?? [])].find(([, value]) =>
      equal(entry.policy, policyOf(entry.bank, value)),
    )
    if (!met) return judged('OtherPolicy')
    // systemd signs with the hash of the bank; the policy itself is always of a SHA-256 session.
    if (!verify(entry.bank, entry.policy, key, entry.signature)) return judged('BadSignature')
    return judged('Good', met[0])
  })
}

/** TPM2_PolicyPCR (TPM 2.0 Part 3, 23.7) of PCR 11 alone, in a SHA-256 policy session. */
function policyOf(bank: Bank, pcr11: Uint8Array): Uint8Array {
  const selection = concat(big.u32(1), big.u16(BANKS[bank].id), Uint8Array.of(3, 0, 1 << (IMAGE_PCR - 8), 0))
  return digest('sha256', new Uint8Array(32), big.u32(TPM_CC_POLICY_PCR), selection, digest('sha256', pcr11))
}

/** Entries of banks that prove nothing (SHA-1) are left out. */
export function parsePcrSignatures(data: Uint8Array): readonly PcrSignature[] {
  if (data.length > MOST_BYTES) refuse('TooLarge', `${data.length} bytes, at most ${MOST_BYTES} are read`)
  const json = parsed(data)
  if (!isObject(json)) return refuse('BadValue', 'no JSON object')
  const entries: PcrSignature[] = []
  for (const bank of TRUSTED_BANKS) {
    const list = json[bank] ?? []
    if (!Array.isArray(list)) return refuse('BadValue', `${bank} is no list`)
    if (list.length > MOST_ENTRIES) refuse('TooLarge', `${list.length} entries for ${bank}`)
    for (const [index, entry] of list.entries()) {
      const { pcrs, pkfp, pol, sig } = isObject(entry) ? entry : {}
      const numbers = Array.isArray(pcrs) ? pcrs.filter((pcr): pcr is number => Number.isInteger(pcr)) : []
      if (!Array.isArray(pcrs) || numbers.length !== pcrs.length || numbers.length > 24)
        return refuse('BadValue', `${bank}[${index}].pcrs is no list of PCRs`)
      if (typeof pkfp !== 'string' || !/^[0-9a-f]{64}$/i.test(pkfp))
        return refuse('BadValue', `${bank}[${index}].pkfp is no SHA-256`)
      if (typeof pol !== 'string' || !/^[0-9a-f]{64}$/i.test(pol))
        return refuse('BadValue', `${bank}[${index}].pol is no SHA-256`)
      if (typeof sig !== 'string' || !/^[A-Za-z0-9+/]+={0,2}$/.test(sig))
        return refuse('BadValue', `${bank}[${index}].sig is no base64`)
      entries.push({
        bank,
        pcrs: numbers,
        keySha256: pkfp.toLowerCase(),
        policy: Uint8Array.from(Buffer.from(pol, 'hex')),
        signature: Uint8Array.from(Buffer.from(sig, 'base64')),
      })
    }
  }
  return entries
}

/** The SHA-256 by which systemd names the key in `.pcrpkey`. */
export function pcrKeySha256(pem: Uint8Array): string {
  return toHex(digest('sha256', publicKey(pem).export({ type: 'pkcs1', format: 'der' })))
}

function publicKey(pem: Uint8Array): KeyObject {
  let key: KeyObject | undefined
  try {
    // systemd's own tools write and read SPKI in PEM; a private key in its place would be taken for its public one.
    const text = Buffer.from(pem).toString('latin1')
    if (/^-----BEGIN PUBLIC KEY-----/.test(text)) key = createPublicKey(text)
  } catch {
    key = undefined
  }
  if (key?.asymmetricKeyType !== 'rsa') throw new Malformed('BadValue', '.pcrpkey', 0, 'no RSA public key in PEM')
  return key
}

function parsed(data: Uint8Array): unknown {
  // ukify and objcopy may leave NULs behind the text.
  const nul = data.indexOf(0)
  if (nul >= 0 && data.subarray(nul).some((byte) => byte !== 0)) refuse('BadValue', 'text goes on after a NUL', nul)
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(nul < 0 ? data : data.subarray(0, nul))
    return JSON.parse(text)
  } catch {
    return refuse('BadValue', 'no JSON')
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refuse(code: 'BadValue' | 'TooLarge', message: string, offset = 0): never {
  throw new Malformed(code, '.pcrsig', offset, message)
}
