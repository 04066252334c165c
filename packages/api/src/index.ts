export type { Static, TSchema } from 'typebox'
export { DOCUMENTS, type DocumentKind, type DocumentOf } from './documents.ts'
export { CLUSTER_SET_LABEL } from './kinds/cluster-set.ts'
export type { EdgeNodeStatus } from './kinds/edge-node.ts'
export type { EventSpec } from './kinds/event.ts'
export {
  type ClusterClaim,
  DENIED_BECAUSE_ANNOTATION,
  REACHABILITY,
  type Reachability,
  type Taint,
  UNREACHABLE_TAINT,
} from './kinds/managed-cluster.ts'
export type { OSImageSpec, OSImageStatus } from './kinds/os-image.ts'
export {
  ADMISSION_ANNOTATION,
  type AddOnPlacementScoreStatus,
  APPROVED_REMOVAL_ANNOTATION,
  APPROVED_REMOVAL_BY_ANNOTATION,
  type ClusterPredicate,
  DECISION_GROUP_INDEX_LABEL,
  DECISION_GROUP_NAME_LABEL,
  DECISION_REASONS_ANNOTATION,
  DECISIONS_PER_SLICE,
  type DecisionStrategy,
  MAX_REMOVAL_PERCENT_ANNOTATION,
  ON_MISCONFIGURATION_ANNOTATION,
  PLACEMENT_LABEL,
  type PlacementDecisionStatus,
  type PlacementSpec,
  type PlacementStatus,
  type PrioritizerPolicy,
  REMOVAL_WINDOW_ANNOTATION,
  SCHEDULING_DISABLED_ANNOTATION,
  type SpreadConstraint,
  STALE_SCORES_ANNOTATION,
  type Toleration,
  UNREACHABLE_EFFECT_ANNOTATION,
} from './kinds/placement.ts'
export {
  JOIN_TOKEN_PATTERN,
  type JoinTokenSpec,
  type JoinTokenStatus,
  type RegistrationSpec,
  type RegistrationStatus,
} from './kinds/registration.ts'
export {
  CLUSTER_STATES,
  type ClusterState,
  DURATION_PATTERN,
  type IntOrPercent,
  type OfflinePolicy,
  ROLLOUT_PHASES,
  type RolloutCluster,
  type RolloutPhase,
  type RolloutSpec,
  type RolloutStatus,
  type RolloutStrategy,
} from './kinds/rollout.ts'
export {
  ACT_VERBS,
  type ActVerb,
  GATE_PATTERN,
  GateApproval,
  Retry,
  RolloutAct,
  RolloutActAnswer,
  RolloutActList,
  Steering,
} from './kinds/rollout-act.ts'
export {
  apiVersionOf,
  findKind,
  KINDS,
  type KindName,
  type KindRow,
  kindRow,
  type ObjectOf,
  objectSchema,
  type SkerryObject,
  type SpecFor,
  type StatusFor,
  type StoredMeta,
  type Verb,
} from './kinds.ts'
export { mergePatch } from './merge-patch.ts'
export type { ClaimSelector, Condition, LabelSelector, ObjectMeta, SelectorRequirement, StatementRef } from './meta.ts'
export { FAILS_BY, type FailsBy, Outages } from './outages.ts'
export { REFUSALS, Refusal, type RefusalCode } from './refusals.ts'
export { type Claim, ComplianceReport, NodeEvidence, type SignedReferences } from './report.ts'
export {
  AccessQuestion,
  API_ROLES,
  type ApiRole,
  Approval,
  DeleteOptions,
  NewApiToken,
  RemovalApproval,
  Rotation,
} from './requests.ts'
export { jsonSchemas } from './schemas.ts'
export { soundPart, takeOut } from './sound-part.ts'
export {
  parseReportSubject,
  REPORT_KINDS,
  type ReportKind,
  STREAM_DESIRED,
  STREAM_REPORTS,
  subjects,
  wildcards,
} from './subjects.ts'
export { type Cause, causes, parse } from './validate.ts'
export type { Ack, EpochMarker } from './wire/ack.ts'
export {
  type AttestationResult,
  EAR_PROFILE,
  type Finding,
  type PcrAppraisal,
  TpmQuote,
  type TrustVector,
  VERDICTS,
  type Verdict,
} from './wire/attestation.ts'
export { BANK_NAMES, type BankName, BOOT_PHASES, Boot, UkiBoot } from './wire/boot.ts'
export {
  type ActivationWindow,
  DEFAULT_GATES,
  type DesiredState,
  type Gates,
  type Waves,
} from './wire/desired-state.ts'
export { HardwareProfile, type PcrValues, PROFILE_BYTES, profileTarget } from './wire/hardware-profile.ts'
export { HUB_TARGET, HubDescription, HubIntroduction, type HubKey } from './wire/hub-description.ts'
export { type BlobRef, manifestTarget, OSImageManifest, osImageName } from './wire/manifest.ts'
export {
  type Acceptance,
  type NodeKeyCertificate,
  type NodeKeyPlace,
  REGISTRATION_STATES,
  RegistrationAnswer,
  RegistrationChallenge,
  type RegistrationProof,
  RegistrationRequest,
  type RegistrationState,
  SiteBundle,
} from './wire/registration.ts'
export {
  type AcceptedBody,
  BATCH_BYTES,
  type EvidenceBody,
  type GapBody,
  type RefusedBody,
  STATEMENT_KINDS,
  STATEMENTS_PER_BATCH,
  Statement,
  type StatementBatch,
  type StatementKind,
  TransitionBody,
} from './wire/statement.ts'
export {
  FAILURE_OUTCOMES,
  type FailureOutcome,
  type Heartbeat,
  type Holds,
  NODE_CLASSES,
  NODE_PHASES,
  type NodeClass,
  type NodePhase,
  type NodeStatus,
  NodeTrouble,
  RememberedFailure,
} from './wire/status.ts'
export {
  comparePositions,
  LABEL_PATTERN,
  type Position,
  PublicJwk,
  SUBDOMAIN_PATTERN,
  TIMELINE_AHEAD_MS,
} from './words.ts'
