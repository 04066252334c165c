import { describe, expect, test } from 'vitest'
import { digest, extended, TRUSTED_BANKS } from '../banks.ts'
import { toHex } from '../bytes.ts'
import { assembleUki } from './assemble.ts'
import { authenticodeDigest } from './authenticode.ts'
import { passedInitrd } from './extra-initrd.ts'
import {
  ascii,
  fileOf,
  fuzz,
  haveStub,
  haveTool,
  patched,
  readSdBoot,
  readStub,
  run,
  scratch,
  smallUki,
  thrown,
  tinyPe,
} from './fixture.ts'
import { digestBootLoader, digestUki, PHASES, predictPcr4, predictPcr9, predictPcr11, predictPcr12 } from './predict.ts'
import { parseUki } from './sections.ts'

const MEASURE = '/usr/lib/systemd/systemd-measure'
const dir = scratch()
const haveMeasure = haveStub && haveTool(MEASURE)
const everyPhase = ['', ...PHASES.map((_, index) => PHASES.slice(0, index + 1).join(':'))]

/** systemd-boot that says it is of release 255: from 254 on it passes no command line on. */
function laterSdBoot(): Uint8Array {
  const at = Buffer.from(readSdBoot()).indexOf('LoaderInfo: systemd-boot 252') + 'LoaderInfo: systemd-boot 25'.length
  return patched(readSdBoot(), [at, 1, 0x35])
}

/** PCR 11 as systemd-measure computes it, by bank and phase. */
function measured(sections: Record<string, Uint8Array>): Record<string, Record<string, string>> {
  const files = Object.entries(sections).map(([name, data]) => `--${name.slice(1)}=${fileOf(dir, data)}`)
  const banks = TRUSTED_BANKS.map((bank) => `--bank=${bank}`)
  const phases = everyPhase.map((phase) => `--phase=${phase || ':'}`)
  const json: Record<string, { phase?: string; hash: string }[]> = JSON.parse(
    run(MEASURE, ['calculate', ...files, ...banks, ...phases, '--json=short']),
  )
  return Object.fromEntries(
    Object.entries(json).map(([bank, values]) => [
      bank,
      Object.fromEntries(values.map(({ phase, hash }) => [phase ?? '', hash])),
    ]),
  )
}

