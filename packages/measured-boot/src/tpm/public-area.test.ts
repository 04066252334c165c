import { describe, expect, test } from 'vitest'
import { Malformed, toHex } from '../bytes.ts'
import { nameOf, parsePublic, parsePublicArea, writePublic, writePublicArea } from './public-area.ts'
import { publicKeyOf } from './public-key.ts'
import { bytesOf, fuzz, recorded, recordedText } from './recorded/fixtures.ts'

const NAMED = [
  'ak-ecc256',
  'ak-ecc384',
  'ak-ecc521',
  'ak-rsa2048',
  'ak-pss',
  'ak-rsa3072',
  'bad-sha1',
  'bad-free',
  'bad-decrypt',
  'node-key',
]
const EKS = ['ek-rsa2048', 'ek-rsa3072', 'ek-ecc256', 'ek-ecc384', 'ek-ecc521']
const published = (name: string) => recorded(`${name}.pub`)

test.each(NAMED)('%s: name and key are what tpm2-tools say they are, and writing gives the bytes back', (name) => {
  const area = parsePublic(published(name))
  expect(toHex(nameOf(area))).toBe(toHex(recorded(`${name}.name`)))
  expect(publicKeyOf(area).export({ type: 'spki', format: 'pem' })).toBe(recordedText(`${name}.pem`))
  expect(toHex(writePublic(area))).toBe(toHex(published(name)))
})

test.each(EKS)('%s is read, key and all, and written as it was', (name) => {
  const area = parsePublic(published(name))
  expect(publicKeyOf(area).type).toBe('public')
  expect(toHex(writePublic(area))).toBe(toHex(published(name)))
})

test('what a public area says has the names of the specification', () => {
  expect(parsePublic(published('ak-ecc256'))).toMatchObject({
    type: 'ecc',
    nameAlg: 'sha256',
    attributes: ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'userWithAuth', 'restricted', 'sign'],
    authPolicy: new Uint8Array(),
    symmetric: null,
    scheme: { algorithm: 'ecdsa', hash: 'sha256' },
    curve: 'P-256',
    kdf: null,
  })
  expect(parsePublic(published('ek-rsa2048'))).toMatchObject({
    type: 'rsa',
    attributes: ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'adminWithPolicy', 'restricted', 'decrypt'],
    symmetric: { keyBits: 128 },
    scheme: null,
    keyBits: 2048,
    exponent: 0,
  })
  expect(parsePublic(published('ak-pss')).scheme).toEqual({ algorithm: 'rsapss', hash: 'sha256' })
})

describe('what is refused, with the byte', () => {
  const good = toHex(published('ak-ecc256').subarray(2))
  // type nameAlg attributes policy symmetric scheme curve kdf x y
  const [head, x, y] = [good.slice(0, 40), good.slice(44, 108), good.slice(112)]
  const where = (hex: string) => {
    try {
      publicKeyOf(parsePublicArea(bytesOf(hex)))
      return 'read'
    } catch (error) {
      return error instanceof Malformed ? `${error.code} ${error.offset}` : String(error)
    }
  }
  test.each([
    ['nothing at all', '', 'Truncated 0'],
    ['the whole', `${head}0020${x}0020${y}`, 'read'],
    ['a byte too many', `${good}00`, 'TrailingBytes 88'],
    ['a byte too few', good.slice(0, -2), 'Truncated 56'],
    ['a symmetric key object', good.replace(/^0023/, '0025'), 'Unsupported 0'],
    ['a name by an unknown hash', good.replace(/^0023000b/, '00230012'), 'Unsupported 2'],
    ['no name at all', good.replace(/^0023000b/, '00230010'), 'Unsupported 2'],
    ['a reserved attribute', good.replace('00050072', '00050073'), 'BadValue 4'],
    ['another reserved attribute', good.replace('00050072', '80050072'), 'BadValue 4'],
    ['a policy that is no digest', `${good.slice(0, 16)}0001aa${good.slice(20)}`, 'BadValue 8'],
    ['a scheme of another type', `${good.slice(0, 24)}0014${good.slice(28)}`, 'Unsupported 12'],
    ['an unknown curve', `${good.slice(0, 32)}0010${good.slice(36)}`, 'Unsupported 16'],
    ['a coordinate longer than its curve', `${head}002100${x}0020${y}`, 'TooLarge 20'],
    ['a point that is not on the curve', `${head}0020${x}0020${x}`, 'BadValue 20'],
    ['the point of a template', `${head}00000000`, 'BadValue 20'],
    ['the point zero', `${head}0020${'00'.repeat(32)}0020${'00'.repeat(32)}`, 'BadValue 20'],
  ])('%s', (_, hex, expected) => {
    expect(where(hex)).toBe(expected)
  })

  const rsa = toHex(published('ak-rsa2048').subarray(2))
  test.each([
    ['a modulus of half the size', `${rsa.slice(0, 44)}0080${rsa.slice(-256)}`, 'BadValue 22'],
    ['a modulus that begins with zero', `${rsa.slice(0, 48)}00${rsa.slice(50)}`, 'BadValue 22'],
    ['an even modulus', `${rsa.slice(0, -1)}0`, 'BadValue 22'],
    ['the modulus of a template', `${rsa.slice(0, 44)}0000`, 'BadValue 22'],
    ['an even exponent', `${rsa.slice(0, 36)}00010002${rsa.slice(44)}`, 'BadValue 18'],
    ['a small exponent', `${rsa.slice(0, 36)}00000003${rsa.slice(44)}`, 'BadValue 18'],
    ['1024 bits', `${rsa.slice(0, 32)}0400${rsa.slice(36)}`, 'Unsupported 16'],
  ])('%s', (_, hex, expected) => {
    expect(where(hex)).toBe(expected)
  })

  test('the whole of a TPM2B counts too', () => {
    const bytes = published('ak-ecc256')
    expect(() => parsePublic(bytes.subarray(0, 60))).toThrow('TPM2B_PUBLIC, byte 2: 88 bytes wanted, 58 left')
    expect(() => parsePublic(Uint8Array.from([...bytes, 0]))).toThrow(/TPM2B_PUBLIC, byte 90/)
    const far = bytes.slice()
    far[19] = 9
    expect(() => parsePublic(far)).toThrow('TPMT_PUBLIC, byte 18: curve 0x0009')
  })
})

test('coordinates that a TPM wrote without their leading zeros make the same key', () => {
  const ak = parsePublic(published('ak-ecc256'))
  if (ak.type !== 'ecc') throw new Error('the recording is no ECC key')
  const x = bytesOf('00a6e189aedf7f44bc7668a397c756a9654b94939593143fcec02e5f00e59fdb')
  const y = bytesOf('866c8d2ad71acf95705dae531d81b2beae318e753d7d6828f3f4fd0e26b612d8')
  const [long, short] = [
    { ...ak, x, y },
    { ...ak, x: x.subarray(1), y },
  ]
  expect(publicKeyOf(short).equals(publicKeyOf(long))).toBe(true)
  expect(toHex(nameOf(short))).not.toBe(toHex(nameOf(long)))
})

test('any bytes are a public area that is written as it was read, or Malformed', () => {
  const good = [...NAMED, ...EKS].map(published)
  fuzz(good, parsePublic, writePublic)
  fuzz(
    good.map((bytes) => bytes.subarray(2)),
    parsePublicArea,
    writePublicArea,
  )
  fuzz(good, (bytes) => publicKeyOf(parsePublic(bytes)))
})
