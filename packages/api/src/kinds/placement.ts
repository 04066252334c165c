import { type Static, Type } from 'typebox'
import { ClaimSelector, Condition, LabelSelector } from '../meta.ts'
import type { Judged } from '../sound-part.ts'
import { closed, described, integer, Name, oneOf, Sha256, Time } from '../words.ts'

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
        celSelector: Type.Optional(
          closed({
            celExpressions: Type.Optional(
              Type.Array(Type.String({ maxLength: 16_384 }), {
                description: 'CEL over `managedCluster`; each must be true',
              }),
            ),
          }),
        ),
      },
      { description: 'all must pass' },
    ),
  ),
})
export type ClusterPredicate = Static<typeof ClusterPredicate>

const ScoreCoordinate = closed({
  type: Type.Optional(Type.String({ description: 'BuiltIn (default) or AddOn' })),
  builtIn: Type.Optional(
    Type.String({
      description: 'Balance, Steady, ResourceAllocatableCPU, ResourceAllocatableMemory, Spread, PreferNoSelect',
    }),
  ),
  addOn: Type.Optional(
    closed({
      resourceName: Type.String({ minLength: 1, maxLength: 253, description: "an AddOnPlacementScore's name" }),
      scoreName: Type.String({ minLength: 1, maxLength: 253, description: 'one of its scores' }),
    }),
  ),
})

export const PrioritizerPolicy = closed({
  mode: Type.Optional(
    Type.String({
      description:
        'Additive (default): beside Balance, Steady and, where a spreadPolicy is, Spread; Exact: only those listed',
    }),
  ),
  configurations: Type.Optional(
    Type.Array(
      closed({
        scoreCoordinate: Type.Optional(ScoreCoordinate),
        weight: Type.Optional(
          integer({ minimum: -10, maximum: 10, description: '1 by default; 0 is off, below 0 prefers the worst' }),
        ),
      }),
    ),
  ),
})
export type PrioritizerPolicy = Static<typeof PrioritizerPolicy>

export const DecisionStrategy = closed({
  groupStrategy: Type.Optional(
    closed({
      decisionGroups: Type.Optional(
        Type.Array(
          closed({
            groupName: Type.Optional(Type.String({ pattern: '^[a-zA-Z0-9][-A-Za-z0-9_.]{0,61}[a-zA-Z0-9]$' })),
            groupClusterSelector: Type.Optional(
              closed({ labelSelector: Type.Optional(LabelSelector), claimSelector: Type.Optional(ClaimSelector) }),
            ),
          }),
          { description: 'in this order; a cluster is in the first one that takes it' },
        ),
      ),
      clustersPerDecisionGroup: Type.Optional(
        Type.Union([integer({ minimum: 1 }), Type.String({ pattern: '^((100|[1-9][0-9]{0,1})%|[1-9][0-9]*)$' })], {
          description: 'a number, or a percentage of the selected clusters; 100% by default',
        }),
      ),
    }),
  ),
})
export type DecisionStrategy = Static<typeof DecisionStrategy>

export const SpreadConstraint = closed({
  topologyKey: Type.String({
    maxLength: 316,
    pattern:
      '^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$',
    description: 'clusters with the same value are one topology, within the topologies of the constraints before',
  }),
  topologyKeyType: oneOf(['Label', 'Claim'], "whether the key is a label or one of the cluster's claims"),
  maxSkew: Type.Optional(
    integer({
      minimum: 1,
      maximum: 2_147_483_647,
      description: 'how many more than the least topology one may have; 1 by default',
    }),
  ),
  whenUnsatisfiable: Type.Optional(
    oneOf(
      ['DoNotSchedule', 'ScheduleAnyway'],
      'ScheduleAnyway (default): topologies with fewer are preferred; DoNotSchedule: rather fewer clusters than more skew',
    ),
  ),
})
export type SpreadConstraint = Static<typeof SpreadConstraint>

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
  prioritizerPolicy: Type.Optional(PrioritizerPolicy),
  spreadPolicy: Type.Optional(
    closed({
      spreadConstraints: Type.Optional(
        Type.Array(SpreadConstraint, { maxItems: 8, description: 'the first counts most' }),
      ),
    }),
  ),
  decisionStrategy: Type.Optional(DecisionStrategy),
  sortBy: Type.Optional(
    oneOf(
      ['ClusterName', 'Score'],
      'the order of decisions in a group, and in which the rest is cut: by name (default), or the highest score first',
    ),
  ),
  scoreRateLimit: Type.Optional(
    Type.String({
      pattern: '^[0-9]+[hms]$',
      maxLength: 16,
      description: 'how often at most stored scores follow, where nothing else changes; 1m by default, 0s is at once',
    }),
  ),
})
export type PlacementSpec = Static<typeof PlacementSpec>

