import { type Static, Type } from 'typebox'
import { Condition } from '../meta.ts'
import { closed, integer, mapOf, oneOf, Time } from '../words.ts'

export const Taint = closed({
  key: Type.String({ minLength: 1, maxLength: 316 }),
  value: Type.Optional(Type.String({ maxLength: 1024 })),
  effect: oneOf(['NoSelect', 'PreferNoSelect', 'NoSelectIfNew']),
  timeAdded: Type.Optional(Type.Union([Time, Type.Null()], { description: 'set by the hub when the taint appears' })),
})
export type Taint = Static<typeof Taint>

export const ClusterClaim = closed({
  name: Type.String({ minLength: 1, maxLength: 253 }),
  value: Type.String({ minLength: 1, maxLength: 1024 }),
})
export type ClusterClaim = Static<typeof ClusterClaim>

const Quantities = mapOf(Type.Union([Type.String(), Type.Number()]))

/** The hub's own taint, while it does not hear from a site. */
export const UNREACHABLE_TAINT = 'cluster.open-cluster-management.io/unreachable'
/** Annotation in which a person says why a cluster was denied; it goes when the cluster is accepted again. */
export const DENIED_BECAUSE_ANNOTATION = 'skerry.dev/denied-because'

/** A registered site's cluster. OCM's kind: `cluster.open-cluster-management.io/v1`. */
export const ManagedClusterSpec = closed({
  hubAcceptsClient: Type.Optional(
    Type.Boolean({ description: "the hub's half of the double opt-in; false cuts a connected site off" }),
  ),
  leaseDurationSeconds: Type.Optional(
    integer({ minimum: 1, description: 'accepted for OCM; Skerry judges liveness by its own receive time' }),
  ),
  taints: Type.Optional(Type.Array(Taint)),
  managedClusterClientConfigs: Type.Optional(
    Type.Array(closed({ url: Type.String(), caBundle: Type.Optional(Type.String()) })),
  ),
})

export const ManagedClusterStatus = closed({
  conditions: Type.Optional(Type.Array(Condition)),
  clusterClaims: Type.Optional(Type.Array(ClusterClaim)),
  capacity: Type.Optional(Quantities),
  allocatable: Type.Optional(Quantities),
  version: Type.Optional(closed({ kubernetes: Type.Optional(Type.String()) })),
})

/** How long the hub has heard nothing, by its own clock. Changes no desired state. */
export const REACHABILITY = ['Online', 'Late', 'Offline', 'Stale', 'NeverSeen'] as const
export type Reachability = (typeof REACHABILITY)[number]
