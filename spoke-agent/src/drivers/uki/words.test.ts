import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { realDisk } from './disk.ts'
import { isArmed, isConfirmed, isSpent, parseEntryName, spentName, unfitName } from './entry-name.ts'
import { defaultIn } from './loader.ts'
import { parseMounts } from './mounts.ts'
import { compareVersions } from './version-order.ts'

// How names, versions, mounts and a loader.conf are read.

test.each([
  ['edge_1.efi', 'edge_1', undefined, 0, 'confirmed'],
  ['edge_1+3.efi', 'edge_1', 3, 0, 'armed'],
  ['edge_1+2-1.efi', 'edge_1', 2, 1, 'armed'],
  ['edge_1+0-3.efi', 'edge_1', 0, 3, 'spent'],
  ['edge_1+0.efi', 'edge_1', 0, 0, 'spent'],
  ['edge_2.aside+0.efi', 'edge_2', 0, 0, 'confirmed'],
  ['edge_2.aside+0-4.efi', 'edge_2', 0, 4, 'confirmed'],
  ['edge_2.aside+1-4.efi', 'edge_2.aside', 1, 4, 'armed'],
  ['EDGE+1-0.EFI', 'edge', 1, 0, 'armed'],
  ['1.2+3+1.efi', '1.2+3', 1, 0, 'armed'],
  // No counters to systemd-boot: a name.
  ['edge+x.efi', 'edge+x', undefined, 0, 'confirmed'],
  ['edge+3-.efi', 'edge+3-', undefined, 0, 'confirmed'],
  ['edge+1-2x.efi', 'edge+1-2x', undefined, 0, 'confirmed'],
  ['edge+9999999999.efi', 'edge+9999999999', undefined, 0, 'confirmed'],
  ['+3.efi', '+3', undefined, 0, 'confirmed'],
])('%s is slot %s with %s tries left and %s used: %s', (file, slot, left, done, what) => {
  const name = parseEntryName(file)
  expect(name).toMatchObject({ file, slot, left, done })
  const is = { confirmed: isConfirmed, armed: isArmed, spent: isSpent }
  expect(Object.entries(is).flatMap(([word, holds]) => (name && holds(name) ? [word] : []))).toEqual([what])
})

test.each(['edge_1.part', 'edge_1.efi.part', '.edge_1.efi', 'edge_1', 'edge_1.conf'])('%s is no entry', (file) => {
  expect(parseEntryName(file)).toBeUndefined()
})

test('a spent name keeps how often it was tried', () => {
  const name = parseEntryName('edge_1+2-1.efi')
  expect(name && spentName(name)).toBe('edge_1+0-1.efi')
})

describe('the newer of two versions', () => {
  test.each([
    ['1', '2'],
    ['9', '10'],
    ['1.9', '1.10'],
    ['1~rc1', '1'],
    ['1', '1-1'],
    ['1-1', '1^1'],
    ['1^1', '1.1'],
    ['1.1', '1a'],
    ['1.a', '1.1'],
    ['007', '8'],
    // As systemd has it: what follows a mark is looked at for the marks after it alone.
    ['1-.', '1-'],
    ['1~', '1~~'],
  ])('of %s and %s is the second', (older, newer) => {
    expect([compareVersions(older, newer), compareVersions(newer, older)]).toEqual([-1, 1])
  })

  const haveAnalyze = spawnSync('systemd-analyze', ['compare-versions', '1', '2']).status === 12
  test.skipIf(!haveAnalyze)('is the one that systemd says', () => {
    const version = fc
      .array(fc.constantFrom('0', '00', '1', '9', '10', 'a', 'b', 'ab', '.', '-', '~', '^', '_'), { maxLength: 6 })
      .map((parts) => parts.join(''))
    const signs: Record<string, number> = { '<': -1, '==': 0, '>': 1 }
    fc.assert(
      fc.property(version, version, (a, b) => {
        fc.pre(a !== '' && b !== '' && !a.startsWith('-') && !b.startsWith('-'))
        const { stdout } = spawnSync('systemd-analyze', ['compare-versions', a, b], { encoding: 'utf8' })
        const [, sign = ''] = / (<|==|>) /.exec(stdout) ?? []
        expect([a, b, compareVersions(a, b)]).toEqual([a, b, signs[sign]])
      }),
      { numRuns: 150 },
    )
  })
})

test('mounts are read as the kernel writes them', () => {
  const text = `22 1 0:1 / / rw shared:1 - rootfs rootfs rw
31 22 254:1 / /boot\\040efi rw,relatime shared:3 master:2 - vfat /dev/vda1 rw,fmask=0077
32 22 254:2 / /data ro,noatime - ext4 /dev/vda2 rw
33 22 254:3 / /log rw - ext4 /dev/vda3 ro
`
  expect(parseMounts(text)).toEqual([
    { point: '/', type: 'rootfs', readOnly: false },
    { point: '/boot efi', type: 'vfat', readOnly: false },
    { point: '/data', type: 'ext4', readOnly: true },
    { point: '/log', type: 'ext4', readOnly: true },
  ])
})

test.each([
  ['timeout 0\neditor no\n', undefined],
  ['', undefined],
  ['# default edge\n#default edge\n', undefined],
  ['default-title x\n', undefined],
  ['timeout 0\ndefault edge_2*\n', 'default edge_2*'],
  ['  default\t@saved', 'default\t@saved'],
  ['preferred edge_1.efi', 'preferred edge_1.efi'],
])('loader.conf %j names %s', (text, line) => {
  expect(defaultIn(text)).toBe(line)
})

test.each([0, 1, 511, 512, 513, 4097, 1024 * 1024, 1024 * 1024 + 3])(
  'the bytes of a file of %i are read back whole',
  async (size) => {
    const bytes = Buffer.alloc(size, 7)
    const path = join(testFolder(), 'file')
    await realDisk.write(path, bytes)
    await realDisk.sync(path)
    expect(await realDisk.digest(path)).toBe(createHash('sha256').update(bytes).digest('hex'))
  },
)

test.each([
  ['edge_2', undefined],
  ['edge_2+3', /"\+" in it/],
  ['Edge_2', /"E" in it/],
  ['.edge_2', /begins with a point/],
  ['edge_2.aside', /set aside/],
  [`edge_${'2'.repeat(130)}`, /at most 120/],
])('a slot that would be called %s', (slot, says) => {
  if (says === undefined) expect(unfitName(slot)).toBeUndefined()
  else expect(unfitName(slot)).toMatch(says)
})
