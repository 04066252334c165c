import type { DesiredState, Gates, OSImageManifest, Position, RememberedFailure, TransitionBody } from '@skerry/api'

// The node's upgrade machine as data. What exists only in a phase lives in that phase's member; what outlives every
// upgrade lives in `memory`. All of it is saved before any effect runs.

/** An admitted image: verified, agreed by digest, allowed here. */
export type Target = {
  readonly position: Position
  readonly manifestSha256: string
  readonly imageSha256: string
  readonly imageLength: number
  readonly version: string
  readonly releaseCounter: number
  readonly gates: Gates
  /** The act by which a person asks to try these bytes again where they failed. */
  readonly retry?: string
  /** Who signed the image, as far as its manifest says so: a firmware's keys can be asked before there are bytes. */
  readonly signed?: {
    readonly authenticodeSha256: string
    /** SHA-256 of the certificates whose signatures verify. */
    readonly signers: readonly string[]
    /** DER in base64: those, and what vouches for them. */
    readonly certificates: readonly string[]
  }
}

/** What an admitted order asks of a node; `manifestSha256` is what the order names its manifest by. */
export function targetOf(document: DesiredState, manifest: OSImageManifest, manifestSha256: string): Target {
  const { timeline, generation, gates, retry } = document
  const { image, version, releaseCounter } = manifest
  return {
    position: { timeline, generation },
    manifestSha256,
    imageSha256: image.sha256,
    imageLength: image.length,
    version,
    releaseCounter,
    gates,
    ...(retry ? { retry: retry.act } : {}),
  }
}

export type Memory = {
  /** What last proved good here: the floor that nothing goes below, and what a rollback returns to. */
  readonly confirmed?: {
    readonly imageSha256: string
    /** Under which it was confirmed; none yet of a factory image that nobody asked for. */
    readonly manifestSha256?: string
    readonly version?: string
    readonly releaseCounter: number
    /** The boot in which it proved good, once a statement has said so; a factory image has none yet. */
    readonly bootId?: string
  }
  /** Bytes that failed here. The same bytes are not tried again, under whatever name, until a person asks for it. */
  readonly failures: readonly RememberedFailure[]
  /** The acts by which that was asked, newest first: each is carried out once. */
  readonly retried?: readonly string[]
}

/** Whether an act asks for something that was not done yet. */
export function isUnheardOf(act: string | undefined, { retried = [] }: Memory): act is string {
  return act !== undefined && !retried.includes(act)
}

/** A boot that cannot be looked at: since when, and which reasons were told of it. */
export type Unseen = { readonly bootId: string; readonly sinceMs: number; readonly told: readonly string[] }

/** A fault of the surroundings keeps a phase waiting: how often it was tried, when next, and which reasons were told. */
type Waiting = { readonly attempt: number; readonly notBeforeMs: number; readonly told: readonly string[] }

export type Stage =
  | { readonly phase: 'Idle' }
  | ({ readonly phase: 'Preflight'; readonly target: Target } & Waiting)
  | ({ readonly phase: 'Staging'; readonly target: Target } & Waiting)
  | { readonly phase: 'Staged'; readonly target: Target }
  | {
      readonly phase: 'Activating'
      readonly target: Target
      readonly fromBootId: string
      readonly sinceMs: number
      /** Boots of the old image since the turn: power cuts before the slot was armed. */
      readonly interruptions: number
      readonly unseen?: Unseen
    }
  | {
      readonly phase: 'Verifying'
      readonly target: Target
      readonly bootId: string
      readonly bootedAtMs: number
      /** Boots of the target so far, this one included. */
      readonly boots: number
      readonly healthySinceMs?: number
      readonly unseen?: Unseen
    }
  | ({
      readonly phase: 'Confirming'
      readonly target: Target
      readonly bootId: string
      readonly boots: number
      readonly unseen?: Unseen
    } & Waiting)
  | ({
      readonly phase: 'RollingBack'
      readonly target: Target
      readonly because: {
        readonly outcome: 'RolledBack' | 'NeverRebooted'
        readonly reason: string
        readonly message: string
      }
      /** A boot to be left that cannot be looked at; in `boots` it is the how manieth in a row, `leave` whether it is left now. */
      readonly unseen?: Unseen & { readonly boots: number; readonly leave: boolean }
    } & Waiting)
  | { readonly phase: 'Failed'; readonly target: Target }

