import {
  CLUSTER_SET_LABEL,
  type ClusterClaim,
  causes,
  type ObjectOf,
  objectSchema,
  type PlacementSpec,
  SCHEDULING_DISABLED_ANNOTATION,
  type Taint,
  type Toleration,
  UNREACHABLE_EFFECT_ANNOTATION,
  UNREACHABLE_TAINT,
} from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { admitPlacement } from './admission.ts'
import { explain } from './explain.ts'
import { clusterOf } from './fixture.ts'
import { type Decision, type FleetFacts, fleetOf } from './fleet.ts'
import { schedule } from './schedule.ts'
import { keepHubTaint, reachabilityTaints, stampTaints } from './taints.ts'

const NOW = Date.parse('2026-06-01T12:00:00Z')
const iso = (ms: number) => new Date(ms).toISOString()
const meta = (name: string, namespace?: string) => ({
  name,
  ...(namespace ? { namespace } : {}),
  uid: `uid-${name}`,
  resourceVersion: '1',
  generation: 1,
  creationTimestamp: iso(0),
})
type ClusterOptions = { labels?: Record<string, string>; claims?: ClusterClaim[]; taints?: Taint[]; deleting?: boolean }
const cluster = (name: string, { claims = [], deleting = false, ...options }: ClusterOptions = {}) =>
  clusterOf(name, { ...options, status: { clusterClaims: claims }, ...(deleting ? { deletedAt: iso(NOW) } : {}) })
function set(name: string, spec: ObjectOf<'ManagedClusterSet'>['spec'] = {}): ObjectOf<'ManagedClusterSet'> {
  return {
    apiVersion: 'cluster.open-cluster-management.io/v1beta2',
    kind: 'ManagedClusterSet',
    metadata: meta(name),
    spec,
  }
}
function binding(name: string, namespace = 'fleet'): ObjectOf<'ManagedClusterSetBinding'> {
  return {
    apiVersion: 'cluster.open-cluster-management.io/v1beta2',
    kind: 'ManagedClusterSetBinding',
    metadata: meta(name, namespace),
    spec: { clusterSet: name },
  }
}
function placement(spec: PlacementSpec = {}, name = 'p'): ObjectOf<'Placement'> {
  return {
    apiVersion: 'cluster.open-cluster-management.io/v1beta1',
    kind: 'Placement',
    metadata: meta(name, 'fleet'),
    spec,
  }
}
const mine = (...names: string[]): Decision[] =>
  names.map((name) => ({ namespace: 'fleet', placement: 'p', cluster: name }))
const others = (count: number, name: string): Decision[] =>
  Array.from({ length: count }, (_, i) => ({ namespace: 'fleet', placement: `other-${i}`, cluster: name }))
const input = (given: Partial<SchedulingInput>): SchedulingInput => ({
  placement: placement(),
  sets: [set('shops')],
  bindings: [binding('shops')],
  clusters: [cluster('a'), cluster('b'), cluster('c')],
  decisions: [],
  scores: [],
  nowMs: NOW,
  ...given,
})
type SchedulingInput = FleetFacts & { readonly placement: ObjectOf<'Placement'>; readonly nowMs: number }
function decided({ placement, nowMs, ...facts }: SchedulingInput) {
  const fleet = fleetOf(facts)
  const outcome = schedule(fleet, placement, nowMs)
  const { found: _, ...told } = { found: undefined, ...outcome }
  return { ...told, reasons: [...explain(fleet, placement, outcome, nowMs)] }
}
const run = (given: Partial<SchedulingInput>) => decided(input(given))
const reasonOf = (outcome: ReturnType<typeof decided>, name: string) =>
  outcome.reasons.find((line) => line.cluster === name)
const satisfied = (outcome: Pick<ReturnType<typeof decided>, 'conditions'>) =>
  outcome.conditions.find(({ type }) => type === 'PlacementSatisfied')

