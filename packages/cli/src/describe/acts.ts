import type { ActVerb, RolloutAct, RolloutActAnswer } from '@skerry/api'
import { counted, firstOf } from '@skerry/policy'

const DONE: Record<ActVerb, string> = {
  pause: 'paused',
  resume: 'resumed',
  abort: 'aborted',
  retry: 'retried',
  approve: 'approved',
}

/** An act in a line. One that stands from before is told in the same words: who did it, when and why. */
export function actText(act: RolloutAct): string {
  const subject = subjectText(act)
  const until = act.expiresAt ? `, until ${act.expiresAt}` : ''
  return `${DONE[act.verb]}${subject === '' ? '' : `: ${subject}${until}`}, by ${act.by} at ${act.at}: ${act.reason}`
}

/** What an act is of, beside its rollout: a gate and a manifest, or clusters. */
export function subjectText({ verb, gate, manifestSha256 = '', clusters = [] }: RolloutAct): string {
  if (verb === 'approve') return `${gate} of manifest ${manifestSha256.slice(0, 12)}…`
  return firstOf(clusters, 3)
}

/** Whom a pause or an abort does not reach in time; undefined where that is nobody. */
export function missedText({ heldInTheDark: held }: RolloutActAnswer): string | undefined {
  if (!held || held.count === 0) return undefined
  const one = held.count === 1
  const more = held.count > held.sample.length ? ', …' : ''
  return `${counted(held.count, 'cluster holds', 'clusters hold')} the order and ${one ? 'is' : 'are'} out of reach, and may activate it in a window until this is heard there: ${held.sample.join(', ')}${more}`
}
