import type { ObjectOf, RolloutCluster, RolloutStatus } from '@skerry/api'
import { expect, test } from 'vitest'
import type { ClusterChoice } from '../cluster-choice.ts'
import { formatEntries } from '../output/sections.ts'
import { describeRollout } from './rollout.ts'

const NOW = Date.parse('2026-06-01T00:00:00Z')
const described = (
  spec: Partial<ObjectOf<'Rollout'>['spec']>,
  status?: RolloutStatus,
  choice: ClusterChoice = { limit: 0 },
) =>
  formatEntries(
    describeRollout(
      {
        apiVersion: 'skerry.dev/v1alpha1',
        kind: 'Rollout',
        metadata: { name: 'r', namespace: 'fleet' },
        spec: { placementRef: { name: 'all' }, image: { name: 'os-1' }, ...spec },
        ...(status ? { status } : {}),
      } as ObjectOf<'Rollout'>,
      choice,
      NOW,
    ),
  )
const limits = (maxConcurrency: number | string) =>
  /^Limits: +(.*)$/m.exec(described({ strategy: { type: 'Progressive', progressive: { maxConcurrency } } }))?.[1]

test.each<[given: number | string, told: string]>([
  [0, 'maxConcurrency 0 (no limit)'],
  ['0%', 'maxConcurrency 0% (no limit)'],
  [10, 'maxConcurrency 10'],
  ['10%', 'maxConcurrency 10%'],
  ['100%', 'maxConcurrency 100%'],
])('describe rollout: a maxConcurrency of %j is told as "%s"', (given, told) => {
  expect(limits(given)).toBe(told)
})

test.each<[Partial<RolloutCluster>, string | undefined]>([
  [{ state: 'Soaking', recheckAt: '2026-06-01T00:05:00.000Z' }, '2026-06-01T00:05:00.000Z (in 5m)'],
  [{ state: 'NotStarted' }, 'with the next news of it, within a minute at the latest'],
  [{ state: 'Offline' }, 'with the next news of it, within a minute at the latest'],
  [{ state: 'Succeeded' }, undefined],
  [{ state: 'TimeOut' }, undefined],
])('describe rollout: of %j it says when that is looked at again', (row, told) => {
  const cluster = { name: 'a', state: 'Sent', reason: 'R', message: 'm', since: '2026-06-01T00:00:00.000Z', ...row }
  const text = described({}, { clusters: [cluster as RolloutCluster] })
  expect(/Looked at again: +(.*)$/m.exec(text)?.[1]).toBe(told)
})

test('describe rollout: how many are in each state, and who is under way for longest, before every cluster is listed', () => {
  const slow = { name: 'shop-9', state: 'Staging', reason: 'Staging', since: '2026-05-31T21:00:00.000Z' } as const
  const text = described({}, { byState: { Offline: 24, Staging: 1 }, slowest: [slow] })
  expect(text).toMatch(/^By state: +24 Offline, 1 Staging$/m)
  expect(text).toMatch(/^Slowest: +shop-9: Staging since 2026-05-31T21:00:00.000Z \(3h ago\)$/m)
})

test('describe rollout: whoever is another rollout’s is not told as not started', () => {
  const counts = { total: 3, succeeded: 1, failed: 0, rolledBack: 0, inProgress: 0, deferred: 0, notStarted: 2 }
  const text = described({}, { counts, byState: { Succeeded: 1, Removed: 2 } })
  expect(text).toMatch(/^Counts: +1 of 3 succeeded, .* 0 not started, 0 rolled back, 0 failed, 2 removed$/m)
})

test('describe rollout: waves, from when they count, and the minute of each cluster', () => {
  const cluster = { name: 'shop-1', state: 'WaitingForWindow', reason: 'WaveNotDue', message: 'm' }
  const text = formatEntries(
    describeRollout(
      {
        apiVersion: 'skerry.dev/v1alpha1',
        kind: 'Rollout',
        metadata: { name: 'r', namespace: 'fleet' },
        spec: {
          placementRef: { name: 'all' },
          image: { name: 'os-1' },
          waves: [
            { startAfter: '0s', percent: 1 },
            { startAfter: '24h', percent: 100, spread: '48h' },
          ],
        },
        status: {
          firstSent: { manifestSha256: 'a'.repeat(64), at: '2026-06-01T12:00:00Z' },
          clusters: [{ ...cluster, since: '2026-06-01T12:00:00Z', waveAt: '2026-06-02T13:45:00Z' }],
        },
      } as ObjectOf<'Rollout'>,
      { limit: 0 },
      Date.parse('2026-06-01T13:00:00Z'),
    ),
  )
  expect(text).toMatch(/^Waves: +1% from 0s on\n +100% from 24h on, spread over 48h$/m)
  expect(text).toMatch(/^First sent: +2026-06-01T12:00:00Z/m)
  expect(text).toMatch(/^ +Its minute: +2026-06-02T13:45:00Z/m)
})

const fleet = (['Succeeded', 'Staging', 'Failed', 'Removed', 'TimeOut', 'NotStarted'] as const).map((state, index) => {
  return { name: `shop-${index}`, state, reason: 'R', message: 'm', since: '2026-06-01T00:00:00.000Z' }
})

test.each<[choice: ClusterChoice, told: string[]]>([
  [{ limit: 0 }, ['shop-2', 'shop-4', 'shop-1', 'shop-5', 'shop-0', 'shop-3']],
  [{ limit: 6 }, ['shop-2', 'shop-4', 'shop-1', 'shop-5', 'shop-0', 'shop-3']],
  [{ limit: 3 }, ['shop-2', 'shop-4', 'shop-1', '… and 3 more']],
  [{ limit: 1, states: ['Failed', 'TimeOut'] }, ['shop-2', '… and 1 more']],
  [{ limit: 2, states: ['Failed', 'TimeOut'] }, ['shop-2', 'shop-4']],
])(
  'describe rollout: of %j what failed comes first, then what is open, and how many are left out is said',
  (choice, told) => {
    const text = described({}, { clusters: fleet }, choice)
    expect([...text.matchAll(/^ {2}(\S.*?):/gm)].map(([, name]) => name)).toEqual(told)
    expect(text.includes('--limit 0 shows all')).toBe(told.length !== 6 && told.at(-1)?.startsWith('…') === true)
  },
)

test('describe rollout: that no cluster is in a state is said', () => {
  expect(described({}, { clusters: fleet }, { limit: 0, states: ['Soaking'] })).toMatch(/^Clusters: +<none>$/m)
})

test('describe rollout: who is ordered back after a breach says to what, how far that is and what to do', () => {
  const backTo = {
    ...{ target: 'images/os/1.json', manifestSha256: '1'.repeat(64), version: '1', state: 'Impossible' as const },
    message: 'the site refused the order for 1: roll out an image to it that it takes',
  }
  const cluster = { name: 'shop', state: 'RolledBack' as const, reason: 'FellBack', message: 'm' }
  const text = described({}, { clusters: [{ ...cluster, backTo, since: '2026-06-01T00:00:00.000Z' }] })
  expect(text).toMatch(
    /^ +Back to: +1 \(Impossible\): the site refused the order for 1: roll out an image to it that it takes$/m,
  )
})