describe('[conformance: ocm] pipeline', () => {
  test.each<[string, ObjectOf<'Placement'>['metadata']]>([
    ['is being deleted', { ...meta('p', 'fleet'), deletionTimestamp: iso(NOW) }],
    ['is switched off', { ...meta('p', 'fleet'), annotations: { [SCHEDULING_DISABLED_ANNOTATION]: 'true' } }],
  ])('a placement that %s changes nothing', (_, metadata) => {
    expect(run({ placement: { ...placement(), metadata } })).toMatchObject({ kind: 'Skipped', conditions: [] })
  })

  test.each<[string, Partial<SchedulingInput>, string[]]>([
    ['a binding of another namespace binds nothing', { bindings: [binding('shops', 'else')] }, []],
    ['a binding to a set that is not there binds nothing', { bindings: [binding('gone')] }, []],
    [
      'the named sets, as far as they are bound',
      { placement: placement({ clusterSets: ['shops', 'x'] }) },
      ['a', 'b', 'c'],
    ],
    ['an unbound set gives nothing', { placement: placement({ clusterSets: ['x'] }) }, []],
    [
      'a cluster that is being deleted is not available',
      { clusters: [cluster('a', { deleting: true }), cluster('b')] },
      ['b'],
    ],
    ['N of them', { placement: placement({ numberOfClusters: 2 }) }, ['a', 'b']],
    ['none of them', { placement: placement({ numberOfClusters: 0 }) }, []],
    ['null is all', { placement: placement({ numberOfClusters: null }) }, ['a', 'b', 'c']],
    [
      'equal totals: the smaller name first',
      { placement: placement({ numberOfClusters: 1 }), clusters: [cluster('c'), cluster('b')] },
      ['b'],
    ],
    [
      'Balance avoids what others chose',
      { placement: placement({ numberOfClusters: 1 }), decisions: others(1, 'a') },
      ['b'],
    ],
    ['Steady keeps what was chosen', { placement: placement({ numberOfClusters: 1 }), decisions: mine('c') }, ['c']],
  ])('%s', (_, given, wanted) => {
    expect(run(given).selected).toEqual(wanted)
  })

  test.each<[string, ObjectOf<'ManagedClusterSet'>['spec'], string[]]>([
    ['an empty type is the exclusive label', {}, ['a']],
    ['the exclusive label', { clusterSelector: { selectorType: 'ExclusiveClusterSetLabel' } }, ['a']],
    [
      'an empty label selector is every cluster',
      { clusterSelector: { selectorType: 'LabelSelector', labelSelector: {} } },
      ['a', 'z'],
    ],
    ['a missing label selector is none', { clusterSelector: { selectorType: 'LabelSelector' } }, []],
  ])('membership: %s', (_, spec, wanted) => {
    const clusters = [cluster('a'), cluster('z', { labels: { [CLUSTER_SET_LABEL]: 'depots' } })]
    expect(run({ sets: [set('shops', spec)], clusters }).selected).toEqual(wanted)
  })

  test('an unknown selector type ends the evaluation only when its set is eligible', () => {
    const sets = [set('shops'), set('odd', { clusterSelector: { selectorType: 'Odd' } })]
    expect(run({ sets, bindings: [binding('shops'), binding('odd')] }).kind).toBe('Frozen')
    expect(run({ sets }).selected).toEqual(['a', 'b', 'c'])
  })

  const labels = (requirement: object) => ({
    requiredClusterSelector: { labelSelector: { matchExpressions: [requirement] } },
  })
  const claims = (requirement: object) => ({
    requiredClusterSelector: { claimSelector: { matchExpressions: [requirement] } },
  })
  const zone = (operator: string, ...values: string[]) => ({
    key: 'zone',
    operator,
    ...(values.length > 0 ? { values } : {}),
  })
  test.each<[string, object[], string[]]>([
    ['no predicate passes all', [], ['a', 'b', 'c']],
    ['an empty predicate passes all', [{}], ['a', 'b', 'c']],
    ['predicates are ORed', [labels(zone('In', 'n')), labels(zone('DoesNotExist'))], ['a', 'c']],
    [
      'inside one, label AND claim',
      [
        {
          requiredClusterSelector: {
            labelSelector: { matchLabels: { zone: 'n' } },
            claimSelector: { matchExpressions: [zone('Exists')] },
          },
        },
      ],
      ['a'],
    ],
    ['In', [labels(zone('In', 's', 'x'))], ['b']],
    ['NotIn matches when the key is absent', [labels(zone('NotIn', 's'))], ['a', 'c']],
    ['Exists', [labels(zone('Exists'))], ['a', 'b']],
    ['DoesNotExist', [labels(zone('DoesNotExist'))], ['c']],
    ['a repeated claim: the last wins', [claims(zone('In', 'last'))], ['a']],
    ['claims are no labels', [claims(zone('In', 'n'))], []],
  ])('%s', (_, predicates, wanted) => {
    const clusters = [
      cluster('a', {
        labels: { zone: 'n' },
        claims: [
          { name: 'zone', value: 'first' },
          { name: 'zone', value: 'last' },
        ],
      }),
      cluster('b', { labels: { zone: 's' } }),
      cluster('c'),
    ]
    expect(run({ clusters, placement: placement({ predicates } as PlacementSpec) }).selected).toEqual(wanted)
  })

  test.each([
    [zone('Near', 'x'), 'not a valid label selector operator'],
    [zone('In'), 'needs values'],
    [zone('NotIn'), 'needs values'],
    [zone('Exists', 'x'), 'takes no values'],
    [zone('In', 'has space'), 'no label value'],
    [zone('In', 'x'.repeat(64)), 'no label value'],
    [{ key: 'a/b/c', operator: 'Exists' }, 'no qualified name'],
    [{ key: '-a', operator: 'Exists' }, 'no qualified name'],
    [{ key: 'UPPER.example/a', operator: 'Exists' }, 'no qualified name'],
  ])('%j is Misconfigured, for labels and claims alike, and refused at the door', (requirement, message) => {
    for (const predicate of [labels(requirement), claims(requirement)]) {
      const spec = { predicates: [predicate] } as PlacementSpec
      const outcome = run({ placement: placement(spec) })
      expect(outcome.conditions).toContainEqual(
        expect.objectContaining({
          type: 'PlacementMisconfigured',
          status: 'True',
          message: expect.stringMatching(`^Predicate:.*${message}`),
        }),
      )
      expect(admitPlacement('p', spec)).toEqual([
        {
          field: expect.stringContaining('spec.predicates[0].requiredClusterSelector.'),
          message: expect.stringContaining(message),
        },
      ])
      // OCM looks only when a cluster is available.
      expect(run({ placement: placement(spec), clusters: [] }).kind).toBe('Decided')
    }
  })
})

