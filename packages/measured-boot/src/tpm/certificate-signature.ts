import type { X509Certificate } from 'node:crypto'
import { type Der, derChildren, derElement, derOid, derTagged, TAG } from '../der.ts'

const WHAT = 'Certificate'
const RSASSA_PSS = '1.2.840.113549.1.1.10'
/** RFC 3279 and 8017, and what came before them: MD2, MD4, MD5 and SHA-1, with RSA, DSA and ECDSA. */
const WEAK: readonly string[] = [
  ...['2', '3', '4', '5'].map((arc) => `1.2.840.113549.1.1.${arc}`),
  ...['2', '3', '4', '13', '15', '27', '29'].map((arc) => `1.3.14.3.2.${arc}`),
  '1.2.840.10040.4.3',
  '1.2.840.10045.4.1',
]
const SHA_1 = '2b0e03021a'
const HASH_PARAMETER = 0xa0

/** Whether a certificate was signed over SHA-1 or older, of which two may be made to be the same. Throws Malformed. */
export function isWeaklySigned(certificate: X509Certificate): boolean {
  const algorithm = certificate.signatureAlgorithmOid
  if (algorithm === RSASSA_PSS) return isPssOverSha1(new Uint8Array(certificate.raw))
  return algorithm === undefined || WEAK.includes(algorithm)
}

// RFC 8017, A.2.3: the hash is a parameter, and SHA-1 where none is given.
function isPssOverSha1(der: Uint8Array): boolean {
  const certificate = derElement(der, WHAT)
  const algorithm = derTagged(derChildren(certificate, WHAT)[1], TAG.sequence, WHAT, certificate)
  const parameters = derTagged(derChildren(algorithm, WHAT)[1], TAG.sequence, WHAT, algorithm)
  const given = derChildren(parameters, WHAT).find(({ tag }) => tag === HASH_PARAMETER)
  if (!given) return true
  const hash: Der = derTagged(derChildren(given, WHAT)[0], TAG.sequence, WHAT, given)
  return derOid(derChildren(hash, WHAT)[0], WHAT, hash) === SHA_1
}
