import { createPublicKey, type KeyObject } from 'node:crypto'
import { isTrusted } from '../banks.ts'
import { Malformed, type MalformedCode } from '../bytes.ts'
import { AK_FAULTS, type AkFaultCode, akFaults } from './ak.ts'
import { type Curve, nameOfArea, parsePublic } from './public-area.ts'
import { type Signature, type SignatureFault, type Signer, signerOf } from './signature.ts'
import { attempt, type Fault, faultOf } from './wire.ts'

/** What is wrong with an attestation key, and how it signs this signature; no signer: it cannot be read. */
export type Ak = {
  readonly faults: readonly Fault<AkFaultCode | MalformedCode>[]
  /** The Name of a key whose public area could be read; PEM has none. */
  readonly name?: Uint8Array
  readonly signer?: (signature: Signature) => Signer | SignatureFault
}

/** TPM2B_PUBLIC, or a public key in PEM. Total. */
export function readAk(ak: Uint8Array | string): Ak {
  if (typeof ak === 'string') return readPem(ak)
  const area = attempt(() => parsePublic(ak))
  if (area instanceof Malformed) return { faults: [faultOf(area)] }
  const signer = attempt(() => signerOf(area))
  // TPM2B_PUBLIC is a length of two bytes and the area: what it was read from is what a Name is made of.
  const name = nameOfArea(area.nameAlg, ak.subarray(2))
  if (signer instanceof Malformed) return { faults: [...akFaults(area), faultOf(signer)], name }
  return { faults: akFaults(area), name, signer: () => signer }
}

const CURVE_OF: ReadonlyMap<string | undefined, Curve> = new Map([
  ['prime256v1', 'P-256'],
  ['secp384r1', 'P-384'],
  ['secp521r1', 'P-521'],
])

/** A key in PEM keeps no scheme: the signature's is taken where it fits the key and its hash is trusted. */
function readPem(pem: string): Ak {
  const key = attemptPem(pem)
  const curve = CURVE_OF.get(key?.asymmetricKeyDetails?.namedCurve)
  const rsa = key?.asymmetricKeyType === 'rsa' && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= 2048
  if (!key || !(rsa || curve))
    return {
      faults: [
        {
          code: 'Unsupported',
          message: 'the AK is no PEM public key of RSA (2048 bits or more) or P-256, P-384, P-521',
        },
      ],
    }
  return {
    faults: [{ code: 'AttributesUnknown', message: AK_FAULTS.AttributesUnknown }],
    signer: ({ algorithm, hash }) => {
      if (!isTrusted(hash)) return { code: 'UntrustedHash', message: AK_FAULTS.UntrustedHash }
      if (algorithm === 'ecdsa') return curve ? { key, curve, scheme: { algorithm, hash } } : otherType(algorithm)
      return rsa ? { key, scheme: { algorithm, hash } } : otherType(algorithm)
    },
  }
}

const otherType = (algorithm: string): SignatureFault => ({
  code: 'WrongScheme',
  message: `a key of this type makes no ${algorithm} signature`,
})

function attemptPem(pem: string): KeyObject | undefined {
  if (pem.length > 4096 || !pem.includes('-----BEGIN PUBLIC KEY-----')) return undefined
  try {
    return createPublicKey({ key: pem, format: 'pem' })
  } catch {
    return undefined
  }
}
