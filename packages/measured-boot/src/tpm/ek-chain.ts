import { X509Certificate } from 'node:crypto'
import { concat } from '../bytes.ts'
import { derElement, TAG } from '../der.ts'

// Certificates between an EK's and its maker's root, as a TPM keeps them: TCG EK Credential Profile, 2.2.1.5.2. In the NV
// indexes from 0x01c00100 to 0x01c001ff there lie certificates in DER, one behind the other; what does not fit into one
// index goes on in the next. Makers fill indexes up with zeros or ones.

export const EK_CHAIN_INDEXES = { first: 0x01c00100, last: 0x01c001ff } as const

/**
 * The certificates in the contents of the indexes, in order, at most so many. Total: what is none is passed over, up to the
 * next index that begins. Nothing about them is believed.
 */
export function certificatesIn(contents: readonly Uint8Array[], most: number): readonly X509Certificate[] {
  const whole = concat(...contents)
  const beginnings: number[] = []
  let end = 0
  for (const { length } of contents) {
    beginnings.push(end)
    end += length
  }
  const found: X509Certificate[] = []
  for (let at = 0; at < whole.length && found.length < most; ) {
    if (whole[at] === 0x00 || whole[at] === 0xff) {
      at += 1
      continue
    }
    const certificate = certificateAt(whole.subarray(at))
    if (certificate) found.push(certificate)
    at = certificate ? at + certificate.raw.length : (beginnings.find((begin) => begin > at) ?? whole.length)
  }
  return found
}

function certificateAt(bytes: Uint8Array): X509Certificate | undefined {
  try {
    const { tag, whole } = derElement(bytes, 'Certificate')
    return tag === TAG.sequence ? new X509Certificate(whole) : undefined
  } catch {
    return undefined
  }
}

/** Of these certificates, those that lead up from an EK's by the names they bear, the nearest first, at most so many. */
export function chainFrom(
  ekCertificate: Uint8Array,
  certificates: readonly X509Certificate[],
  most: number,
): readonly Uint8Array[] {
  const leaf = certificateAt(ekCertificate)
  const chain: X509Certificate[] = []
  let wanted = new Set(leaf ? [leaf.issuer] : [])
  while (wanted.size > 0 && chain.length < most) {
    const next = certificates.filter((one) => !chain.includes(one) && wanted.has(one.subject))
    chain.push(...next)
    wanted = new Set(next.map(({ issuer }) => issuer))
  }
  return chain.slice(0, most).map(({ raw }) => new Uint8Array(raw))
}
