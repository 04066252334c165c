import type { RolloutSpec } from '@skerry/api'
import { expect, test } from 'vitest'
import { cluster, facts, held, iso, MINUTE, NOW, plan, row, saved } from './fixture.ts'
import { planRollout } from './plan.ts'

test('of those that return, who waits least is sent the image first', () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const spec: Partial<RolloutSpec> = { catchUp: { jitter: '60m', maxConcurrency: 1 } }
  const dark = saved(
    plan(
      names.map((name) => cluster(name, 'offline')),
      spec,
    ),
  )
  const back = names.map((name) => cluster(name, 'nothing'))
  const returned = plan(back, spec, dark)
  const starts = names
    .map((name) => ({ name, at: held(returned, name)?.message.match(/this one at (\S+)$/)?.[1] ?? '' }))
    .toSorted((a, b) => a.at.localeCompare(b.at))
  expect(new Set(starts.map(({ at }) => at)).size).toBe(names.length)
  // The order is not that of their names: each has its own time.
  expect(starts.map(({ name }) => name)).not.toEqual(names)
  const later = plan(back, spec, saved(returned), NOW + 60 * MINUTE)
  expect(later.advance).toEqual([starts[0]?.name])
  // The last of them has its turn where there is room, and not before.
  const most = { catchUp: { jitter: '60m', maxConcurrency: names.length - 1 } }
  expect(plan(back, most, saved(returned), NOW + 60 * MINUTE).advance).not.toContain(starts.at(-1)?.name)
})

test('a group may count who is out of reach as failed while another one skips them', () => {
  const spec: Partial<RolloutSpec> = {
    strategy: { type: 'ProgressivePerGroup', progressivePerGroup: { maxFailures: 1 } },
    offlineAfter: '10m',
    groupOfflinePolicies: [{ groupIndex: 1, offlinePolicy: 'CountAsFailure' }],
  }
  const clusters = [cluster('a', 'proven'), cluster('b', 'offline'), cluster('c', 'proven'), cluster('d', 'offline')]
  const decided = [
    { index: 0, name: '', clusters: ['a', 'b'] },
    { index: 1, name: '', clusters: ['c', 'd'] },
  ]
  const first = planRollout({ ...facts(clusters, spec), decided }, NOW)
  const later = planRollout({ ...facts(clusters, spec, saved(first)), decided }, NOW + 10 * MINUTE)
  expect([row(later, 'b')?.state, row(later, 'd')?.state]).toEqual(['Offline', 'TimeOut'])
  expect(row(later, 'd')?.message).toBe(`out of reach since ${iso(NOW)}, which this rollout counts as a failure`)
})
