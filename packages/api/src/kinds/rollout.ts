import { type Static, Type } from 'typebox'
import { Condition, Message, Reason, StatementRef } from '../meta.ts'
import type { Judged } from '../sound-part.ts'
import { ActivationWindow, Gates } from '../wire/desired-state.ts'
import { Count, closed, described, integer, Name, oneOf, Position, Sha256, Time } from '../words.ts'

const IntOrPercent = Type.Union([
  integer({ minimum: 0, maximum: 1_000_000 }),
  Type.String({ pattern: '^[0-9]{1,3}%$' }),
])
export type IntOrPercent = Static<typeof IntOrPercent>

/** Go's durations of whole hours, minutes and seconds (`1h30m`), or `None`. */
export const DURATION_PATTERN = '^(None|([0-9]+h)?([0-9]+m)?([0-9]+s)?)$'
const Duration = Type.String({
  pattern: DURATION_PATTERN,
  description: 'Go duration such as 90s or 1h30m; None is no limit',
})

/** The same without None: a stretch of time that there is. */
const span = (description: string) =>
  Type.String({ pattern: '^([0-9]+h)?([0-9]+m)?([0-9]+s)?$', minLength: 2, maxLength: 16, description })

const deadline = described(Duration, 'how long a cluster may take before it counts as TimeOut')
const soak = described(Duration, 'how long a cluster must stay good before it counts')

/** Groups of the placement's decisions: all of that name, or the one of that index. */
const GroupRef = {
  groupName: Type.Optional(Type.String({ minLength: 1, maxLength: 63, description: 'every group of this name' })),
  groupIndex: Type.Optional(integer({ minimum: 0, maximum: 1_000_000, description: 'the group of this index' })),
}
const mandatory = Type.Array(closed(GroupRef), {
  maxItems: 100,
  description: 'groups that get the image first, one after the other, and in which no failure is tolerated',
})

/** OCM's RolloutStrategy, as far as this hub carries it out. */
export const RolloutStrategy = closed(
  {
    type: Type.Optional(oneOf(['All', 'Progressive', 'ProgressivePerGroup'], 'default All')),
    all: Type.Optional(
      closed({ progressDeadline: Type.Optional(deadline) }, { description: 'every cluster at once; for type All' }),
    ),
    progressive: Type.Optional(
      closed(
        {
          maxConcurrency: Type.Optional(
            described(IntOrPercent, 'how many clusters may be under way at once; 0, the default, is no limit'),
          ),
          maxFailures: Type.Optional(described(IntOrPercent, 'more failures than this stop the rollout (Breached)')),
          minSuccessTime: Type.Optional(soak),
          progressDeadline: Type.Optional(deadline),
          mandatoryDecisionGroups: Type.Optional(mandatory),
        },
        { description: 'so many clusters at a time; for type Progressive' },
      ),
    ),
    progressivePerGroup: Type.Optional(
      closed(
        {
          maxFailures: Type.Optional(
            described(IntOrPercent, 'more failures than this in a group, of its size, stop the rollout (Breached)'),
          ),
          minSuccessTime: Type.Optional(soak),
          progressDeadline: Type.Optional(deadline),
          mandatoryDecisionGroups: Type.Optional(mandatory),
        },
        { description: "one group of the placement's decisions after the other; for type ProgressivePerGroup" },
      ),
    ),
  },
  { description: 'how the image reaches the clusters' },
)
export type RolloutStrategy = Static<typeof RolloutStrategy>

/** What a group that has sites out of reach does. */
export const OfflinePolicy = oneOf(['Wait', 'Skip', 'CountAsFailure'])
export type OfflinePolicy = Static<typeof OfflinePolicy>

const needed = (where: string) =>
  Type.Optional(
    integer({ minimum: 0, maximum: 16, description: `how many people must approve ${where}; 0, the default, is none` }),
  )

/** Where the rollout waits for people. */
const Approvals = closed(
  {
    start: needed('before anything is sent (gate Start)'),
    betweenGroups: needed('before each decision group but the first (gates Group/<index>)'),
    completion: needed('before it is completed (gate Completion)'),
    expireAfter: Type.Optional(
      described(Duration, 'how long an approval counts from when it was given; None, the default, is for ever'),
    ),
    fourEyes: Type.Optional(
      Type.Boolean({
        description: "whoever made the last change of the rollout's spec may not approve it; default true",
      }),
    ),
  },
  { description: 'where the rollout waits until people approve; an approval is of one manifest and one gate' },
)

