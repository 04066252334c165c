import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { cpio, type Entry } from './cpio.ts'

const text = (path: string, body: string, executable = false): Entry => ({
  path,
  kind: 'file',
  data: new TextEncoder().encode(body),
  executable,
})
const TREE: readonly Entry[] = [
  text('init', '#!/bin/sh\n', true),
  { path: 'bin/sh', kind: 'link', to: 'busybox' },
  text('etc/deep/er/file', 'odd length'),
  text('etc/empty', ''),
  { path: 'proc', kind: 'folder' },
  text('etc-beside', 'sorts between a folder and what is in it'),
]
const BUSYBOX = '/bin/busybox'

describe('an archive', () => {
  test('has the header that the kernel documents, and a trailer', () => {
    const bytes = Buffer.from(cpio([text('a', 'xyz', true)]))
    const first = '0707010000000100' + '0081ED' + '0000000000000000' + '00000001' + '00000000' + '00000003'
    expect(bytes.toString('latin1', 0, first.length)).toBe(first)
    expect(bytes.toString('latin1')).toContain('TRAILER!!!\0')
    expect(bytes.length % 4).toBe(0)
  })

  test('is the same whatever the order of its entries', () => {
    const sha256 = (entries: readonly Entry[]) => createHash('sha256').update(cpio(entries)).digest('hex')
    expect(sha256(TREE.toReversed())).toBe(sha256(TREE))
  })

  test.skipIf(!existsSync(BUSYBOX))('is unpacked by another program to the same tree (needs busybox-static)', () => {
    const dir = testFolder()
    execFileSync(BUSYBOX, ['cpio', '-idm'], { cwd: dir, input: cpio(TREE), stdio: ['pipe', 'ignore', 'ignore'] })
    for (const entry of TREE) {
      const path = join(dir, entry.path)
      const found = lstatSync(path)
      if (entry.kind === 'link') expect(readlinkSync(path)).toBe(entry.to)
      else if (entry.kind === 'folder') expect([found.isDirectory(), found.mode & 0o777]).toEqual([true, 0o755])
      else if (entry.kind === 'file') {
        expect(readFileSync(path)).toEqual(Buffer.from(entry.data))
        expect(found.mode & 0o777).toBe(entry.executable ? 0o755 : 0o644)
      }
    }
    const listed = execFileSync(BUSYBOX, ['cpio', '-t'], { input: cpio(TREE), stdio: ['pipe', 'pipe', 'ignore'] })
    const [names, folders] = [TREE.map(({ path }) => path), ['bin', 'etc', 'etc/deep', 'etc/deep/er']]
    expect(listed.toString('utf8').trim().split('\n')).toEqual([...names, ...folders].toSorted())
  })

  test.each<[string, readonly Entry[], string]>([
    ['a path twice', [text('a', '1'), text('a', '2')], 'a stands twice'],
    ['a file with something in it', [text('a', '1'), text('a/b', '2')], 'a is no folder of a/b'],
    ['a file where a folder is', [text('a/b', '2'), text('a', '1')], 'a stands twice'],
    ['a path from the root', [text('/a', '')], '"/a" is no plain path'],
    ['a path that climbs', [text('a/../b', '')], '"a/../b" is no plain path'],
  ])('is refused with %s', (_, entries, why) => {
    expect(() => cpio(entries)).toThrow(why)
  })
})
