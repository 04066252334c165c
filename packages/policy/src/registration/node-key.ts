import { type NodeKeyCertificate, type PublicJwk, Refusal } from '@skerry/api'
import { type EccArea, Malformed, nameOf, parseCertify, parsePublic, verifyBy } from '@skerry/measured-boot'

/** A key that its TPM made and that cannot leave it, for signing whatever it is given. */
const NEEDED = ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'sign'] as const
const FOREIGN = ['decrypt', 'restricted'] as const

/** The AK's word on a node key, and what it is held against. */
export type CertifiedNodeKey = {
  readonly certificate: NodeKeyCertificate
  /** TPM2B_PUBLIC of the attestation key, base64. */
  readonly ak: string
  /** Digest of the exchange: what the AK's word must answer. */
  readonly transcript: string
  /** The key that signed the request. */
  readonly nodeKey: PublicJwk
}

/**
 * That the node key lies in the TPM of this AK and cannot leave it (TPM2_Certify over the exchange). Throws one Refusal
 * ProofMismatch that names everything that is wrong.
 */
export function judgeNodeKey({ certificate, ak, transcript, nodeKey }: CertifiedNodeKey): void {
  const faults = faultsOf({ certificate, ak, transcript, nodeKey })
  if (faults.length > 0)
    throw new Refusal('ProofMismatch', `the node key is not certified to lie in this TPM: ${faults.join('; ')}`, {
      field: 'tpm.nodeKey',
    })
}

function faultsOf({ certificate, ak, transcript, nodeKey }: CertifiedNodeKey): string[] {
  try {
    const area = parsePublic(bytes(certificate.public))
    if (area.type !== 'ecc' || area.curve !== 'P-256') return ['it is no P-256 key']
    const { name, extraData } = parseCertify(bytes(certificate.attest))
    const lacking = NEEDED.filter((one) => !area.attributes.includes(one))
    const foreign = FOREIGN.filter((one) => area.attributes.includes(one))
    const unsigned = verifyBy(parsePublic(bytes(ak)), bytes(certificate.attest), bytes(certificate.signature))
    return [
      ...(isOf(area, nodeKey) ? [] : ['it is another key than the one that signed the request']),
      ...(lacking.length > 0 ? [`it lacks ${lacking.join(', ')}`] : []),
      ...(foreign.length > 0 ? [`it has ${foreign.join(', ')}`] : []),
      ...(Buffer.from(name).equals(nameOf(area)) ? [] : ['the certified Name is another key’s']),
      ...(Buffer.from(extraData).toString('hex') === transcript ? [] : ['it answers another exchange']),
      ...(unsigned ? [`the attestation key did not sign it: ${unsigned.message}`] : []),
    ]
  } catch (error) {
    if (error instanceof Malformed) return [error.message]
    throw error
  }
}

function isOf({ x, y }: EccArea, jwk: PublicJwk): boolean {
  if (jwk.kty !== 'EC') return false
  return padded(x) === jwk.x && padded(y) === jwk.y
}

/** RFC 7518, 6.2.1.2: a coordinate has the length of the curve. A TPM may leave leading zeros out. */
function padded(coordinate: Uint8Array): string {
  const whole = new Uint8Array(32)
  if (coordinate.length > whole.length) return ''
  whole.set(coordinate, whole.length - coordinate.length)
  return Buffer.from(whole).toString('base64url')
}

const bytes = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'))