/** A part of the fleet, by a hash of the cluster's name and the manifest's digest, and when it may activate. */
const Wave = closed({
  startAfter: span('when it begins, counted from when the image was first sent to a cluster: 0s, 4h, 144h'),
  percent: integer({
    minimum: 1,
    maximum: 100,
    description: 'of the fleet that is in this wave or in one before it; the last wave has 100',
  }),
  spread: Type.Optional(
    span(
      'within how long its clusters are spread, each to a minute of its own; by default until the next wave begins, and in the last one as long as from the wave before it; a wave that is the only one has to say it',
    ),
  ),
})

/** Placement + image + strategy: which image belongs where, and how it gets there. */
export const RolloutSpec = closed({
  placementRef: closed({ name: Name }, { description: 'which clusters: a Placement of the same namespace' }),
  image: closed({ name: Name }, { description: 'which image: an OSImage' }),
  strategy: Type.Optional(RolloutStrategy),
  semantics: Type.Optional(
    oneOf(
      ['Skerry', 'OCM'],
      "whose rules say who is next: Skerry's (the default), or those of OCM's rollout with its gaps: a cluster that is out of reach is sent the image and keeps its slot, as a failed one does until its deadline; groups follow the placement; failures are counted as OCM counts them, and a breach ends with them",
    ),
  ),
  strictConcurrency: Type.Optional(
    Type.Boolean({
      description:
        'whether a site keeps its slot while it waits for its minute or its window; default false: it takes none until then',
    }),
  ),
  offlinePolicy: Type.Optional(
    described(
      OfflinePolicy,
      'sites that are out of reach: Wait for them before the next group and the end, Skip them (they catch up on return), or CountAsFailure after offlineAfter; by default Wait in mandatory groups and Skip in others. They never hold a slot',
    ),
  ),
  groupOfflinePolicies: Type.Optional(
    Type.Array(closed({ ...GroupRef, offlinePolicy: OfflinePolicy }), {
      maxItems: 100,
      description: 'for some groups another one; the first that names a group counts',
    }),
  ),
  offlineAfter: Type.Optional(
    described(Duration, 'with CountAsFailure: how long a site whose turn it is may be out of reach; default 24h'),
  ),
  catchUp: Type.Optional(
    closed(
      {
        maxConcurrency: Type.Optional(
          described(IntOrPercent, 'how many of them may be under way at once, beside all others; default 10%'),
        ),
        jitter: Type.Optional(described(Duration, 'each waits a part of this, by its name and the image; default 1m')),
      },
      { description: 'sites that return after their group had its turn, or while it has' },
    ),
  ),
  windows: Type.Optional(
    closed(
      { activation: Type.Array(ActivationWindow, { maxItems: 16 }) },
      { description: 'when a site may activate what it has staged; none is always' },
    ),
  ),
  waves: Type.Optional(
    Type.Array(Wave, {
      minItems: 1,
      maxItems: 32,
      description:
        'when which part of the fleet may activate what it has staged: each site works its own minute out, and needs no hub for it. Windows count as well. None is whenever it has staged',
    }),
  ),
  gates: Type.Optional(Gates),
  onBreach: Type.Optional(
    oneOf(
      ['Pause', 'RollbackFailed', 'RollbackAll'],
      'when more clusters failed than is tolerated: Pause (the default), or also order the failed ones, or all that have not confirmed the image, back to the image they confirmed before',
    ),
  ),
  attestation: Type.Optional(
    oneOf(['affirming', 'warning'], 'the worst verdict that still counts as success; default affirming'),
  ),
  approvals: Type.Optional(Approvals),
})
export type RolloutSpec = Static<typeof RolloutSpec>

/** A wave is judged by the one before it and the one after it. */
export const ROLLOUT_JUDGED: Judged = { together: ['spec.waves'] }

