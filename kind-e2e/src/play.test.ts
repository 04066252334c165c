import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { expect, onTestFinished, test, vi } from 'vitest'
import { NoMachine } from './machine/parts.ts'
import { play } from './play.ts'
import type { Story } from './stories/story.ts'

/** A story on nothing but a guest whose boots stand in a file of the story's folder, like a driver's log. */
const story = (end: () => void): Story => ({
  name: 'of-two-boots',
  tells: '',
  async play(world) {
    const log = join(world.dir, 'boots')
    writeFileSync(log, 'one\ntwo')
    world.take({ name: 'guest', boots: () => readFileSync(log, 'utf8').split('\n'), close: async () => {} })
    end()
  },
})

async function lastLine(told: Story, keep: string | undefined) {
  const said = { log: vi.spyOn(console, 'log'), error: vi.spyOn(console, 'error') }
  onTestFinished(() => void vi.restoreAllMocks())
  for (const spy of Object.values(said)) spy.mockImplementation(() => {})
  const exitCode = await play(told, keep)
  const errors = said.error.mock.calls.map(([text]) => String(text))
  return { exitCode, last: JSON.parse(String(said.log.mock.calls.at(-1)?.[0])) as object, errors }
}

test.each([
  ['kept', () => testFolder()],
  ['not kept', () => undefined],
])('the last line of a story counts its boots, whether its folder is %s', async (_, keep) => {
  const { exitCode, last } = await lastLine(
    story(() => {}),
    keep(),
  )
  expect(exitCode).toBe(0)
  expect(last).toMatchObject({ story: 'of-two-boots', passed: true, boots: 2 })
})

test('a story that fails ends with code 1, its reason in a line, and the same last line', async () => {
  const { exitCode, last, errors } = await lastLine(
    story(() => {
      throw new Error('the site\nstays away')
    }),
    undefined,
  )
  expect(exitCode).toBe(1)
  expect(last).toMatchObject({ passed: false, boots: 2 })
  expect(errors).toContain('skerry: failed: story of-two-boots: the site stays away')
})

test('a story that this computer cannot play is none that failed: code 3, and what to do in a line', async () => {
  const { exitCode, last, errors } = await lastLine(
    story(() => {
      throw new NoMachine('apt-get install qemu', { cause: new Error('no network') })
    }),
    undefined,
  )
  expect(exitCode).toBe(3)
  expect(last).toMatchObject({ passed: false })
  expect(errors).toEqual(['skerry: not played: story of-two-boots: apt-get install qemu (no network)'])
})
