import { X509Certificate } from 'node:crypto'
import { Malformed } from '../bytes.ts'
import { type CertificateExtensions, certificateExtensions, EK_USE } from './certificate-extensions.ts'
import { isWeaklySigned } from './certificate-signature.ts'
import type { PublicArea } from './public-area.ts'
import { publicKeyOf } from './public-key.ts'
import { attempt, type Fault } from './wire.ts'

const EK_CERTIFICATE_FAULTS = {
  Unreadable: 'is no certificate',
  TrailingBytes: 'goes on after the certificate has ended',
  TooMany: 'comes with more intermediates than any maker has',
  IsCa: 'is a CA’s own, not an endorsement key’s',
  NoEkUse: 'is not for an endorsement key (extended key usage 2.23.133.8.1)',
  OtherKey: 'is of another key than the EK',
  BadKey: 'cannot be compared: the EK’s public area holds no key',
  UnknownCritical: 'has a critical extension that nobody here understands',
  NotYetValid: 'is not valid yet',
  Expired: 'is not valid any more',
  UnknownIssuer: 'was issued by someone who is neither pinned nor sent along',
  WeakKey: 'has an RSA key below 2048 bits, and issued a certificate',
  WeakSignature:
    'is signed over SHA-1 or older, and whoever can make two certificates with one hash could have made it',
  WrongSignature: 'was not signed by the issuer that it names',
  IssuerNotCa: 'issued a certificate and is no CA’s',
  IssuerMayNotSign: 'issued a certificate, and its key may not sign any, or not this one',
  PathTooLong: 'allows fewer CAs below it than there are',
} as const
type EkCertificateFaultCode = keyof typeof EK_CERTIFICATE_FAULTS
export type EkCertificateFault = Fault<EkCertificateFaultCode>

export type EkCertificateToCheck = {
  /** DER, as they came with the request: nothing about them is believed. */
  readonly intermediates: readonly Uint8Array[]
  /** Pinned: what ends here is believed. */
  readonly roots: readonly X509Certificate[]
  readonly nowMs: number
  /** The endorsement key that claims the certificate. */
  readonly ek: PublicArea
}

const MOST_INTERMEDIATES = 16

type Link = {
  readonly certificate: X509Certificate
  readonly extensions: CertificateExtensions
  readonly isWeak: boolean
}

/**
 * Whether an EK certificate (TCG EK Credential Profile) is `ek`'s and leads to a pinned root: all that is wrong, and the
 * chain as far as it goes, the EK's first. Total. Revocation is not looked at: makers' lists cannot be had offline.
 */
export function checkEkCertificate(
  der: Uint8Array,
  given: EkCertificateToCheck,
): { readonly faults: readonly EkCertificateFault[]; readonly chain: readonly X509Certificate[] } {
  const leaf = readLink(der)
  if (!leaf) return { faults: [fault('Unreadable')], chain: [] }
  const faults: EkCertificateFault[] = []
  if (leaf.certificate.raw.length !== der.length) faults.push(fault('TrailingBytes'))
  if (leaf.extensions.ca) faults.push(fault('IsCa'))
  if (!leaf.extensions.uses.includes(EK_USE)) faults.push(fault('NoEkUse'))
  faults.push(...keyFaults(leaf.certificate, given.ek))
  const { path, end } = climb(leaf, given)
  path.forEach((link, index) => {
    faults.push(...validityFaults(link, index, given.nowMs))
    // The pinned one is believed for being pinned, whatever its signature.
    const isPinned = !end && index === path.length - 1
    if (!isPinned && link.isWeak) faults.push(fault('WeakSignature', nameOf(link, index)))
    if (!isPinned && index > 0 && hasWeakKey(link)) faults.push(fault('WeakKey', nameOf(link, index)))
    if (index > 0) faults.push(...issuerFaults(link, path[index - 1], index))
  })
  if (end) faults.push(end)
  return { faults, chain: path.map(({ certificate }) => certificate) }
}

const fault = (code: EkCertificateFaultCode, who = 'the EK certificate', more?: string): EkCertificateFault => ({
  code,
  message: `${who} ${EK_CERTIFICATE_FAULTS[code]}${more === undefined ? '' : `: ${more}`}`,
})

function readLink(bytes: Uint8Array | X509Certificate): Link | undefined {
  try {
    const certificate = bytes instanceof X509Certificate ? bytes : new X509Certificate(bytes)
    const extensions = certificateExtensions(new Uint8Array(certificate.raw))
    return { certificate, extensions, isWeak: isWeaklySigned(certificate) }
  } catch {
    return undefined
  }
}

