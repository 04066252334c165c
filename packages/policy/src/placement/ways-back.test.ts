import {
  ADMISSION_ANNOTATION,
  causes,
  DECISION_REASONS_ANNOTATION,
  MAX_REMOVAL_PERCENT_ANNOTATION,
  type ObjectOf,
  ON_MISCONFIGURATION_ANNOTATION,
  objectSchema,
  type PlacementSpec,
  STALE_SCORES_ANNOTATION,
  UNREACHABLE_EFFECT_ANNOTATION,
} from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { admitPlacement } from './admission.ts'
import { conform } from './conformance.ts'
import { explain } from './explain.ts'
import { clusterOf } from './fixture.ts'
import { type AddOnScores, Fleet } from './fleet.ts'
import { schedule } from './schedule.ts'
import { Scheduler } from './scheduler.ts'
import { everybody, historian, histories, meta, NOW, placements } from './test-histories.ts'

// What Skerry does on purpose, and what a placement that asks for OCM's way gets instead.

const clusters = ['a', 'b', 'c'].map((name) => clusterOf(name, { labels: { env: name === 'c' ? 'dev' : 'prod' } }))
const placementOf = (spec: PlacementSpec, annotations: Record<string, string> = {}): ObjectOf<'Placement'> => ({
  apiVersion: 'cluster.open-cluster-management.io/v1beta1',
  kind: 'Placement',
  metadata: { ...meta('p', 'fleet'), annotations },
  spec,
})
/** The clusters in a set that is bound; also what has a fleet of its own. */
function filled<T extends Fleet | Scheduler>(target: T): T {
  const { happen } = historian(target)
  for (const event of everybody) happen(event)
  for (const cluster of clusters) target.putCluster(cluster)
  return target
}
const prod = { requiredClusterSelector: { labelSelector: { matchLabels: { env: 'prod' } } } }

describe('[deviation] D-05 decision-reasons', () => {
  const spec: PlacementSpec = { numberOfClusters: 3, predicates: [prod] }
  const off = { [DECISION_REASONS_ANNOTATION]: 'Off' }

  test('a decision tells its reason and score, and the condition who was left out and why', () => {
    const { slices, conditions } = schedule(filled(new Fleet()), placementOf(spec), NOW)
    expect(slices[0]?.decisions[0]).toEqual({ clusterName: 'a', reason: 'Selected', score: 100 })
    expect(conditions[0]?.message).toBe('1 cluster decisions unscheduled (PredicateMismatch: 1)')
  })

  test('with Off decisions and conditions are as OCM stores them, and whoever asks why is told all the same', () => {
    const fleet = filled(new Fleet())
    const placement = placementOf(spec, off)
    const outcome = schedule(fleet, placement, NOW)
    expect(outcome.slices[0]?.decisions).toEqual(['a', 'b'].map((clusterName) => ({ clusterName, reason: '' })))
    expect(outcome.conditions[0]?.message).toBe('1 cluster decisions unscheduled')
    expect([...explain(fleet, placement, outcome, NOW)]).toEqual([
      ...explain(fleet, placementOf(spec), schedule(fleet, placementOf(spec), NOW), NOW),
    ])
  })

  test('it changes nobody who is selected, and no order', () => {
    fc.assert(
      fc.property(histories, placements, (happened, { spec }) => {
        const fleet = new Fleet()
        const { happen } = historian(fleet)
        for (const event of happened) happen(event)
        const shape = (annotations: Record<string, string>) => {
          const { kind, selected, groups, slices } = schedule(fleet, placementOf(spec, annotations), NOW)
          const names = slices.map(({ name, decisions }) => [name, decisions.map(({ clusterName }) => clusterName)])
          return { kind, selected, groups, names }
        }
        expect(shape(off)).toEqual(shape({}))
      }),
    )
  })
})

