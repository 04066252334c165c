import type { Condition, RolloutAct } from '@skerry/api'
import type { Steered } from './acts.ts'
import { afterBreach } from './conditions.ts'

// What stops a rollout: a person's word, or more failures than it tolerates; and what lets it go on.

export type WhyNot = { readonly reason: string; readonly message: string; readonly recheckAtMs?: number }
/** Why nothing new is sent. */
export type Stop = WhyNot & { readonly phase: 'Paused' | 'Aborted' }

// A person's word is told before a breach: it is what must be taken back first.
export function stopOf(steered: Steered, breached: boolean, name: string): Stop | undefined {
  if (steered.state === 'Going')
    return breached
      ? {
          phase: 'Paused',
          reason: 'Breached',
          message: `the rollout stopped: more clusters failed than it tolerates; ${afterBreach(name)}`,
        }
      : undefined
  const { by, at, reason } = steered.act
  return steered.state === 'Aborted'
    ? { phase: 'Aborted', reason: 'Aborted', message: `aborted by ${by} at ${at}: ${reason}` }
    : {
        phase: 'Paused',
        reason: 'Paused',
        message: `paused by ${by} at ${at}: ${reason}; "skerry rollout resume ${name}" lets it go on`,
      }
}

/** Until when what failed is accepted, in epoch ms: what a resume let pass stays so, whatever a person does after it. */
export function acceptedUntilMs(acts: readonly RolloutAct[]): number {
  const resumed = acts.findLast(({ verb }) => verb === 'resume')
  return resumed ? Date.parse(resumed.at) : Number.NEGATIVE_INFINITY
}

/**
 * Whether a breach that was told (`breach`) stands. What is heard later ends none, only a person does, by an edit, a resume
 * or a retry: then it is judged anew.
 */
export function isStanding(
  breach: Condition | undefined,
  edited: boolean,
  acts: readonly RolloutAct[],
  retries: Iterable<RolloutAct>,
): boolean {
  if (breach?.status !== 'True' || edited) return false
  const sinceMs = Date.parse(breach.lastTransitionTime)
  return acceptedUntilMs(acts) < sinceMs && [...retries].every(({ at }) => Date.parse(at) < sinceMs)
}
