import {
  DECISION_GROUP_INDEX_LABEL,
  DECISION_GROUP_NAME_LABEL,
  type ObjectOf,
  type PlacementSpec,
  type PlacementStatus,
} from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { clusterOf } from './fixture.ts'
import { Fleet } from './fleet.ts'
import { paced } from './pace.ts'
import { type PlacementOutcome, schedule } from './schedule.ts'
import { everybody, historian, meta, NOW } from './test-histories.ts'

const byScore: PlacementSpec = {
  sortBy: 'Score',
  prioritizerPolicy: {
    mode: 'Exact',
    configurations: [{ scoreCoordinate: { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } } }],
  },
}

function fleetWith(
  scores: Readonly<Record<string, number>>,
  labels: Record<string, Record<string, string>> = {},
): Fleet {
  const fleet = new Fleet()
  for (const event of everybody) historian(fleet).happen(event)
  for (const [name, value] of Object.entries(scores)) {
    fleet.putCluster(clusterOf(name, { labels: labels[name] ?? {} }))
    fleet.putScores({ namespace: name, name: 'usage', validUntil: undefined, scores: [{ name: 'free', value }] })
  }
  return fleet
}
const placementOf = (spec: PlacementSpec, status?: PlacementStatus): ObjectOf<'Placement'> => ({
  apiVersion: 'cluster.open-cluster-management.io/v1beta1',
  kind: 'Placement',
  metadata: meta('p', 'fleet'),
  spec,
  ...(status ? { status } : {}),
})
const order = ({ groups }: PlacementOutcome) => groups.map(({ name, clusters }) => [name, clusters])
const stored = ({ slices }: PlacementOutcome): ObjectOf<'PlacementDecision'>[] =>
  slices.map(({ name, groupName, groupIndex, decisions }) => ({
    apiVersion: 'cluster.open-cluster-management.io/v1beta1',
    kind: 'PlacementDecision',
    metadata: {
      ...meta(name, 'fleet'),
      labels: { [DECISION_GROUP_NAME_LABEL]: groupName, [DECISION_GROUP_INDEX_LABEL]: String(groupIndex) },
    },
    status: { decisions: [...decisions] },
  }))

describe('sortBy: Score', () => {
  const fleet = fleetWith({ a: 5, b: 70, c: 70, d: -9, e: 40 }, { a: { wave: 'x' }, e: { wave: 'x' } })

  test('the highest first, among equals by name, also where all are selected; otherwise by name', () => {
    const { slices } = schedule(fleet, placementOf(byScore), NOW)
    expect(slices[0]?.decisions.map(({ clusterName, score }) => [clusterName, score])).toEqual([
      ['b', 70],
      ['c', 70],
      ['e', 40],
      ['a', 5],
      ['d', -9],
    ])
    const { sortBy: _, ...byName } = byScore
    for (const spec of [byName, { ...byName, sortBy: 'ClusterName' as const }])
      expect(order(schedule(fleet, placementOf(spec), NOW))).toEqual([['', ['a', 'b', 'c', 'd', 'e']]])
  })

  test('within each named group, and over all of the rest before it is cut', () => {
    const groupClusterSelector = { labelSelector: { matchLabels: { wave: 'x' } } }
    const groupStrategy = { decisionGroups: [{ groupName: 'gx', groupClusterSelector }], clustersPerDecisionGroup: 2 }
    const spec = { ...byScore, decisionStrategy: { groupStrategy } }
    expect(order(schedule(fleet, placementOf(spec), NOW))).toEqual([
      ['gx', ['e', 'a']],
      ['', ['b', 'c']],
      ['', ['d']],
    ])
  })
})

describe('scoreRateLimit', () => {
  const before = schedule(fleetWith({ a: 10, b: 20, c: 30 }), placementOf(byScore), NOW)
  const status = { observedGeneration: 1, lastScoreUpdateTime: new Date(NOW - 20_000).toISOString() }
  const now = (scores: Record<string, number>, spec: PlacementSpec = byScore, more: Partial<PlacementStatus> = {}) => {
    const placement = placementOf(spec, { ...status, ...more })
    return paced(schedule(fleetWith(scores), placement, NOW), placement, stored(before), NOW)
  }

  test('scores, and the order by them, stay as they are stored for a minute, and it is said until when', () => {
    const later = now({ a: 99, b: 20, c: 30 })
    expect([order(later), later.slices]).toEqual([order(before), before.slices])
    expect(later.recheckAtMs).toBe(NOW + 40_000)
  })

  test.each<[string, Record<string, number>, PlacementSpec, Partial<PlacementStatus>]>([
    [
      'once the time is over',
      { a: 99, b: 20, c: 30 },
      byScore,
      { lastScoreUpdateTime: new Date(NOW - 60_000).toISOString() },
    ],
    ['with a shorter limit', { a: 99, b: 20, c: 30 }, { ...byScore, scoreRateLimit: '20s' }, {}],
    ['with none', { a: 99, b: 20, c: 30 }, { ...byScore, scoreRateLimit: '0s' }, {}],
    ['the first time', { a: 99, b: 20, c: 30 }, byScore, { lastScoreUpdateTime: undefined } as never],
    ['after an edit', { a: 99, b: 20, c: 30 }, byScore, { observedGeneration: 0 }],
  ])('they follow %s', (_, scores, spec, more) => {
    const later = now(scores, spec, more)
    expect(order(later)).toEqual([['', ['a', 'c', 'b']]])
    expect(later.recheckAtMs).toBeUndefined()
  })

  test('who is selected is never late, and brings the newest scores with it', () => {
    expect(order(now({ a: 99, b: 20, c: 30, d: 1 }))).toEqual([['', ['a', 'c', 'b', 'd']]])
    expect(order(now({ b: 99, c: 30 }))).toEqual([['', ['b', 'c']]])
  })

  test('a longer limit is in hours', () => {
    expect(now({ a: 99, b: 20, c: 30 }, { ...byScore, scoreRateLimit: '2h' }).recheckAtMs).toBe(NOW + 7_180_000)
  })
})
