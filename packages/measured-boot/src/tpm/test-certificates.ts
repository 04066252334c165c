import { constants, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { concat } from '../bytes.ts'

// Certificates that no honest maker makes, in DER, for tests.

const tlv = (tag: number, ...content: Uint8Array[]): Uint8Array => {
  const whole = concat(...content)
  const { length } = whole
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return concat(Uint8Array.of(tag, ...size), whole)
}
const text = (value: string) => new TextEncoder().encode(value)
const hex = (value: string) => new Uint8Array(Buffer.from(value, 'hex'))
const oid = (value: string) => tlv(0x06, hex(value))
const name = (cn: string) => tlv(0x30, tlv(0x31, tlv(0x30, oid('550403'), tlv(0x0c, text(cn)))))
const time = (ms: number) => tlv(0x18, text(`${new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, '')}`))

export type Extension = { oid: string; critical?: boolean; value: Uint8Array }
export const basicConstraints = (ca: boolean, pathLength?: number): Extension => ({
  oid: '551d13',
  critical: true,
  value: tlv(
    0x30,
    ...(ca ? [tlv(0x01, Uint8Array.of(0xff))] : []),
    ...(pathLength === undefined ? [] : [tlv(0x02, Uint8Array.of(pathLength))]),
  ),
})
export const keyUsage = (bits: number): Extension => ({
  oid: '551d0f',
  critical: true,
  value: tlv(0x03, Uint8Array.of(0, bits)),
})
export const extendedKeyUsage = (use: string): Extension => ({ oid: '551d25', value: tlv(0x30, oid(use)) })
export const unknownCritical: Extension = { oid: '2a0304', critical: true, value: tlv(0x05) }

export const criticalPolicies: Extension = { oid: '551d20', critical: true, value: tlv(0x30, tlv(0x30, oid('2a0304'))) }

export type Holder = { name: string; publicKey: KeyObject; privateKey: KeyObject }
export const holder = (called: string, bits?: number): Holder => ({
  name: called,
  ...(bits ? generateKeyPairSync('rsa', { modulusLength: bits }) : generateKeyPairSync('ec', { namedCurve: 'P-256' })),
})

export type Signed = 'sha256' | 'sha1' | 'pss-sha1' | 'pss-sha256'
const NULL = tlv(0x05)
const pss256 = tlv(
  0x30,
  tlv(0xa0, tlv(0x30, oid('608648016503040201'), NULL)),
  tlv(0xa1, tlv(0x30, oid('2a864886f70d010108'), tlv(0x30, oid('608648016503040201'), NULL))),
  tlv(0xa2, tlv(0x02, Uint8Array.of(32))),
)
const RSA: Record<Signed, Uint8Array[]> = {
  sha256: [oid('2a864886f70d01010b'), NULL],
  sha1: [oid('2a864886f70d010105'), NULL],
  // No parameter is given: the hash is SHA-1 then.
  'pss-sha1': [oid('2a864886f70d01010a'), tlv(0x30)],
  'pss-sha256': [oid('2a864886f70d01010a'), pss256],
}
const ECDSA: Record<Signed, Uint8Array[]> = {
  sha256: [oid('2a8648ce3d040302')],
  sha1: [oid('2a8648ce3d0401')],
  'pss-sha1': [],
  'pss-sha256': [],
}

/** X.509 v3: `issuer` certifies that `publicKey` is `subject`'s. */
export function certificate(
  issuer: Holder,
  subject: { name: string; publicKey: KeyObject },
  {
    from,
    to,
    extensions,
    signed = 'sha256',
  }: { from: number; to: number; extensions: readonly Extension[]; signed?: Signed },
): Uint8Array {
  const rsa = issuer.privateKey.asymmetricKeyType === 'rsa'
  const algorithm = tlv(0x30, ...(rsa ? RSA : ECDSA)[signed])
  const listed = extensions.map(({ oid: id, critical, value }) =>
    tlv(0x30, oid(id), ...(critical ? [tlv(0x01, Uint8Array.of(0xff))] : []), tlv(0x04, value)),
  )
  const tbs = tlv(
    0x30,
    tlv(0xa0, tlv(0x02, Uint8Array.of(2))),
    tlv(0x02, Uint8Array.of(7)),
    algorithm,
    name(issuer.name),
    tlv(0x30, time(from), time(to)),
    name(subject.name),
    new Uint8Array(subject.publicKey.export({ type: 'spki', format: 'der' })),
    tlv(0xa3, tlv(0x30, ...listed)),
  )
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
  const key = signed.startsWith('pss') ? { key: issuer.privateKey, ...pss } : issuer.privateKey
  const signature = new Uint8Array(sign(signed.endsWith('sha1') ? 'sha1' : 'sha256', tbs, key))
  return tlv(0x30, tbs, algorithm, tlv(0x03, Uint8Array.of(0), signature))
}
