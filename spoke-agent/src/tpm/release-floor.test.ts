import { command } from '@skerry/measured-boot'
import { type TestTpm, testTpm } from '@skerry/supervise/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import { makeTurns } from './commander.ts'
import { FLOOR_INDEXES, raiseReleaseFloor, readReleaseFloor } from './release-floor.ts'
import { FOREVER, lacksTools, leftInMemory, tool } from './test-world.ts'

const { counter, base } = FLOOR_INDEXES
const hex = (index: number) => `0x${index.toString(16)}`

describe.skipIf(lacksTools)('the release floor in NV (needs swtpm and tpm2-tools)', () => {
  let tpm: TestTpm
  let turn: ReturnType<typeof makeTurns>
  beforeEach(async () => {
    tpm = await testTpm()
    turn = makeTurns(tpm.socketPath, FOREVER)
  })
  const read = () => turn(readReleaseFloor)
  const raise = (to: number) => turn((commander) => raiseReleaseFloor(commander, to))

  test('is none until it was set, begins anywhere, and only rises, over power cuts too', async () => {
    expect(await read()).toBeUndefined()
    expect(await raise(20261126)).toBe(20261126)
    for (const [to, floor] of [
      [20261127, 20261127],
      [20261101, 20261127],
      [20261127, 20261127],
      [20261135, 20261135],
    ] as const) {
      expect(await raise(to)).toBe(floor)
      await tpm.powerCycle()
      expect(await read()).toBe(floor)
    }
    expect(await leftInMemory(tpm)).toEqual([])
  })

  test('nobody lowers it: the counter takes no value and the base no second one', async () => {
    await raise(7)
    const zeros = new Uint8Array(8)
    for (const [index, name] of [
      [counter, 'ATTRIBUTES'],
      [base, 'NV_LOCKED'],
    ] as const) {
      const writing = turn((commander) => commander.run(command.nvWrite(index, zeros)))
      await expect(writing).rejects.toMatchObject({ response: { name } })
    }
    await tpm.powerCycle()
    await expect(turn((commander) => commander.run(command.nvWrite(base, zeros)))).rejects.toMatchObject({
      response: { name: 'NV_LOCKED' },
    })
    expect(await read()).toBe(7)
  })

  /** The steps of the first raise: after each, the power may go. */
  test.each([1, 2, 3, 4])('a power cut after step %i of the first time is gone on from', async (steps) => {
    const first: command.Command<void>[] = [
      command.nvDefineSpace(counter, ['authWrite', 'authRead', 'counter', 'noDA'], 8),
      command.nvIncrement(counter),
      command.nvDefineSpace(base, ['authWrite', 'authRead', 'writeDefine', 'noDA'], 8),
      command.nvWrite(base, new Uint8Array(8)),
    ]
    await turn(async (commander) => {
      for (const step of first.slice(0, steps)) await commander.run(step)
    })
    await tpm.powerCycle()
    expect(await read()).toBeUndefined()
    expect(await raise(43)).toBe(43)
    expect(await read()).toBe(43)
  })

  test('TPM2_Clear takes it away, which is seen, and a new one counts from where it is set, not from where the old one was', async () => {
    await raise(40)
    expect(await raise(43)).toBe(43)
    await tool(tpm, 'clear')
    expect(await read()).toBeUndefined()
    expect(await raise(41)).toBe(41)
    expect(await raise(42)).toBe(42)
    expect(await read()).toBe(42)
  })

  test('a jump that no counter makes is refused before the first step, and so is what is no counter', async () => {
    await raise(1)
    await expect(raise(1002)).rejects.toMatchObject({ code: 'Unsupported', message: expect.stringContaining('1000') })
    await expect(raise(-1)).rejects.toThrow(RangeError)
    expect(await read()).toBe(1)
  })

  test('an index that others made under its number is left alone and named', async () => {
    await tool(tpm, 'nvdefine', '-Q', '-s', '8', '-a', 'authread|authwrite', hex(counter))
    await expect(read()).rejects.toMatchObject({ code: 'ForeignIndex', message: expect.stringContaining(hex(counter)) })
  })

  test("a password on the owner's hierarchy keeps it from being set", async () => {
    await tool(tpm, 'changeauth', '-c', 'owner', 'secret')
    await expect(raise(1)).rejects.toMatchObject({ code: 'PasswordSet' })
  })
})
