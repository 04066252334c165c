import { beforeAll, describe, expect, test } from 'vitest'
import { digest, extended, TRUSTED_BANKS } from '../banks.ts'
import { concat } from '../bytes.ts'
import { guidBytes } from '../guid.ts'
import { authenticodeDigest } from './authenticode.ts'
import { fileOf, haveTool, makeKey, patched, run, sbsigned, scratch, tinyPe } from './fixture.ts'
import { authorityOf, NOTHING_ENROLLED, predictPcr7, type SecureBootVariables, signedImageOf } from './secure-boot.ts'
import { encodeSignatureLists, type SignatureEntry } from './signature-list.ts'

const owner = '11112222-3333-4444-5555-666677778888'
const dir = scratch()
const x509 = (...certificates: readonly Uint8Array[]) =>
  encodeSignatureLists(certificates.map((data) => ({ kind: 'x509', entries: [{ owner, data }] })))
const sha256 = (...images: readonly Uint8Array[]) =>
  encodeSignatureLists([
    { kind: 'sha256', entries: images.map((image) => ({ owner, data: authenticodeDigest(image, 'sha256') })) },
  ])
const enrolled = (db: Uint8Array, dbx: Uint8Array = new Uint8Array()): SecureBootVariables => ({
  ...NOTHING_ENROLLED,
  db,
  dbx,
})

function world() {
  const [one, two, root] = ['one', 'two', 'root'].map((name) => makeKey(dir, name))
  if (!one || !two || !root) throw new Error('three keys were made')
  // A signer that `root` vouches for.
  const leaf = makeKey(dir, 'leaf', ['rsa:2048'], ['-CA', root.crt, '-CAkey', root.key])
  return { one, two, root, leaf, byOne: sbsigned(dir, one, tinyPe()), byLeaf: sbsigned(dir, leaf, tinyPe()) }
}

describe.skipIf(!haveTool('openssl') || !haveTool('sbsign'))('a firmware with keys', () => {
  let made: ReturnType<typeof world>
  beforeAll(() => {
    made = world()
  })

  type Case = [string, (made: ReturnType<typeof world>) => [Uint8Array, SecureBootVariables], string | undefined]
  test.each<Case>([
    ['an image whose signer is in db', ({ one, byOne }) => [byOne, enrolled(x509(one.der))], undefined],
    [
      'an image whose signer is one of several',
      ({ one, two, byOne }) => [byOne, enrolled(x509(two.der, one.der))],
      undefined,
    ],
    [
      'an image whose signer was issued by what is in db',
      ({ root, byLeaf }) => [byLeaf, enrolled(x509(root.der))],
      undefined,
    ],
    ['an unsigned image whose digest is in db', () => [tinyPe(), enrolled(sha256(tinyPe()))], undefined],
    ['a signed image whose digest is in db', ({ byOne }) => [byOne, enrolled(sha256(byOne))], undefined],
    ['an unsigned image', ({ one }) => [tinyPe(), enrolled(x509(one.der))], 'Unsigned'],
    ['an image of another signer', ({ two, byOne }) => [byOne, enrolled(x509(two.der))], 'NotInDb'],
    [
      'an image that was changed',
      ({ one, byOne }) => [patched(byOne, [0x210, 1, 0]), enrolled(x509(one.der))],
      'BadSignature',
    ],
    [
      'an image whose digest dbx names',
      ({ one, byOne }) => [byOne, enrolled(x509(one.der), sha256(byOne))],
      'Forbidden',
    ],
    [
      'an image whose signer dbx names',
      ({ one, byOne }) => [byOne, enrolled(x509(one.der), x509(one.der))],
      'Forbidden',
    ],
    [
      'an image whose issuer dbx names',
      ({ leaf, root, byLeaf }) => [byLeaf, enrolled(x509(leaf.der), x509(root.der))],
      'Forbidden',
    ],
    ['anything while db holds nothing', ({ byOne }) => [byOne, NOTHING_ENROLLED], 'NotInDb'],
    [
      'an image while db holds what is no certificate',
      ({ byOne }) => [byOne, enrolled(x509(Uint8Array.of(1, 2)))],
      'NotInDb',
    ],
  ])('judges %s', (_, given, reason) => {
    const [image, variables] = given(made)
    const authority = authorityOf(signedImageOf(image), variables)
    expect(authority).toMatchObject(reason ? { allowed: false, reason } : { allowed: true })
  })

  test('names the entry of db that let the image start', () => {
    const { one, two, byOne } = made
    expect(authorityOf(signedImageOf(byOne), enrolled(x509(two.der, one.der)))).toEqual({
      allowed: true,
      entry: { owner, data: one.der },
    })
  })

  test('agrees with sbverify about who signed', () => {
    const { one, two, byOne } = made
    const path = fileOf(dir, byOne)
    for (const { crt, der } of [one, two]) {
      const theirs = (() => {
        try {
          return run('sbverify', ['--cert', crt, path]).includes('OK')
        } catch {
          return false
        }
      })()
      expect(authorityOf(signedImageOf(byOne), enrolled(x509(der))).allowed).toBe(theirs)
    }
  })
})

describe('PCR 7', () => {
  const entry = (byte: number): SignatureEntry => ({ owner, data: Uint8Array.of(byte) })
  const lists = {
    pk: x509(Uint8Array.of(1)),
    kek: x509(Uint8Array.of(2)),
    db: x509(Uint8Array.of(3)),
    dbx: new Uint8Array(),
  }

  test.each(TRUSTED_BANKS)('is the state, the four lists, the separator and each authority once, in %s', (bank) => {
    const variable = (guid: string, name: string, data: Uint8Array) => {
      const head = Buffer.alloc(16)
      head.writeBigUInt64LE(BigInt(name.length), 0)
      head.writeBigUInt64LE(BigInt(data.length), 8)
      return digest(bank, guidBytes(guid), head, Buffer.from(name, 'utf16le'), data)
    }
    const [global, security] = ['8be4df61-93ca-11d2-aa0d-00e098032b8c', 'd719b2cb-3d3a-4596-a3bc-dad00e67656f']
    const expected = [
      variable(global, 'SecureBoot', Uint8Array.of(1)),
      variable(global, 'PK', lists.pk),
      variable(global, 'KEK', lists.kek),
      variable(security, 'db', lists.db),
      variable(security, 'dbx', lists.dbx),
      digest(bank, new Uint8Array(4)),
      variable(security, 'db', concat(guidBytes(owner), Uint8Array.of(7))),
      variable(security, 'db', concat(guidBytes(owner), Uint8Array.of(8))),
    ]
    expect(predictPcr7(bank, true, lists, [entry(7), entry(7), entry(8)])).toEqual(extended(bank, expected))
    expect(predictPcr7(bank, false, lists, [entry(7)])).not.toEqual(predictPcr7(bank, true, lists, [entry(7)]))
    const off = [variable(global, 'SecureBoot', Uint8Array.of(0)), ...expected.slice(1, 6)]
    expect(predictPcr7(bank, false, lists, [entry(7)])).toEqual(extended(bank, off))
  })
})