/** What a toleration's key and value may be says its operator, and which members a coordinate has its type. */
export const PLACEMENT_JUDGED: Judged = {
  decides: ['spec.tolerations[].operator', 'spec.prioritizerPolicy.configurations[].scoreCoordinate.type'],
}

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
  lastScoreUpdateTime: Type.Optional(described(Time, 'when stored scores last changed')),
  heldRemoval: Type.Optional(
    closed(
      {
        hash: Sha256,
        count: integer(),
        of: integer({ description: 'how many are selected and still there' }),
        sample: Type.Array(Type.String()),
        recent: Type.Optional(integer({ description: 'how many left before, within the window that counts together' })),
        until: Type.Optional(described(Time, 'when time alone lets them go')),
      },
      { description: 'what would leave, and waits for an approval of this hash' },
    ),
  ),
  recentRemovals: Type.Optional(
    Type.Array(
      closed({
        at: Time,
        of: integer({ description: 'how many were selected and still there before these left' }),
        count: integer(),
        clusters: Type.Array(Type.String(), { description: 'by name; of a large fleet the earliest are only counted' }),
      }),
      { description: 'who left without an approval, and counts together with whoever would leave next' },
    ),
  ),
  conditions: Type.Optional(Type.Array(Condition)),
})
export type PlacementStatus = Static<typeof PlacementStatus>

export const PLACEMENT_LABEL = 'cluster.open-cluster-management.io/placement'
export const DECISION_GROUP_INDEX_LABEL = 'cluster.open-cluster-management.io/decision-group-index'
export const DECISION_GROUP_NAME_LABEL = 'cluster.open-cluster-management.io/decision-group-name'
export const SCHEDULING_DISABLED_ANNOTATION = 'cluster.open-cluster-management.io/experimental-scheduling-disable'
/** Ours: of a placement that may lose more, or less, of its clusters at once than the hub's default; 100 is OCM's behaviour. */
export const MAX_REMOVAL_PERCENT_ANNOTATION = 'placement.skerry.dev/max-removal-percent'
/** Ours: the time within which removals count together, as `30m`; `0s` is each look by itself. */
export const REMOVAL_WINDOW_ANNOTATION = 'placement.skerry.dev/removal-window'
/** Ours: the removal that a person has approved, and who; gone once it is carried out. */
export const APPROVED_REMOVAL_ANNOTATION = 'placement.skerry.dev/approved-removal'
export const APPROVED_REMOVAL_BY_ANNOTATION = 'placement.skerry.dev/approved-removal-by'
/** Ours: `Evict` is OCM's behaviour, `Freeze` the default. */
export const ON_MISCONFIGURATION_ANNOTATION = 'placement.skerry.dev/on-misconfiguration'
/** Ours: `NoSelect` is OCM's behaviour, so that a site that is not heard from leaves; `NoSelectIfNew` the default. */
export const UNREACHABLE_EFFECT_ANNOTATION = 'placement.skerry.dev/unreachable-effect'
/** Ours: with `Off` decisions carry neither reason nor score, and conditions no counts, as in OCM; `On` is the default. */
export const DECISION_REASONS_ANNOTATION = 'placement.skerry.dev/decision-reasons'
/** Ours: with `Lenient` what OCM's schema takes is stored and found out when it is decided by; `Strict` is the default. */
export const ADMISSION_ANNOTATION = 'placement.skerry.dev/admission'
/** Ours: with `Wait` the end of a score, or a score that CEL alone reads, is a matter of the next look, as in OCM; `Recheck` is the default. */
export const STALE_SCORES_ANNOTATION = 'placement.skerry.dev/stale-scores'
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

/** Scores of one cluster, told by an add-on. OCM's kind: `cluster.open-cluster-management.io/v1alpha1`, in the cluster's namespace. */
export const AddOnPlacementScoreStatus = closed({
  conditions: Type.Optional(Type.Array(Condition)),
  validUntil: Type.Optional(Type.Union([Time, Type.Null()], { description: 'after that no score counts' })),
  scores: Type.Optional(
    Type.Array(closed({ name: Type.String({ maxLength: 253 }), value: integer({ minimum: -100, maximum: 100 }) })),
  ),
})
export type AddOnPlacementScoreStatus = Static<typeof AddOnPlacementScoreStatus>
