import { CLUSTER_SET_LABEL, type ObjectOf } from '@skerry/api'
import { mismatch, selectorFault } from './selectors.ts'

/** A fault in a set's selector: an error of every evaluation in which the set is eligible. */
export function clusterSetFault(set: ObjectOf<'ManagedClusterSet'>): string | undefined {
  const { selectorType, labelSelector } = set.spec.clusterSelector ?? {}
  if (!selectorType || selectorType === 'ExclusiveClusterSetLabel') return undefined
  if (selectorType === 'LabelSelector') return selectorFault(labelSelector)
  return `selectorType is not right: ${selectorType}`
}

/** Whether a cluster belongs to a set whose selector has no fault. */
export function isMember(cluster: ObjectOf<'ManagedCluster'>, set: ObjectOf<'ManagedClusterSet'>): boolean {
  const { selectorType, labelSelector } = set.spec.clusterSelector ?? {}
  const labels = cluster.metadata.labels ?? {}
  if (selectorType !== 'LabelSelector') return labels[CLUSTER_SET_LABEL] === set.metadata.name
  return labelSelector !== undefined && mismatch(labelSelector, new Map(Object.entries(labels)), 'label') === undefined
}
