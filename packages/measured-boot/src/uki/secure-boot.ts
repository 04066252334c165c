import { X509Certificate } from 'node:crypto'
import { type Bank, digest, extended } from '../banks.ts'
import { concat, equal } from '../bytes.ts'
import { guidBytes } from '../guid.ts'
import { authenticodeDigest } from './authenticode.ts'
import { type Certificate, type ImageSignature, imageSignatures } from './image-signature.ts'
import { parsePe } from './pe.ts'
import { parseSignatureLists, type SignatureEntry, type SignatureList, signatureData } from './signature-list.ts'

/** The contents of a firmware's Secure Boot variables: signature lists, empty where nothing is enrolled. */
export type SecureBootVariables = {
  readonly pk: Uint8Array
  readonly kek: Uint8Array
  readonly db: Uint8Array
  readonly dbx: Uint8Array
}

/** A machine in setup mode. */
export const NOTHING_ENROLLED: SecureBootVariables = {
  pk: new Uint8Array(),
  kek: new Uint8Array(),
  db: new Uint8Array(),
  dbx: new Uint8Array(),
}

export const REFUSALS = {
  Unsigned: 'the image has no signature, and db does not name its digest',
  BadSignature: 'no signature of the image is good',
  NotInDb: 'no signer of the image leads to a certificate in db',
  Forbidden: 'dbx names the image or a certificate behind its signature',
} as const
type Refusal = keyof typeof REFUSALS

/** The entry of db by which a firmware starts an image, or why it does not. */
export type Authority =
  | { readonly allowed: true; readonly entry: SignatureEntry }
  | { readonly allowed: false; readonly reason: Refusal }

/** All that a firmware asks of an image: its Authenticode digest, and who signed it. A manifest can say so before the bytes are there. */
export type SignedImage = {
  readonly sha256: Uint8Array
  readonly signatures: readonly Pick<ImageSignature, 'verdict' | 'signer' | 'certificates'>[]
}

export function signedImageOf(image: Uint8Array): SignedImage {
  const pe = parsePe(image)
  return { sha256: authenticodeDigest(image, 'sha256', pe), signatures: imageSignatures(image, pe) }
}

/** What a firmware with these variables decides (UEFI, 32.5.3.3; EDK2, DxeImageVerificationHandler): dbx before db. */
export function authorityOf({ sha256, signatures }: SignedImage, { db, dbx }: SecureBootVariables): Authority {
  const [allowed, forbidden] = [parseSignatureLists(db), parseSignatureLists(dbx)]
  const refuse = (reason: Refusal): Authority => ({ allowed: false, reason })
  if (entries(forbidden, 'sha256').some(({ data }) => equal(data, sha256))) return refuse('Forbidden')
  const banned = entries(forbidden, 'x509')
  if (signatures.some((one) => banned.some((entry) => leadsTo(one, entry.data)))) return refuse('Forbidden')
  const good = signatures.filter(({ verdict }) => verdict === 'Good')
  for (const signature of good) {
    const entry = entries(allowed, 'x509').find(({ data }) => leadsTo(signature, data))
    if (entry) return { allowed: true, entry }
  }
  const byDigest = entries(allowed, 'sha256').find(({ data }) => equal(data, sha256))
  if (byDigest) return { allowed: true, entry: byDigest }
  if (signatures.length === 0) return refuse('Unsigned')
  return refuse(good.length === 0 ? 'BadSignature' : 'NotInDb')
}

const GLOBAL = guidBytes('8be4df61-93ca-11d2-aa0d-00e098032b8c')
const SECURITY_DATABASE = guidBytes('d719b2cb-3d3a-4596-a3bc-dad00e67656f')

/**
 * PCR 7: the state and lists of Secure Boot, and each entry of db by which an image was started, once (TCG PC Client
 * Platform Firmware Profile, 3.3.4.8). `authorities` are of the images in the order they start in.
 */
export function predictPcr7(
  bank: Bank,
  secureBoot: boolean,
  variables: SecureBootVariables,
  authorities: readonly SignatureEntry[],
): Uint8Array {
  const measured = [
    variableData(GLOBAL, 'SecureBoot', Uint8Array.of(secureBoot ? 1 : 0)),
    variableData(GLOBAL, 'PK', variables.pk),
    variableData(GLOBAL, 'KEK', variables.kek),
    variableData(SECURITY_DATABASE, 'db', variables.db),
    variableData(SECURITY_DATABASE, 'dbx', variables.dbx),
    new Uint8Array(4),
  ]
  const used: Uint8Array[] = []
  for (const entry of secureBoot ? authorities.map(signatureData) : [])
    if (!used.some((one) => equal(one, entry))) used.push(entry)
  measured.push(...used.map((entry) => variableData(SECURITY_DATABASE, 'db', entry)))
  return extended(
    bank,
    measured.map((data) => digest(bank, data)),
  )
}

/** UEFI_VARIABLE_DATA of the same profile, 10.4.2.6. */
function variableData(guid: Uint8Array, name: string, data: Uint8Array): Uint8Array {
  const lengths = new DataView(new ArrayBuffer(16))
  lengths.setUint32(0, name.length, true)
  lengths.setUint32(8, data.length, true)
  return concat(guid, new Uint8Array(lengths.buffer), Buffer.from(name, 'utf16le'), data)
}

function entries(lists: readonly SignatureList[], kind: SignatureList['kind']): readonly SignatureEntry[] {
  return lists.flatMap((list) => (list.kind === kind ? list.entries : []))
}

/** Whether a signature's signer is this certificate or was issued by it, through certificates that it carries. */
function leadsTo({ signer, certificates }: SignedImage['signatures'][number], anchor: Uint8Array): boolean {
  if (!signer) return false
  const left = new Map<string, Certificate>(certificates.map((one) => [one.sha256, one]))
  left.delete(signer.sha256)
  const reached: Certificate[] = [signer]
  for (let one = reached.pop(); one; one = reached.pop()) {
    if (equal(one.der, anchor) || issuedBy(one.der, anchor)) return true
    for (const [sha256, issuer] of left)
      if (issuedBy(one.der, issuer.der)) {
        left.delete(sha256)
        reached.push(issuer)
      }
  }
  return false
}

function issuedBy(certificate: Uint8Array, issuer: Uint8Array): boolean {
  try {
    const [one, other] = [new X509Certificate(certificate), new X509Certificate(issuer)]
    return one.checkIssued(other) && one.verify(other.publicKey)
  } catch {
    // An entry of a list need not be a certificate that OpenSSL reads: then it has issued nothing.
    return false
  }
}
