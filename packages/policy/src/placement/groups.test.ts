import type { DecisionStrategy } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clusterOf } from './fixture.ts'
import { type Cut, cutGroups, cutSlices, parted, selectorsOf } from './groups.ts'

const names = (count: number) => Array.from({ length: count }, (_, at) => `c${String(at).padStart(3, '0')}`)
const fleet = (count: number) =>
  names(count).map((name, at) => clusterOf(name, { labels: { env: at % 2 ? 'prod' : 'dev' } }))
const per = (clustersPerDecisionGroup: string | number): DecisionStrategy => ({
  groupStrategy: { clustersPerDecisionGroup },
})
/** Groups of clusters, as names; a selector of labels takes by them. */
function groupsOf(clusters: ReturnType<typeof fleet>, strategy?: DecisionStrategy) {
  const selectors = selectorsOf(strategy)
  const first = clusters.map(({ metadata }) => {
    const taking = selectors.findIndex((selector) =>
      Object.entries(selector?.labelSelector?.matchLabels ?? {}).every(
        ([key, value]) => metadata.labels?.[key] === value,
      ),
    )
    return taking < 0 ? selectors.length : taking
  })
  const parts = parted(Int32Array.from(clusters.keys()), Int32Array.from(first), selectors.length + 1)
  const { groups, ...fault } = cutGroups(parts, clusters.length, strategy)
  const named = ({ members, ...group }: Cut) => ({
    ...group,
    clusters: Array.from(members, (at) => clusters[at]?.metadata.name ?? ''),
  })
  return { groups: groups.map(named), ...fault }
}
const sizes = ({ groups }: Pick<ReturnType<typeof groupsOf>, 'groups'>) =>
  groups.map(({ name, clusters }) => [name, clusters.length])
const byEnv = (env: string, groupName = env) => ({
  groupName,
  groupClusterSelector: { labelSelector: { matchLabels: { env } } },
})

describe('[conformance: ocm] P-50 the length of a group', () => {
  test.each<[string | number, number, number[]]>([
    [3, 7, [3, 3, 1]],
    [0, 7, [7]],
    [-2, 7, [7]],
    [9, 7, [7]],
    ['25%', 7, [2, 2, 2, 1]],
    ['100%', 7, [7]],
    // As floating point has it.
    ['7%', 100, [...Array(12).fill(8), 4]],
    ['55%', 100, [56, 44]],
    ['33.3%', 9, [3, 3, 3]],
    ['1e1%', 10, Array(10).fill(1)],
    ['-5%', 7, [7]],
    ['0%', 7, [7]],
    ['Inf%', 7, [7]],
    ['NaN%', 7, [7]],
  ])('%j of %i clusters', (length, count, expected) => {
    const found = groupsOf(fleet(count), per(length))
    expect(found.fault).toBeUndefined()
    expect(sizes(found)).toEqual(expected.map((size) => ['', size]))
  })

  test.each(['25', 'x%', '%', '10 %', '1e999%', ''])('P-57 %j is a fault and leaves no group', (length) => {
    expect(groupsOf(fleet(4), per(length))).toEqual({
      groups: [],
      fault: `${length} invalid type: string is not a percentage`,
    })
  })
})

describe('[conformance: ocm] P-51 to P-54', () => {
  test('a cluster is in the first group that takes it; the rest has no name; each is cut by name', () => {
    const groupStrategy = { decisionGroups: [byEnv('prod'), byEnv('prod', 'again')], clustersPerDecisionGroup: 2 }
    const found = groupsOf(fleet(5), { groupStrategy })
    expect(found.groups).toEqual([
      { name: 'prod', index: 0, clusters: ['c001', 'c003'] },
      { name: '', index: 1, clusters: ['c000', 'c002'] },
      { name: '', index: 2, clusters: ['c004'] },
    ])
  })

  test('P-57 a bad selector keeps the groups before it, and drops the rest', () => {
    const bad = { groupName: 'bad', groupClusterSelector: { labelSelector: { matchLabels: { 'a b': 'c' } } } }
    const { groups, fault } = groupsOf(fleet(4), {
      groupStrategy: { decisionGroups: [byEnv('dev'), bad, byEnv('prod')] },
    })
    expect([sizes({ groups }), fault]).toEqual([[['dev', 2]], '"a b" is no qualified name'])
  })

  test('P-53 without a cluster there is one group of none, with one slice of none', () => {
    const { groups } = groupsOf([], { groupStrategy: { decisionGroups: [byEnv('prod')] } })
    expect(groups).toEqual([{ name: '', index: 0, clusters: [] }])
    expect(cutSlices('p', groups)).toEqual([{ name: 'p-decision-1', groupName: '', groupIndex: 0, clusters: [] }])
  })

  test('groups are numbered from 0 and part the selection; slices are numbered from 1 and have at most 100', () => {
    const lengths = fc.oneof(
      fc.integer({ min: 1, max: 150 }),
      fc.integer({ min: 1, max: 100 }).map((n) => `${n}%`),
    )
    fc.assert(
      fc.property(fc.nat(300), lengths, fc.subarray(['dev', 'prod', 'none']), (count, length, envs) => {
        const strategy = {
          groupStrategy: { clustersPerDecisionGroup: length, decisionGroups: envs.map((env) => byEnv(env)) },
        }
        const { groups } = groupsOf(fleet(count), strategy)
        const slices = cutSlices('p', groups)
        expect(groups.map(({ index }) => index)).toEqual([...groups.keys()])
        expect(slices.map(({ name }) => name)).toEqual(slices.map((_, at) => `p-decision-${at + 1}`))
        expect(Math.max(...slices.map(({ clusters }) => clusters.length))).toBeLessThanOrEqual(100)
        for (const all of [groups, slices])
          expect(all.flatMap(({ clusters }) => clusters).toSorted()).toEqual(names(count))
      }),
    )
  })
})
