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
