import { initialState, type State } from '@skerry/policy'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import { testImage } from '../drivers/testing.ts'
import { openBus } from '../store/bus.ts'
import { openDatabase } from '../store/database.ts'
import { inSteps, keepProgress, progressOf } from './progress.ts'

test.each([
  [0, 1000, 0],
  [49, 1000, 0],
  [50, 1000, 50],
  [999, 1000, 950],
  [1000, 1000, 1000],
  [1001, 1000, 1000],
  [3, 7, 2],
  [7, 7, 7],
  [0, 0, 0],
])('%i bytes of %i are told as %i', (done, total, told) => {
  expect(inSteps(done, total)).toBe(told)
})

test('a download is written down twenty-one times at most, and told of while the node stages that image alone', () => {
  const database = openDatabase(testFolder())
  const bus = openBus(database)
  const [one, other] = [testImage(testFolder(), '1').target, testImage(testFolder(), '2').target]
  const at = (stage: State['stage']) => bus.saveNode({ ...bus.node(), state: { ...initialState(undefined), stage } })
  at({ phase: 'Staging', target: one, attempt: 0, notBeforeMs: 0, told: [] })
  const seen: unknown[] = []
  for (let done = 0; done <= one.imageLength; done += 1) {
    keepProgress(bus, one, done)
    const now = JSON.stringify(progressOf(bus.node()))
    if (seen.at(-1) !== now) seen.push(now)
  }
  expect(seen).toHaveLength(21)
  expect(progressOf(bus.node())).toEqual({ done: one.imageLength, total: one.imageLength })
  at({ phase: 'Staging', target: other, attempt: 0, notBeforeMs: 0, told: [] })
  expect(progressOf(bus.node())).toBeUndefined()
  at({ phase: 'Staged', target: one })
  expect(progressOf(bus.node())).toBeUndefined()
  database.close()
})
