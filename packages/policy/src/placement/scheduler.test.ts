import { isDeepStrictEqual } from 'node:util'
import type { ObjectOf, PlacementSpec } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clusterOf } from './fixture.ts'
import { fleetOf } from './fleet.ts'
import { type PlacementOutcome, schedule } from './schedule.ts'
import { Scheduler } from './scheduler.ts'
import {
  clusters,
  type Event,
  events,
  everybody,
  historian,
  meta,
  NOW,
  placements,
  scores,
  spreading,
} from './test-histories.ts'

const keyOf = ({ metadata }: ObjectOf<'Placement'>) => `${metadata.namespace}/${metadata.name}`
const named = (placement: ObjectOf<'Placement'>, name: string): ObjectOf<'Placement'> => ({
  ...placement,
  metadata: { ...placement.metadata, name },
})
/** What is stored of an outcome. */
const stored = ({ kind, groups, slices, selected, unscheduled, conditions, heldRemoval }: PlacementOutcome) => ({
  ...{ kind, groups, slices, selected, unscheduled, conditions, heldRemoval },
})

/** Placements of whose every part something may change: for they are always there. */
const touchy: readonly ObjectOf<'Placement'>[] = (
  [
    {
      numberOfClusters: 2,
      prioritizerPolicy: {
        mode: 'Exact',
        configurations: [
          { scoreCoordinate: { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } } },
          { scoreCoordinate: { type: 'BuiltIn', builtIn: 'ResourceAllocatableCPU' } },
        ],
      },
      tolerations: [{ operator: 'Exists', tolerationSeconds: 60 }],
    },
    { clusterSets: ['a'], tolerations: [{ key: 'a', operator: 'Exists', tolerationSeconds: 120 }] },
    {
      predicates: [
        {
          requiredClusterSelector: {
            celSelector: { celExpressions: ['managedCluster.scores("usage").exists(s, s.value > 0)'] },
          },
        },
      ],
    },
    { tolerations: [{ key: '', operator: 'Equal' }] },
    {
      spreadPolicy: {
        spreadConstraints: [{ topologyKey: 'region', topologyKeyType: 'Label', whenUnsatisfiable: 'DoNotSchedule' }],
      },
      tolerations: [{ operator: 'Exists' }],
    },
    {
      numberOfClusters: 2,
      spreadPolicy: { spreadConstraints: [{ topologyKey: 'region', topologyKeyType: 'Label' }] },
      tolerations: [{ operator: 'Exists' }],
    },
    {
      decisionStrategy: {
        groupStrategy: {
          decisionGroups: [{ groupName: 'g', groupClusterSelector: { labelSelector: { matchLabels: { env: 'a' } } } }],
          clustersPerDecisionGroup: 2,
        },
      },
    },
  ] satisfies PlacementSpec[]
).map((spec: PlacementSpec, at) => ({
  apiVersion: 'cluster.open-cluster-management.io/v1beta1',
  kind: 'Placement',
  metadata: meta(`touchy-${at}`, 'fleet'),
  spec,
}))

type Step =
  | Event
  /** One part of a cluster that is there becomes as that of another. */
  | { readonly edit: 'labels' | 'taints' | 'amounts' | 'deletion'; readonly like: ObjectOf<'ManagedCluster'> }
  | { readonly put: 'placement'; readonly placement: ObjectOf<'Placement'> }
  | { readonly look: 'now'; readonly afterMs: number; readonly store: boolean }
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: events },
  {
    weight: 6,
    arbitrary: fc.record({
      edit: fc.constantFrom('labels' as const, 'taints' as const, 'amounts' as const, 'deletion' as const),
      like: clusters,
    }),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.oneof(placements, spreading), fc.constantFrom('p', 'q', 'r'))
      .map(([placement, name]): Step => ({ put: 'placement', placement: named(placement, name) })),
  },
  { weight: 3, arbitrary: scores.map((one): Step => ({ put: 'scores', scores: one })) },
  {
    weight: 6,
    arbitrary: fc.record({
      look: fc.constant('now' as const),
      afterMs: fc.constantFrom(0, 0, 5_001, 31_000, 61_000),
      store: fc.boolean(),
    }),
  },
)

