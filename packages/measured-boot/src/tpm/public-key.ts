import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { big, concat, Malformed } from '../bytes.ts'
import { CURVES, type PublicArea, writePublicArea } from './public-area.ts'

/**
 * The key in a public area. A template's empty point, a point that is not on its curve and a modulus that is too
 * short are Malformed, at the byte of TPMT_PUBLIC where the modulus or the point begins.
 */
export function publicKeyOf(area: PublicArea): KeyObject {
  if (area.type === 'rsa' && ((area.modulus[0] ?? 0) < 0x80 || (area.modulus.at(-1) ?? 0) % 2 === 0))
    throw notAKey(area, `the modulus is no odd number of ${area.keyBits} bits`)
  try {
    return createPublicKey({ key: jwkOf(area), format: 'jwk' })
  } catch {
    throw notAKey(area, area.type === 'rsa' ? 'the modulus is none' : `the point is not on ${area.curve}`)
  }
}

/** The same as SubjectPublicKeyInfo, in PEM. Throws Malformed. */
export function pemOf(area: PublicArea): string {
  return publicKeyOf(area).export({ type: 'spki', format: 'pem' }).toString()
}

function jwkOf(area: PublicArea): JsonWebKey {
  if (area.type === 'rsa')
    return { kty: 'RSA', n: base64url(area.modulus), e: base64url(big.u32(area.exponent || 65537)) }
  const { size } = CURVES[area.curve]
  return { kty: 'EC', crv: area.curve, x: base64url(padded(area.x, size)), y: base64url(padded(area.y, size)) }
}

/** A number as so many bytes: TPMs may leave leading zeros out. The caller has bounded its length. */
export function padded(number: Uint8Array, size: number): Uint8Array {
  return concat(new Uint8Array(size - number.length), number)
}

function notAKey(area: PublicArea, why: string): Malformed {
  const unique = area.type === 'rsa' ? 2 + area.modulus.length : 4 + area.x.length + area.y.length
  return new Malformed('BadValue', 'TPMT_PUBLIC', writePublicArea(area).length - unique, why)
}

const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
