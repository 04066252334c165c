import { type Static, Type } from 'typebox'
import { ClaimSelector, Condition, LabelSelector } from '../meta.ts'
import { closed, described, integer, Name } from '../words.ts'

export const Toleration = closed({
  key: Type.Optional(Type.String({ maxLength: 316 })),
  operator: Type.Optional(Type.String({ description: 'Equal (default) or Exists' })),
  value: Type.Optional(Type.String({ maxLength: 1024 })),
  effect: Type.Optional(Type.String({ description: 'empty matches every effect' })),
  tolerationSeconds: Type.Optional(
    Type.Union([integer(), Type.Null()], {
      description: "counted from the taint's timeAdded; absent is for ever",
    }),
  ),
})
export type Toleration = Static<typeof Toleration>

export const ClusterPredicate = closed({
  requiredClusterSelector: Type.Optional(
    closed(
      {
        labelSelector: Type.Optional(described(LabelSelector, "by the ManagedCluster's labels")),
        claimSelector: Type.Optional(described(ClaimSelector, 'by what the cluster says of itself')),
      },
      { description: 'both must pass' },
    ),
  ),
})
export type ClusterPredicate = Static<typeof ClusterPredicate>

/** Which clusters. OCM's kind: `cluster.open-cluster-management.io/v1beta1`. */
export const PlacementSpec = closed({
  clusterSets: Type.Optional(
    Type.Array(Name, { description: 'sets that are bound to this namespace; none is all of those' }),
  ),
  numberOfClusters: Type.Optional(
    Type.Union([integer({ minimum: 0, maximum: 2_147_483_647 }), Type.Null()], {
      description: 'at most so many; absent is every one that passes',
    }),
  ),
  predicates: Type.Optional(Type.Array(ClusterPredicate, { description: 'ORed; an empty list passes every cluster' })),
  tolerations: Type.Optional(Type.Array(Toleration, { description: 'taints that do not keep a cluster out' })),
})
export type PlacementSpec = Static<typeof PlacementSpec>

export const PlacementStatus = closed({
  observedGeneration: Type.Optional(integer()),
  numberOfSelectedClusters: Type.Optional(integer()),
  decisionGroups: Type.Optional(
    Type.Array(
      closed({
        decisionGroupIndex: integer(),
        decisionGroupName: Type.String(),
        decisions: Type.Array(Type.String()),
        clusterCount: integer(),
      }),
    ),
  ),
  conditions: Type.Optional(Type.Array(Condition)),
})
export type PlacementStatus = Static<typeof PlacementStatus>

export const PLACEMENT_LABEL = 'cluster.open-cluster-management.io/placement'
export const DECISION_GROUP_INDEX_LABEL = 'cluster.open-cluster-management.io/decision-group-index'
export const DECISION_GROUP_NAME_LABEL = 'cluster.open-cluster-management.io/decision-group-name'
export const SCHEDULING_DISABLED_ANNOTATION = 'cluster.open-cluster-management.io/experimental-scheduling-disable'
/** A slice of a placement's decisions holds at most this many. */
export const DECISIONS_PER_SLICE = 100

/** A slice of a placement's decisions. Its spec is empty, as in OCM: decisions are status. */
export const PlacementDecisionStatus = closed({
  decisions: Type.Optional(
    Type.Array(closed({ clusterName: Type.String(), reason: Type.String(), score: Type.Optional(integer()) }), {
      maxItems: DECISIONS_PER_SLICE,
    }),
  ),
})
export type PlacementDecisionStatus = Static<typeof PlacementDecisionStatus>
