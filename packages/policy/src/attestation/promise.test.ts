import { readFileSync } from 'node:fs'
import type { UkiBoot } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { canMakeUki, LOADER, makeUki } from './fixture.ts'
import { promiseFault, promiseOf } from './promise.ts'

// Needs Debian's systemd-boot-efi.
describe.skipIf(!canMakeUki)('what a manifest says of its image', () => {
  const uki = canMakeUki ? makeUki('panic=1 quiet') : new Uint8Array()
  const loaders = canMakeUki ? [{ name: 'systemd-boot', file: new Uint8Array(readFileSync(LOADER)) }] : []
  const boot = canMakeUki ? promiseOf({ uki, loaders, banks: ['sha256', 'sha384'] }) : ({} as UkiBoot)
  const zero = '0'.repeat(64)
  const measured = (change: (one: NonNullable<UkiBoot['measured']['sha256']>) => object): Partial<UkiBoot> => {
    const { sha256 } = boot.measured
    if (!sha256) throw new Error('no bank')
    return { measured: { ...boot.measured, sha256: { ...sha256, ...change(sha256) } } }
  }

  test('follows from the image, whichever boot loader starts it', () => {
    expect(promiseFault(boot, uki)).toBeUndefined()
    const other = measured(({ applications }) => ({ applications: { ...applications, loaders: [zero] } }))
    expect(promiseFault({ ...boot, ...other }, uki)).toBeUndefined()
  })

  test.each<[string, () => Partial<UkiBoot>, string]>([
    [
      'another kernel',
      () => measured((m) => ({ applications: { ...m.applications, kernel: zero } })),
      'sha256 kernel (PCR 4)',
    ],
    [
      'another image',
      () => measured((m) => ({ applications: { ...m.applications, uki: zero } })),
      'sha256 image (PCR 4)',
    ],
    ['another initrd', () => measured(() => ({ pcr9: zero })), 'sha256 PCR 9'],
    ['one phase fewer', () => measured((m) => ({ pcr11: { phases: m.pcr11.phases.slice(1) } })), 'sha256 PCR 11'],
    ['another command line', () => ({ commandLine: 'panic=1 quiet init=/bin/sh' }), 'commandLine'],
    ['a section fewer', () => ({ sections: boot.sections.slice(1) }), 'sections'],
    ['a certificate that no signature carries', () => ({ certificates: ['AAAA'] }), 'certificates'],
    ['a signer who did not sign', () => ({ signers: [zero] }), 'signers'],
    ['another stub', () => ({ stub: { ...boot.stub, version: '1' } }), 'stub'],
  ])('%s does not', (_, change, named) => {
    expect(promiseFault({ ...boot, ...change() }, uki)).toBe(`these bytes do not make its ${named}`)
  })

  test('follows also where it is of before certificates were named', () => {
    const { certificates: _, ...before } = boot
    expect(promiseFault(before, uki)).toBeUndefined()
  })

  test('of another image is told member by member, and of what is no UKI that nobody can say', () => {
    expect(promiseFault(boot, makeUki('quiet'))).toContain('sections, commandLine, sha384 image (PCR 4)')
    expect(promiseFault(boot, new Uint8Array(100))).toContain('nobody here can say what these bytes measure')
    expect(promiseFault({ ...boot, measured: {} }, uki)).toBe('it predicts nothing of any bank')
  })
})
