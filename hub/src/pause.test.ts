import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { pause } from './pause.ts'

test('a pause of a day ends with its signal, also with one that aborted before, and leaves no listener', async () => {
  const over = new AbortController()
  const paused = pause(86_400_000, over.signal)
  expect(getEventListeners(over.signal, 'abort')).toHaveLength(1)
  over.abort()
  await paused
  await pause(86_400_000, over.signal)
  expect(getEventListeners(over.signal, 'abort')).toHaveLength(0)
})

test('one that is over leaves none either', async () => {
  const { signal } = new AbortController()
  await pause(1, signal)
  expect(getEventListeners(signal, 'abort')).toHaveLength(0)
})