describe('[conformance: ocm] taints', () => {
  const taint = (effect: Taint['effect'], more: Partial<Taint> = {}): Taint => ({
    key: 'k',
    value: 'v',
    effect,
    timeAdded: iso(NOW - 60_000),
    ...more,
  })
  test.each<[string, Taint[], Toleration[], boolean, boolean]>([
    ['NoSelect refuses', [taint('NoSelect')], [], false, false],
    ['NoSelect removes what was selected', [taint('NoSelect')], [], true, false],
    ['NoSelectIfNew refuses the new', [taint('NoSelectIfNew')], [], false, false],
    ['NoSelectIfNew keeps the selected', [taint('NoSelectIfNew')], [], true, true],
    ['PreferNoSelect passes', [taint('PreferNoSelect')], [], false, true],
    [
      'every taint must be tolerated',
      [taint('NoSelect'), taint('NoSelect', { key: 'l' })],
      [{ key: 'k', operator: 'Exists' }],
      false,
      false,
    ],
    ['equal key and value', [taint('NoSelect')], [{ key: 'k', value: 'v' }], false, true],
    ['another value', [taint('NoSelect')], [{ key: 'k', value: 'w' }], false, false],
    ['another effect', [taint('NoSelect')], [{ key: 'k', operator: 'Exists', effect: 'NoSelectIfNew' }], false, false],
    [
      'an unknown operator never matches',
      [taint('NoSelect')],
      [{ key: 'k', operator: 'Like', value: 'v' }],
      false,
      false,
    ],
    ['an empty key with Exists matches all', [taint('NoSelect')], [{ operator: 'Exists' }], false, true],
    ['within its seconds', [taint('NoSelect')], [{ operator: 'Exists', tolerationSeconds: 61 }], false, true],
    [
      'at the equal instant expired',
      [taint('NoSelect')],
      [{ operator: 'Exists', tolerationSeconds: 60 }],
      false,
      false,
    ],
    [
      'a later toleration may still hold',
      [taint('NoSelect')],
      [{ operator: 'Exists', tolerationSeconds: 1 }, { operator: 'Exists' }],
      false,
      true,
    ],
    [
      'without timeAdded expired',
      [{ key: 'k', effect: 'NoSelect' }],
      [{ operator: 'Exists', tolerationSeconds: 99 }],
      false,
      false,
    ],
    [
      '10,000,000,000 s wrap and have expired',
      [taint('NoSelect')],
      [{ operator: 'Exists', tolerationSeconds: 10_000_000_000 }],
      false,
      false,
    ],
    [
      '20,000,000,000 s wrap and hold',
      [taint('NoSelect')],
      [{ operator: 'Exists', tolerationSeconds: 20_000_000_000 }],
      false,
      true,
    ],
  ])('%s', (_, taints, tolerations, selected, passes) => {
    const outcome = run({
      clusters: [cluster('a', { taints })],
      placement: placement({ tolerations }),
      decisions: selected ? mine('a') : [],
    })
    expect(outcome.selected).toEqual(passes ? ['a'] : [])
    if (!passes) expect(reasonOf(outcome, 'a')).toMatchObject({ reason: 'TaintNotTolerated' })
  })

  test.each<[Toleration, string]>([
    [{ value: 'v' }, 'If the key is empty, operator must be Exists.'],
    [{ key: 'k', operator: 'Exists', value: 'v' }, 'If the operator is Exists, the value should be empty.'],
  ])('%j is Misconfigured', (toleration, message) => {
    const spec = { tolerations: [toleration] }
    expect(run({ placement: placement(spec) }).conditions).toContainEqual(
      expect.objectContaining({
        type: 'PlacementMisconfigured',
        status: 'True',
        message: `TaintToleration:${message}`,
      }),
    )
    const field = `spec.tolerations[0].${toleration.operator ? 'value' : 'key'}`
    expect(admitPlacement('p', spec)).toEqual([{ field, message }])
    expect(run({ placement: placement(spec), clusters: [] }).kind).toBe('Decided')
  })

  test('the recheck is the earliest expiry over what was selected, also when nothing is eligible', () => {
    const given = {
      clusters: [
        cluster('a', { taints: [taint('NoSelect')] }),
        cluster('b', { taints: [taint('NoSelect', { timeAdded: iso(NOW - 90_000) })] }),
        cluster('new', { taints: [taint('NoSelect', { timeAdded: iso(NOW - 99_000) })] }),
      ],
      decisions: mine('a', 'b'),
      placement: placement({ tolerations: [{ operator: 'Exists', tolerationSeconds: 100 }] }),
    }
    expect(run(given).recheckAtMs).toBe(NOW + 10_000)
    expect(run({ ...given, bindings: [] }).recheckAtMs).toBe(NOW + 10_000)
    expect(run({ ...given, decisions: [] }).recheckAtMs).toBeUndefined()
  })

  test('a taint gets its time when it appears or changes, and keeps it otherwise', () => {
    const [then, now] = [iso(NOW - 5_000), iso(NOW)]
    const before: Taint[] = ['same', 'value', 'effect'].map((key) => ({
      key,
      value: 'v',
      effect: 'NoSelect',
      timeAdded: then,
    }))
    const after: Taint[] = [
      { key: 'same', value: 'v', effect: 'NoSelect', timeAdded: iso(0) },
      { key: 'value', value: 'w', effect: 'NoSelect' },
      { key: 'effect', value: 'v', effect: 'NoSelectIfNew' },
      { key: 'new', effect: 'NoSelect', timeAdded: iso(0) },
    ]
    expect(stampTaints(before, after, now).map(({ timeAdded }) => timeAdded)).toEqual([then, now, now, now])
  })
})

