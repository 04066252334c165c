import type { RolloutAct } from '@skerry/api'
import { expect, test } from 'vitest'
import { actText, missedText } from './acts.ts'

const act = (verb: RolloutAct['verb'], more: Partial<RolloutAct> = {}): RolloutAct => ({
  id: '0b7e4d6e-6c0a-4a5c-9b57-0d6a4b1f2c3d',
  verb,
  by: 'anna',
  at: '2026-06-01T12:00:00Z',
  reason: 'because',
  rolloutUid: 'u',
  manifestSha256: 'a'.repeat(64),
  ...more,
})

test.each([
  [act('pause'), 'paused, by anna at 2026-06-01T12:00:00Z: because'],
  [act('retry', { clusters: ['a', 'b'] }), 'retried: a, b, by anna at 2026-06-01T12:00:00Z: because'],
  [
    act('retry', { clusters: ['a', 'b', 'c', 'd', 'e'] }),
    'retried: a, b, c and 2 more, by anna at 2026-06-01T12:00:00Z: because',
  ],
  [
    act('approve', { gate: 'Group/1', expiresAt: '2026-06-02T12:00:00Z' }),
    'approved: Group/1 of manifest aaaaaaaaaaaa…, until 2026-06-02T12:00:00Z, by anna at 2026-06-01T12:00:00Z: because',
  ],
])('an act is told with what it is of, who did it, when and why: %#', (given, text) => {
  expect(actText(given)).toBe(text)
})

test.each([
  [undefined, undefined],
  [{ count: 0, sample: [] }, undefined],
  [
    { count: 1, sample: ['a'] },
    '1 cluster holds the order and is out of reach, and may activate it in a window until this is heard there: a',
  ],
  [
    { count: 11, sample: ['a', 'b'] },
    '11 clusters hold the order and are out of reach, and may activate it in a window until this is heard there: a, b, …',
  ],
])('whom a pause does not reach in time is told: %#', (heldInTheDark, text) => {
  expect(missedText({ act: act('pause'), ...(heldInTheDark ? { heldInTheDark } : {}) })).toBe(text)
})
