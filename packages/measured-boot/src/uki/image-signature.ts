import { constants, type KeyObject, verify, X509Certificate } from 'node:crypto'
import { type Bank, type BankName, digest, isTrusted } from '../banks.ts'
import { concat, equal, Malformed, readerOf, toHex } from '../bytes.ts'
import { type Der, derChildren, derElement, derOid, derTagged, TAG } from '../der.ts'
import { authenticodeDigest } from './authenticode.ts'
import { type Pe, parsePe } from './pe.ts'

/** A certificate as a signature or a list carries it. */
export type Certificate = { readonly der: Uint8Array; readonly subject: string; readonly sha256: string }

/** Whether a signature is its signer's and speaks of this image. Whether the signer may be trusted, lists of keys say. */
export const SIGNATURE_VERDICTS = {
  Good: 'made by the signer, over this image',
  OtherImage: 'made for bytes that are not this image',
  NoSigner: 'made by a certificate that it does not carry',
  OtherContent: 'its signed attributes speak of other content',
  BadSignature: 'not made by the key of the signer',
  WeakDigest: 'made over SHA-1',
} as const
type SignatureVerdict = keyof typeof SIGNATURE_VERDICTS

/** One signature of an image: WIN_CERT_TYPE_PKCS_SIGNED_DATA (UEFI, 32.2.4), Authenticode's SignedData. */
export type ImageSignature = {
  readonly verdict: SignatureVerdict
  readonly signer: Certificate | undefined
  readonly certificates: readonly Certificate[]
  /** The image's digest as the signature states it. */
  readonly digestAlgorithm: BankName
  readonly digest: Uint8Array
}

const WIN_CERT_REVISION = 0x0200
const PKCS_SIGNED_DATA = 0x0002
const MOST_SIGNATURES = 16
const MOST_SIGNATURE_BYTES = 2 ** 20

// Object identifiers in hex, as `derOid` gives them.
const SIGNED_DATA = '2a864886f70d010702'
const SPC_INDIRECT_DATA = '2b060104018237020104'
const MESSAGE_DIGEST = '2a864886f70d010904'
const CONTENT_TYPE = '2a864886f70d010903'
const HASHES: Readonly<Record<string, BankName>> = {
  '2b0e03021a': 'sha1',
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
}

/** The signatures in an image's certificate table, each judged against the image. None: the image is unsigned. */
export function imageSignatures(file: Uint8Array, pe: Pe = parsePe(file)): readonly ImageSignature[] {
  const table = pe.certificateTable
  if (!table) return []
  const reader = readerOf(file.subarray(table.offset), 'WIN_CERTIFICATE', 'little', table.offset)
  const digests = new Map<Bank, Uint8Array>()
  const digestOf = (bank: Bank) => {
    const known = digests.get(bank) ?? authenticodeDigest(file, bank, pe)
    digests.set(bank, known)
    return known
  }
  const signatures: ImageSignature[] = []
  while (reader.left() > 0) {
    const at = reader.offset()
    if (signatures.length === MOST_SIGNATURES) reader.fail('TooLarge', `more than ${MOST_SIGNATURES} signatures`)
    const length = reader.u32()
    if (length < 8) reader.fail('BadValue', `${length} bytes do not hold a header`, at)
    if (length > MOST_SIGNATURE_BYTES) reader.fail('TooLarge', `a signature of ${length} bytes`, at)
    if (reader.u16() !== WIN_CERT_REVISION) reader.fail('Unsupported', 'not of revision 2.0', at + 4)
    if (reader.u16() !== PKCS_SIGNED_DATA) reader.fail('Unsupported', 'not PKCS#7 SignedData', at + 6)
    const body = reader.raw(length - 8)
    const padding = reader.raw(Math.min(reader.left(), (8 - (length % 8)) % 8))
    signatures.push(judged(signedData(body, at + 8), digestOf))
    if (padding.some((byte) => byte !== 0)) reader.fail('BadValue', 'padding that is not zero')
  }
  return signatures
}

