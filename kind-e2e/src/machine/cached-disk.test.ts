import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openCachedDisk } from './cached-disk.ts'
import { lackingForMachines } from './parts.ts'

const SECTOR = 512

/** A disk of eight sectors of zeroes, and a QEMU that writes what it is told, as it would for a machine. */
async function written(random: () => number) {
  const file = join(testFolder(), 'disk')
  writeFileSync(file, Buffer.alloc(8 * SECTOR))
  const disk = await openCachedDisk(file, random)
  const drive = `if=none,id=d,format=raw,cache=writeback,file=${disk.url}`
  const words = ['-machine', 'none', '-nodefaults', '-display', 'none', '-monitor', 'stdio', '-drive', drive]
  const qemu: ChildProcess = spawn('qemu-system-x86_64', words, { stdio: ['pipe', 'pipe', 'inherit'] })
  let said = ''
  qemu.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString('utf8')
  })
  onTestFinished(async () => {
    qemu.kill('SIGKILL')
    await disk.close()
  })
  const order = (command: string) => qemu.stdin?.write(`qemu-io d "${command}"\n`)
  return {
    disk,
    sectors: () => Array.from({ length: 8 }, (_, n) => readFileSync(file)[n * SECTOR]),
    order,
    /** Writes this number into this sector. */
    async write(sector: number, value: number) {
      said = ''
      order(`write -P ${value} ${sector * SECTOR} ${SECTOR}`)
      await until(() => said.includes(`wrote ${SECTOR}/${SECTOR} bytes`), `QEMU writing sector ${sector}`, 30_000)
    },
    async cut() {
      qemu.kill('SIGKILL')
      await once(qemu, 'close')
      return disk.fail()
    },
  }
}

// Needs qemu-system-x86.
describe.skipIf(lackingForMachines() !== undefined)('when its power fails', () => {
  test('what was flushed is there', async () => {
    const { write, order, cut, sectors } = await written(() => 0.9)
    await write(0, 1)
    await write(1, 2)
    order('flush')
    await write(2, 3)
    expect(await cut()).toEqual({ lost: 1, kept: 0 })
    expect(sectors()).toEqual([1, 2, 0, 0, 0, 0, 0, 0])
  })

  test('what was not is lost, or has come through, write by write', async () => {
    const chances = [0.1, 0.9, 0.1, 0.9]
    const { write, cut, sectors } = await written(() => chances.shift() ?? 0)
    for (const [sector, value] of [
      [0, 1],
      [0, 2],
      [1, 3],
      [2, 4],
    ] as const)
      await write(sector, value)
    expect(await cut()).toEqual({ lost: 2, kept: 2 })
    expect(sectors()).toEqual([1, 3, 0, 0, 0, 0, 0, 0])
  })

  test('a write at which a disk was held never happened', async () => {
    const { disk, order, write, cut, sectors } = await written(() => 0.1)
    disk.holdAtWrite(SECTOR)
    await write(0, 1)
    order(`write -P 2 ${SECTOR} ${SECTOR}`)
    await until(disk.isHeld, 'the second write waiting', 30_000)
    expect(sectors()).toEqual([1, 0, 0, 0, 0, 0, 0, 0])
    expect(await cut()).toEqual({ lost: 0, kept: 1 })
    expect(disk.isHeld()).toBe(false)
  })

  test.each([
    ['when it was done', 'done', { lost: 0, kept: 0 }, 2],
    ['before it was done', 'before', { lost: 1, kept: 0 }, 0],
  ] as const)('of a flush at which it was held %s', async (_, when, settled, second) => {
    const { disk, order, write, cut, sectors } = await written(() => 0.9)
    disk.holdAtFlush(2, when)
    await write(0, 1)
    order('flush')
    await write(1, 2)
    expect(disk.isHeld()).toBe(false)
    order('flush')
    await until(disk.isHeld, 'the second flush waiting', 30_000)
    expect(await cut()).toEqual(settled)
    expect(sectors()).toEqual([1, second, 0, 0, 0, 0, 0, 0])
  })
})