describe('[conformance: ocm] scores and slices', () => {
  const two = (balance: number, steady: number) => [
    { name: 'Balance', score: balance, weight: 1 },
    { name: 'Steady', score: steady, weight: 1 },
  ]
  test.each([
    [0, 3, 100],
    [1, 3, 32],
    [2, 3, -32],
    [1, 4, 50],
    [3, 7, 14],
    [1, 2, 0],
    [1, 1, -100],
  ])('Balance: %i of at most %i is %i', (count, max, wanted) => {
    const decisions = [...others(count, 'a'), ...others(max, 'not a candidate')]
    expect(reasonOf(run({ decisions }), 'a')?.scores).toEqual(two(wanted, 0))
  })

  test('its own decisions do not count for Balance, and are 100 for Steady', () => {
    expect(reasonOf(run({ decisions: mine('a') }), 'a')?.scores).toEqual(two(100, 100))
  })

  test('nothing selected is one empty slice, and a slice has at most 100 in name order', () => {
    expect(run({ clusters: [] }).slices).toEqual([
      { name: 'p-decision-1', groupName: '', groupIndex: 0, decisions: [] },
    ])
    const many = Array.from({ length: 201 }, (_, i) => cluster(`c-${String(i).padStart(3, '0')}`))
    const { slices } = run({ clusters: many.toReversed() })
    expect(slices.map(({ name, decisions }) => [name, decisions.length])).toEqual([
      ['p-decision-1', 100],
      ['p-decision-2', 100],
      ['p-decision-3', 1],
    ])
    expect(slices.flatMap(({ decisions }) => decisions.map(({ clusterName }) => clusterName))).toEqual(
      many.map(({ metadata }) => metadata.name),
    )
  })

  test.each<[string, Partial<SchedulingInput>, string, string, RegExp]>([
    [
      'no binding',
      { bindings: [] },
      'False',
      'NoManagedClusterSetBindings',
      /^No valid ManagedClusterSetBindings found in placement namespace$/,
    ],
    [
      'no intersection',
      { placement: placement({ clusterSets: ['x', 'y'] }) },
      'False',
      'NoIntersection',
      /^None of ManagedClusterSets \[x,y\] is bound to placement namespace$/,
    ],
    [
      'empty sets',
      { clusters: [] },
      'False',
      'AllManagedClusterSetsEmpty',
      /^All ManagedClusterSets \[shops\] have no member ManagedCluster$/,
    ],
    [
      'none matched',
      { placement: placement({ numberOfClusters: 0 }) },
      'False',
      'NoManagedClusterMatched',
      /^No ManagedCluster matches any of the cluster predicate \(OutOfNumber: 3\)$/,
    ],
    ['all', {}, 'True', 'AllDecisionsScheduled', /^All cluster decisions scheduled$/],
    [
      'too few',
      { placement: placement({ numberOfClusters: 5 }) },
      'False',
      'NotAllDecisionsScheduled',
      /^2 cluster decisions unscheduled/,
    ],
  ])('%s', (_, given, status, reason, message) => {
    expect(satisfied(run(given))).toMatchObject({ status, reason, message: expect.stringMatching(message) })
  })
})

