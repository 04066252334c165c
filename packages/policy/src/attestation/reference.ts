import type { Boot, HardwareProfile, NodeClass, PcrValues, UkiBoot } from '@skerry/api'

// What evidence is judged against: reference values that people signed, and what is on record of the node.

/** The PCRs that a quote is asked of. 10 is the kernel's own (IMA); 15 to 23 are nobody's at boot. */
export const QUOTED_PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14] as const
/** What the firmware and what is plugged into the machine measure of themselves: the HardwareProfile's to know. */
export const FIRMWARE_PCRS = [0, 2, 3, 6] as const

/** TPMS_CLOCK_INFO as it was last seen of a node. */
export type SeenClock = {
  readonly bootId: string
  readonly clockMs: number
  readonly resetCount: number
  readonly restartCount: number
}

export type TpmReference = {
  /** Name of the attestation key on record, as hex; undefined where nobody has a record: the key is then only told. */
  readonly akName: string | undefined
  /**
   * The boot block of the manifest of the image that the node says it runs. `unknown`: no signed manifest names these
   * bytes. `other-hardware`: one does, and not for this node's hardware. `not-given`: whoever asks brought none.
   */
  readonly image: Boot | 'unknown' | 'other-hardware' | 'not-given'
  /** Boot blocks of other signed images: of what a firmware may have tried before it came to this one. */
  readonly others: readonly UkiBoot[]
  readonly profile: HardwareProfile | undefined
  /**
   * What this node's firmware PCRs held when it registered, and who shows what it shows now: nodes of this profile at
   * other clusters, as `cluster/node`, one of each cluster; as many as the quorum needs are enough.
   */
  readonly firmware: { readonly atRegistration: PcrValues | undefined; readonly shownBy: readonly string[] }
  readonly before: SeenClock | undefined
  /** The image's release counter, and what this node confirmed in its life; nothing where either is not known. */
  readonly release?: Release | undefined
}

export type Release = ConfirmedBefore & { readonly counter: number }

/** What is known of what a node confirmed in its life, as far as it bears on one boot. */
export type ConfirmedBefore = {
  /** The highest release counter of what it confirmed before this boot, and the statement in which it did. */
  readonly confirmed?: { readonly counter: number; readonly seq: number } | undefined
  /** Below this boot statements are lost, and with them perhaps what it had confirmed. */
  readonly lost?: {
    readonly upTo: number
    /** The lowest release counter of what it confirmed above them, also after this boot; undefined where that is nothing. */
    readonly leastSince: number | undefined
  }
}

export type Reference = {
  /** What evidence and quote must answer: hex. */
  readonly nonce: string
  /** The class that the node registered with; undefined where nobody has a record. */
  readonly class?: NodeClass | undefined
  /** PCRs that must be quoted, exactly; `QUOTED_PCRS` where nothing is said. */
  readonly selection?: readonly number[]
  readonly tpm?: TpmReference
}