describe('[deviation] D-08 stale-scores', () => {
  const wait = { [STALE_SCORES_ANNOTATION]: 'Wait' }
  const usage = (free: number, validUntil?: string): AddOnScores => ({
    ...{ namespace: 'a', name: 'usage', validUntil },
    scores: [{ name: 'free', value: free }],
  })
  const byUsage = { scoreCoordinate: { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } } }
  const ranked: PlacementSpec = { numberOfClusters: 1, prioritizerPolicy: { configurations: [byUsage] } }
  const ends = NOW + 60_000

  test.each([
    ['is looked at again when a score ends', {}, ends + 1],
    ['with Wait is not, as in OCM', wait, undefined],
  ])('a placement %s', (_, annotations, recheckAtMs) => {
    const scheduler = filled(new Scheduler())
    scheduler.putScores(usage(9, new Date(ends).toISOString()))
    scheduler.putPlacement(placementOf(ranked, annotations))
    expect([...scheduler.due(NOW)].map(({ outcome }) => outcome().recheckAtMs)).toEqual([recheckAtMs])
    expect(scheduler.dueAtMs).toBe(recheckAtMs)
    expect([...scheduler.due(ends + 1)]).toHaveLength(recheckAtMs === undefined ? 0 : 1)
  })

  test('a score that CEL alone reads waits for the next look, which sees it', () => {
    const celExpressions = ['managedCluster.scores("usage").exists(s, s.value > 50)']
    const spec = { predicates: [{ requiredClusterSelector: { celSelector: { celExpressions } } }] }
    const looks = (annotations: Record<string, string>) => {
      const scheduler = filled(new Scheduler())
      scheduler.putPlacement(placementOf(spec, annotations))
      const look = () => [...scheduler.due(NOW)].map(({ outcome }) => outcome().selected)
      const found = [look()]
      scheduler.putScores(usage(90))
      found.push(look())
      scheduler.lookAgain('fleet', 'p')
      return [...found, look()]
    }
    expect(looks({})).toEqual([[[]], [['a']], [['a']]])
    expect(looks(wait)).toEqual([[[]], [], [['a']]])
  })

  test('a toleration that ends is no score of OCM, and is looked at all the same', () => {
    const fleet = filled(new Fleet())
    const taints = [{ key: 'k', effect: 'PreferNoSelect' as const, timeAdded: new Date(NOW).toISOString() }]
    fleet.putCluster(clusterOf('a', { taints }))
    const unwanted = { scoreCoordinate: { type: 'BuiltIn', builtIn: 'PreferNoSelect' } }
    const spec = {
      ...{ numberOfClusters: 1, tolerations: [{ operator: 'Exists', tolerationSeconds: 30 }] },
      prioritizerPolicy: { configurations: [byUsage, unwanted] },
    }
    fleet.putScores(usage(9, new Date(NOW + 10_000).toISOString()))
    expect(schedule(fleet, placementOf(spec), NOW).recheckAtMs).toBe(NOW + 10_001)
    expect(schedule(fleet, placementOf(spec, wait), NOW).recheckAtMs).toBe(NOW + 30_000)
  })
})

