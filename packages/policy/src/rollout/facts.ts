import type {
  FailureOutcome,
  NodePhase,
  ObjectOf,
  Position,
  Reachability,
  RolloutAct,
  RolloutStatus,
  StatementRef,
  Verdict,
} from '@skerry/api'
import type { ReachabilityLimits } from '../compliance/reachability.ts'

// What a rollout is planned from. Times are epoch ms by the hub's clock of receipt, but for `since` in the previous status.

export type NodeFacts = {
  readonly node: string
  readonly phase: NodePhase
  /** SHA-256 of the image that it is in this phase with; absent where it did not say. */
  readonly about?: string | undefined
  readonly reason: string
  readonly message: string
  readonly statement?: StatementRef
  /** The node confirmed a boot of these bytes: it said so in a signed statement. */
  readonly confirmed?: {
    readonly imageSha256: string
    readonly bootId: string
    readonly atMs: number
    readonly statement: StatementRef
  }
  /** The newest failure of the rollout's own image on this node. */
  readonly failure?: {
    readonly outcome: FailureOutcome
    readonly reason: string
    readonly message: string
    readonly atMs: number
    readonly statement: StatementRef
  }
  /** When the hub learned that numbers of its chain are lost for good: what it confirmed up to them counts no more. */
  readonly lostAtMs?: number
  /** The newest boot that the node told of, of whatever image, if it is not older than the one that `confirmed` names. */
  readonly boot?: Boot
  /** The last boot of the confirmed bytes that is contraindicated, told since they were assigned: that one, or a later one. */
  readonly bad?: Boot
}

/** A boot as its newest evidence tells it. */
export type Boot = {
  readonly bootId: string
  readonly imageSha256: string
  readonly atMs: number
  readonly statement: StatementRef
  /** undefined until that evidence is judged. */
  readonly verdict?: Judged
}

type Judged = {
  readonly verdict: Verdict
  readonly reason: string
  readonly message: string
  /** Of the same evidence, before what it is held against changed; absent where it did not. */
  readonly firstVerdict?: Verdict
}

/**
 * What the rollout that assigned a cluster something is to the one that is planned. `Released`: it is gone, or selects the
 * cluster no more, and is not known to be the older of the two.
 */
export type Holder = 'This' | 'Newer' | 'Older' | 'Released'

export type ClusterFacts = {
  readonly name: string
  readonly reachability: Reachability
  /** When silence alone makes it another one. */
  readonly changesAtMs?: number
  /** The hub does not accept it: nothing that is sent reaches it. */
  readonly denied?: boolean
  /** When it was last heard. */
  readonly heardAtMs?: number
  /** What the cluster is assigned now, by whichever rollout. */
  readonly assignment?: {
    readonly rolloutUid: string
    readonly rolloutName: string
    readonly manifestSha256: string
    readonly atMs: number
    readonly holder: Holder
    /** What the terms that are stored ask for: an edit may have changed that since. */
    readonly attestation: 'affirming' | 'warning'
    /** Whether they hold what is not activated yet. */
    readonly paused: boolean
    /** The act by which it was sent once more, if it was. */
    readonly retry?: string
    /** A node confirmed a boot of the image that is assigned. */
    readonly confirmed: boolean
    /** Of the image that is assigned; undefined when no OSImage tells it. */
    readonly releaseCounter?: number
  }
  /** The newest rollout that selects it, where that is not this one: it has the cluster, whether it has sent it anything or not. */
  readonly newer?: { readonly name: string; readonly isAborted: boolean }
  /** The newest desired state that carries this assignment; undefined until it is composed. */
  readonly position?: Position
  readonly accepted?: { readonly position: Position; readonly atMs: number; readonly statement: StatementRef }
  /** The site refused the image of `position`, which asks for this `attestation`: an edit may have changed that since. */
  readonly refused?: {
    readonly attestation: 'affirming' | 'warning'
    readonly code: string
    readonly message: string
    readonly atMs: number
    readonly statement: StatementRef
  }
  readonly nodes: readonly NodeFacts[]
  /** The signed image that every node of it confirmed last; absent where they differ, or no OSImage names it. */
  readonly lastGood?: NonNullable<RolloutStatus['image']>
}

/** What this rollout has ordered a cluster: its image or an earlier one, whether the placement selects the cluster or not. */
export type Order = {
  readonly cluster: string
  readonly manifestSha256: string
  /** Nothing of it is left to activate: every node confirmed these bytes, gave them up since they were ordered, or refused. */
  readonly isSettled: boolean
}

/** A group of the placement's decisions. */
export type DecidedGroup = { readonly index: number; readonly name: string; readonly clusters: readonly string[] }

export type RolloutFacts = {
  readonly rollout: ObjectOf<'Rollout'>
  /** undefined while there is no such OSImage. */
  readonly image: NonNullable<RolloutStatus['image']> | undefined
  /** The clusters that the placement selects, by its groups, or why there are none to tell. */
  readonly decided: readonly DecidedGroup[] | 'Missing' | 'Undecided'
  readonly clusters: readonly ClusterFacts[]
  /** Each order of this rollout that is in force. */
  readonly orders?: readonly Order[]
  /** Of the clusters that were in this rollout and are not selected any more: those that the hub accepts no more, or does not have. */
  readonly gone?: ReadonlyMap<string, 'Denied' | 'Deleted'>
  /** What people did to this rollout, oldest first (`acts.ts`). */
  readonly acts?: readonly RolloutAct[]
  /** Who made the last change of its spec; absent where nobody knows. */
  readonly changedBy?: string
}

/** The facts of a rollout at `nowMs` as JSON, for whoever plays it on from there. */
export type StandingRollout = Omit<RolloutFacts, 'gone' | 'orders'> & {
  readonly nowMs: number
  readonly limits: ReachabilityLimits
  readonly gone: Readonly<Record<string, 'Denied' | 'Deleted'>>
}
