import { createPublicKey, type KeyObject } from 'node:crypto'
import { big, concat, Malformed } from '../bytes.ts'
import { derWritten, TAG } from '../der.ts'
import { CURVES, type Curve, type PublicArea, writePublicArea } from './public-area.ts'

/**
 * The key in a public area. A template's empty point, a point that is not on its curve and a modulus that is too
 * short are Malformed, at the byte of TPMT_PUBLIC where the modulus or the point begins.
 */
export function publicKeyOf(area: PublicArea): KeyObject {
  if (area.type === 'rsa' && ((area.modulus[0] ?? 0) < 0x80 || (area.modulus.at(-1) ?? 0) % 2 === 0))
    throw notAKey(area, `the modulus is no odd number of ${area.keyBits} bits`)
  try {
    return createPublicKey(area.type === 'rsa' ? { key: jwkOf(area), format: 'jwk' } : spkiOf(area))
  } catch {
    throw notAKey(area, area.type === 'rsa' ? 'the modulus is none' : `the point is not on ${area.curve}`)
  }
}

function jwkOf({ modulus, exponent }: Extract<PublicArea, { type: 'rsa' }>) {
  return { kty: 'RSA', n: base64url(modulus), e: base64url(big.u32(exponent || 65537)) }
}

/** Object identifiers of id-ecPublicKey and of the curves (RFC 5480, 2.1). */
const EC_PUBLIC_KEY = Uint8Array.of(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01)
const CURVE_OIDS: Readonly<Record<Curve, Uint8Array>> = {
  'P-256': Uint8Array.of(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07),
  'P-384': Uint8Array.of(0x2b, 0x81, 0x04, 0x00, 0x22),
  'P-521': Uint8Array.of(0x2b, 0x81, 0x04, 0x00, 0x23),
}

/** SubjectPublicKeyInfo (RFC 5480, 2) up to the coordinates, which are all that two keys of one curve differ in. */
function spkiHead(curve: Curve): Uint8Array {
  const algorithm = [EC_PUBLIC_KEY, CURVE_OIDS[curve]].map((oid) => derWritten(TAG.oid, oid))
  const coordinates = new Uint8Array(CURVES[curve].size * 2)
  // No unused bits; an uncompressed point.
  const point = derWritten(TAG.bitString, Uint8Array.of(0, 4), coordinates)
  const spki = derWritten(TAG.sequence, derWritten(TAG.sequence, ...algorithm), point)
  return spki.subarray(0, spki.length - coordinates.length)
}
const SPKI_HEADS: Readonly<Record<Curve, Uint8Array>> = {
  'P-256': spkiHead('P-256'),
  'P-384': spkiHead('P-384'),
  'P-521': spkiHead('P-521'),
}

/** RFC 7468, 2. */
const PEM_LINE = 64

/** The key in PEM: Node takes a text in half of the time that it takes over a JWK or DER, in lines as PEM has them. */
function spkiOf({ curve, x, y }: Extract<PublicArea, { type: 'ecc' }>): string {
  const { size } = CURVES[curve]
  const spki = Buffer.concat([SPKI_HEADS[curve], padded(x, size), padded(y, size)])
  const text = spki.toString('base64')
  let lines = ''
  for (let at = 0; at < text.length; at += PEM_LINE) lines += `${text.slice(at, at + PEM_LINE)}\n`
  return `-----BEGIN PUBLIC KEY-----\n${lines}-----END PUBLIC KEY-----\n`
}

/** A number as so many bytes: TPMs may leave leading zeros out. The caller has bounded its length. */
export function padded(number: Uint8Array, size: number): Uint8Array {
  return number.length === size ? number : concat(new Uint8Array(size - number.length), number)
}

function notAKey(area: PublicArea, why: string): Malformed {
  const unique = area.type === 'rsa' ? 2 + area.modulus.length : 4 + area.x.length + area.y.length
  return new Malformed('BadValue', 'TPMT_PUBLIC', writePublicArea(area).length - unique, why)
}

const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
