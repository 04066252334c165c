import { expect, test } from 'vitest'
import { repeatPauseMs } from './pause.ts'

test.each([
  [0, 5_000, 15_000],
  [1, 10_000, 30_000],
  [2, 20_000, 60_000],
  [3, 30_000, 90_000],
  [2_000, 30_000, 90_000],
])('what was repeated %i times is repeated after %i to %i ms', (times, least, most) => {
  expect(repeatPauseMs(times, 0)).toBe(least)
  expect(repeatPauseMs(times, 1)).toBe(most)
})
