import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { type ObjectOf, PLACEMENT_LABEL } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { mismatch, selectorFault } from '../selectors.ts'
import { isMember } from '../sets.ts'
import { tolerates } from '../taints.ts'
import { celCluster, celMismatch, compileCel, type Score } from './index.ts'

// The recorded scenarios that use CEL: the clusters that pass sets, predicates and taints are those that have a score in the
// recording; and what is Misconfigured there for its CEL does not compile here. Whatever comes after is schedule()'s.

type Selector = Parameters<typeof mismatch>[0]
type Required = { labelSelector?: Selector; claimSelector?: Selector; celSelector?: { celExpressions?: string[] } }
type Scenario = {
  id: string
  tags: string[]
  now: string
  clusters: ObjectOf<'ManagedCluster'>[]
  clusterSets: ObjectOf<'ManagedClusterSet'>[] | null
  bindings: ObjectOf<'ManagedClusterSetBinding'>[] | null
  scores: { metadata: { name: string; namespace: string }; status?: { scores?: Score[] } }[] | null
  decisions: ObjectOf<'PlacementDecision'>[] | null
  placement: {
    metadata: { name: string; namespace?: string }
    spec: {
      clusterSets?: string[]
      predicates?: { requiredClusterSelector?: Required }[]
      tolerations?: Parameters<typeof tolerates>[1]
    }
  }
}
type Expected = { id: string; outcome: string; status?: string; scores?: Record<string, number> | null }

const requiredOf = ({ placement }: Scenario): Required[] =>
  (placement.spec.predicates ?? []).map((predicate) => predicate.requiredClusterSelector ?? {})
const expressionsOf = ({ celSelector }: Required): string[] => celSelector?.celExpressions ?? []

const scenarios = read<Scenario>('scenarios.jsonl.gz').filter(
  (one) => requiredOf(one).flatMap(expressionsOf).length > 0,
)
const expected = new Map(read<Expected>('expected.jsonl.gz').map((result) => [result.id, result]))

describe('[conformance: ocm] recorded scenarios with CEL', () => {
  test('there are many, and some do not compile', () => {
    expect(scenarios.length).toBe(117)
    const { selected, faulty } = Object.groupBy(scenarios, (one) => (hasFault(one) ? 'faulty' : 'selected'))
    expect(faulty?.length).toBe(9)
    expect(selected?.length).toBe(108)
  })

  test.each(scenarios.map((one) => [one.id, one.tags[0], one] as const))('%s (%s)', (id, _, one) => {
    const wanted = expected.get(id)
    const isMisconfigured = wanted?.status === 'Misconfigured'
    // A fault shows only where a cluster is available that the predicates could be asked about.
    const available = one.clusters.filter((cluster) => isAvailable(one, cluster))
    if (available.length > 0 && hasFault(one)) return expect(isMisconfigured).toBe(true)
    // Another part of the placement may be misconfigured; then the recording has no scores.
    if (isMisconfigured || wanted?.outcome !== 'stored') return
    const passing = available.filter((cluster) => passes(one, cluster)).map(({ metadata }) => metadata.name)
    expect(passing.toSorted()).toEqual(Object.keys(wanted.scores ?? {}).toSorted())
  })
})

function hasFault(one: Scenario): boolean {
  return requiredOf(one).some(
    (required) =>
      selectorFault(required.labelSelector) ??
      selectorFault(required.claimSelector) ??
      expressionsOf(required).some((text) => 'fault' in compileCel(text)),
  )
}

function isAvailable({ placement, clusterSets, bindings }: Scenario, cluster: ObjectOf<'ManagedCluster'>): boolean {
  const bound = new Set(
    (bindings ?? [])
      .filter(({ metadata }) => metadata.namespace === placement.metadata.namespace)
      .map(({ spec }) => spec.clusterSet),
  )
  const wanted = placement.spec.clusterSets ?? []
  return (
    !cluster.metadata.deletionTimestamp &&
    (clusterSets ?? []).some(
      (set) =>
        bound.has(set.metadata.name) &&
        (wanted.length === 0 || wanted.includes(set.metadata.name)) &&
        isMember(cluster, set),
    )
  )
}

function passes(one: Scenario, cluster: ObjectOf<'ManagedCluster'>): boolean {
  const prepared = celCluster(cluster, (namespace, name) => {
    const found = one.scores?.find(({ metadata }) => metadata.namespace === namespace && metadata.name === name)
    return found && (found.status?.scores ?? [])
  })
  const labels = new Map(Object.entries(cluster.metadata.labels ?? {}))
  const claims = new Map((cluster.status?.clusterClaims ?? []).map(({ name, value }) => [name, value]))
  const matches = requiredOf(one).some((required) => {
    const expressions = expressionsOf(required).flatMap((text) => {
      const compiled = compileCel(text)
      return 'fault' in compiled ? [] : [compiled]
    })
    return (
      mismatch(required.labelSelector, labels, 'label') === undefined &&
      mismatch(required.claimSelector, claims, 'claim') === undefined &&
      celMismatch(expressions, prepared) === undefined
    )
  })
  const { name, namespace } = one.placement.metadata
  const isSelected = (one.decisions ?? []).some(
    ({ metadata, status }) =>
      metadata.namespace === namespace &&
      metadata.labels?.[PLACEMENT_LABEL] === name &&
      status?.decisions?.some((decision) => decision.clusterName === cluster.metadata.name),
  )
  const { tolerations = [] } = one.placement.spec
  return matches && !tolerates(cluster.spec?.taints ?? [], tolerations, isSelected, Date.parse(one.now)).refusedBy
}

function read<T>(file: string): T[] {
  return gunzipSync(readFileSync(new URL(`../recorded/${file}`, import.meta.url)))
    .toString('utf8')
    .trim()
    .split('\n')
    .map((line): T => JSON.parse(line))
}
