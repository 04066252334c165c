import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { type ConformanceResult, conform, type PlacementScenario } from './conformance.ts'

// OCM's own scheduler, recorded in `recorded/` (DESIGN.md of this package says how). Compared as its README asks: outcome,
// status, decisions, groups, slices, conditions (not their messages), scores and those of each prioritizer, recheck within 2 s.

describe('[conformance: ocm] recorded scenarios', () => {
  const scenarios = read<PlacementScenario>('scenarios.jsonl.gz')
  const expected = new Map(read<ConformanceResult>('expected.jsonl.gz').map((result) => [result.id, result]))

  test('are all here', () => {
    expect([scenarios.length, expected.size]).toEqual([400, 400])
    for (const outcome of ['stored', 'skipped', 'error'])
      expect([...expected.values()].filter((one) => one.outcome === outcome).length, outcome).toBeGreaterThan(0)
  })

  test.each(scenarios.map((scenario) => [scenario.id, scenario.tags?.[0], scenario] as const))(
    '%s (%s)',
    (id, _, scenario) => {
      const wanted = expected.get(id)
      if (!wanted) throw new Error('nothing was recorded')
      const found = conform(scenario)
      expect(comparable(found)).toEqual(comparable(wanted))
      if (wanted.requeueAfterS === undefined) expect(found.requeueAfterS).toBeUndefined()
      else expect(Math.abs((found.requeueAfterS ?? 0) - wanted.requeueAfterS)).toBeLessThanOrEqual(2)
    },
  )
})

describe('[conformance: ocm] a requirement that lacks a member has it empty, as Go reads it', () => {
  const [scenario] = read<PlacementScenario>('scenarios.jsonl.gz')
  if (!scenario) throw new Error('no scenario')
  const cluster = (name: string, zone: string) => ({
    metadata: { name, labels: { zone } },
    spec: { hubAcceptsClient: true },
  })
  const played = (requirement: object, setSelector?: object) =>
    conform({
      ...{ id: 'partial', now: scenario.now, scores: [], decisions: [] },
      clusters: [cluster('m', 'a'), cluster('n', 'b')],
      clusterSets: [
        {
          metadata: { name: 'all' },
          spec: {
            clusterSelector: { selectorType: 'LabelSelector', labelSelector: setSelector ?? {} },
          },
        },
      ],
      bindings: [
        {
          metadata: { name: 'all', namespace: 'fleet' },
          spec: { clusterSet: 'all' },
          status: { conditions: [{ type: 'Bound', status: 'True' }] },
        },
      ],
      placement: {
        metadata: { name: 'p', namespace: 'fleet' },
        spec: {
          predicates: [{ requiredClusterSelector: { labelSelector: { matchExpressions: [requirement] } } }],
        },
      },
    } as unknown as PlacementScenario)
  const good = { key: 'zone', operator: 'In', values: ['a'] }

  test('a whole one selects', () => {
    expect(played(good)).toMatchObject({ outcome: 'stored', status: 'Success', decisions: [['m']] })
  })

  test.each([
    ['operator', { key: 'zone', values: ['a'] }],
    ['key', { operator: 'In', values: ['a'] }],
    ['values', { key: 'zone', operator: 'In' }],
    ['everything', {}],
  ])('without %s the placement is misconfigured, and so is a set', (_, requirement) => {
    expect(played(requirement)).toMatchObject({ status: 'Misconfigured' })
    expect(played(good, { matchExpressions: [requirement] }).status).not.toBe('Success')
  })
})

function comparable({
  outcome,
  status,
  decisions,
  groups,
  slices,
  conditions,
  numberOfSelectedClusters,
  scores,
  prioritizers,
}: ConformanceResult) {
  const misconfigured = status === 'Misconfigured'
  return {
    ...{ outcome, status, decisions, groups, slices, numberOfSelectedClusters },
    conditions: conditions.map(({ type, status, reason }) => ({ type, status, reason })),
    // What was scored before a fault is nobody's affair.
    scores: misconfigured ? undefined : scores,
    // A cluster that was not mentioned had 0; coordinates of one name stand in any order.
    prioritizers: misconfigured
      ? undefined
      : prioritizers
          .map(({ name, weight, scores: of }) => ({
            name,
            weight,
            scores: Object.keys(scores)
              .map((cluster) => [cluster, of[cluster] ?? 0])
              .toSorted(),
          }))
          .map((one) => JSON.stringify(one))
          .toSorted(),
  }
}

function read<T>(file: string): T[] {
  return gunzipSync(readFileSync(new URL(`recorded/${file}`, import.meta.url)))
    .toString('utf8')
    .trim()
    .split('\n')
    .map((line): T => JSON.parse(line))
}
