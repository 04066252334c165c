import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { ObjectOf } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { factsOf, type PlacementScenario } from './conformance.ts'
import { decide } from './decide.ts'
import { explain } from './explain.ts'
import { clusterOf } from './fixture.ts'
import { Fleet, type FleetFacts, fleetOf } from './fleet.ts'
import { REMOVAL_GUARD } from './guard.ts'
import { schedule } from './schedule.ts'
import { type Event, historian, histories, NOW, placements, spreading } from './test-histories.ts'
import { evaluate } from './test-reference.ts'
import { passedFilters, VERDICTS } from './verdicts.ts'

// What is decided over columns must be what the plain reference answers over the objects themselves, also of a fleet that
// came to be by whatever went before.

/** What is decided is told, not what is held of it. */
const UNGUARDED = { ...REMOVAL_GUARD, maxRemovalPercent: 100 }

type Answer = Pick<ReturnType<typeof decide>, 'kind'> & Record<string, unknown>

function byColumns(fleet: Fleet, placement: ObjectOf<'Placement'>): Answer {
  const found = decide(fleet, placement, NOW)
  if (found.kind !== 'Decided') return found
  const { status, message, satisfied, verdicts, recheckAtMs, scoresEndAtMs, unscheduled } = found
  const { totals, scores } = found.ranking()
  const groups = found.groups.map(({ members, ...group }) => ({
    ...group,
    clusters: Array.from(members, (slot) => fleet.nameOf(slot)),
  }))
  const isRanked = (verdict = 0) => VERDICTS[verdict] !== undefined && passedFilters(verdict)
  const passed = [...fleet.byName()].filter((slot) => isRanked(verdicts[slot]))
  const named = (values: ArrayLike<number>) => passed.map((slot) => [fleet.nameOf(slot), values[slot] ?? 0])
  const misconfigured = status === 'Misconfigured'
  return {
    kind: 'Decided',
    ...{ status, groups, unscheduled, scoresEndAtMs: misconfigured ? undefined : scoresEndAtMs },
    message: status === 'Warning' ? '' : message,
    satisfied: satisfied.reason,
    recheckAtMs,
    totals: named(totals),
    prioritized: misconfigured ? [] : scores.map(({ name, weight, values }) => [name, weight, named(values)]),
    reasons: misconfigured
      ? []
      : lines([...explain(fleet, placement, schedule(fleet, placement, NOW, UNGUARDED), NOW)]),
  }
}

function plainly(facts: FleetFacts, placement: ObjectOf<'Placement'>): Answer {
  const found = evaluate({ ...facts, placement, nowMs: NOW })
  if (found.kind !== 'Evaluated') return found
  const { status, message, groups, satisfied, totals, prioritized, recheckAtMs, scoresEndAtMs, unscheduled, reasons } =
    found
  const names = [...totals.keys()].toSorted()
  const misconfigured = status === 'Misconfigured'
  return {
    kind: 'Decided',
    ...{ status, groups, unscheduled, scoresEndAtMs: misconfigured ? undefined : scoresEndAtMs },
    message: status === 'Warning' ? '' : message,
    satisfied: satisfied.reason,
    recheckAtMs,
    totals: names.map((name) => [name, totals.get(name)]),
    prioritized: (misconfigured ? [] : prioritized).map(({ name, weight, scores }) => [
      name,
      weight,
      names.map((one) => [one, scores.get(one) ?? 0]),
    ]),
    reasons: misconfigured ? [] : lines(reasons),
  }
}

// Of those in no set the reason alone: what the reference says of it is shorter.
const lines = (
  reasons: readonly { cluster: string; reason: string; message: string; rank?: number; score?: number }[],
) =>
  reasons.map(({ cluster, reason, message, rank, score }) => ({
    ...{ cluster, reason, rank, score },
    ...(reason === 'NotInEligibleSet' ? {} : { message }),
  }))

/** The events on a fleet that lives through them, and what is there after them. */
function live(happened: readonly Event[]): { fleet: Fleet; facts: FleetFacts } {
  const fleet = new Fleet()
  const { happen, facts } = historian(fleet)
  for (const event of happened) happen(event)
  return { fleet, facts: facts() }
}

describe('decide() and the plain reference', () => {
  test('answer the same of any fleet, whatever it came through', () => {
    let chosen = 0
    const told = new Set<string>()
    fc.assert(
      fc.property(
        histories,
        fc.oneof({ weight: 2, arbitrary: placements }, { weight: 1, arbitrary: spreading }),
        (happened, placement) => {
          const { fleet, facts } = live(happened)
          const expected = plainly(facts, placement)
          expect(byColumns(fleet, placement)).toEqual(expected)
          expect(byColumns(fleetOf(facts), placement)).toEqual(expected)
          if (
            (expected['groups'] as readonly { clusters: readonly string[] }[] | undefined)?.some(
              (group) => group.clusters.length > 0,
            )
          )
            chosen += 1
          for (const { reason } of (expected['reasons'] ?? []) as readonly { reason: string }[]) told.add(reason)
        },
      ),
      { numRuns: 2_000 },
    )
    // A generator that never selects anything would show nothing.
    expect(chosen).toBeGreaterThan(150)
    expect([...told].toSorted()).toEqual(VERDICTS.filter((verdict) => verdict !== 'Unknown').toSorted())
  })

  test('answer the same of all that was recorded without CEL', () => {
    const scenarios = gunzipSync(readFileSync(new URL('recorded/scenarios.jsonl.gz', import.meta.url)))
      .toString('utf8')
      .trim()
      .split('\n')
      .filter((line) => !line.includes('celSelector'))
      .map((line) => JSON.parse(line) as PlacementScenario)
    expect(scenarios.length).toBeGreaterThan(250)
    for (const scenario of scenarios) {
      const facts = factsOf(scenario)
      expect(byColumns(fleetOf(facts), scenario.placement), scenario.id).toEqual(plainly(facts, scenario.placement))
    }
  })
})

test('a value that nobody has any more takes no room', () => {
  const fleet = new Fleet()
  const claimed = (value: number) => clusterOf('a', { status: { clusterClaims: [{ name: 'day', value: `${value}` }] } })
  const holds = (value: number) => {
    const mask = new Uint8Array(fleet.size).fill(1)
    fleet.claims.narrow(mask, { matchExpressions: [{ key: 'day', operator: 'In', values: [`${value}`] }] })
    return mask[0] === 1
  }
  for (let day = 0; day < 5_000; day += 1) {
    fleet.putCluster(claimed(day))
    // Also on the day on which the others are forgotten.
    if (!holds(day)) expect.fail(`the claim of day ${day} was not kept`)
  }
  fleet.putCluster(clusterOf('b', { status: { clusterClaims: [{ name: 'day', value: '4999' }] } }))
  const mask = new Uint8Array(fleet.size).fill(1)
  fleet.claims.narrow(mask, { matchExpressions: [{ key: 'day', operator: 'In', values: ['4999', '17'] }] })
  expect([...mask]).toEqual([1, 1])
  expect(fleet.claims.valuesOf('day')).toBeLessThan(2_000)
})
