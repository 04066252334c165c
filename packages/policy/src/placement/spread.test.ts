import type { ObjectOf, PlacementSpec, SpreadConstraint } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { conform } from './conformance.ts'
import { explain } from './explain.ts'
import { clusterOf } from './fixture.ts'
import { Fleet } from './fleet.ts'
import { schedule } from './schedule.ts'
import { type Candidate, spread } from './spread.ts'
import { everybody, historian, histories, NOW, placements } from './test-histories.ts'

type Site = {
  readonly score?: number
  readonly labels?: Record<string, string>
  readonly claims?: Record<string, string>
}

/** A fleet of these sites, which an add-on scores. */
function fleetOfSites(sites: Readonly<Record<string, Site>>): Fleet {
  const fleet = new Fleet()
  for (const event of everybody) historian(fleet).happen(event)
  for (const [name, { score, labels = {}, claims = {} }] of Object.entries(sites)) {
    const clusterClaims = Object.entries(claims).map(([claim, value]) => ({ name: claim, value }))
    fleet.putCluster(clusterOf(name, { labels, status: { clusterClaims } }))
    if (score === undefined) continue
    const scores = [{ name: 'free', value: score }]
    fleet.putScores({ namespace: name, name: 'usage', validUntil: undefined, scores })
  }
  return fleet
}

const placementOf = (spec: PlacementSpec): ObjectOf<'Placement'> => ({
  apiVersion: 'cluster.open-cluster-management.io/v1beta1',
  kind: 'Placement',
  metadata: {
    ...{ name: 'p', namespace: 'fleet', uid: 'p', resourceVersion: '1', generation: 1 },
    creationTimestamp: '1970-01-01T00:00:00.000Z',
  },
  spec,
})
const strictly = (topologyKey: string, maxSkew = 1): SpreadConstraint => ({
  ...{ topologyKey, topologyKeyType: 'Label', maxSkew, whenUnsatisfiable: 'DoNotSchedule' },
})
const softly = (topologyKey: string): SpreadConstraint => ({ topologyKey, topologyKeyType: 'Label' })
const free = { scoreCoordinate: { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } } }
const weightOf = (weight: number) => ({ scoreCoordinate: { type: 'BuiltIn', builtIn: 'Spread' }, weight })

function look(sites: Readonly<Record<string, Site>>, spec: PlacementSpec) {
  const fleet = fleetOfSites(sites)
  const placement = placementOf(spec)
  const outcome = schedule(fleet, placement, NOW)
  return { ...outcome, reasons: [...explain(fleet, placement, outcome, NOW)] }
}
const east = (zone: string) => ({ region: 'us-east', zone })
const west = (zone: string) => ({ region: 'us-west', zone })