export type State = {
  readonly stage: Stage
  readonly memory: Memory
  readonly reason: string
  readonly message: string
}

/** What the driver says is running: facts, no judgement. */
export type BootFacts = {
  readonly bootId: string
  readonly slot: string
  readonly imageSha256: string
  readonly healthy: boolean
  /** The image whose tries were spent when the platform fell back to this one. */
  readonly fellBackFrom?: string
}

/** What can be said of a boot that cannot be looked at. */
export type Glimpse = {
  readonly bootId: string
  /** Whether the firmware counts this boot, for an image that nobody confirmed yet; undefined where nobody can say. */
  readonly onTrial?: boolean
}

/** `surroundings` may be right later; `image` never will. */
export type Fault = { readonly of: 'surroundings' | 'image'; readonly reason: string; readonly message: string }

export type Event =
  /** What the site shall run, and what it runs. */
  | { readonly type: 'Desired'; readonly target: Target; readonly running: Pick<BootFacts, 'bootId' | 'imageSha256'> }
  /** The site shall run nothing in particular any more. */
  | { readonly type: 'Withdrawn' }
  | { readonly type: 'Preflighted' }
  | { readonly type: 'Staged' }
  /** `jitter` in [0, 1) spreads the next try. */
  | { readonly type: 'Faulted'; readonly fault: Fault; readonly jitter: number }
  /** A turn ends with its window: one that was given before a power cut is none after it. */
  | { readonly type: 'TurnGranted'; readonly bootId: string; readonly untilMs?: number }
  | { readonly type: 'TurnHeld'; readonly reason: string; readonly message: string }
  | { readonly type: 'Observed'; readonly facts: BootFacts }
  /** What runs cannot be looked at, and why. */
  | { readonly type: 'Unseen'; readonly glimpse: Glimpse; readonly fault: Fault }
  | { readonly type: 'Blessed' }
  /** The rollback's own work is done: nothing of the target is armed. Whether it was left is seen in the next boot. */
  | { readonly type: 'Undone' }

/** What a state wants done. Each may be run again at any time. */
export type Effect =
  | {
      readonly effect: 'Preflight' | 'Stage' | 'Activate' | 'Confirm' | 'Rollback' | 'Leave'
      readonly target: Target
      readonly notBeforeMs: number
    }
  | { readonly effect: 'Watch'; readonly target: Target }

export type Step = { readonly state: State; readonly effects: readonly Effect[]; readonly statement?: TransitionBody }

/** A node that has done nothing yet. */
export function initialState(confirmed: Memory['confirmed']): State {
  return {
    stage: { phase: 'Idle' },
    memory: { ...(confirmed ? { confirmed } : {}), failures: [] },
    reason: 'Idle',
    message: 'nothing to do',
  }
}

/** The effects a state wants: what a restarted agent runs, with nothing else to remember. */
export function effectsOf({ stage }: State): readonly Effect[] {
  switch (stage.phase) {
    case 'Preflight':
      return [{ effect: 'Preflight', target: stage.target, notBeforeMs: stage.notBeforeMs }]
    case 'Staging':
      return [{ effect: 'Stage', target: stage.target, notBeforeMs: stage.notBeforeMs }]
    case 'Activating':
      return [{ effect: 'Activate', target: stage.target, notBeforeMs: 0 }]
    case 'Verifying':
      return [{ effect: 'Watch', target: stage.target }]
    case 'Confirming':
      return [{ effect: 'Confirm', target: stage.target, notBeforeMs: stage.notBeforeMs }]
    case 'RollingBack':
      // Whose slots cannot be seen can only reboot, and the firmware counts; nothing else is done to a boot in the dark.
      if (stage.unseen)
        return stage.unseen.leave ? [{ effect: 'Leave', target: stage.target, notBeforeMs: stage.notBeforeMs }] : []
      return [{ effect: 'Rollback', target: stage.target, notBeforeMs: stage.notBeforeMs }]
    case 'Idle':
    case 'Staged':
    case 'Failed':
      return []
    default: {
      const never: never = stage
      return never
    }
  }
}