describe('deciding what changed is deciding everything', () => {
  test('after any history, whenever somebody looked', () => {
    let looks = 0
    let skipped = 0
    let held = 0
    let passing = 0
    const guard = { maxRemovalPercent: 50, minimum: 1, windowMs: 60_000 }
    fc.assert(
      fc.property(
        fc.array(placements, { minLength: 1, maxLength: 3 }),
        fc.array(steps, { minLength: 30, maxLength: 90 }),
        (first, then) => {
          const scheduler = new Scheduler(guard)
          const history = historian(scheduler)
          const known = new Map<string, ObjectOf<'Placement'>>()
          const outcomes = new Map<string, PlacementOutcome>()
          let nowMs = NOW
          const edit = (part: string, like: ObjectOf<'ManagedCluster'>) => {
            const held = history.facts().clusters.find(({ metadata }) => metadata.name === like.metadata.name)
            if (!held) return
            const { labels, deletionTimestamp } = like.metadata
            const { allocatable, capacity } = like.status ?? {}
            const { deletionTimestamp: _, ...metadata } = held.metadata
            const amounts = {
              ...held.status,
              ...(allocatable ? { allocatable } : {}),
              ...(capacity ? { capacity } : {}),
            }
            const cluster = {
              ...held,
              ...(part === 'taints' ? { spec: like.spec } : {}),
              ...(part === 'amounts' ? { status: amounts } : {}),
              ...(part === 'labels' ? { metadata: { ...held.metadata, ...(labels ? { labels } : {}) } } : {}),
              ...(part === 'deletion'
                ? { metadata: { ...metadata, ...(deletionTimestamp ? { deletionTimestamp } : {}) } }
                : {}),
            }
            history.happen({ put: 'cluster', cluster })
          }
          const take = (step: Step) => {
            if ('look' in step) return look(step)
            if ('edit' in step) return edit(step.edit, step.like)
            if ('put' in step && step.put === 'placement') {
              known.set(keyOf(step.placement), step.placement)
              return scheduler.putPlacement(step.placement)
            }
            history.happen(step as Event)
          }
          const look = ({ afterMs, store }: { afterMs: number; store: boolean }) => {
            nowMs += afterMs
            const touched = new Set<string>()
            for (const { placement, outcome } of scheduler.due(nowMs)) {
              outcomes.set(keyOf(placement), outcome())
              touched.add(keyOf(placement))
            }
            const fleet = fleetOf(history.facts())
            for (const [key, placement] of known) {
              looks += 1
              if (!touched.has(key)) skipped += 1
              const outcome = outcomes.get(key)
              expect(outcome && stored(outcome), key).toEqual(stored(schedule(fleet, placement, nowMs, guard)))
              if (outcome?.kind === 'Held') held += 1
              if (outcome?.heldRemoval?.until !== undefined) passing += 1
            }
            if (!store) return
            for (const [key, { kind, selected, recentRemovals }] of outcomes) {
              const [namespace = '', placement = ''] = key.split('/')
              const before = known.get(key)
              if (kind !== 'Decided' || !before) continue
              history.happen({ put: 'decisions', decided: { namespace, placement, clusters: [...selected] } })
              if (recentRemovals.length === 0) continue
              const after = { ...before, status: { recentRemovals: [...recentRemovals] } }
              if (isDeepStrictEqual(after, before)) continue
              known.set(key, after)
              scheduler.putPlacement(after)
            }
          }
          for (const event of everybody) history.happen(event)
          for (const placement of touchy) take({ put: 'placement', placement })
          for (const [at, placement] of first.entries())
            take({ put: 'placement', placement: named(placement, 'pqr'.charAt(at)) })
          for (const step of then) take(step)
          look({ afterMs: 0, store: false })
        },
      ),
      { numRuns: 800 },
    )
    // Who always decides everything is right, too.
    expect(skipped / looks).toBeGreaterThan(0.2)
    expect(held / looks).toBeGreaterThan(0.01)
    expect(passing).toBeGreaterThan(20)
  })
})