describe('[deviation] D-03, P-70 to P-73: spread', () => {
  const example = {
    c1: { score: 50, labels: east('1a') },
    c2: { score: 50, labels: east('1a') },
    c3: { score: 0, labels: east('1b') },
    c4: { score: 0, labels: west('1a') },
    c5: { score: 50, labels: west('1a') },
  }
  const exampleSpec: PlacementSpec = {
    numberOfClusters: 2,
    prioritizerPolicy: { mode: 'Exact', configurations: [free, weightOf(2)] },
    spreadPolicy: { spreadConstraints: [softly('region'), strictly('zone')] },
  }

  test('the worked example: c1, then c5, and what every other one would have had', () => {
    const { selected, reasons, slices } = look(example, exampleSpec)
    expect(selected).toEqual(['c1', 'c5'])
    expect(reasons.map(({ cluster, reason, rank, score }) => [cluster, reason, rank, score])).toEqual([
      ['c1', 'Selected', 1, 50],
      ['c2', 'SpreadLimit', 4, 50],
      ['c3', 'OutOfNumber', 5, -200],
      ['c4', 'OutOfNumber', 3, 200],
      ['c5', 'Selected', 2, 250],
    ])
    expect(reasons.map(({ scores }) => scores?.find(({ name }) => name === 'Spread'))).toEqual(
      [0, 0, -100, 100, 100].map((score) => ({ name: 'Spread', score, weight: 2 })),
    )
    expect(reasons[1]?.message).toBe(
      'region=us-east, zone=1a has 1 where the least has 0: one more would exceed maxSkew 1',
    )
    expect(slices[0]?.decisions.map(({ score }) => score)).toEqual([50, 250])
  })

  test('in Additive mode it weighs 2, and what is listed weighs as listed', () => {
    const weights = (configurations: PlacementSpec['prioritizerPolicy']) =>
      look(example, {
        ...exampleSpec,
        ...(configurations ? { prioritizerPolicy: configurations } : {}),
      }).reasons[0]?.scores?.map(({ name, weight }) => [name, weight])
    const { prioritizerPolicy: _, ...plain } = exampleSpec
    expect(look(example, plain).reasons[0]?.scores?.map(({ name, weight }) => [name, weight])).toEqual([
      ['Balance', 1],
      ['Steady', 1],
      ['Spread', 2],
    ])
    expect(weights({ configurations: [weightOf(5)] })).toContainEqual(['Spread', 5])
    expect(weights({ configurations: [weightOf(0)] })?.map(([name]) => name)).toEqual(['Balance', 'Steady'])
    expect(weights({ mode: 'Exact' })).toEqual([])
  })

  test('in Exact mode without Spread a term still keeps out, and none is preferred', () => {
    const spec = { ...exampleSpec, prioritizerPolicy: { mode: 'Exact', configurations: [free] } }
    // By total alone c2 were next: its zone has one already.
    expect(look(example, spec).selected).toEqual(['c1', 'c5'])
    const soft = { ...spec, spreadPolicy: { spreadConstraints: [softly('region')] } }
    expect(look(example, soft).selected).toEqual(['c1', 'c2'])
  })

  test('without a number all are wanted, and what a term keeps out is unscheduled', () => {
    const sites = {
      a: { labels: east('1') },
      b: { labels: east('1') },
      c: { labels: east('1') },
      d: { labels: east('2') },
    }
    const { selected, unscheduled, conditions, reasons } = look(sites, {
      spreadPolicy: { spreadConstraints: [strictly('zone')] },
    })
    expect([selected, unscheduled]).toEqual([['a', 'b', 'd'], 1])
    expect(conditions[0]).toMatchObject({
      status: 'False',
      reason: 'NotAllDecisionsScheduled',
      message: '1 cluster decisions unscheduled (SpreadLimit: 1)',
    })
    expect(reasons.find(({ cluster }) => cluster === 'c')?.reason).toBe('SpreadLimit')
    const soft = { spreadPolicy: { spreadConstraints: [softly('zone')] } }
    expect(look(sites, soft)).toMatchObject({ selected: ['a', 'b', 'c', 'd'], unscheduled: 0 })
  })

  test('who lacks the key is kept out where it may not, and is a topology of its own where it may', () => {
    const sites = { a: { labels: east('1') }, b: {}, c: {}, d: { labels: { region: 'us-east' } } }
    const strict = look(sites, { spreadPolicy: { spreadConstraints: [strictly('zone')] } })
    expect(strict.selected).toEqual(['a'])
    expect(strict.reasons.map(({ reason, message }) => [reason, message]).slice(1)).toEqual(
      Array.from({ length: 3 }, () => ['TopologyKeyMissing', 'label zone is missing']),
    )
    const soft = look(sites, { numberOfClusters: 2, spreadPolicy: { spreadConstraints: [softly('zone')] } })
    expect(soft.selected).toEqual(['a', 'b'])
  })

  test('a claim names a topology, too, and zones of one name in two regions are two', () => {
    const claimed = (region: string, zone: string) => ({ claims: { region, zone } })
    const sites = { a: claimed('x', '1'), b: claimed('x', '2'), c: claimed('y', '1'), d: claimed('y', '1') }
    const byClaim = (topologyKey: string): SpreadConstraint => ({ ...strictly(topologyKey), topologyKeyType: 'Claim' })
    const spec = { numberOfClusters: 4, spreadPolicy: { spreadConstraints: [byClaim('region'), byClaim('zone')] } }
    expect(look(sites, spec).selected).toEqual(['a', 'b', 'c', 'd'])
  })

  test('Spread without a spreadPolicy is 0 of everybody, and chooses as if it were not there', () => {
    const { selected, reasons } = look(example, {
      numberOfClusters: 2,
      prioritizerPolicy: { configurations: [free, weightOf(10)] },
    })
    expect(selected).toEqual(['c1', 'c2'])
    expect(reasons[4]?.scores).toContainEqual({ name: 'Spread', score: 0, weight: 10 })
  })
})

