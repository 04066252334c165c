import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { type ObjectOf, PLACEMENT_LABEL } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { type SchedulingInput, schedule } from './schedule.ts'

// OCM's own scheduler, recorded in `recorded/` (DESIGN.md of this package says how). Compared: outcome, decisions, slices, conditions (type, status, reason), scores, recheck. Two differences are meant:
// where OCM evicts on a misconfiguration, the decisions freeze; and messages, reasons and scores of clusters are ours.

type Scenario = {
  id: string
  tags: string[]
  now: string
  clusters: ObjectOf<'ManagedCluster'>[]
  clusterSets: ObjectOf<'ManagedClusterSet'>[] | null
  bindings: ObjectOf<'ManagedClusterSetBinding'>[] | null
  decisions: ObjectOf<'PlacementDecision'>[] | null
  placement: ObjectOf<'Placement'> & { spec: Record<string, unknown> }
}
type Expected = {
  id: string
  outcome: 'stored' | 'skipped' | 'error'
  status: 'Success' | 'Warning' | 'Misconfigured'
  decisions: string[][] | null
  slices: { name: string; groupIndex: number; count: number }[] | null
  conditions: { type: string; status: string; reason: string }[] | null
  requeueAfterS?: number
  scores: Record<string, number> | null
}

describe('[conformance: ocm] recorded scenarios', () => {
  const scenarios = read<Scenario>('scenarios.jsonl.gz')
  const expected = new Map(read<Expected>('expected.jsonl.gz').map((result) => [result.id, result]))
  const usable = scenarios.filter(usesOnlyWhatIsHere)

  test('a good part of them uses only what is here', () => {
    expect(scenarios.length).toBe(400)
    expect(usable.length).toBe(140)
    for (const outcome of ['stored', 'skipped', 'error'])
      expect(usable.filter(({ id }) => expected.get(id)?.outcome === outcome).length, outcome).toBeGreaterThan(0)
  })

  test.each(usable.map((scenario) => [scenario.id, scenario.tags[0], scenario] as const))(
    '%s (%s)',
    (id, _, scenario) => {
      const wanted = expected.get(id)
      const outcome = schedule(inputOf(scenario))
      if (wanted?.outcome === 'skipped') return expect(outcome.kind).toBe('Skipped')
      if (wanted?.outcome === 'error') return expect(outcome.kind).toBe('Frozen')
      if (wanted?.status === 'Misconfigured') {
        // OCM would now hold no decision; here the stored ones stay.
        expect(outcome.kind).toBe('Frozen')
        expect(outcome.conditions).toContainEqual(
          expect.objectContaining({ type: 'PlacementMisconfigured', status: 'True', reason: 'Misconfigured' }),
        )
        return
      }
      expect(outcome.kind).toBe('Decided')
      expect(outcome.slices.flatMap(({ decisions }) => decisions.map(({ clusterName }) => clusterName))).toEqual(
        (wanted?.decisions ?? []).flat(),
      )
      expect(
        outcome.slices.map(({ name, groupIndex, decisions }) => ({ name, groupIndex, count: decisions.length })),
      ).toEqual(wanted?.slices)
      expect(
        outcome.conditions
          .map(({ type, status, reason }) => ({ type, status, reason }))
          .toSorted((a, b) => (a.type < b.type ? -1 : 1)),
      ).toEqual(wanted?.conditions?.map(({ type, status, reason }) => ({ type, status, reason })))
      const scores = outcome.reasons.flatMap(({ cluster, score }) => (score === undefined ? [] : [[cluster, score]]))
      expect(Object.fromEntries(scores)).toEqual(wanted?.scores ?? {})
      const recheckS = outcome.recheckAtMs && (outcome.recheckAtMs - Date.parse(scenario.now)) / 1000
      if (wanted?.requeueAfterS === undefined) expect(recheckS).toBeUndefined()
      else expect(Math.abs((recheckS ?? 0) - wanted.requeueAfterS)).toBeLessThanOrEqual(2)
    },
  )
})

// `{mode: Additive}` without a word more is OCM's default, which is what schedule() does.
function usesOnlyWhatIsHere({ placement: { spec } }: Scenario): boolean {
  const here = ['clusterSets', 'numberOfClusters', 'predicates', 'tolerations', 'prioritizerPolicy', 'spreadPolicy']
  const policy = JSON.stringify(spec['prioritizerPolicy'] ?? { mode: 'Additive' })
  const spread = JSON.stringify(spec['spreadPolicy'] ?? {})
  return (
    Object.keys(spec).every((member) => here.includes(member)) &&
    (policy === '{"mode":"Additive"}' || policy === '{}') &&
    spread === '{}' &&
    !JSON.stringify(spec).includes('celSelector') &&
    !(Number(spec.numberOfClusters ?? 0) < 0)
  )
}

function inputOf({ placement, clusterSets, bindings, clusters, decisions, now }: Scenario): SchedulingInput {
  return {
    placement,
    sets: clusterSets ?? [],
    bindings: bindings ?? [],
    clusters: (clusters ?? []).map((cluster) => ({ ...cluster, spec: cluster.spec ?? {} })),
    decisions: (decisions ?? []).flatMap(({ metadata, status }) =>
      (status?.decisions ?? []).map(({ clusterName }) => ({
        namespace: metadata.namespace ?? '',
        placement: metadata.labels?.[PLACEMENT_LABEL] ?? '',
        cluster: clusterName,
      })),
    ),
    nowMs: Date.parse(now),
  }
}

function read<T>(file: string): T[] {
  return gunzipSync(readFileSync(new URL(`recorded/${file}`, import.meta.url)))
    .toString('utf8')
    .trim()
    .split('\n')
    .map((line): T => JSON.parse(line))
}
