import { CLUSTER_SET_LABEL, type ObjectOf } from '@skerry/api'
import { type Fault, mismatch, selectorFault, selectorFaults } from './selectors.ts'

/** A fault in a set's selector: an error of every evaluation in which the set is eligible. */
export function clusterSetFault({ spec }: ObjectOf<'ManagedClusterSet'>): string | undefined {
  const { selectorType, labelSelector } = spec.clusterSelector ?? {}
  return selectorType === 'LabelSelector' ? selectorFault(labelSelector) : clusterSetFaults(spec)[0]?.message
}

/** Everything wrong with a set beyond its schema, with the field. */
export function clusterSetFaults({ clusterSelector }: ObjectOf<'ManagedClusterSet'>['spec']): Fault[] {
  const { selectorType, labelSelector } = clusterSelector ?? {}
  const at = 'spec.clusterSelector'
  if (!selectorType || selectorType === 'ExclusiveClusterSetLabel') return []
  if (selectorType === 'LabelSelector')
    return selectorFaults(labelSelector).map(({ field, message }) => ({
      field: `${at}.labelSelector.${field}`,
      message,
    }))
  return [{ field: `${at}.selectorType`, message: `selectorType is not right: ${selectorType}` }]
}

/** Whether a cluster belongs to a set whose selector has no fault. */
export function isMember(cluster: ObjectOf<'ManagedCluster'>, set: ObjectOf<'ManagedClusterSet'>): boolean {
  const { selectorType, labelSelector } = set.spec.clusterSelector ?? {}
  const labels = cluster.metadata.labels ?? {}
  if (selectorType !== 'LabelSelector') return labels[CLUSTER_SET_LABEL] === set.metadata.name
  return labelSelector !== undefined && mismatch(labelSelector, new Map(Object.entries(labels)), 'label') === undefined
}
