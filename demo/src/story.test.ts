import type { RolloutPhase } from '@skerry/api'
import { expect, test } from 'vitest'
import { hasEnded } from './story.ts'

test.each<[RolloutPhase | undefined, boolean]>([
  [undefined, false],
  ['Running', false],
  ['Completed', true],
  ['Paused', true],
  ['Aborted', true],
])('a later start waits for no chapter that goes on no more: %s', (phase, ended) => {
  expect(hasEnded(phase)).toBe(ended)
})
