import { beforeAll, describe, expect, test } from 'vitest'
import { digest, extended } from '../banks.ts'
import { toHex } from '../bytes.ts'
import { authenticodeDigest } from './authenticode.ts'
import { describeBoot } from './boot-block.ts'
import {
  ascii,
  fuzz,
  haveStub,
  haveTool,
  makeKey,
  patched,
  readSdBoot,
  run,
  sbsigned,
  scratch,
  smallUki,
  thrown,
  tinyPe,
} from './fixture.ts'
import { NOTHING_ENROLLED, predictPcr7 } from './secure-boot.ts'
import { encodeSignatureLists } from './signature-list.ts'

const path = 'EFI/Linux/edgeos_1.efi'
const sha256 = (bytes: Uint8Array) => toHex(digest('sha256', bytes))
const loaders = () => [{ name: 'systemd-bootx64.efi', file: readSdBoot() }]

describe.skipIf(!haveStub)('the boot block of an image', () => {
  test('says what its files are and what they will be measured as', () => {
    const uki = smallUki({ '.cmdline': ascii('panic=1 roothash=00ff\n') })
    const block = describeBoot({ path, uki, bootLoaders: loaders() })
    const ac = (image: Uint8Array) => toHex(authenticodeDigest(image, 'sha256'))
    expect(block).toMatchObject({
      kind: 'uki',
      stub: { name: 'systemd-stub' },
      uki: {
        ...{ path, sha256: sha256(uki), length: uki.length, authenticode: { sha256: ac(uki) } },
        ...{ signers: [], certificates: [] },
      },
      osRelease: { imageId: 'edgeos', imageVersion: '1' },
      bootLoaders: [
        { name: 'systemd-bootx64.efi', sha256: sha256(readSdBoot()), authenticode: { sha256: ac(readSdBoot()) } },
      ],
      commandLine: { text: 'panic=1 roothash=00ff', sha256: sha256(ascii('panic=1 roothash=00ff\n')) },
      verity: { rootHash: '00ff' },
      pcr: { banks: ['sha256'], predicted: { sha256: { '4': { uki: ac(uki), kernel: ac(tinyPe()) } } } },
    })
    expect(block.uki.sections.find(({ name }) => name === '.linux')).toEqual({
      name: '.linux',
      sha256: sha256(tinyPe()),
      length: tinyPe().length,
    })
    expect(block.pcr.predicted.sha256?.['7'].secureBootOn).toBeUndefined()
  })

  test('is plain data, and the same for the same files', () => {
    const block = describeBoot({ path, uki: smallUki(), bootLoaders: loaders() })
    expect(JSON.parse(JSON.stringify(block))).toEqual(block)
    expect(JSON.stringify(describeBoot({ path, uki: smallUki(), bootLoaders: loaders() }))).toBe(JSON.stringify(block))
  })

  test('has values for each bank that was asked for, and each boot loader', () => {
    const two = [...loaders(), { name: 'padded.efi', file: Uint8Array.from([...readSdBoot(), 0, 0, 0, 0, 0]) }]
    const { bootLoaders, pcr } = describeBoot({ path, uki: smallUki(), bootLoaders: two, banks: ['sha384', 'sha256'] })
    expect(pcr.banks).toEqual(['sha384', 'sha256'])
    expect(Object.keys(pcr.predicted)).toEqual(['sha384', 'sha256'])
    const { sha384, sha256: values } = pcr.predicted
    expect(sha384?.['9']).toMatch(/^[0-9a-f]{96}$/)
    expect(values?.['4'].bootLoaders).toEqual(bootLoaders.map(({ authenticode }) => authenticode.sha256))
    expect(new Set([...(values?.['4'].secureBootOn ?? []), ...(values?.['4'].secureBootOff ?? [])]).size).toBe(4)
  })

  test.each<[string, (uki: Uint8Array) => Uint8Array]>([
    ['a byte of the initrd', (uki) => patched(uki, [Buffer.from(uki).indexOf('no archive'), 1, 0x4e])],
    ['a byte of the command line', (uki) => patched(uki, [Buffer.from(uki).indexOf('console='), 1, 0x43])],
    ['a byte of the stub', (uki) => patched(uki, [0x500, 1, 1])],
  ])('is another for %s', (_, changed) => {
    const [one, other] = [smallUki(), changed(smallUki())].map((uki) =>
      describeBoot({ path, uki, bootLoaders: loaders() }),
    )
    expect(one?.pcr.predicted.sha256?.['4'].uki).not.toBe(other?.pcr.predicted.sha256?.['4'].uki)
  })

  test('refuses what it cannot answer for', () => {
    const act = () => describeBoot({ path, uki: smallUki(), bootLoaders: [{ name: 'x', file: tinyPe() }] })
    expect(thrown(act)).toMatchObject({ name: 'Malformed', code: 'Unsupported' })
    fuzz((uki) => describeBoot({ path, uki, bootLoaders: [] }), [smallUki()], 60)
  })

  describe.skipIf(!haveTool('openssl') || !haveTool('sbsign'))('with keys', () => {
    const dir = scratch()
    const owner = '11112222-3333-4444-5555-666677778888'
    const list = (der: Uint8Array) => encodeSignatureLists([{ kind: 'x509', entries: [{ owner, data: der }] }])
    let [pk, db]: ReturnType<typeof makeKey>[] = []
    let keys = NOTHING_ENROLLED
    let der: Uint8Array
    let [uki, loader]: [Uint8Array, Uint8Array] = [ascii(''), ascii('')]
    beforeAll(() => {
      pk = makeKey(dir, 'PK')
      db = makeKey(dir, 'db')
      der = db.der
      keys = { pk: list(pk.der), kek: list(pk.der), db: list(der), dbx: new Uint8Array() }
      const pem = ascii(run('openssl', ['x509', '-in', db.crt, '-noout', '-pubkey']))
      uki = sbsigned(dir, db, smallUki({ '.pcrpkey': pem, '.pcrsig': ascii('{}') }))
      loader = sbsigned(dir, db, readSdBoot())
    })

    test('names them, and what they make of PCR 7', () => {
      const block = describeBoot({ path, uki, bootLoaders: [{ name: 'x', file: loader }], secureBoot: keys })
      const entry = { owner, data: der }
      expect(block.uki.signers).toEqual([sha256(der)])
      expect(block.uki.certificates).toEqual([Buffer.from(der).toString('base64')])
      expect(block.bootLoaders[0]?.signers).toEqual([sha256(der)])
      expect(block.secureBoot).toEqual({
        pk: [sha256(pk?.der ?? der)],
        kek: [sha256(pk?.der ?? der)],
        db: [sha256(der)],
        authorities: [sha256(der)],
      })
      expect(block.pcr.predicted.sha256?.['7'].secureBootOn).toEqual([
        toHex(predictPcr7('sha256', true, keys, [entry])),
      ])
      expect(block.pcrPolicyKey?.pkcs1Sha256).toMatch(/^[0-9a-f]{64}$/)
      expect(block.pcrsigSha256).toBe(sha256(ascii('{}')))
    })

    test('promises no PCR 7 of a boot that the firmware would refuse', () => {
      const block = describeBoot({
        path,
        uki: smallUki(),
        bootLoaders: [{ name: 'x', file: loader }],
        secureBoot: keys,
      })
      expect(block.pcr.predicted.sha256?.['7'].secureBootOn).toBeUndefined()
      expect(block.secureBoot?.authorities).toEqual([sha256(der)])
    })

    test('has a PCR 4 without the kernel, which the firmware does not see', () => {
      const [values] = [
        describeBoot({ path, uki, bootLoaders: [{ name: 'x', file: loader }] }).pcr.predicted.sha256?.['4'],
      ]
      const start = [
        digest('sha256', ascii('Calling EFI Application from Boot Option')),
        digest('sha256', new Uint8Array(4)),
      ]
      const images = [loader, uki].map((image) => authenticodeDigest(image, 'sha256'))
      expect(values?.secureBootOn).toEqual([toHex(extended('sha256', [...start, ...images]))])
    })
  })
})
