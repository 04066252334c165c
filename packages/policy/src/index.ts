export { type AdmissionFacts, admit } from './admission/admit.ts'
export { type Appraisal, appraise } from './attestation/appraise.ts'
export { type AppraisalCode, asGoodAs } from './attestation/findings.ts'
export { profileFault } from './attestation/machine.ts'
export { readMeasurements } from './attestation/measurements.ts'
export { type ImageFiles, promiseFault, promiseOf } from './attestation/promise.ts'
export {
  type ConfirmedBefore,
  FIRMWARE_PCRS,
  QUOTED_PCRS,
  type Reference,
  type SeenClock,
  type TpmReference,
} from './attestation/reference.ts'
export { type Confirmation, confirmedBefore, confirmedManifest, judgeRelease } from './attestation/release.ts'
export { appraisalPolicyId, attestationResult } from './attestation/result.ts'
export { counterFor, type SignedImage, type SignedManifest, signedImages } from './attestation/signed.ts'
export { assess, type Closed, type ClusterInventory, lostWords } from './compliance/assess.ts'
export type { Proven } from './compliance/chain.ts'
export { type CheckedReport, checkReport, type SignedFiles } from './compliance/check.ts'
export { shapeFacts, sinceLoss } from './compliance/facts.ts'
export { type ReachabilityLimits, reachability } from './compliance/reachability.ts'
export { type NewCondition, setCondition } from './conditions.ts'
export { restated } from './node-upgrade/restated.ts'
export {
  type BootFacts,
  type Effect,
  type Event,
  effectsOf,
  type Fault,
  type Glimpse,
  initialState,
  type Memory,
  type Stage,
  type State,
  type Target,
  targetOf,
} from './node-upgrade/state.ts'
export { step } from './node-upgrade/step.ts'
export { admitPlacement } from './placement/admission.ts'
export { type ConformanceResult, conform, type PlacementScenario } from './placement/conformance.ts'
export { type ClusterReason, explain } from './placement/explain.ts'
export { type AddOnScores, type Fleet, type FleetFacts, fleetOf } from './placement/fleet.ts'
export { LONGEST_REMOVAL_WINDOW_MS, REMOVAL_GUARD, type RemovalGuard } from './placement/guard.ts'
export { paced, scoresMoved } from './placement/pace.ts'
export { type PlacementOutcome, schedule } from './placement/schedule.ts'
export { Scheduler } from './placement/scheduler.ts'
export { clusterSetFaults } from './placement/sets.ts'
export { keepHubTaint, reachabilityTaints, stampTaints, taintFaults } from './placement/taints.ts'
export { type NextPosition, nextPosition } from './position/next.ts'
export { type FirstBoot, judgeFirstBoot } from './registration/first-boot.ts'
export {
  judgeHardware,
  type NamedTpm,
  namedTpm,
  refusalOf,
  sharesKey,
  type TpmIdentity,
} from './registration/hardware.ts'
export {
  type ClusterStanding,
  destinationOf,
  type EntryFacts,
  judgeEntry,
  type TokenFacts,
} from './registration/judge.ts'
export { fingerprintOf, nodeIdOf } from './registration/names.ts'
export { type CertifiedNodeKey, judgeNodeKey } from './registration/node-key.ts'
export {
  AWAITING_PROOF,
  credentialDue,
  decideByRule,
  lifeOf,
  type RecordedIdentity,
  ruleMayAccept,
  type Standing,
  standingOf,
} from './registration/standing.ts'
export { repeatPauseMs } from './repeat/pause.ts'
export {
  type ActFacts,
  type Approvals,
  type AskedAct,
  approvalsAt,
  heldInTheDark,
  type JudgedAct,
  judgeAct,
  type Reached,
  retriesOf,
  type Steered,
  steeredBy,
} from './rollout/acts.ts'
export { admitRollout } from './rollout/admission.ts'
export type { ClusterFacts, Holder, NodeFacts, RolloutFacts, StandingRollout } from './rollout/facts.ts'
export { foreseenStatus } from './rollout/foresee.ts'
export { decidedBy, imageFacts } from './rollout/objects.ts'
export { planRollout, type RolloutPlan } from './rollout/plan.ts'
export {
  type PreviewChange,
  type PreviewStage,
  previewChanges,
  previewOf,
  type RolloutPreview,
} from './rollout/preview.ts'
export { WAY_BACK_ASKS } from './rollout/roll-back.ts'
export {
  type Simulation,
  type SimulationInput,
  simulate,
  simulationFaults,
} from './rollout/simulate.ts'
export type { SimulatedCluster } from './rollout/simulated-world.ts'
export { FAILURES as FAILURE_STATES, FINISHED as FINISHED_STATES } from './rollout/states.ts'
export { rolloutStatus } from './rollout/status.ts'
export type { TimelineEntry } from './rollout/timeline.ts'
export { rolloutWarnings } from './rollout/warnings.ts'
export { planSite, type SitePlan } from './site-plan/plan-site.ts'
export { minuteOf } from './wave/minute.ts'
export { openingAt } from './window/window.ts'
export { counted, firstOf } from './words.ts'
