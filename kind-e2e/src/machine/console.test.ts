import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import { openConsole } from './console.ts'

const boot = (version: string) =>
  `{"machine":"boot","upS":6.5,"bootId":"b${version}","image":"edge-os","version":"${version}","entry":"edge-os_${version}.efi"}`
const word = (text: string) => (line: string) => (line.includes(text) ? line : undefined)

test('what is waited for may have been said in the present boot, and not in one before', async () => {
  const file = join(testFolder(), 'serial.log')
  const said = openConsole('depot', file)
  said.powerOn()
  said.hear(boot('1'))
  said.hear('agent joined')
  await expect(said.line(word('joined'), 'joining', 5_000)).resolves.toBe('agent joined')
  said.hear(boot('2'))
  const again = said.line(word('joined'), 'joining', 5_000)
  said.hear('agent joined again')
  await expect(again).resolves.toBe('agent joined again')
  expect(said.boots().map(({ version, entry }) => [version, entry])).toEqual([
    ['1', 'edge-os_1.efi'],
    ['2', 'edge-os_2.efi'],
  ])
  await said.close()
  expect(readFileSync(file, 'utf8')).toBe(`${boot('1')}\nagent joined\n${boot('2')}\nagent joined again\n`)
})

test('a machine that goes off, or is off, ends the wait with what was said last', async () => {
  const said = openConsole('depot', join(testFolder(), 'serial.log'))
  said.powerOn()
  said.hear('Kernel panic')
  const waiting = said.line(word('joined'), 'joining', 60_000)
  said.powerOff()
  await expect(waiting).rejects.toThrow(/depot: joining did not come before it was off[\s\S]*Kernel panic/)
  await expect(said.line(word('joined'), 'joining', 60_000)).rejects.toThrow('before it was off')
  await said.close()
})

test('a deadline names what did not come', async () => {
  const said = openConsole('depot', join(testFolder(), 'serial.log'))
  said.powerOn()
  await expect(said.line(word('joined'), 'joining', 20)).rejects.toThrow('depot: joining did not come within 0.02 s')
  await said.close()
})
