import { CLUSTER_SET_LABEL, type ObjectOf, type PlacementSpec } from '@skerry/api'
import fc from 'fast-check'
import { clusterOf } from './fixture.ts'
import type { AddOnScores, Decision, Fleet, FleetFacts } from './fleet.ts'

// Fleets that came to be by whatever went before, and placements over them, drawn at random.

export const NOW = Date.parse('2026-06-01T12:00:00Z')
const iso = (ms: number) => new Date(ms).toISOString()
export const meta = (name: string, namespace?: string) => ({
  ...{ name, uid: name, resourceVersion: '1', generation: 1, creationTimestamp: iso(0) },
  ...(namespace ? { namespace } : {}),
})

const word = fc.constantFrom('a', 'b', 'c')
const names = fc.constantFrom(...Array.from({ length: 6 }, (_, at) => `c${at}`))
const labels = fc.dictionary(fc.constantFrom('env', 'region', CLUSTER_SET_LABEL), word, { maxKeys: 3 })
const cpu = fc.option(fc.constantFrom('1', '2500m', '4', '0.3'), { nil: undefined })
const quantities = cpu.map((value): Record<string, string> => (value === undefined ? {} : { cpu: value }))
const taints = fc.array(
  fc.record({
    key: word,
    value: fc.constantFrom('', 'x'),
    effect: fc.constantFrom('NoSelect' as const, 'NoSelectIfNew' as const, 'PreferNoSelect' as const),
    timeAdded: fc.constantFrom(iso(NOW - 10_000), iso(NOW - 90_000)),
  }),
  { maxLength: 2 },
)
const claims = fc.array(fc.record({ name: fc.constantFrom('sku', 'env'), value: word }), { maxLength: 3 })
const deletedAt = fc.oneof(
  { weight: 7, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.constant(iso(NOW)) },
)
export const clusters = fc
  .record({
    name: names,
    labels,
    taints,
    clusterClaims: claims,
    allocatable: quantities,
    capacity: quantities,
    deletedAt,
  })
  .map(({ name, labels: own, taints: held, deletedAt: gone, ...status }) => ({
    ...clusterOf(name, { taints: held, status, ...(gone === undefined ? {} : { deletedAt: gone }) }),
    metadata: { ...clusterOf(name).metadata, labels: own, ...(gone === undefined ? {} : { deletionTimestamp: gone }) },
  }))
const sets = fc
  .record({
    name: word,
    labelSelector: fc.option(fc.constantFrom({}, { matchLabels: { env: 'a' } }), { nil: undefined }),
    exclusive: fc.boolean(),
  })
  .map(
    ({ name, labelSelector, exclusive }): ObjectOf<'ManagedClusterSet'> => ({
      apiVersion: 'cluster.open-cluster-management.io/v1beta2',
      kind: 'ManagedClusterSet',
      metadata: meta(name),
      spec: exclusive
        ? {}
        : { clusterSelector: { selectorType: 'LabelSelector', ...(labelSelector ? { labelSelector } : {}) } },
    }),
  )
const bindings = fc.record({ name: word, namespace: fc.constantFrom('fleet', 'other') }).map(
  ({ name, namespace }): ObjectOf<'ManagedClusterSetBinding'> => ({
    apiVersion: 'cluster.open-cluster-management.io/v1beta2',
    kind: 'ManagedClusterSetBinding',
    metadata: meta(name, namespace),
    spec: { clusterSet: name },
  }),
)
export const scores: fc.Arbitrary<AddOnScores> = fc.record({
  namespace: names,
  name: fc.constantFrom('usage', 'price'),
  validUntil: fc.constantFrom(undefined, iso(NOW), iso(NOW - 1), iso(NOW + 5_000)),
  scores: fc.array(fc.record({ name: fc.constantFrom('free', 'rtt'), value: fc.integer({ min: -100, max: 100 }) }), {
    maxLength: 3,
  }),
})
const decided = fc.record({
  namespace: fc.constantFrom('fleet', 'other'),
  placement: fc.constantFrom('p', 'q'),
  clusters: fc.array(fc.oneof(names, fc.constant('gone')), { maxLength: 6 }),
})
const operator = fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist')
const requirement = fc
  .record({
    key: fc.constantFrom('env', 'region', 'sku'),
    operator,
    values: fc.array(word, { minLength: 1, maxLength: 2 }),
  })
  .map(({ values, ...one }) => (one.operator.endsWith('In') || one.operator === 'In' ? { ...one, values } : one))