type SignedData = {
  readonly certificates: readonly Certificate[]
  readonly signer: Certificate | undefined
  readonly imageDigest: { readonly algorithm: BankName; readonly value: Uint8Array }
  /** What the digest in the signed attributes is over. */
  readonly content: Uint8Array
  readonly signerDigest: BankName
  readonly stated: Uint8Array
  readonly statedType: string
  /** What the signature is over: the attributes as the SET they were signed as. */
  readonly attributes: Uint8Array
  readonly signature: Uint8Array
}

function judged(signed: SignedData, imageDigest: (bank: Bank) => Uint8Array): ImageSignature {
  const { algorithm, value } = signed.imageDigest
  return {
    verdict: verdictOf(signed, imageDigest),
    signer: signed.signer,
    certificates: signed.certificates,
    digestAlgorithm: algorithm,
    digest: value,
  }
}

function verdictOf(signed: SignedData, imageDigest: (bank: Bank) => Uint8Array): SignatureVerdict {
  const { algorithm, value } = signed.imageDigest
  if (!isTrusted(algorithm) || !isTrusted(signed.signerDigest)) return 'WeakDigest'
  if (!signed.signer) return 'NoSigner'
  if (signed.statedType !== SPC_INDIRECT_DATA) return 'OtherContent'
  if (!equal(signed.stated, digest(signed.signerDigest, signed.content))) return 'OtherContent'
  const key = keyOf(signed.signer)
  const padding = key?.asymmetricKeyType === 'rsa' ? { padding: constants.RSA_PKCS1_PADDING } : {}
  if (!key || !verify(signed.signerDigest, signed.attributes, { key, ...padding }, signed.signature))
    return 'BadSignature'
  if (!equal(value, imageDigest(algorithm))) return 'OtherImage'
  return 'Good'
}

/** RSA and ECDSA keys; another kind of key signs no image that a firmware starts. */
function keyOf(certificate: Certificate): KeyObject | undefined {
  try {
    const key = new X509Certificate(certificate.der).publicKey
    return key.asymmetricKeyType === 'rsa' || key.asymmetricKeyType === 'ec' ? key : undefined
  } catch {
    // A certificate can be read whose key OpenSSL does not know: nothing it signed can be checked.
    return undefined
  }
}

