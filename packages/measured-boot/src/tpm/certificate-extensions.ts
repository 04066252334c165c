import { Malformed } from '../bytes.ts'
import { type Der, derChildren, derElement, derOid, derTagged, TAG } from '../der.ts'

/** What a certificate says about its own use (RFC 5280, 4.2), as far as node:crypto does not tell. */
export type CertificateExtensions = {
  readonly ca: boolean
  /** How many certificates of other CAs may follow below; undefined: any number. */
  readonly pathLength: number | undefined
  /** Of the extended key usages, and of the critical extensions that nobody here understands: content of their OIDs, in hex. */
  readonly uses: readonly string[]
  readonly unknownCritical: readonly string[]
}

/** 2.23.133.8.1, tcg-kp-EKCertificate. */
export const EK_USE = '6781050801'

const WHAT = 'Certificate'
const BOOLEAN = 0x01
const EXTENSIONS = 0xa3
const OID = { basicConstraints: '551d13', extendedKeyUsage: '551d25' }
/**
 * Critical, and not read here: the key usage, which checkIssued looks at; the SAN, where an EK certificate has its subject, is shown and decides nothing; policies bind
 * only whoever asks for one (RFC 5280, 6.1).
 */
const OTHERS = { keyUsage: '551d0f', subjectAltName: '551d11', certificatePolicies: '551d20' }
const UNDERSTOOD: readonly string[] = [...Object.values(OID), ...Object.values(OTHERS)]
/** Throws Malformed. `der` is one certificate that node:crypto has read. */
export function certificateExtensions(der: Uint8Array): CertificateExtensions {
  const certificate = derElement(der, WHAT)
  const [tbs] = derChildren(certificate, WHAT)
  const fields = derChildren(derTagged(tbs, TAG.sequence, WHAT, certificate), WHAT)
  const extensions = new Map<string, { critical: boolean; value: Der }>()
  for (const each of listed(fields.find(({ tag }) => tag === EXTENSIONS))) {
    const parts = derChildren(each, WHAT)
    const id = derOid(parts[0], WHAT, each)
    const critical = parts[1]?.tag === BOOLEAN && (parts[1].content[0] ?? 0) !== 0
    const octets = derTagged(parts.at(-1), TAG.octetString, WHAT, each)
    if (extensions.has(id)) throw new Malformed('BadValue', WHAT, each.offset, `extension ${id} a second time`)
    extensions.set(id, { critical, value: derElement(octets.content, WHAT, octets.contentOffset) })
  }
  const read = (id: string): Der | undefined => extensions.get(id)?.value
  const constraints = childrenOf(read(OID.basicConstraints))
  return {
    ca: constraints.some(({ tag, content }) => tag === BOOLEAN && content[0] !== 0),
    pathLength: numberOf(constraints.find(({ tag }) => tag === TAG.integer)),
    uses: childrenOf(read(OID.extendedKeyUsage)).map((use) => derOid(use, WHAT, use)),
    unknownCritical: [...extensions]
      .filter(([id, { critical }]) => critical && !UNDERSTOOD.includes(id))
      .map(([id]) => id),
  }
}

function listed(wrapper: Der | undefined): readonly Der[] {
  if (!wrapper) return []
  return derChildren(derTagged(derChildren(wrapper, WHAT)[0], TAG.sequence, WHAT, wrapper), WHAT)
}

const childrenOf = (element: Der | undefined): readonly Der[] => (element ? derChildren(element, WHAT) : [])

/** A path length; one that is negative or beyond a byte is none that anybody means, and allows nothing below. */
const numberOf = (integer: Der | undefined): number | undefined =>
  integer && (integer.content.length === 1 && (integer.content[0] ?? 0) < 0x80 ? integer.content[0] : 0)