describe.skipIf(!haveStub)('what a UKI will be measured as', () => {
  const command = { '.cmdline': ascii('panic=1 ro\n'), '.linux': tinyPe() }
  test.skipIf(!haveMeasure).each<[string, Record<string, Uint8Array>]>([
    ['a kernel and its command line', command],
    ['an initrd and os-release too', { ...command, '.osrel': ascii('ID=x\n'), '.initrd': ascii('initrd') }],
    [
      'every section there is',
      {
        ...command,
        '.pcrpkey': ascii('key'),
        '.dtb': ascii('tree'),
        '.splash': ascii('bmp'),
        '.initrd': ascii('i'),
        '.osrel': ascii('ID=x\n'),
      },
    ],
    ['NULs at the end of the command line', { ...command, '.cmdline': ascii('panic=1\0\0') }],
  ])('is PCR 11 as systemd-measure has it, in every bank and phase: %s', (_, sections) => {
    const uki = parseUki(smallUki({ '.osrel': undefined, '.initrd': undefined, ...sections }))
    const ours = TRUSTED_BANKS.map((bank) => [
      bank,
      Object.fromEntries([...predictPcr11(digestUki(uki, bank))].map(([phase, value]) => [phase, toHex(value)])),
    ])
    expect(everyPhase).toHaveLength(7)
    expect(Object.fromEntries(ours)).toEqual(measured(sections))
  })

  test('is not changed by the order of the sections in the file, nor by .pcrsig', () => {
    const pcr11 = (uki: Uint8Array) => predictPcr11(digestUki(parseUki(uki), 'sha256'))
    // Left out and named again, .osrel stands last.
    const [plain, { '.osrel': osrel, ...rest }] = [smallUki(), Object.fromEntries(parseUki(smallUki()).sections)]
    const sections = [...Object.entries(rest), ['.osrel', osrel] as const]
    const turned = assembleUki(
      readStub(),
      sections.flatMap(([name, data]) => (data && name !== '.sbat' ? [{ name, data }] : [])),
    )
    expect(turned).not.toEqual(plain)
    expect(pcr11(turned)).toEqual(pcr11(plain))
    expect(pcr11(smallUki({ '.pcrsig': ascii('{}') }))).toEqual(pcr11(plain))
  })

  test.each(TRUSTED_BANKS)('is PCR 4, 9 and 12 with Secure Boot off and on, in %s', (bank) => {
    const uki = smallUki()
    const digests = digestUki(parseUki(uki), bank)
    const loader = digestBootLoader(readSdBoot(), bank)
    const [off, on] = [false, true].map((secureBoot) => predictPcr4(digests, loader, secureBoot))
    const ac = (image: Uint8Array) => authenticodeDigest(image, bank)
    const start = [digest(bank, ascii('Calling EFI Application from Boot Option')), digest(bank, new Uint8Array(4))]
    const line = digest(bank, Uint8Array.from(Buffer.from('console=ttyS0 panic=1\0', 'utf16le')))
    const initrd = digest(bank, ascii('no archive, and nobody opens it'))
    expect(off?.applications).toEqual([ac(readSdBoot()), ac(uki), ac(tinyPe())])
    expect(on?.applications).toEqual(off?.applications.slice(0, 2))
    for (const one of [off, on]) expect(one?.value).toEqual(extended(bank, [...start, ...(one?.applications ?? [])]))
    expect(predictPcr9(digests)).toEqual(extended(bank, [line, initrd]))
    expect(predictPcr12(digests, false)).toEqual(extended(bank, [line, line]))
    expect(predictPcr12(digests, true)).toEqual(extended(bank, [line]))
  })

  test('has a PCR 9 of the command line alone where there is no initrd', () => {
    const digests = digestUki(parseUki(smallUki({ '.initrd': undefined })), 'sha256')
    expect(predictPcr9(digests)).toEqual(extended('sha256', [digests.loadOptions]))
  })

  test('has a PCR 9 of the archives too that the stub passes on behind the initrd', () => {
    const uki = parseUki(smallUki({ '.pcrsig': ascii('{}') }))
    expect(digestUki(uki, 'sha256').initrd).toEqual(digest('sha256', ...passedInitrd(uki.sections)))
    expect(digestUki(uki, 'sha256').initrd).not.toEqual(digestUki(parseUki(smallUki()), 'sha256').initrd)
  })

  test.each<[string, () => unknown, RegExp]>([
    [
      'a stub that does not say what it is',
      () => digestUki({ ...parseUki(smallUki()), stub: undefined }, 'sha256'),
      /unknown one/,
    ],
    [
      'another release of the stub',
      () => digestUki({ ...parseUki(smallUki()), stub: { name: 'systemd-stub', version: '255.4-1' } }, 'sha256'),
      /systemd-stub 255\.4-1/,
    ],
    [
      'a section that later stubs measure',
      () => digestUki(parseUki(smallUki({ '.uname': ascii('6.1') })), 'sha256'),
      /\.uname/,
    ],
    [
      '.dtbauto, that this stub takes for .dtb',
      () => digestUki(parseUki(smallUki({ '.dtbauto': ascii('x') })), 'sha256'),
      /\.dtbauto/,
    ],
    ['no command line', () => digestUki(parseUki(smallUki({ '.cmdline': undefined })), 'sha256'), /no command line/],
    [
      'a command line of spaces',
      () => digestUki(parseUki(smallUki({ '.cmdline': ascii(' \n') })), 'sha256'),
      /no command line/,
    ],
    ['another boot loader', () => digestBootLoader(readStub(), 'sha256'), /systemd-stub/],
    ['another release of the boot loader', () => digestBootLoader(laterSdBoot(), 'sha256'), /systemd-boot 255/],
    ['a boot loader that does not say what it is', () => digestBootLoader(tinyPe(), 'sha256'), /unknown one/],
  ])('is refused for %s', (_, act, message) => {
    const error = thrown(act)
    expect(error).toMatchObject({ name: 'Malformed', code: 'Unsupported' })
    expect(String(error)).toMatch(message)
  })

  test('of any bytes is a value or Malformed', () => {
    fuzz((bytes) => digestUki(parseUki(bytes), 'sha256'), [smallUki()], 60)
  })
})
