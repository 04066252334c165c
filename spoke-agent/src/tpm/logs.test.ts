import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import { readLog } from './logs.ts'

test.each([
  ['as large as it may be', 64, { bytes: new Uint8Array(64).fill(7) }],
  ['one byte', 1, { bytes: Uint8Array.of(7) }],
  ['one byte too large', 65, { missing: 'TooLarge', reason: expect.stringContaining('more than 64 bytes') }],
  ['empty', 0, { missing: 'NoLog', reason: expect.stringContaining('empty') }],
])('a log that is %s', async (_, size, read) => {
  const path = join(testFolder(), 'log')
  writeFileSync(path, new Uint8Array(size).fill(7))
  expect(await readLog(path, 64)).toEqual(read)
})

test('a log that is not there, and one that cannot be read, are two reasons', async () => {
  const dir = testFolder()
  expect(await readLog(join(dir, 'none'), 64)).toMatchObject({ missing: 'NoLog' })
  expect(await readLog(dir, 64)).toMatchObject({ missing: 'Unreadable', reason: expect.stringContaining('EISDIR') })
})

test.skipIf(process.platform !== 'linux')(
  'a file of the kernel, which says no size, is read to its end and not beyond the bound',
  async () => {
    const read = await readLog('/proc/self/status', 65_536)
    expect(Buffer.from('bytes' in read ? read.bytes : []).toString()).toMatch(/^Name:.*\n$/s)
    expect(await readLog('/dev/zero', 65_536)).toMatchObject({ missing: 'TooLarge' })
  },
)
