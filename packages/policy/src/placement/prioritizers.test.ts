import type { PrioritizerPolicy, Taint, Toleration } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { clusterOf } from './fixture.ts'
import { type AddOnScores, Fleet } from './fleet.ts'
import { OCM_BUILT_IN, policyFaults, score, type Weighted, weights } from './prioritizers.ts'

const NOW = Date.parse('2026-06-01T12:00:00Z')
type Standing = {
  readonly decidedElsewhere: ReadonlyMap<string, number>
  readonly mine: ReadonlySet<string>
  readonly scores: readonly AddOnScores[]
  readonly tolerations: readonly Toleration[]
}

/** What a prioritizer says of these clusters, by name. */
function prioritize(weighted: Weighted, clusters: readonly ReturnType<typeof clusterOf>[], given: Partial<Standing>) {
  const {
    decidedElsewhere = new Map<string, number>(),
    mine = new Set<string>(),
    scores = [],
    tolerations = [],
  } = given
  const fleet = new Fleet()
  for (const cluster of clusters) fleet.putCluster(cluster)
  for (const one of scores) fleet.putScores(one)
  fleet.putDecisions({ namespace: 'n', placement: 'p', clusters: [...mine] })
  for (const [cluster, count] of decidedElsewhere)
    fleet.putDecisions({ namespace: 'n', placement: `of ${cluster}`, clusters: Array<string>(count).fill(cluster) })
  const own = new Uint8Array(fleet.size)
  for (const slot of fleet.decidedBy('n', 'p')) own[slot] = 1
  const mask = fleet.present.slice(0, fleet.size)
  const { values, ...rest } = score(weighted, { fleet, mask, own, tolerations, nowMs: NOW })
  return {
    ...rest,
    scores: new Map(clusters.map(({ metadata: { name } }) => [name, values[fleet.slotOf(name) ?? -1]])),
  }
}
const builtIn = (name: string, weight = 1) => ({ coordinate: { type: 'BuiltIn', builtIn: name }, weight })
const config = (builtIn: string, weight?: number) => ({
  scoreCoordinate: { type: 'BuiltIn', builtIn },
  ...(weight === undefined ? {} : { weight }),
})
const addOn = (resourceName = 'usage', scoreName = 'free') => ({ type: 'AddOn', addOn: { resourceName, scoreName } })
const names = (policy: PrioritizerPolicy) => {
  const found = weights(policy, false, OCM_BUILT_IN)
  return 'fault' in found
    ? found.fault
    : found.map(({ coordinate, weight }) => [coordinate.builtIn ?? coordinate.addOn?.scoreName, weight])
}

describe('[conformance: ocm] P-40 Balance', () => {
  test.each([
    [0, 3, 100],
    [1, 3, 32],
    [2, 3, -32],
    [1, 4, 50],
    [3, 7, 14],
    [1, 2, 0],
    [1, 1, -100],
  ])('%i of at most %i is %i', (count, max, score) => {
    // The highest count is of a cluster that is no candidate.
    const decidedElsewhere = new Map([['other', max], ...(count > 0 ? [['a', count] as const] : [])])
    const { scores } = prioritize(builtIn('Balance'), [clusterOf('a')], { decidedElsewhere })
    expect([...scores]).toEqual([['a', score]])
  })
})

test('[conformance: ocm] P-41 Steady: 100 for what is selected already, else 0', () => {
  const { scores } = prioritize(builtIn('Steady'), [clusterOf('a'), clusterOf('b')], { mine: new Set(['b', 'gone']) })
  expect([...scores]).toEqual([
    ['a', 0],
    ['b', 100],
  ])
})