describe('[conformance: ocm] a placement that does not ask for spread', () => {
  test('is decided as if there were none, whatever the fleet came through', () => {
    const isAsked = ({ spec }: ObjectOf<'Placement'>) =>
      JSON.stringify(spec.prioritizerPolicy ?? {}).includes('"Spread"')
    fc.assert(
      fc.property(histories, placements, (happened, placement) => {
        fc.pre(!isAsked(placement))
        const fleet = new Fleet()
        const { happen } = historian(fleet)
        for (const event of happened) happen(event)
        const { spreadPolicy: _, ...spec } = placement.spec
        const told = (one: PlacementSpec) => {
          const asked = { ...placement, spec: one }
          const { kind, groups, slices, conditions, recheckAtMs, unscheduled } = schedule(fleet, asked, NOW)
          const reasons = [...explain(fleet, asked, schedule(fleet, asked, NOW), NOW)]
          return { kind, groups, slices, conditions, recheckAtMs, unscheduled, reasons }
        }
        for (const spreadPolicy of [{}, { spreadConstraints: [] }])
          expect(told({ ...spec, spreadPolicy })).toEqual(told(spec))
        // Terms that keep nobody out, at weight 0: the same, and the way back to what OCM does with such a text.
        const off = { mode: 'Exact', ...spec.prioritizerPolicy }
        const without = { ...spec, prioritizerPolicy: off }
        const soft = { spreadConstraints: [softly('env')] }
        const zero = { ...off, configurations: [...(off.configurations ?? []), weightOf(0)] }
        expect(told({ ...without, spreadPolicy: soft, prioritizerPolicy: zero })).toEqual(told(without))
      }),
      { numRuns: 300 },
    )
  })
})

test('[conformance: ocm] P-45 as OCM, the coordinate is unknown and the policy says nothing', () => {
  const [set, binding] = everybody.flatMap((event) => ('put' in event ? [event] : []))
  if (set?.put !== 'set' || binding?.put !== 'binding') throw new Error('a set and its binding are needed')
  const scenario = (spec: PlacementSpec) =>
    conform({
      id: 'x',
      now: new Date(NOW).toISOString(),
      clusters: ['a', 'b', 'c'].map((name) => clusterOf(name, { labels: { zone: name === 'c' ? '2' : '1' } })),
      clusterSets: [set.set],
      bindings: [binding.binding],
      placement: placementOf(spec),
    })
  const spreadPolicy = { spreadConstraints: [strictly('zone')] }
  expect(scenario({ numberOfClusters: 2, spreadPolicy })).toMatchObject({
    decisions: [['a', 'b']],
    prioritizers: [{ name: 'Balance' }, { name: 'Steady' }],
  })
  expect(scenario({ prioritizerPolicy: { configurations: [weightOf(1)] } })).toMatchObject({
    status: 'Misconfigured',
    conditions: [{ message: ':incorrect builtin prioritizer: Spread' }, {}],
  })
})

describe('spread()', () => {
  const word = fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined, freq: 8 })
  const terms = fc.array(
    fc.record({
      topologyKey: fc.constant('k'),
      topologyKeyType: fc.constant('Label' as const),
      maxSkew: fc.integer({ min: 1, max: 3 }),
      whenUnsatisfiable: fc.constantFrom('DoNotSchedule' as const, 'ScheduleAnyway' as const),
    }),
    { minLength: 1, maxLength: 3 },
  )
  const candidates = fc
    .array(
      fc.record({ total: fc.integer({ min: -50, max: 50 }), values: fc.array(word, { minLength: 3, maxLength: 3 }) }),
    )
    .map((all) => all.map((one, slot): Candidate => ({ slot, ...one })))

  test('never skews a DoNotSchedule term further than it allows, and stops only where it must', () => {
    fc.assert(
      fc.property(candidates, terms, fc.integer({ min: -10, max: 10 }), fc.nat(12), (all, wanted, weight, number) => {
        const of = all.map((one) => ({ ...one, values: one.values.slice(0, wanted.length) }))
        const { picked, limited, keyless } = spread(of, wanted, weight, number)
        expect(new Set(picked).size).toBe(picked.length)
        const able = of.filter(({ slot }) => !keyless.has(slot))
        const tuple = ({ values }: Candidate, depth: number) =>
          JSON.stringify(values.slice(0, depth).map((v) => v ?? ''))
        for (const [at, term] of wanted.entries()) {
          if (term.whenUnsatisfiable !== 'DoNotSchedule') continue
          for (const inside of Map.groupBy(able, (one) => tuple(one, at)).values()) {
            const topologies = [...Map.groupBy(inside, (one) => tuple(one, at + 1)).values()]
            const counts = topologies.map((them) => them.filter(({ slot }) => picked.includes(slot)).length)
            expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(term.maxSkew)
          }
        }
        if (picked.length < number)
          for (const { slot } of able) expect(picked.includes(slot) || limited.has(slot)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  test('counts the first of eight terms more than all others together', () => {
    const eight: SpreadConstraint[] = Array.from({ length: 8 }, (_, at) => softly(`k${at}`))
    const of = (slot: number, ...values: string[]): Candidate => ({ slot, total: 0, values })
    const all = [of(0, ...'aaaaaaaa'), of(1, ...'abbbbbbb'), of(2, ...'baaaaaaa')]
    expect(spread(all, eight, 1, 2).picked).toEqual([0, 2])
  })
})
