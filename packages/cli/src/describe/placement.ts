import type { ObjectOf } from '@skerry/api'
import type { Explanation } from '@skerry/client'
import { type Entry, entries, entry, table } from '../output/sections.ts'
import { conditionTable } from './parts.ts'

/** A placement: what it asks for, whether it is satisfied, and how many clusters were passed over for which reason. */
export function describePlacement(
  { metadata, spec, status }: ObjectOf<'Placement'>,
  why: Explanation,
  nowMs: number,
): Entry[] {
  const groups = status?.decisionGroups ?? []
  const counts = new Map<string, number>()
  for (const { reason } of why.clusters) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  return entries(
    entry('Cluster sets', (spec.clusterSets ?? []).join(', ') || 'every set bound to the namespace'),
    entry('Wanted', spec.numberOfClusters ?? 'every cluster that matches'),
    entry('Predicates', (spec.predicates ?? []).map((predicate) => JSON.stringify(predicate)).join('\n')),
    entry('Tolerations', (spec.tolerations ?? []).map((toleration) => JSON.stringify(toleration)).join('\n')),
    entry('Prioritizers', spec.prioritizerPolicy && JSON.stringify(spec.prioritizerPolicy)),
    entry('Spread', (spec.spreadPolicy?.spreadConstraints ?? []).map((one) => JSON.stringify(one)).join('\n')),
    entry('Selected', status?.numberOfSelectedClusters ?? 0),
    groups.length > 1
      ? table(
          'Groups',
          ['INDEX', 'NAME', 'CLUSTERS'],
          groups.map((one) => [`${one.decisionGroupIndex}`, one.decisionGroupName, `${one.clusterCount}`]),
        )
      : undefined,
    conditionTable(status?.conditions, nowMs),
    table(
      'Reasons',
      ['REASON', 'CLUSTERS'],
      [...counts].toSorted(([, a], [, b]) => b - a).map(([reason, count]) => [reason, String(count)]),
    ),
    entry('Each cluster', `skerry explain placement ${metadata.name} -n ${metadata.namespace}`),
  )
}