export const ROLLOUT_PHASES = [
  'Pending',
  'Running',
  'WaitingForApproval',
  'Paused',
  'RollingBack',
  'RolledBack',
  'Completed',
  'Aborted',
] as const
export type RolloutPhase = (typeof ROLLOUT_PHASES)[number]

/** What one cluster is doing in one rollout. */
export const CLUSTER_STATES = [
  'NotStarted',
  'Offline',
  'Sent',
  'Delivered',
  'Staging',
  'WaitingForWindow',
  'Activating',
  'Soaking',
  'Succeeded',
  'Failed',
  'TimeOut',
  'RolledBack',
  'Removed',
] as const
export const ClusterState = oneOf(CLUSTER_STATES)
export type ClusterState = Static<typeof ClusterState>

export const RolloutCluster = closed({
  name: Type.String(),
  group: Type.Optional(Type.Unsafe<number>({ ...Count, description: 'index of its group in status.groups' })),
  state: ClusterState,
  reason: Reason,
  message: Message,
  since: described(Time, 'since when it is in this state; a wait that stops the clock begins one anew with its reason'),
  returnedAt: Type.Optional(described(Time, 'when it came back into reach: it catches up')),
  assignedAt: Type.Optional(Time),
  position: Type.Optional(Position),
  deliveredAt: Type.Optional(Time),
  waveAt: Type.Optional(described(Time, 'its minute in spec.waves: it does not activate before')),
  waitedSeconds: Type.Optional(
    Type.Unsafe<number>({
      ...Count,
      description:
        'spent waiting for its minute or a closed window, or held by a pause or a breach, which stops the deadline',
    }),
  ),
  recheckAt: Type.Optional(
    described(
      Time,
      'looked at again then at the latest: when time itself may end what it waits for. Without it only news does: it is looked at as they come, and at most a minute after each look. A dry run answers with it for every cluster that something is to come of',
    ),
  ),
  backTo: Type.Optional(
    closed(
      {
        target: Type.String(),
        manifestSha256: Sha256,
        version: Type.String(),
        state: oneOf(['Ordered', 'Accepted', 'Impossible']),
        message: Message,
      },
      { description: 'what it is ordered back to after a breach: the image that its nodes confirmed before' },
    ),
  ),
  statement: Type.Optional(StatementRef),
})
export type RolloutCluster = Static<typeof RolloutCluster>

export const RolloutStatus = closed({
  phase: Type.Optional(oneOf(ROLLOUT_PHASES)),
  observedGeneration: Type.Optional(integer()),
  image: Type.Optional(
    closed({
      target: Type.String(),
      manifestSha256: Sha256,
      imageSha256: Sha256,
      releaseCounter: Count,
      version: Type.String(),
    }),
  ),
  firstSent: Type.Optional(
    closed(
      { manifestSha256: Sha256, at: Time },
      { description: 'when this image was first sent to a cluster: spec.waves counts from there' },
    ),
  ),
  groups: Type.Optional(
    Type.Array(
      closed({
        index: Count,
        name: Type.String(),
        openedAt: Type.Optional(Time),
        passedAt: Type.Optional(Time),
        total: Count,
        succeeded: Count,
        failed: Count,
      }),
      { description: 'as the placement had them when the first cluster was sent the image' },
    ),
  ),
  clusters: Type.Optional(Type.Array(RolloutCluster)),
  byState: Type.Optional(Type.Record(Type.String(), Count, { description: 'how many clusters are in each state' })),
  slowest: Type.Optional(
    Type.Array(closed({ name: Type.String(), state: ClusterState, reason: Reason, since: Time }), {
      maxItems: 5,
      description: 'who is under way for the longest time',
    }),
  ),
  counts: Type.Optional(
    closed({
      total: Count,
      succeeded: Count,
      failed: Count,
      rolledBack: Count,
      inProgress: Count,
      deferred: Count,
      notStarted: Count,
    }),
  ),
  recheckAt: Type.Optional(
    described(Time, 'when time itself may change something next; a dry run always answers with it'),
  ),
  startedAt: Type.Optional(Time),
  completedAt: Type.Optional(Time),
  conditions: Type.Optional(Type.Array(Condition)),
})
export type RolloutStatus = Static<typeof RolloutStatus>