test('groups of many clusters are mended as they are cut anew, however many change before somebody looks', () => {
  const name = fc.nat(150).map((at) => `c${(at * 89) % 151}`)
  const changes = fc.record({
    name,
    wave: fc.constantFrom('a', 'b', 'c'),
    env: fc.constantFrom('prod', 'prod', 'dev'),
    as: fc.constantFrom<'there' | 'tainted' | 'going' | 'gone'>('there', 'there', 'there', 'tainted', 'going', 'gone'),
  })
  const some = fc.oneof(
    { weight: 3, arbitrary: fc.array(changes, { minLength: 1, maxLength: 10 }) },
    { weight: 1, arbitrary: fc.array(changes, { minLength: 200, maxLength: 220 }) },
  )
  const wave = (value: string) => ({
    groupName: `wave-${value}`,
    groupClusterSelector: { labelSelector: { matchLabels: { wave: value } } },
  })
  const of = (at: number, spec: PlacementSpec): ObjectOf<'Placement'> => ({
    apiVersion: 'cluster.open-cluster-management.io/v1beta1',
    kind: 'Placement',
    metadata: meta(`p${at}`, 'fleet'),
    spec,
  })
  const predicates = [{ requiredClusterSelector: { labelSelector: { matchLabels: { env: 'prod' } } } }]
  const known = [
    of(0, { predicates }),
    of(1, {
      predicates,
      decisionStrategy: {
        groupStrategy: { decisionGroups: [wave('a'), wave('b'), wave('a')], clustersPerDecisionGroup: '7%' },
      },
    }),
    of(2, {
      tolerations: [{ operator: 'Exists', tolerationSeconds: 60 }],
      decisionStrategy: { groupStrategy: { decisionGroups: [wave('b')] } },
    }),
  ]
  let inBulk = 0
  fc.assert(
    fc.property(fc.array(some, { minLength: 2, maxLength: 6 }), (looks) => {
      const scheduler = new Scheduler()
      const { happen, facts } = historian(scheduler)
      for (const event of everybody) happen(event)
      for (const placement of known) scheduler.putPlacement(placement)
      const outcomes = new Map<string, PlacementOutcome>()
      for (const [at, changed] of looks.entries()) {
        const nowMs = NOW + at * 40_000
        for (const { name, wave, env, as } of changed) {
          if (as === 'gone') happen({ remove: 'cluster', name, namespace: '' })
          else
            happen({
              put: 'cluster',
              cluster: clusterOf(name, {
                labels: { wave, env },
                ...(as === 'going' ? { deletedAt: '2026-06-01T00:00:00Z' } : {}),
                ...(as === 'tainted'
                  ? { taints: [{ key: 'x', effect: 'NoSelect', timeAdded: new Date(NOW).toISOString() }] }
                  : {}),
              }),
            })
        }
        if (at > 0 && changed.length > 100) inBulk += 1
        for (const { placement, outcome } of scheduler.due(nowMs)) outcomes.set(keyOf(placement), outcome())
        const fleet = fleetOf(facts())
        for (const placement of known) {
          const outcome = outcomes.get(keyOf(placement))
          expect(outcome && stored(outcome)).toEqual(stored(schedule(fleet, placement, nowMs)))
        }
      }
    }),
    { numRuns: 100 },
  )
  expect(inBulk).toBeGreaterThan(10)
})

test('a changed cluster touches the placements that it is for, and no other', () => {
  const scheduler = new Scheduler()
  const { happen } = historian(scheduler)
  for (const event of everybody) happen(event)
  const of = (name: string, labels: Record<string, string>) =>
    happen({ put: 'cluster', cluster: clusterOf(name, { labels }) })
  for (const name of ['a', 'b', 'c']) of(name, { env: 'dev' })
  const placement = (name: string, env: string): ObjectOf<'Placement'> => ({
    apiVersion: 'cluster.open-cluster-management.io/v1beta1',
    kind: 'Placement',
    metadata: meta(name, 'fleet'),
    spec: { predicates: [{ requiredClusterSelector: { labelSelector: { matchLabels: { env } } } }] },
  })
  const due = () => [...scheduler.due(NOW)].map(({ placement: { metadata } }) => metadata.name)
  for (const env of ['dev', 'prod', 'stage']) scheduler.putPlacement(placement(env, env))
  expect(due()).toEqual(['dev', 'prod', 'stage'])
  expect(due()).toEqual([])
  of('b', { env: 'prod' })
  // `stage` selects nobody, and tells how many clusters it does not take: as many as before.
  expect(due()).toEqual(['dev', 'prod'])
  of('b', { env: 'prod', more: 'x' })
  expect(due()).toEqual([])
  happen({ remove: 'cluster', name: 'b', namespace: '' })
  expect(due()).toEqual(['prod', 'stage'])
})

test('the first and the last binding of a namespace touch also whom it was not for', () => {
  const scheduler = new Scheduler()
  const { happen } = historian(scheduler)
  for (const event of everybody) happen(event)
  const spec = { clusterSets: ['elsewhere'] }
  const placement = {
    apiVersion: 'cluster.open-cluster-management.io/v1beta1',
    kind: 'Placement' as const,
    metadata: meta('p', 'fleet'),
    spec,
  }
  scheduler.putPlacement(placement)
  const reasons = () => [...scheduler.due(NOW)].map(({ outcome }) => outcome().conditions[0]?.reason)
  expect(reasons()).toEqual(['NoIntersection'])
  happen({ remove: 'binding', name: 'all', namespace: 'fleet' })
  expect(reasons()).toEqual(['NoManagedClusterSetBindings'])
  for (const event of everybody) happen(event)
  expect(reasons()).toEqual(['NoIntersection'])
})