// RFC 2315, 9 (SignedData version 1), with Authenticode's SpcIndirectDataContent as its content.
function signedData(bytes: Uint8Array, offset: number): SignedData {
  const what = 'SignedData'
  const outer = derElement(bytes, what, offset)
  derTagged(outer, TAG.sequence, what, outer)
  const rest = bytes.subarray(outer.whole.length)
  if (rest.length > 7 || rest.some((byte) => byte !== 0))
    throw new Malformed('TrailingBytes', what, offset + outer.whole.length, `${rest.length} bytes follow`)
  const [type, explicit] = derChildren(outer, what)
  if (derOid(type, what, outer) !== SIGNED_DATA)
    throw new Malformed('Unsupported', what, outer.contentOffset, 'not SignedData')
  const wrapper = derTagged(explicit, TAG.context0, what, outer)
  const data = sequence(derChildren(wrapper, what)[0], what, wrapper)
  const [, , contentInfo, certificateSet, ...others] = derChildren(data, what)

  const info = sequence(contentInfo, 'SpcIndirectDataContent', data)
  const [contentType, content] = derChildren(info, 'SpcIndirectDataContent')
  if (derOid(contentType, 'SpcIndirectDataContent', info) !== SPC_INDIRECT_DATA)
    throw new Malformed('Unsupported', 'SpcIndirectDataContent', info.contentOffset, 'other content')
  const contentWrapper = derTagged(content, TAG.context0, 'SpcIndirectDataContent', info)
  const spc = sequence(
    derChildren(contentWrapper, 'SpcIndirectDataContent')[0],
    'SpcIndirectDataContent',
    contentWrapper,
  )
  const digestInfo = sequence(derChildren(spc, 'SpcIndirectDataContent')[1], 'DigestInfo', spc)
  const [algorithm, value] = derChildren(digestInfo, 'DigestInfo')

  const carried = derTagged(certificateSet, TAG.context0, what, data)
  const certificates = derChildren(carried, what).map((element) => certificateOf(element.whole, element.offset))
  const signers = others.find(({ tag }) => tag === TAG.set)
  const signerInfos = derChildren(derTagged(signers, TAG.set, 'SignerInfo', data), 'SignerInfo')
  if (signerInfos.length > 1)
    throw new Malformed('Unsupported', 'SignerInfo', signerInfos[1]?.offset ?? offset, 'more than one signer')
  const signer = sequence(signerInfos[0], 'SignerInfo', data)
  const [, issuerAndSerial, signerDigest, signedAttributes, , signature] = derChildren(signer, 'SignerInfo')
  const issued = sequence(issuerAndSerial, 'SignerInfo', signer)
  const attributes = derTagged(signedAttributes, TAG.context0, 'SignerInfo', signer)
  return {
    certificates,
    signer: certificates.find((one) => issuedAs(one, issued)),
    imageDigest: {
      algorithm: hashOf(algorithm, 'DigestInfo', digestInfo),
      value: derTagged(value, TAG.octetString, 'DigestInfo', digestInfo).content,
    },
    // Authenticode: over the content of the SEQUENCE, without its tag and length.
    content: spc.content,
    signerDigest: hashOf(signerDigest, 'SignerInfo', signer),
    stated: derTagged(attribute(attributes, MESSAGE_DIGEST), TAG.octetString, 'SignerInfo', attributes).content,
    statedType: derOid(attribute(attributes, CONTENT_TYPE), 'SignerInfo', attributes),
    attributes: concat(Uint8Array.of(TAG.set), attributes.whole.subarray(1)),
    signature: derTagged(signature, TAG.octetString, 'SignerInfo', signer).content,
  }
}

function sequence(element: Der | undefined, what: string, within: Der): Der {
  return derTagged(element, TAG.sequence, what, within)
}

function hashOf(element: Der | undefined, what: string, within: Der): BankName {
  const identifier = sequence(element, what, within)
  const oid = derOid(derChildren(identifier, what)[0], what, identifier)
  const known = HASHES[oid]
  if (!known) throw new Malformed('Unsupported', what, identifier.offset, `the hash algorithm ${oid}`)
  return known
}

/** The one value of the one attribute of this type. */
function attribute(attributes: Der, type: string): Der | undefined {
  const found = derChildren(attributes, 'SignerInfo').filter(
    (one) => derOid(derChildren(one, 'SignerInfo')[0], 'SignerInfo', one) === type,
  )
  const [only, second] = found
  if (only === undefined) return undefined
  const values = derTagged(derChildren(only, 'SignerInfo')[1], TAG.set, 'SignerInfo', only)
  const [value, another] = derChildren(values, 'SignerInfo')
  if (second || another)
    throw new Malformed(
      'BadValue',
      'SignerInfo',
      (second ?? another ?? only).offset,
      'a signed attribute of two values',
    )
  return value
}

/** Whether a certificate has the issuer and serial number that a SignerInfo names: RFC 5280, 4.1. */
function issuedAs(certificate: Certificate, issuerAndSerial: Der): boolean {
  const whole = derElement(certificate.der, 'Certificate')
  const tbs = derChildren(whole, 'Certificate')[0]
  if (!tbs) return false
  const fields = derChildren(tbs, 'Certificate')
  const [serial, , issuer] = fields[0]?.tag === TAG.context0 ? fields.slice(1) : fields
  return (
    serial !== undefined && issuer !== undefined && equal(issuerAndSerial.content, concat(issuer.whole, serial.whole))
  )
}

/** Reads a certificate far enough to name it. */
function certificateOf(der: Uint8Array, offset: number): Certificate {
  try {
    const { subject } = new X509Certificate(der)
    return { der, subject, sha256: toHex(digest('sha256', der)) }
  } catch {
    throw new Malformed('BadValue', 'Certificate', offset, 'not an X.509 certificate')
  }
}