describe('[conformance: ocm] P-42 ResourceAllocatable', () => {
  const of = (
    name: string,
    allocatable: Record<string, string>,
    capacity: Record<string, string> = { cpu: '64', memory: '1Ti' },
  ) => clusterOf(name, { status: { allocatable, capacity } })
  const cpu = (...clusters: ReturnType<typeof of>[]) => [
    ...prioritize(builtIn('ResourceAllocatableCPU'), clusters, {}).scores,
  ]

  test('from -100 for the least to 100 for the most, cut toward zero', () => {
    expect(cpu(of('a', { cpu: '1' }), of('b', { cpu: '2500m' }), of('c', { cpu: '8' }))).toEqual([
      ['a', -100],
      ['b', -57],
      ['c', 100],
    ])
  })
  test('all 100 where all are equal', () => {
    expect(cpu(of('a', { cpu: '2' }), of('b', { cpu: '2000m' }))).toEqual([
      ['a', 100],
      ['b', 100],
    ])
  })
  test('who lacks one of both is left out, also of least and most', () => {
    expect(
      cpu(of('a', { cpu: '1' }), of('b', { memory: '1Gi' }), of('c', { cpu: '100' }, {}), of('d', { cpu: '3' })),
    ).toEqual([
      ['a', -100],
      ['b', 0],
      ['c', 0],
      ['d', 100],
    ])
  })
  test('memory is memory', () => {
    const { scores } = prioritize(
      builtIn('ResourceAllocatableMemory'),
      [of('a', { cpu: '9', memory: '1Gi' }), of('b', { cpu: '1', memory: '2G' })],
      {},
    )
    expect([...scores]).toEqual([
      ['a', -100],
      ['b', 100],
    ])
  })
})

describe('[conformance: ocm] P-43 AddOn', () => {
  const held = (more: Partial<AddOnScores> = {}): Partial<Standing> => ({
    scores: [{ namespace: 'a', name: 'usage', validUntil: undefined, scores: [{ name: 'free', value: 7 }], ...more }],
  })
  const run = (given: Partial<Standing>) =>
    prioritize({ coordinate: addOn(), weight: 2 }, [clusterOf('a'), clusterOf('b')], given)

  test('the value of the score; 0 where there is none; of a repeated name the last', () => {
    expect(run(held())).toMatchObject({
      name: 'AddOn/usage/free',
      weight: 2,
      scores: new Map([
        ['a', 7],
        ['b', 0],
      ]),
    })
    const twice = [7, -3].map((value) => ({ name: 'free', value }))
    expect(run(held({ scores: twice })).scores.get('a')).toBe(-3)
    expect(run(held({ scores: [] })).scores.get('a')).toBe(0)
  })
  test('valid at the very instant; after it 0 and a warning', () => {
    expect(run(held({ validUntil: new Date(NOW).toISOString() }))).toMatchObject({
      scores: new Map([
        ['a', 7],
        ['b', 0],
      ]),
      endsAtMs: NOW + 1,
    })
    const late = run(held({ validUntil: new Date(NOW - 1).toISOString() }))
    expect(late.scores.get('a')).toBe(0)
    expect(late).toMatchObject({ warning: 'AddOnPlacementScores a/usage expired' })
    expect(late.endsAtMs).toBeUndefined()
  })
})

describe('[deviation] D-04 PreferNoSelect', () => {
  const unwanted = (...keys: string[]): Taint[] =>
    keys.map((key) => ({ key, effect: 'PreferNoSelect', timeAdded: new Date(NOW - 30_000).toISOString() }))
  const clusters = [
    clusterOf('free'),
    clusterOf('one', { taints: unwanted('a') }),
    clusterOf('two', { taints: unwanted('a', 'b') }),
    clusterOf('three', { taints: unwanted('a', 'b', 'c') }),
    clusterOf('other', { taints: [{ key: 'a', effect: 'NoSelectIfNew' }] }),
  ]

  test('the more taints that nothing tolerates, the worse, down to -100; who has none has 0', () => {
    const { scores } = prioritize(builtIn('PreferNoSelect'), clusters, {})
    expect(Object.fromEntries(scores)).toEqual({ free: 0, one: -33, two: -66, three: -100, other: 0 })
    expect([...prioritize(builtIn('PreferNoSelect'), [clusterOf('a')], {}).scores]).toEqual([['a', 0]])
  })

  test('a taint that is tolerated does not count, as long as it is', () => {
    const of = (tolerationSeconds: number) =>
      prioritize(builtIn('PreferNoSelect'), clusters, {
        tolerations: [{ key: 'c', operator: 'Exists', tolerationSeconds }],
      })
    expect(Object.fromEntries(of(60).scores)).toMatchObject({ one: -50, two: -100, three: -100 })
    expect(of(60).endsAtMs).toBe(NOW + 30_000)
    expect(Object.fromEntries(of(30).scores)).toMatchObject({ one: -33, three: -100 })
    expect(of(30).endsAtMs).toBeUndefined()
  })

  test('counts only where it is listed, and keeps nobody out', () => {
    expect(names({})).toEqual([
      ['Balance', 1],
      ['Steady', 1],
    ])
    expect(weights({ mode: 'Exact', configurations: [config('PreferNoSelect')] })).toEqual([builtIn('PreferNoSelect')])
    expect(names({ configurations: [config('PreferNoSelect')] })).toBe('incorrect builtin prioritizer: PreferNoSelect')
  })
})