const matchExpressions = fc.array(requirement, { maxLength: 2 })
const labelSelector = fc.record({
  matchLabels: fc.dictionary(fc.constantFrom('env', 'region'), word, { maxKeys: 1 }),
  matchExpressions,
})
const claimSelector = fc.record({ matchExpressions })
const selectors = fc.record({ labelSelector, claimSelector }, { requiredKeys: [] })
const coordinate = fc.oneof(
  fc
    .constantFrom(
      'Balance',
      'Steady',
      'ResourceAllocatableCPU',
      'ResourceAllocatableMemory',
      'Spread',
      'PreferNoSelect',
      'Nope',
    )
    .map((builtIn) => ({ type: 'BuiltIn', builtIn })),
  fc
    .record({ resourceName: fc.constantFrom('usage', 'price'), scoreName: fc.constantFrom('free', 'rtt') })
    .map((addOn) => ({ type: 'AddOn', addOn })),
)
const rarely = <T>(one: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: one })
const spreadPolicies = fc.record({
  spreadConstraints: fc.array(
    fc.record(
      {
        topologyKey: fc.constantFrom('env', 'env', 'region', 'sku'),
        topologyKeyType: fc.constantFrom('Label' as const, 'Label' as const, 'Claim' as const),
        maxSkew: fc.constantFrom(1, 2),
        whenUnsatisfiable: fc.constantFrom('DoNotSchedule' as const, 'ScheduleAnyway' as const),
      },
      { requiredKeys: ['topologyKey', 'topologyKeyType'] },
    ),
    { maxLength: 3 },
  ),
})
const spec = fc
  .record({
    clusterSets: rarely(fc.array(fc.constantFrom('all', 'all', 'a'), { maxLength: 2 })),
    numberOfClusters: rarely(fc.nat(6)),
    predicates: rarely(fc.array(fc.record({ requiredClusterSelector: selectors }), { maxLength: 2 })),
    tolerations: fc.oneof(
      { weight: 3, arbitrary: fc.constant([{ operator: 'Exists' }]) },
      {
        weight: 2,
        arbitrary: fc.array(
          fc.record(
            {
              key: word,
              operator: fc.constantFrom('Exists', 'Equal'),
              tolerationSeconds: fc.constantFrom(30, 60, 120),
            },
            { requiredKeys: ['operator'] },
          ),
          { maxLength: 2 },
        ),
      },
    ),
    prioritizerPolicy: rarely(
      fc.record({
        mode: fc.constantFrom('Additive', 'Exact'),
        configurations: fc.array(
          fc.record({ scoreCoordinate: coordinate, weight: fc.integer({ min: -10, max: 10 }) }),
          { maxLength: 3 },
        ),
      }),
    ),
    spreadPolicy: rarely(spreadPolicies),
    sortBy: rarely(fc.constantFrom('ClusterName', 'Score')),
    decisionStrategy: rarely(
      fc.record({
        groupStrategy: fc.record({
          clustersPerDecisionGroup: fc.constantFrom(1, 2, '30%', '100%', '7'),
          decisionGroups: fc.array(fc.record({ groupName: word, groupClusterSelector: selectors }), { maxLength: 2 }),
        }),
      }),
    ),
  })
  // Without what is undefined.
  .map((one) => JSON.parse(JSON.stringify(one)) as PlacementSpec)
const placementOf = (one: PlacementSpec): ObjectOf<'Placement'> => ({
  apiVersion: 'cluster.open-cluster-management.io/v1beta1',
  kind: 'Placement',
  metadata: meta('p', 'fleet'),
  spec: one,
})
export const placements = spec.map(placementOf)
/** Placements that take almost everybody, and spread whom they take. */
export const spreading = fc
  .tuple(spec, spreadPolicies, fc.constantFrom(undefined, 1, 2, 3, 4))
  .map(([{ prioritizerPolicy, decisionStrategy, sortBy }, spreadPolicy, numberOfClusters]) =>
    placementOf({
      ...{ spreadPolicy, tolerations: [{ operator: 'Exists' }] },
      ...(numberOfClusters === undefined ? {} : { numberOfClusters }),
      ...(sortBy === undefined ? {} : { sortBy }),
      ...(prioritizerPolicy === undefined ? {} : { prioritizerPolicy }),
      ...(decisionStrategy === undefined ? {} : { decisionStrategy }),
    }),
  )

