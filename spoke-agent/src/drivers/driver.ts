import type { BootFacts, Glimpse, Target } from '@skerry/policy'
import { reasonOf } from '../reason.ts'

/** Why a verb could not be done. `surroundings` may be right later; `image` never will. */
export class DriverFault extends Error {
  readonly of: 'surroundings' | 'image'
  readonly reason: string
  constructor(of: DriverFault['of'], reason: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'DriverFault'
    this.of = of
    this.reason = reason
  }
}

/** ENOSPC and EDQUOT are NoSpace, anything else is a fault of the disk. */
export function diskFault(cause: unknown): DriverFault {
  if (cause instanceof DriverFault) return cause
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new DriverFault('surroundings', 'NoSpace', 'the disk is full', cause)
  return new DriverFault('surroundings', 'DiskFault', reasonOf(cause), cause)
}

/** One slot as it lies there, for a person at the site. */
export type SlotView = {
  readonly slot: string
  /** Of the image in it, as far as the driver knows. */
  readonly version?: string
  readonly imageSha256?: string
  /** Left out where nobody can say what booted. */
  readonly booted?: boolean
} & (
  | { readonly state: 'confirmed' }
  /** On trial, or about to be. */
  | { readonly state: 'armed'; readonly triesLeft: number }
  /** Tried in vain, or rolled back: not tried again. */
  | { readonly state: 'spent' }
  /** Nothing starts it as it lies there: it is staged, or what ran before. */
  | { readonly state: 'idle' }
  /** No tries are left and nobody can say what booted: it is in its last try, or spent. */
  | { readonly state?: never }
)

/**
 * What an operating system does for the machine: few verbs, each safe to repeat, none with a policy of its own. Facts come
 * from `status`; whether a boot counts is judged from them by policy's step().
 */
export type Driver = {
  readonly name: string
  /** The platform measures what it boots, so that a quote can prove it. */
  readonly measuresBoot: boolean
  /** What runs. Rejects where that cannot be told for sure. */
  status(): Promise<BootFacts>
  /** What can be said of this boot although `status` rejects. */
  glimpse(): Promise<Glimpse>
  /** What lies in the slots, in the order of their names. Rejects where they cannot be looked at. */
  slots(): Promise<SlotView[]>
  /** Faults: NoSpace and whatever else must be known before anything is touched. */
  preflight(target: Target): Promise<void>
  /** Puts verified bytes into the other slot, where a power cut changes nothing. */
  stage(target: Target, file: string): Promise<void>
  /** Arms the staged slot and reboots. Armed already: only reboots. Tried already: does nothing. */
  activate(target: Target): Promise<void>
  /** Makes the running slot the one that boots from now on. */
  confirm(target: Target): Promise<void>
  /** Boots the slot that was confirmed before, and never the target's again. */
  rollback(target: Target): Promise<void>
  /** Reboots and touches nothing: what is on trial loses a try. */
  leave(): Promise<void>
  close(): Promise<void>
}
