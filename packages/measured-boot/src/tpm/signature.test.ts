import { constants, generateKeyPairSync, sign } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { BANKS } from '../banks.ts'
import { big, concat, toHex } from '../bytes.ts'
import { type EccArea, parsePublic, type RsaArea } from './public-area.ts'
import { bytesOf, fuzz, recorded } from './recorded/fixtures.ts'
import { parseSignature, type Signature, verifyBy } from './signature.ts'
import { ALG, sized } from './wire.ts'

const SIGNED = ['ak-ecc256', 'ak-ecc384', 'ak-ecc521', 'ak-rsa2048', 'ak-pss', 'ak-rsa3072']
const of = (name: string) => ({
  area: parsePublic(recorded(`${name}.pub`)),
  message: recorded(`${name}.quote`),
  signature: recorded(`${name}.sig`),
})
const codeOf = (...given: Parameters<typeof verifyBy>) => verifyBy(...given)?.code

const write = (signature: Signature): Uint8Array =>
  concat(
    big.u16(ALG[signature.algorithm]),
    big.u16(BANKS[signature.hash].id),
    ...(signature.algorithm === 'ecdsa' ? [sized(signature.r), sized(signature.s)] : [sized(signature.bytes)]),
  )

/** A signature whose r begins with a zero byte: public test vector, its key was thrown away. */
const SHORT = {
  message: new TextEncoder().encode('short'),
  x: bytesOf('e070acd6b7fe31226953cf84f083f049c7b6f8bbab43a48162f1b554338ffd7e'),
  y: bytesOf('8498d7259c78dd0e0d3533f6a5cf8aaaca5867d7ffed70cf136243c90dab5010'),
  r: bytesOf('000e5fbbab349ebaf002a1bb00ca759352a77d4d9b99a30ec778416922e094d9'),
  s: bytesOf('de2b0adec0481df0a5b5f668ad692f1cea38c3aa13f2ef256c128dd6807d9269'),
}

test.each(SIGNED)('%s signed its quote, and no other key did', (name) => {
  const { area, message, signature } = of(name)
  expect(verifyBy(area, message, signature)).toBeUndefined()
  for (const other of SIGNED.filter((key) => key !== name))
    expect(['WrongScheme', 'WrongSignature']).toContain(codeOf(of(other).area, message, signature))
})

test.each(SIGNED)('%s: no bit of message or signature may differ', (name) => {
  const { area, message, signature } = of(name)
  // Every bit of the signature's head, then one bit of each byte; all kinds of byte are the same to the mathematics.
  for (let bit = 0; bit < message.length * 8; bit += 61)
    expect(codeOf(area, flipped(message, bit), signature)).toBe('WrongSignature')
  for (let bit = 0; bit < signature.length * 8; bit += bit < 64 ? 1 : 61)
    expect(verifyBy(area, message, flipped(signature, bit))).toBeDefined()
})

test("the scheme is the key's own: a signature under another name is refused though its numbers are right", () => {
  const { area, message, signature } = of('ak-ecc256')
  const parsed = parseSignature(signature)
  expect(verifyBy(area, message, write({ ...parsed, hash: 'sha384' }))).toMatchObject({
    code: 'WrongScheme',
    message: 'made with ecdsa and sha384, and the key signs with ecdsa and sha256',
  })
  const pss = of('ak-pss')
  const asOther = { ...parseSignature(pss.signature), algorithm: 'rsassa' } as Signature
  expect(codeOf(pss.area, pss.message, write(asOther))).toBe('WrongScheme')
})

test('SHA-1 is refused, and so is a key that would let the signature choose', () => {
  const { area, message, signature } = of('bad-sha1')
  expect(codeOf(area, message, signature)).toBe('UntrustedHash')
  const good = of('ak-ecc256')
  expect(codeOf({ ...(good.area as EccArea), scheme: null }, good.message, good.signature)).toBe('NoScheme')
})

describe('r and s', () => {
  const { area, message, signature } = of('ak-ecc256')
  const parsed = parseSignature(signature)
  if (parsed.algorithm !== 'ecdsa') throw new Error('the recording is no ECDSA signature')
  test.each([
    ['zero r', { ...parsed, r: new Uint8Array(32) }, 'WrongSignature', 'r is zero'],
    ['zero s', { ...parsed, s: new Uint8Array(32) }, 'WrongSignature', 's is zero'],
    ['empty s', { ...parsed, s: new Uint8Array() }, 'WrongSignature', 's is zero'],
    [
      'an r longer than the curve',
      { ...parsed, r: concat(new Uint8Array(1), parsed.r) },
      'WrongSignature',
      'r has 33 bytes, and the curve 32',
    ],
    ['an s longer than any curve', { ...parsed, s: new Uint8Array(67) }, 'TooLarge', '67 bytes announced'],
  ])('%s is refused', (_, bad, code, why) => {
    expect(verifyBy(area, message, write(bad))).toMatchObject({ code, message: expect.stringContaining(why) })
  })

  test('are what they are where the TPM left their leading zeros out', () => {
    const short = { ...parsed, r: SHORT.r.subarray(1), s: SHORT.s }
    const key = { ...(area as EccArea), x: SHORT.x, y: SHORT.y }
    expect(SHORT.r[0]).toBe(0)
    expect(verifyBy(key, SHORT.message, write(short))).toBeUndefined()
    expect(verifyBy(key, SHORT.message, write({ ...parsed, r: SHORT.r, s: SHORT.s }))).toBeUndefined()
  })
})

test.each([
  ['as long as the hash', constants.RSA_PSS_SALTLEN_DIGEST],
  ['as long as fits', constants.RSA_PSS_SALTLEN_MAX_SIGN],
])('a salt %s is good', (_, saltLength) => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const modulus = new Uint8Array(Buffer.from(publicKey.export({ format: 'jwk' }).n ?? '', 'base64url'))
  const message = new TextEncoder().encode('message')
  const bytes = sign('sha256', message, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength })
  const area = { ...(of('ak-pss').area as RsaArea), modulus }
  expect(verifyBy(area, message, write({ algorithm: 'rsapss', hash: 'sha256', bytes }))).toBeUndefined()
})

test('a point that is none is a fault and no exception', () => {
  const { area, message, signature } = of('ak-ecc256')
  const { x } = area as EccArea
  expect(codeOf({ ...(area as EccArea), y: x }, message, signature)).toBe('BadValue')
})

test.each([
  ['an unknown algorithm', '001a 000b 0000 0000', 'Unsupported', 0],
  ['no signature', '0010', 'Unsupported', 0],
  ['an unknown hash', '0018 0012 0000 0000', 'Unsupported', 2],
  ['a signature longer than any key', '0014 000b 0181', 'TooLarge', 4],
  ['a byte behind', '0018 000b 0001 01 0001 01 00', 'TrailingBytes', 10],
  ['nothing', '', 'Truncated', 0],
])('%s is refused', (_, hex, code, offset) => {
  expect(() => parseSignature(bytesOf(hex))).toThrow(expect.objectContaining({ code, offset, what: 'TPMT_SIGNATURE' }))
})

test('any bytes are a signature that is written as it was read, or Malformed', () => {
  fuzz(
    SIGNED.map((name) => recorded(`${name}.sig`)),
    parseSignature,
    write,
  )
  const { area, message, signature } = of('ak-ecc256')
  fuzz([signature], (bytes) => {
    expect(verifyBy(area, message, bytes) === undefined).toBe(toHex(bytes) === toHex(signature))
  })
})

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice()
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}