describe('[deviation] what Skerry does on purpose', () => {
  const bad = placement({ tolerations: [{ value: 'v' }] })

  test('a broken placement of 500 clusters removes nobody, names the generation in force, and is undone by repair', () => {
    const clusters = Array.from({ length: 500 }, (_, i) => cluster(`c-${i}`))
    const names = clusters.map(({ metadata }) => metadata.name)
    const good = {
      type: 'PlacementSatisfied',
      status: 'True' as const,
      reason: 'x',
      message: 'x',
      lastTransitionTime: iso(NOW),
      observedGeneration: 7,
    }
    const broken = { ...bad, status: { conditions: [good] } }
    const outcome = run({ clusters, decisions: mine(...names), placement: broken })
    expect(outcome).toMatchObject({ kind: 'Frozen', selected: names.toSorted() })
    expect(outcome.conditions).toContainEqual(
      expect.objectContaining({
        type: 'DecisionsFrozen',
        status: 'True',
        message: expect.stringContaining('generation 7 stay'),
      }),
    )
    expect(satisfied(outcome)).toBeUndefined()
    expect(run({ clusters, decisions: mine(...names) }).selected.length).toBe(500)
  })

  test('frozen is not immortal: what is gone or going leaves', () => {
    const clusters = [cluster('a'), cluster('b', { deleting: true })]
    const outcome = run({ clusters, decisions: mine('a', 'b', 'gone'), placement: bad })
    expect(outcome.selected).toEqual(['a'])
    expect(reasonOf(outcome, 'b')?.reason).toBe('Deleting')
  })

  test('frozen twice is frozen once', () => {
    const first = run({ decisions: mine('a', 'b'), placement: bad })
    expect(run({ decisions: mine(...first.selected), placement: bad })).toEqual(first)
  })

  test('D-02 a placement may ask that a site that is out of reach leaves, at once or after some time, as in OCM', () => {
    const away = cluster('a', {
      taints: [{ key: UNREACHABLE_TAINT, effect: 'NoSelectIfNew', timeAdded: iso(NOW - 60_000) }],
    })
    const asked = (tolerations: Toleration[] = []) => {
      const one = placement({ tolerations })
      const annotations = { [UNREACHABLE_EFFECT_ANNOTATION]: 'NoSelect' }
      const given = { ...one, metadata: { ...one.metadata, annotations } }
      return run({ clusters: [away, cluster('b')], decisions: mine('a', 'b'), placement: given })
    }
    expect(run({ clusters: [away, cluster('b')], decisions: mine('a', 'b') }).selected).toEqual(['a', 'b'])
    expect(asked().selected).toEqual(['b'])
    expect(reasonOf(asked(), 'a')).toMatchObject({
      reason: 'TaintNotTolerated',
      message: `taint ${UNREACHABLE_TAINT}:NoSelect`,
    })
    const after = (tolerationSeconds: number) =>
      asked([{ key: UNREACHABLE_TAINT, operator: 'Exists', tolerationSeconds }])
    expect(after(60)).toMatchObject({ selected: ['b'] })
    expect(after(90)).toMatchObject({ selected: ['a', 'b'], recheckAtMs: NOW + 30_000 })
    expect(admitPlacement('p', {}, { [UNREACHABLE_EFFECT_ANNOTATION]: 'Evict' })).toHaveLength(1)
  })

  test("the hub's own taint comes and goes with reach alone, and nobody else writes it", () => {
    const now = iso(NOW)
    const own: Taint = { key: UNREACHABLE_TAINT, effect: 'NoSelectIfNew', timeAdded: now }
    const other: Taint = { key: 'k', effect: 'NoSelect' }
    expect(reachabilityTaints([other], true, now)).toEqual([other, own])
    expect(reachabilityTaints([other, own], false, now)).toEqual([other])
    const same = [own, other]
    expect(reachabilityTaints(same, true, iso(NOW + 1))).toBe(same)
    expect(reachabilityTaints([{ ...own, effect: 'NoSelect' }], true, now)).toEqual([own])
    const forged: Taint = { key: UNREACHABLE_TAINT, effect: 'NoSelect' }
    expect(keepHubTaint([], [forged, other])).toEqual([other])
    expect(keepHubTaint([own], [other])).toEqual([other, own])
    expect(keepHubTaint([own], [forged, other])).toEqual([own, other])
    expect([keepHubTaint([], undefined), keepHubTaint([own], undefined)]).toEqual([undefined, [own]])
  })

  test('a site that is offline stays selected: what the hub writes is a NoSelectIfNew taint', () => {
    const away = cluster('a', {
      taints: [{ key: 'cluster.open-cluster-management.io/unreachable', effect: 'NoSelectIfNew' }],
    })
    const one = placement({ numberOfClusters: 1 })
    expect(run({ clusters: [away, cluster('b')], decisions: mine('a'), placement: one }).selected).toEqual(['a'])
    expect(run({ clusters: [away, cluster('b')], placement: one }).selected).toEqual(['b'])
  })

  test.each<[string, Partial<SchedulingInput>]>([
    ['no binding', { bindings: [] }],
    ['no intersection', { placement: placement({ clusterSets: ['x'] }) }],
    ['empty sets', { sets: [set('depots')], bindings: [binding('depots')] }],
  ])('with %s each cluster is told so', (_, given) => {
    const outcome = run(given)
    expect(outcome.reasons.map(({ cluster, reason }) => [cluster, reason])).toEqual(
      ['a', 'b', 'c'].map((name) => [name, 'NotInEligibleSet']),
    )
  })

  test('every refusal says why, in its own words', () => {
    const clusters = [
      cluster('in', { labels: { zone: 'n' } }),
      cluster('last', { labels: { zone: 'n' } }),
      cluster('elsewhere', { labels: { [CLUSTER_SET_LABEL]: 'depots' } }),
      cluster('going', { deleting: true }),
      cluster('south', { labels: { zone: 's' } }),
      cluster('tainted', { labels: { zone: 'n' }, taints: [{ key: 'k', effect: 'NoSelect' }] }),
    ]
    const spec = {
      numberOfClusters: 1,
      predicates: [{ requiredClusterSelector: { labelSelector: { matchLabels: { zone: 'n' } } } }],
    }
    const outcome = run({ clusters, placement: placement(spec) })
    expect(outcome.reasons.map(({ cluster, reason, message }) => [cluster, reason, message])).toEqual([
      ['elsewhere', 'NotInEligibleSet', 'in none of the sets shops'],
      ['going', 'Deleting', `is being deleted since ${iso(NOW)}`],
      ['in', 'Selected', 'rank 1 of 2, score 100'],
      ['last', 'OutOfNumber', 'rank 2, score 100; 1 wanted, the last one selected has score 100'],
      ['south', 'PredicateMismatch', 'label zone is s, not n'],
      ['tainted', 'TaintNotTolerated', 'taint k:NoSelect'],
    ])
  })

  test('the spec of OCM is taken whole, and what its schema refuses is refused', () => {
    const faults = (spec: object) =>
      causes(objectSchema('Placement'), {
        apiVersion: 'cluster.open-cluster-management.io/v1beta1',
        kind: 'Placement',
        metadata: { name: 'p' },
        spec,
      }).map(({ field }) => field)
    expect(
      faults({ spreadPolicy: { spreadConstraints: [{ topologyKey: 'example.com/zone', topologyKeyType: 'Claim' }] } }),
    ).toEqual([])
    expect(faults({ sortBy: 'ClusterName', scoreRateLimit: '90s' })).toEqual([])
    expect(faults({ sortBy: 'Name', scoreRateLimit: '1m30s' })).toEqual(['spec.sortBy', 'spec.scoreRateLimit'])
    const term = { topologyKey: '-', topologyKeyType: 'Taint', maxSkew: 0, whenUnsatisfiable: 'Never' }
    expect(faults({ spreadPolicy: { spreadConstraints: [term] } })).toEqual(
      Object.keys(term).map((member) => `spec.spreadPolicy.spreadConstraints[0].${member}`),
    )
    const nine = Array.from({ length: 9 }, () => ({ topologyKey: 'a', topologyKeyType: 'Label' }))
    expect(faults({ spreadPolicy: { spreadConstraints: nine } })).toEqual(['spec.spreadPolicy.spreadConstraints'])
  })

  test('D-08 a placement is looked at again when a score that it used ends', () => {
    const coordinate = { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } }
    const of = (namespace: string, untilMs: number) => ({
      namespace,
      name: 'usage',
      validUntil: iso(untilMs),
      scores: [{ name: 'free', value: 9 }],
    })
    const scores = [of('a', NOW + 60_000), of('b', NOW + 30_000), of('c', NOW - 1), of('other', NOW + 1)]
    const spec = { numberOfClusters: 1, prioritizerPolicy: { configurations: [{ scoreCoordinate: coordinate }] } }
    expect(run({ placement: placement(spec), scores }).recheckAtMs).toBe(NOW + 30_001)
    // Nobody looks at scores that nobody asked for.
    expect(run({ scores }).recheckAtMs).toBeUndefined()
  })

  test('a fault in the group strategy keeps the decisions as they are', () => {
    const groupStrategy = { clustersPerDecisionGroup: '25' }
    const outcome = run({ placement: placement({ decisionStrategy: { groupStrategy } }), decisions: mine('b') })
    expect([outcome.kind, outcome.selected]).toEqual(['Frozen', ['b']])
  })

  test('all that is wrong is told at once, each at its path', () => {
    const zones = { key: 'zone', operator: 'In', values: ['good', 'has space', '-x'] }
    const labelSelector = {
      matchLabels: { 'a/b/c': 'x', ok: 'y' },
      matchExpressions: [zones, { key: '-', operator: 'Near' }],
    }
    const spec: PlacementSpec = {
      predicates: [{ requiredClusterSelector: { labelSelector } }],
      tolerations: [{ key: 'k' }, { value: 'v' }, { key: 'k', operator: 'Exists', value: 'v' }],
    }
    expect(admitPlacement('p', spec).map(({ field }) => field)).toEqual([
      ...[
        'matchLabels.a/b/c',
        'matchExpressions[0].values[1]',
        'matchExpressions[0].values[2]',
        'matchExpressions[1].operator',
        'matchExpressions[1].key',
      ].map((field) => `spec.predicates[0].requiredClusterSelector.labelSelector.${field}`),
      'spec.tolerations[1].key',
      'spec.tolerations[2].value',
    ])
  })

  test('a negative number and a long name are refused at the write', () => {
    const object = {
      apiVersion: 'cluster.open-cluster-management.io/v1beta1',
      kind: 'Placement',
      metadata: { name: 'p' },
      spec: { numberOfClusters: -1 },
    }
    expect(causes(objectSchema('Placement'), object).map(({ field }) => field)).toContain('spec.numberOfClusters')
    expect(admitPlacement('p'.repeat(64), {})).toEqual([
      { field: 'metadata.name', message: expect.stringContaining('63') },
    ])
  })
})

