import type { ObjectOf } from '@skerry/api'
import { expect, test } from 'vitest'
import { explain } from './explain.ts'
import { clusterOf } from './fixture.ts'
import { fleetOf } from './fleet.ts'
import { schedule } from './schedule.ts'

const NOW = Date.parse('2026-06-01T12:00:00Z')
const META = { uid: 'u', resourceVersion: '1', generation: 1, creationTimestamp: '1970-01-01T00:00:00Z' }

/** What became of clusters c0, c1, … by one expression, and how often the scores of one of them were read for it. */
function why(celExpression: string, count: number) {
  let read = 0
  const scores = [{ name: 'free', value: 40 }]
  const fleet = fleetOf({
    sets: [
      {
        apiVersion: 'cluster.open-cluster-management.io/v1beta2',
        ...{ kind: 'ManagedClusterSet', metadata: { ...META, name: 'shops' }, spec: {} },
      },
    ],
    bindings: [
      {
        apiVersion: 'cluster.open-cluster-management.io/v1beta2',
        ...{ kind: 'ManagedClusterSetBinding', metadata: { ...META, name: 'shops', namespace: 'fleet' } },
        spec: { clusterSet: 'shops' },
      },
    ],
    clusters: Array.from({ length: count }, (_, n) => clusterOf(`c${n}`)),
    scores: Array.from({ length: count }, (_, n) => ({
      ...{ namespace: `c${n}`, name: 'usage', validUntil: undefined },
      get scores() {
        read += 1
        return scores
      },
    })),
    decisions: [],
  })
  const placement: ObjectOf<'Placement'> = {
    apiVersion: 'cluster.open-cluster-management.io/v1beta1',
    ...{ kind: 'Placement', metadata: { ...META, name: 'p', namespace: 'fleet' } },
    spec: { predicates: [{ requiredClusterSelector: { celSelector: { celExpressions: [celExpression] } } }] },
  }
  const lines = [...explain(fleet, placement, schedule(fleet, placement, NOW), NOW)]
  return { read, said: new Map(lines.map(({ cluster, message }) => [cluster, message])) }
}

test('an expression that does not hold is asked once of each cluster, and the answer is told', () => {
  const { read, said } = why('managedCluster.scores("usage").exists(s, s.value > 50)', 30)
  expect(read).toBe(30)
  expect(new Set(said.values())).toEqual(
    new Set(['CEL managedCluster.scores("usage").exists(s, s.value > 50) is false']),
  )
})

test('where it fails with other words for each cluster, each is told its own', () => {
  const { said } = why('managedCluster.metadata.labels[managedCluster.metadata.name] == "x"', 40)
  for (const [cluster, message] of said) expect(message).toMatch(new RegExp(`no such key: ${cluster}$`))
  expect(said.size).toBe(40)
})
