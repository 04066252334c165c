import type { RolloutSpec } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { admitRollout } from './admission.ts'
import { image, rollout } from './fixture.ts'
import { simulate } from './simulate.ts'

// A date ends in the year 275760. What is told of a rollout is dates: one that cannot be told would end every look of the
// hub, at whatever rollout.

const START = Date.parse('2026-06-01T08:00:00Z')
const HOUR = 3_600_000

const withDuration = (long: string): [string, Partial<RolloutSpec>][] => [
  ['strategy.all.progressDeadline', { strategy: { type: 'All', all: { progressDeadline: long } } }],
  [
    'strategy.progressive.minSuccessTime',
    { strategy: { type: 'Progressive', progressive: { maxConcurrency: 1, minSuccessTime: long } } },
  ],
  [
    'strategy.progressive.progressDeadline',
    { strategy: { type: 'Progressive', progressive: { maxConcurrency: 1, progressDeadline: long } } },
  ],
  [
    'strategy.progressivePerGroup.minSuccessTime',
    { strategy: { type: 'ProgressivePerGroup', progressivePerGroup: { minSuccessTime: long } } },
  ],
  [
    'strategy.progressivePerGroup.progressDeadline',
    { strategy: { type: 'ProgressivePerGroup', progressivePerGroup: { progressDeadline: long } } },
  ],
  ['approvals.expireAfter', { approvals: { start: 1, expireAfter: long } }],
  ['offlineAfter', { offlinePolicy: 'CountAsFailure', offlineAfter: long }],
  ['catchUp.jitter', { catchUp: { jitter: long } }],
]

describe.each(['9999999999h', `1${'0'.repeat(400)}s`])('a duration of %s', (long) => {
  test.each(withDuration(long))('%s is refused, and a rollout that is stored with it is planned', (field, spec) => {
    const whole = { placementRef: { name: 'p' }, image: { name: 'os-2' }, ...spec }
    expect(admitRollout(whole, START).map((fault) => fault.field)).toEqual([`spec.${field}`])
    const [dark, asleep] = [
      { fromMs: START + 1_000, toMs: START + 24 * HOUR },
      { fromMs: START - 24 * HOUR, toMs: START + HOUR },
    ]
    const { kind } = simulate({
      rollout: rollout(spec),
      image,
      groups: [{ name: '', clusters: ['a', 'b', 'c'] }],
      clusters: [{ name: 'a', outages: [dark] }, { name: 'b', outages: [asleep] }, { name: 'c' }],
      limits: { lateMs: 90_000, offlineMs: 300_000, staleMs: 24 * HOUR },
      approvers: [{ by: 'otto', afterMs: 1_000 }],
      startMs: START,
      endMs: START + 30 * 24 * HOUR,
    })
    expect(kind).toBe('Played')
  })
})

test('what Go can read is none of these', () => {
  for (const [, spec] of withDuration('2562047h'))
    expect(admitRollout({ placementRef: { name: 'p' }, image: { name: 'os-2' }, ...spec }, START)).toEqual([])
})
