import { sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { concat, equal, toHex } from '../bytes.ts'
import { type Der, derChildren, derElement, TAG } from '../der.ts'
import { authenticodeDigest } from './authenticode.ts'
import { fileOf, fuzz, haveTool, makeKey, patched, run, sbsigned, scratch, thrown, tinyPe } from './fixture.ts'
import { imageSignatures } from './image-signature.ts'
import { parsePe } from './pe.ts'

const haveTools = haveTool('openssl') && haveTool('sbsign')
const dir = scratch()
let keys: { one: ReturnType<typeof makeKey>; two: ReturnType<typeof makeKey> }
let signed: Uint8Array

/** Where these bytes stand in the file, once. */
function find(file: Uint8Array, part: Uint8Array): number {
  const at = Buffer.from(file).indexOf(part)
  expect(at).toBeGreaterThan(0)
  return at
}
const flipped = (file: Uint8Array, at: number) => patched(file, [at, 1, (file[at] ?? 0) ^ 1])

describe.skipIf(!haveTools)('the signatures of an image', () => {
  beforeAll(() => {
    keys = { one: makeKey(dir, 'one'), two: makeKey(dir, 'two') }
    signed = sbsigned(dir, keys.one, tinyPe())
  })

  test('are none where there is no certificate table', () => {
    expect(imageSignatures(tinyPe())).toEqual([])
  })

  test('name the signer, the digest and that both are good, as sbverify says', () => {
    const [only, ...others] = imageSignatures(signed)
    expect(others).toEqual([])
    expect(only).toMatchObject({ verdict: 'Good', signer: { subject: 'CN=Edge one' }, digestAlgorithm: 'sha256' })
    expect(toHex(only?.signer?.der ?? new Uint8Array())).toBe(toHex(keys.one.der))
    expect(toHex(only?.digest ?? new Uint8Array())).toBe(toHex(authenticodeDigest(tinyPe(), 'sha256')))
    expect(run('sbverify', ['--cert', keys.one.crt, fileOf(dir, signed)])).toMatch(/Signature verification OK/)
  })

  test('are as many as signed it', () => {
    const twice = sbsigned(dir, keys.two, signed)
    expect(imageSignatures(twice).map(({ verdict, signer }) => [verdict, signer?.subject])).toEqual([
      ['Good', 'CN=Edge one'],
      ['Good', 'CN=Edge two'],
    ])
  })

  test('of a padded file are over the padding', () => {
    const odd = sbsigned(dir, keys.one, tinyPe({ trailing: 3 }))
    expect(imageSignatures(odd).map(({ verdict }) => verdict)).toEqual(['Good'])
    expect(toHex(authenticodeDigest(odd, 'sha256'))).not.toBe(
      toHex(authenticodeDigest(tinyPe({ trailing: 3 }), 'sha256')),
    )
  })

  test('made with RSA-3072 and with P-256 are good', () => {
    for (const kind of [['rsa:3072'], ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']])
      expect(imageSignatures(sbsigned(dir, makeKey(dir, kind.join('-'), kind), tinyPe()))).toMatchObject([
        { verdict: 'Good' },
      ])
  })

  test('of another image say so', () => {
    expect(imageSignatures(flipped(signed, 0x210))).toMatchObject([{ verdict: 'OtherImage' }])
  })

  test.each<[string, string, () => number]>([
    [
      'the digest it states',
      'OtherContent',
      () => find(signed, imageSignatures(signed)[0]?.digest ?? new Uint8Array()),
    ],
    ['its last byte, of the signature', 'BadSignature', () => lastOf(signed)],
  ])('that differ in %s are %s', (_, verdict, at) => {
    expect(imageSignatures(flipped(signed, at()))).toMatchObject([{ verdict }])
  })

  test('whose signer is not among their certificates are NoSigner', () => {
    const two = imageSignatures(sbsigned(dir, keys.two, tinyPe()))[0]?.signer?.der ?? new Uint8Array()
    const one = keys.one.der
    expect(one.length).toBe(two.length)
    const swapped = Uint8Array.from(signed)
    swapped.set(two, find(signed, one))
    expect(imageSignatures(swapped)).toMatchObject([{ verdict: 'NoSigner', signer: undefined }])
  })

  test('made over SHA-1 are WeakDigest', () => {
    // The same length: SHA-1's identifier, and an element that nobody reads.
    const [sha2, sha1] = ['300d06096086480165030402010500', '300d06052b0e03021a050004020000'].map(hex)
    const places = placesOf(signed, sha2 ?? hex('')).slice(-2)
    for (const at of places) {
      const weak = Uint8Array.from(signed)
      weak.set(sha1 ?? hex(''), at)
      expect(imageSignatures(weak)).toMatchObject([{ verdict: 'WeakDigest' }])
    }
  })

  test('made over attributes that speak of other content say so, though the signer signed them', () => {
    const forged = Uint8Array.from(signed)
    // contentType: SPC_INDIRECT_DATA there, and its neighbour here.
    const type = placesOf(signed, hex('060a2b060104018237020104')).at(-1) ?? 0
    forged[type + 11] = 5
    const attributes = derElement(forged.subarray(attributesAt(signed)), 'test')
    const asSet = concat(Uint8Array.of(TAG.set), attributes.whole.subarray(1))
    const made = sign('sha256', asSet, readFileSync(keys.one.key, 'utf8'))
    forged.set(made, lastOf(signed) + 1 - made.length)
    expect(imageSignatures(forged)).toMatchObject([{ verdict: 'OtherContent' }])
    forged[type + 11] = 4
    expect(imageSignatures(forged)).toMatchObject([{ verdict: 'BadSignature' }])
  })

  test('never stay good when a byte that counts is changed', () => {
    const table = parsePe(signed).certificateTable
    expect(table).toBeDefined()
    let good = 0
    for (let at = table?.offset ?? 0; at < signed.length; at++) {
      const judged = thrown(() => imageSignatures(flipped(signed, at)))
      if (!Array.isArray(judged)) expect(judged).toMatchObject({ name: 'Malformed' })
      else if (judged.every(({ verdict }) => verdict === 'Good')) {
        good += 1
        // What stays good names the same signer's key and the same digest: fields of the envelope that nobody reads.
        expect(equal(judged[0].digest, authenticodeDigest(tinyPe(), 'sha256'))).toBe(true)
      }
    }
    // Versions, algorithm parameters, fields of the certificate that its own signature covers and ours does not ask.
    expect(good).toBeLessThan(keys.one.der.length)
  })

  test.each<[string, number, 1 | 2 | 4, number, string, number]>([
    ['too short', 0, 4, 7, 'BadValue', 0],
    ['longer than the table', 0, 4, 0xffff, 'Truncated', 8],
    ['huge', 0, 4, 0x100001, 'TooLarge', 0],
    ['of revision 1', 4, 2, 0x100, 'Unsupported', 4],
    ['of another type', 6, 2, 0xef1, 'Unsupported', 6],
    ['no SEQUENCE', 8, 1, 0x31, 'BadValue', 8],
    ['of indefinite length', 9, 1, 0x80, 'Unsupported', 9],
  ])('that are %s are refused', (_, at, size, value, code, offset) => {
    const table = parsePe(signed).certificateTable?.offset ?? 0
    expect(thrown(() => imageSignatures(patched(signed, [table + at, size, value])))).toMatchObject({
      code,
      offset: table + offset,
    })
  })

  test('of any bytes are values or Malformed', () => {
    fuzz(imageSignatures, [signed], 1500)
  })
})

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'))

function placesOf(file: Uint8Array, part: Uint8Array): number[] {
  const places: number[] = []
  for (let at = Buffer.from(file).indexOf(part); at >= 0; at = Buffer.from(file).indexOf(part, at + 1)) places.push(at)
  return places
}

/** Where the signed attributes of an image's one signature begin: RFC 2315, 9.2. */
function attributesAt(file: Uint8Array): number {
  const table = parsePe(file).certificateTable?.offset ?? 0
  const child = (of: Der | undefined, index: number) => (of ? derChildren(of, 'test').at(index) : undefined)
  const content = derElement(file.subarray(table + 8), 'test', table + 8)
  const signedData = child(child(content, 1), 0)
  return child(child(child(signedData, -1), 0), 3)?.offset ?? 0
}

/** The last byte of the DER: what follows is padding. */
function lastOf(file: Uint8Array): number {
  let at = file.length - 1
  while (file[at] === 0) at -= 1
  return at
}
