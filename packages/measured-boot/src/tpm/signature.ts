import { constants, type KeyObject, verify } from 'node:crypto'
import { type Bank, type BankName, isTrusted } from '../banks.ts'
import { isZero, Malformed, type MalformedCode } from '../bytes.ts'
import { derInteger, derWritten, TAG } from '../der.ts'
import { CURVES, type Curve, type PublicArea, type Scheme } from './public-area.ts'
import { publicKeyOf } from './public-key.ts'
import { ALG, attempt, type Fault, faultOf, hex16, readHash, readSized, tpmReader } from './wire.ts'

/** TPMT_SIGNATURE (TPM 2.0 Part 2) of the schemes that are judged here. */
export type Signature =
  | { readonly algorithm: 'rsassa' | 'rsapss'; readonly hash: BankName; readonly bytes: Uint8Array }
  | { readonly algorithm: 'ecdsa'; readonly hash: BankName; readonly r: Uint8Array; readonly s: Uint8Array }

const LARGEST_RSA = 3072 / 8
const LARGEST_COORDINATE = CURVES['P-521'].size

export function parseSignature(bytes: Uint8Array): Signature {
  const reader = tpmReader(bytes, 'TPMT_SIGNATURE')
  const id = reader.u16()
  const rsa = id === ALG.rsassa ? 'rsassa' : id === ALG.rsapss ? 'rsapss' : undefined
  if (!rsa && id !== ALG.ecdsa) reader.fail('Unsupported', `signature algorithm ${hex16(id)}`, 0)
  const hash = readHash(reader)
  const signature: Signature = rsa
    ? { algorithm: rsa, hash, bytes: readSized(reader, LARGEST_RSA) }
    : {
        algorithm: 'ecdsa',
        hash,
        r: readSized(reader, LARGEST_COORDINATE),
        s: readSized(reader, LARGEST_COORDINATE),
      }
  reader.end()
  return signature
}

/** A key, and the one way in which it signs: its public area's, never what a signature says of itself. */
export type Signer = {
  readonly key: KeyObject
  readonly scheme: { readonly algorithm: Scheme['algorithm']; readonly hash: Bank }
  readonly curve?: Curve
}

export const SIGNATURE_FAULTS = {
  NoScheme: 'the key has no signing scheme of its own',
  UntrustedHash: 'the key signs with SHA-1',
  WrongScheme: 'the signature was made in another way than this key signs',
  WrongSignature: 'the key did not sign these bytes',
} as const
export type SignatureFaultCode = keyof typeof SIGNATURE_FAULTS
export type SignatureFault = Fault<SignatureFaultCode>

/** Whether a signature claims the scheme that the key has. */
export function schemeFault({ scheme }: Signer, { algorithm, hash }: Signature): SignatureFault | undefined {
  if (scheme.algorithm === algorithm && scheme.hash === hash) return undefined
  const message = `made with ${algorithm} and ${hash}, and the key signs with ${scheme.algorithm} and ${scheme.hash}`
  return { code: 'WrongScheme', message }
}

/** Whether the key signed `message`, by the key's own scheme, whatever hash the signature names. */
export function signatureFault(signer: Signer, message: Uint8Array, signature: Signature): SignatureFault | undefined {
  const { key, scheme, curve } = signer
  if ((signature.algorithm === 'ecdsa') !== (scheme.algorithm === 'ecdsa'))
    return { code: 'WrongScheme', message: `an ${signature.algorithm} signature says nothing about this key` }
  if (signature.algorithm === 'ecdsa') {
    const { size } = CURVES[curve ?? 'P-521']
    for (const [name, number] of [
      ['r', signature.r],
      ['s', signature.s],
    ] as const) {
      if (number.length > size) return wrong(`${name} has ${number.length} bytes, and the curve ${size}`)
      if (isZero(number)) return wrong(`${name} is zero`)
    }
    return verify(scheme.hash, message, key, ecdsaSigValue(signature.r, signature.s)) ? undefined : wrong()
  }
  // TPMs write salts as long as the hash, older ones as long as fits: the length is read from the padding.
  const padding =
    scheme.algorithm === 'rsapss'
      ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }
      : { padding: constants.RSA_PKCS1_PADDING }
  return verify(scheme.hash, message, { key, ...padding }, signature.bytes) ? undefined : wrong()
}

/** Ecdsa-Sig-Value (RFC 3279, 2.2.3): what Node takes of a bare key, for a third less than r and s side by side. */
function ecdsaSigValue(r: Uint8Array, s: Uint8Array): Uint8Array {
  return derWritten(TAG.sequence, derInteger(r), derInteger(s))
}

const wrong = (message: string = SIGNATURE_FAULTS.WrongSignature): SignatureFault => ({
  code: 'WrongSignature',
  message,
})

/** How a key signs, by its public area; a key without a scheme, or with SHA-1, is a fault. Throws Malformed for a bad key. */
export function signerOf(area: PublicArea): Signer | SignatureFault {
  if (!area.scheme) return { code: 'NoScheme', message: SIGNATURE_FAULTS.NoScheme }
  const { algorithm, hash } = area.scheme
  if (!isTrusted(hash)) return { code: 'UntrustedHash', message: SIGNATURE_FAULTS.UntrustedHash }
  const signer = { key: publicKeyOf(area), scheme: { algorithm, hash } }
  return area.type === 'ecc' ? { ...signer, curve: area.curve } : signer
}

/** Whether the key of `area` signed `message`: nothing, or why not. Total: bytes that are no TPMT_SIGNATURE are a fault. */
export function verifyBy(
  area: PublicArea,
  message: Uint8Array,
  signature: Uint8Array,
): Fault<SignatureFaultCode | MalformedCode> | undefined {
  const signer = attempt(() => signerOf(area))
  if (signer instanceof Malformed) return faultOf(signer)
  if ('code' in signer) return signer
  const claimed = attempt(() => parseSignature(signature))
  if (claimed instanceof Malformed) return faultOf(claimed)
  return schemeFault(signer, claimed) ?? signatureFault(signer, message, claimed)
}