describe('properties', () => {
  const clusters = fc.uniqueArray(
    fc.record({
      name: fc.stringMatching(/^[a-z][a-z0-9]{0,3}$/),
      zone: fc.constantFrom('n', 's', ''),
      set: fc.constantFrom('shops', 'depots', 'none'),
      taint: fc.constantFrom<Taint['effect'] | undefined>(
        undefined,
        undefined,
        'NoSelect',
        'NoSelectIfNew',
        'PreferNoSelect',
      ),
      deleting: fc.boolean(),
    }),
    { selector: ({ name }) => name, maxLength: 30 },
  )
  const facts = fc
    .record({
      clusters,
      number: fc.option(fc.nat(20), { nil: undefined }),
      zones: fc.array(fc.constantFrom('n', 's', 'bad value'), { maxLength: 2 }),
      seconds: fc.option(fc.nat(100), { nil: undefined }),
      chosen: fc.array(fc.nat(29), { maxLength: 10 }),
      bound: fc.subarray(['shops', 'depots']),
    })
    .map(({ clusters, number, zones, seconds, chosen, bound }): SchedulingInput => {
      const objects = clusters.map(({ name, zone, set, taint, deleting }) =>
        cluster(name, {
          deleting,
          labels: { [CLUSTER_SET_LABEL]: set, ...(zone ? { zone } : {}) },
          taints: taint ? [{ key: 'k', effect: taint, timeAdded: iso(NOW - 50_000) }] : [],
        }),
      )
      const names = chosen.flatMap((i) => clusters[i]?.name ?? [])
      return input({
        clusters: objects,
        sets: [set('shops'), set('depots')],
        bindings: bound.map((name) => binding(name)),
        decisions: [...mine(...new Set(names)), ...names.flatMap((name) => others(1, name))],
        placement: placement({
          ...(number === undefined ? {} : { numberOfClusters: number }),
          predicates: zones.map((zone) => ({ requiredClusterSelector: { labelSelector: { matchLabels: { zone } } } })),
          ...(seconds === undefined ? {} : { tolerations: [{ operator: 'Exists', tolerationSeconds: seconds }] }),
        }),
      })
    })

  test('the same facts in any order give the same outcome', () => {
    fc.assert(
      fc.property(facts, (given) => {
        const shuffled = {
          ...given,
          clusters: given.clusters.toReversed(),
          sets: given.sets.toReversed(),
          bindings: given.bindings.toReversed(),
          decisions: given.decisions.toReversed(),
        }
        expect(decided(shuffled)).toEqual(decided(given))
      }),
    )
  })

  test('every cluster has exactly one line', () => {
    fc.assert(
      fc.property(facts, (given) => {
        expect(decided(given).reasons.map(({ cluster }) => cluster)).toEqual(
          given.clusters.map(({ metadata }) => metadata.name).toSorted(),
        )
      }),
    )
  })

  test('slices are a partition of the selection, in slices of at most 100', () => {
    fc.assert(
      fc.property(facts, (given) => {
        const { kind, slices, selected } = decided(given)
        fc.pre(kind === 'Decided')
        expect(slices.flatMap(({ decisions }) => decisions.map(({ clusterName }) => clusterName))).toEqual(
          selected.toSorted(),
        )
        for (const { decisions } of slices) expect(decisions.length).toBeLessThanOrEqual(100)
      }),
    )
  })

  test('a cluster that does not match changes nothing for the others', () => {
    fc.assert(
      fc.property(facts, (given) => {
        const more = decided({
          ...given,
          clusters: [...given.clusters, cluster('zzzzz', { labels: { [CLUSTER_SET_LABEL]: 'nowhere' } })],
        })
        const before = decided(given)
        expect({ ...more, reasons: [], conditions: [] }).toEqual({ ...before, reasons: [], conditions: [] })
        expect(more.reasons.filter(({ cluster }) => cluster !== 'zzzzz')).toEqual(before.reasons)
      }),
    )
  })

  test('deciding again over its own decisions changes nothing while time stands still', () => {
    fc.assert(
      fc.property(facts, (given) => {
        const rest = given.decisions.filter(({ placement }) => placement !== 'p')
        const first = decided(given)
        fc.pre(first.kind === 'Decided')
        const again = decided({ ...given, decisions: [...rest, ...mine(...first.selected)] })
        expect(again.selected.toSorted()).toEqual(first.selected.toSorted())
      }),
    )
  })
})