function keyFaults(certificate: X509Certificate, ek: PublicArea): EkCertificateFault[] {
  const key = attempt(() => publicKeyOf(ek))
  if (key instanceof Malformed) return [fault('BadKey', 'the EK certificate', key.message)]
  try {
    return certificate.publicKey.equals(key) ? [] : [fault('OtherKey')]
  } catch {
    return [fault('OtherKey', 'the EK certificate', 'its key cannot be read')]
  }
}

/** From the leaf to a pinned root, or as far as it goes and why no farther. Each intermediate is tried once at most. */
function climb(
  leaf: Link,
  { intermediates, roots, nowMs }: EkCertificateToCheck,
): { path: Link[]; end?: EkCertificateFault } {
  if (intermediates.length > MOST_INTERMEDIATES)
    return { path: [leaf], end: fault('TooMany', 'the EK certificate', `${intermediates.length}`) }
  // Of two certificates of one CA, the one that is valid today leads on.
  const rising = (a: Link, b: Link) => Number(isValid(b, nowMs)) - Number(isValid(a, nowMs))
  let pool = intermediates.flatMap((der) => readLink(der) ?? []).sort(rising)
  const pinned = roots.flatMap((root) => readLink(root) ?? []).sort(rising)
  let best: { path: Link[]; end?: EkCertificateFault } | undefined
  const paths = [[leaf]]
  for (let path = paths.pop(); path; path = paths.pop()) {
    const last = path.at(-1) ?? leaf
    const root = pinned.find((candidate) => issued(candidate, last) === 'yes')
    if (root) return { path: [...path, root] }
    const issuers = pool.filter((candidate) => issued(candidate, last) === 'yes')
    pool = pool.filter((candidate) => !issuers.includes(candidate))
    for (const issuer of issuers.reverse()) paths.push([...path, issuer])
    if (issuers.length === 0 && (best === undefined || path.length > best.path.length)) {
      const named = [...pinned, ...pool].some((candidate) => issued(candidate, last) === 'by name')
      const code = named ? 'WrongSignature' : 'UnknownIssuer'
      best = { path, end: fault(code, nameOf(last, path.length - 1), textOf(last.certificate.issuer)) }
    }
  }
  return best ?? { path: [leaf], end: fault('UnknownIssuer') }
}

function issued({ certificate: issuer }: Link, { certificate }: Link): 'yes' | 'by name' | 'no' {
  if (issuer.subject === undefined || issuer.subject !== certificate.issuer) return 'no'
  try {
    return certificate.verify(issuer.publicKey) ? 'yes' : 'by name'
  } catch {
    return 'by name'
  }
}

const isValid = ({ certificate }: Link, nowMs: number): boolean =>
  certificate.validFromDate.getTime() <= nowMs && nowMs <= certificate.validToDate.getTime()

function validityFaults(link: Link, index: number, nowMs: number): EkCertificateFault[] {
  const { certificate, extensions } = link
  const who = nameOf(link, index)
  const faults: EkCertificateFault[] = []
  // Asked so that a date which cannot be read is no valid one.
  if (!(certificate.validFromDate.getTime() <= nowMs)) faults.push(fault('NotYetValid', who, certificate.validFrom))
  if (!(nowMs <= certificate.validToDate.getTime())) faults.push(fault('Expired', who, certificate.validTo))
  if (extensions.unknownCritical.length > 0)
    faults.push(fault('UnknownCritical', who, `OID ${extensions.unknownCritical.join(', ')} in hex`))
  return faults
}

/** `index` counts from the EK's certificate: below the CA at 1 there is no other CA. */
function issuerFaults(link: Link, below: Link | undefined, index: number): EkCertificateFault[] {
  const { certificate, extensions } = link
  const who = nameOf(link, index)
  const faults: EkCertificateFault[] = []
  if (!extensions.ca) faults.push(fault('IssuerNotCa', who))
  // Names in every byte, key identifiers, and a key usage that allows it.
  if (below && !below.certificate.checkIssued(certificate)) faults.push(fault('IssuerMayNotSign', who))
  if (extensions.pathLength !== undefined && index - 1 > extensions.pathLength)
    faults.push(fault('PathTooLong', who, `${extensions.pathLength}, and there are ${index - 1}`))
  return faults
}

// What is shorter has been factored, or could be.
function hasWeakKey({ certificate }: Link): boolean {
  const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey
  return asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) < 2048
}

const nameOf = ({ certificate }: Link, index: number): string =>
  index === 0 ? 'the EK certificate' : `the certificate of ${textOf(certificate.subject)}`

/** Names come from outside: one line of them. */
const textOf = (name: string | undefined): string => (name ?? 'nobody').replaceAll(/[^ -~]+/g, ', ').slice(0, 200)