describe('[deviation] D-07 admission', () => {
  const cel = (text: string) => ({ requiredClusterSelector: { celSelector: { celExpressions: [text] } } })
  const ranking = (...configurations: NonNullable<PlacementSpec['prioritizerPolicy']>['configurations'] & object) => ({
    ...{ numberOfClusters: 1, prioritizerPolicy: { configurations } },
  })
  const builtIn = (name: string, weight = 1) => ({ scoreCoordinate: { type: 'BuiltIn', builtIn: name }, weight })
  const free = { scoreCoordinate: { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } } }
  const refused: readonly (readonly [string, PlacementSpec, 'Misconfigured' | 'Success'])[] = [
    ['CEL that does not compile', { predicates: [cel('managedCluster.')] }, 'Misconfigured'],
    [
      'a selector with a bad value',
      { predicates: [{ requiredClusterSelector: { labelSelector: { matchLabels: { env: 'a b' } } } }] },
      'Misconfigured',
    ],
    ['a toleration without key or operator', { tolerations: [{ value: 'v' }] }, 'Misconfigured'],
    ['a mode that there is none of', { prioritizerPolicy: { mode: 'Loose' } }, 'Misconfigured'],
    ['a built-in that there is none of', ranking(builtIn('Nope')), 'Misconfigured'],
    ['the same at weight 0', ranking(builtIn('Nope', 0)), 'Success'],
    ['an add-on without coordinates', ranking({ scoreCoordinate: { type: 'AddOn' } }), 'Misconfigured'],
    ['one coordinate twice', ranking(free, free), 'Success'],
    ['a configuration without a coordinate', ranking({}), 'Misconfigured'],
    [
      'a size of groups that is a text',
      { decisionStrategy: { groupStrategy: { clustersPerDecisionGroup: '2' } } },
      'Misconfigured',
    ],
  ]
  const lenient = { [ADMISSION_ANNOTATION]: 'Lenient' }
  // With what else makes a fault do what it does in OCM.
  const all = { ...lenient, [ON_MISCONFIGURATION_ANNOTATION]: 'Evict', [MAX_REMOVAL_PERCENT_ANNOTATION]: '100' }

  test.each(refused)(
    '%s is refused at the write; with Lenient it is stored and found out as by OCM',
    (_, spec, status) => {
      expect(
        causes(objectSchema('Placement'), {
          apiVersion: 'cluster.open-cluster-management.io/v1beta1',
          kind: 'Placement',
          metadata: { name: 'p' },
          spec,
        }),
      ).toEqual([])
      expect(admitPlacement('p', spec)).not.toEqual([])
      expect(admitPlacement('p', spec, { [ADMISSION_ANNOTATION]: 'Strict' })).toEqual(admitPlacement('p', spec))
      expect(admitPlacement('p', spec, lenient)).toEqual([])

      const fleet = filled(new Fleet())
      const outcome = schedule(fleet, placementOf(spec, all), NOW)
      const set = { apiVersion: 'cluster.open-cluster-management.io/v1beta2', metadata: meta('all') }
      const ocm = conform({
        ...{ id: 'x', now: new Date(NOW).toISOString(), clusters, placement: placementOf(spec) },
        clusterSets: [
          {
            ...set,
            kind: 'ManagedClusterSet',
            spec: { clusterSelector: { selectorType: 'LabelSelector', labelSelector: {} } },
          },
        ],
        bindings: [
          { ...set, kind: 'ManagedClusterSetBinding', metadata: meta('all', 'fleet'), spec: { clusterSet: 'all' } },
        ],
      })
      expect(ocm.status).toBe(status)
      expect(outcome.selected).toEqual(ocm.decisions.flat().toSorted())
      expect(outcome.slices.map(({ name }) => name)).toEqual(ocm.slices.map(({ name }) => name))
      expect(outcome.conditions.find(({ type }) => type === 'PlacementMisconfigured')).toEqual(ocm.conditions[0])
      // Without them it is kept from doing harm.
      expect(schedule(fleet, placementOf(spec, lenient), NOW).kind).toBe(status === 'Success' ? 'Decided' : 'Frozen')
    },
  )

  test('what OCM ends at is refused all the same: a negative number, and a name that is no value of a label', () => {
    const object = {
      apiVersion: 'cluster.open-cluster-management.io/v1beta1',
      kind: 'Placement',
      metadata: { name: 'p', annotations: lenient },
      spec: { numberOfClusters: -1 },
    }
    expect(causes(objectSchema('Placement'), object).map(({ field }) => field)).toContain('spec.numberOfClusters')
    expect(admitPlacement('p'.repeat(64), {}, lenient).map(({ field }) => field)).toEqual(['metadata.name'])
  })

  test('with Lenient whatever the schema takes is decided', () => {
    fc.assert(
      fc.property(histories, placements, (happened, { spec }) => {
        expect(admitPlacement('p', spec, lenient)).toEqual([])
        const fleet = new Fleet()
        const { happen } = historian(fleet)
        for (const event of happened) happen(event)
        expect(['Decided', 'Frozen', 'Held']).toContain(schedule(fleet, placementOf(spec, lenient), NOW).kind)
      }),
    )
  })
})

test.each([
  [ON_MISCONFIGURATION_ANNOTATION, 'Freeze or Evict'],
  [UNREACHABLE_EFFECT_ANNOTATION, 'NoSelectIfNew or NoSelect'],
  [DECISION_REASONS_ANNOTATION, 'On or Off'],
  [STALE_SCORES_ANNOTATION, 'Recheck or Wait'],
  [ADMISSION_ANNOTATION, 'Strict or Lenient'],
])('[deviation] %s is %s, and any other value is refused with these', (name, values) => {
  for (const value of values.split(' or ')) expect(admitPlacement('p', {}, { [name]: value })).toEqual([])
  for (const value of ['', 'off', 'Never'])
    expect(admitPlacement('p', {}, { [ADMISSION_ANNOTATION]: 'Lenient', [name]: value })).toEqual([
      { field: `metadata.annotations[${name}]`, message: `"${value}" is no ${values}` },
    ])
})