describe('[conformance: ocm] P-44, P-45 what counts', () => {
  test.each<[string, PrioritizerPolicy, unknown]>([
    [
      'the defaults',
      {},
      [
        ['Balance', 1],
        ['Steady', 1],
      ],
    ],
    [
      'beside the defaults',
      { mode: 'Additive', configurations: [config('ResourceAllocatableCPU', 3)] },
      [
        ['Balance', 1],
        ['Steady', 1],
        ['ResourceAllocatableCPU', 3],
      ],
    ],
    ['instead of a default', { configurations: [config('Balance', -10), config('Steady', 0)] }, [['Balance', -10]]],
    ['exactly', { mode: 'Exact', configurations: [config('Steady')] }, [['Steady', 1]]],
    ['exactly nothing', { mode: 'Exact' }, []],
    [
      'a built-in twice: the last weight',
      { mode: 'Exact', configurations: [config('Steady', 2), config('Steady', 5)] },
      [['Steady', 5]],
    ],
    [
      'an add-on twice: both',
      {
        mode: 'Exact',
        configurations: [
          { scoreCoordinate: addOn(), weight: 2 },
          { scoreCoordinate: addOn(), weight: 2 },
        ],
      },
      [
        ['free', 2],
        ['free', 2],
      ],
    ],
    [
      'a built-in that carries an add-on: beside the default',
      { configurations: [{ scoreCoordinate: { ...addOn(), type: 'BuiltIn', builtIn: 'Balance' }, weight: 3 }] },
      [
        ['Balance', 1],
        ['Steady', 1],
        ['Balance', 3],
      ],
    ],
    ['an unknown built-in with weight 0', { mode: 'Exact', configurations: [config('Nope', 0)] }, []],
    ['an unknown built-in', { configurations: [config('Spread')] }, 'incorrect builtin prioritizer: Spread'],
    ['no coordinate', { configurations: [{ weight: 0 }] }, 'scoreCoordinate field is required'],
    [
      'an add-on without its name',
      { configurations: [{ scoreCoordinate: { type: 'AddOn' } }] },
      'addOn should not be empty',
    ],
    ['another mode', { mode: 'Loose' }, 'incorrect prioritizer policy mode: Loose'],
  ])('%s', (_, policy, expected) => {
    expect(names(policy)).toEqual(expected)
  })
})

describe('[deviation] D-07 what a person may not write', () => {
  const at = (index: number, member = '') => `prioritizerPolicy.configurations[${index}].scoreCoordinate${member}`
  test.each<[PrioritizerPolicy, string[]]>([
    [{ mode: 'Exact', configurations: [config('Balance'), { scoreCoordinate: addOn() }] }, []],
    [{ mode: 'Loose', configurations: [{}] }, ['prioritizerPolicy.mode', at(0)]],
    [{ configurations: [config('Nope', 0), config('Steady'), config('Steady')] }, [at(0, '.builtIn'), at(2)]],
    [{ configurations: [{ scoreCoordinate: addOn() }, { scoreCoordinate: addOn() }] }, [at(1)]],
    [{ configurations: [{ scoreCoordinate: { ...addOn(), type: 'BuiltIn', builtIn: 'Balance' } }] }, [at(0, '.addOn')]],
    [
      {
        configurations: [
          { scoreCoordinate: { type: 'AddOn' } },
          { scoreCoordinate: { ...addOn(), builtIn: 'Steady' } },
        ],
      },
      [at(0, '.addOn'), at(1, '.builtIn')],
    ],
    [{ configurations: [{ scoreCoordinate: { type: 'Custom' } }] }, [at(0, '.type')]],
  ])('%j', (policy, fields) => {
    expect(policyFaults(policy).map(({ field }) => field)).toEqual(fields)
  })
})
