import { describe, expect, test } from 'vitest'
import { concat } from '../bytes.ts'
import type { UkiSectionName } from '../uki-sections.ts'
import { passedInitrd } from './extra-initrd.ts'
import { ascii, haveTool, run } from './fixture.ts'

const sections = (...names: [UkiSectionName, string][]) => new Map(names.map(([name, text]) => [name, ascii(text)]))

describe('the initrd that a kernel is given', () => {
  test('is .initrd as it is, or nothing', () => {
    expect(passedInitrd(sections(['.linux', 'k'], ['.initrd', 'odd']))).toEqual([ascii('odd')])
    expect(passedInitrd(sections(['.linux', 'k']))).toEqual([])
  })

  test('begins with .initrd, filled up to four bytes, where archives follow', () => {
    const [initrd, filling] = passedInitrd(sections(['.initrd', 'odd!!'], ['.pcrsig', '{}']))
    expect([initrd, filling]).toEqual([ascii('odd!!'), new Uint8Array(3)])
  })

  test('holds .pcrsig and .pcrpkey as files', () => {
    const archives = concat(...passedInitrd(sections(['.pcrpkey', 'KEY'], ['.pcrsig', '{"sha256":[]}'])))
    expect(archives.length % 4).toBe(0)
    const names = [
      ...Buffer.from(archives)
        .toString('latin1')
        .matchAll(/\.extra[^\0]*|TRAILER!!!/g),
    ].map(String)
    expect(names).toEqual([
      ...['.extra', '.extra/tpm2-pcr-signature.json', 'TRAILER!!!'],
      ...['.extra', '.extra/tpm2-pcr-public-key.pem', 'TRAILER!!!'],
    ])
  })

  // As the machine of recorded/ was given it: PCR 9 held for these bytes.
  test('is written field by field as systemd-stub writes it', () => {
    const zeros = '0'.repeat(8)
    const fields = (inode: string, mode: string, size: string, name: string) =>
      ['070701', inode, mode, zeros, zeros, '00000001', zeros, size, zeros, zeros, zeros, zeros, name, zeros].join('')
    const expected = [
      `${fields('00000001', '0000416d', zeros, '00000007')}.extra\0\0\0\0`,
      `${fields('00000002', '00008124', '00000003', '0000001f')}.extra/tpm2-pcr-public-key.pem\0\0\0\0KEY\0`,
      `${fields(zeros, zeros, zeros, '0000000B')}TRAILER!!!\0\0\0\0`,
    ]
    expect(Buffer.from(concat(...passedInitrd(sections(['.pcrpkey', 'KEY'])))).toString('latin1')).toBe(
      expected.join(''),
    )
  })

  test.skipIf(!haveTool('busybox'))('is an archive that cpio lists', () => {
    const archive = concat(...passedInitrd(sections(['.pcrpkey', 'KEY'])))
    const listed = run('busybox', ['cpio', '-t'], archive)
    expect(listed.trim().split('\n')).toEqual(['.extra', '.extra/tpm2-pcr-public-key.pem'])
  })
})
