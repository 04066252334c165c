import { Type } from 'typebox'
import { Condition, LabelSelector } from '../meta.ts'
import { closed, Name } from '../words.ts'

/** Label that puts a cluster into a set of selector type ExclusiveClusterSetLabel. */
export const CLUSTER_SET_LABEL = 'cluster.open-cluster-management.io/clusterset'

/** A group of clusters. OCM's kind: `cluster.open-cluster-management.io/v1beta2`. */
export const ManagedClusterSetSpec = closed({
  clusterSelector: Type.Optional(
    closed({
      selectorType: Type.Optional(Type.String({ description: 'ExclusiveClusterSetLabel (default) or LabelSelector' })),
      labelSelector: Type.Optional(LabelSelector),
    }),
  ),
})
export const ManagedClusterSetStatus = closed({ conditions: Type.Optional(Type.Array(Condition)) })

/** Lets placements of its namespace choose from a set; its name must be the set's name. */
export const ManagedClusterSetBindingSpec = closed({ clusterSet: Name })
export const ManagedClusterSetBindingStatus = closed({ conditions: Type.Optional(Type.Array(Condition)) })