export type Event =
  | { put: 'cluster'; cluster: ObjectOf<'ManagedCluster'> }
  | { put: 'set'; set: ObjectOf<'ManagedClusterSet'> }
  | { put: 'binding'; binding: ObjectOf<'ManagedClusterSetBinding'> }
  | { put: 'scores'; scores: AddOnScores }
  | { put: 'decisions'; decided: { namespace: string; placement: string; clusters: string[] } }
  | { remove: 'cluster' | 'set' | 'binding' | 'scores'; name: string; namespace: string }
export const events: fc.Arbitrary<Event> = fc.oneof(
  { weight: 5, arbitrary: clusters.map((cluster): Event => ({ put: 'cluster', cluster })) },
  { weight: 2, arbitrary: sets.map((set): Event => ({ put: 'set', set })) },
  { weight: 2, arbitrary: bindings.map((binding): Event => ({ put: 'binding', binding })) },
  { weight: 2, arbitrary: scores.map((one): Event => ({ put: 'scores', scores: one })) },
  { weight: 2, arbitrary: decided.map((one): Event => ({ put: 'decisions', decided: one })) },
  {
    weight: 1,
    arbitrary: fc.record({
      remove: fc.constantFrom('cluster' as const, 'set' as const, 'binding' as const, 'scores' as const),
      name: fc.oneof(names, word, fc.constantFrom('usage', 'price')),
      namespace: fc.oneof(names, fc.constant('fleet')),
    }),
  },
)

/** Most fleets begin with a set of everybody that is bound. */
export const everybody: readonly Event[] = [
  {
    put: 'set',
    set: {
      ...{ apiVersion: 'cluster.open-cluster-management.io/v1beta2', kind: 'ManagedClusterSet', metadata: meta('all') },
      spec: { clusterSelector: { selectorType: 'LabelSelector', labelSelector: {} } },
    },
  },
  {
    put: 'binding',
    binding: {
      apiVersion: 'cluster.open-cluster-management.io/v1beta2',
      kind: 'ManagedClusterSetBinding',
      metadata: meta('all', 'fleet'),
      spec: { clusterSet: 'all' },
    },
  },
]
export const histories = fc
  .tuple(fc.nat(4), fc.array(events, { minLength: 5, maxLength: 40 }))
  .map(([rare, rest]) => (rare === 0 ? rest : [...everybody, ...rest]))

/** What takes events: a fleet, or who decides over one. */
type Target = Pick<
  Fleet,
  | 'putCluster'
  | 'putSet'
  | 'putBinding'
  | 'putScores'
  | 'putDecisions'
  | 'removeCluster'
  | 'removeSet'
  | 'removeBinding'
  | 'removeScores'
>

/** The same events on a target, and what is there after them. */
export function historian(target: Target) {
  const held = {
    cluster: new Map<string, ObjectOf<'ManagedCluster'>>(),
    set: new Map<string, ObjectOf<'ManagedClusterSet'>>(),
    binding: new Map<string, ObjectOf<'ManagedClusterSetBinding'>>(),
    scores: new Map<string, AddOnScores>(),
    decisions: new Map<string, Decision[]>(),
  }
  return {
    happen(event: Event): void {
      if ('remove' in event) {
        const { remove, name, namespace } = event
        if (remove === 'cluster') target.removeCluster(name)
        else if (remove === 'set') target.removeSet(name)
        else if (remove === 'binding') target.removeBinding(namespace, name)
        else target.removeScores(namespace, name)
        held[remove].delete(remove === 'cluster' || remove === 'set' ? name : `${namespace}/${name}`)
      } else if (event.put === 'cluster') {
        target.putCluster(event.cluster)
        held.cluster.set(event.cluster.metadata.name, event.cluster)
      } else if (event.put === 'set') {
        target.putSet(event.set)
        held.set.set(event.set.metadata.name, event.set)
      } else if (event.put === 'binding') {
        target.putBinding(event.binding)
        held.binding.set(`${event.binding.metadata.namespace}/${event.binding.metadata.name}`, event.binding)
      } else if (event.put === 'scores') {
        target.putScores(event.scores)
        held.scores.set(`${event.scores.namespace}/${event.scores.name}`, event.scores)
      } else {
        const { namespace, placement, clusters: all } = event.decided
        target.putDecisions(event.decided)
        held.decisions.set(
          `${namespace}/${placement}`,
          all.map((cluster) => ({ namespace, placement, cluster })),
        )
      }
    },
    facts: (): FleetFacts => ({
      clusters: [...held.cluster.values()],
      sets: [...held.set.values()],
      bindings: [...held.binding.values()],
      scores: [...held.scores.values()],
      decisions: [...held.decisions.values()].flat(),
    }),
  }
}
