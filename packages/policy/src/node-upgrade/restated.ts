import type { TransitionBody } from '@skerry/api'
import { aboutTarget } from './going.ts'
import type { State, Target } from './state.ts'

/**
 * Where the machine stands, as statements from a phase to the same: for a chain in which those that said so are lost. First
 * what was confirmed last, if a statement may name the boot, by the manifest that it was confirmed under; idle, that is all.
 * Else the phase follows, with what it is about, and failed how that ended. `held` is what the site shall run: where it is
 * what was confirmed, its place is named too.
 */
export function restated({ stage, memory, reason, message }: State, held: Target | undefined): TransitionBody[] {
  const confirmed = aboutConfirmed(memory.confirmed, held)
  if (stage.phase === 'Idle') return [{ from: 'Idle', to: 'Idle', reason, message, ...confirmed }]
  const failure = memory.failures.find(({ imageSha256 }) => imageSha256 === stage.target.imageSha256)
  const ended = stage.phase === 'Failed' && failure ? { outcome: failure.outcome } : {}
  const phase = { from: stage.phase, to: stage.phase, reason, message, ...aboutTarget(stage.target), ...ended }
  if (!confirmed) return [phase]
  const before = `what was confirmed last, before ${stage.target.version}`
  return [{ from: 'Idle', to: 'Idle', reason: 'ConfirmedBefore', message: before, ...confirmed }, phase]
}

function aboutConfirmed(
  { imageSha256, manifestSha256, bootId, releaseCounter = 0 }: Partial<NonNullable<State['memory']['confirmed']>> = {},
  held: Target | undefined,
): Partial<TransitionBody> | undefined {
  if (imageSha256 === undefined || bootId === undefined) return undefined
  if (manifestSha256 === undefined) {
    // What an older agent confirmed: these bytes are held under no higher counter, so that is what was confirmed, or less.
    const isHeld = held?.imageSha256 === imageSha256 && held.releaseCounter <= releaseCounter
    return { ...(isHeld ? aboutTarget(held) : { imageSha256 }), bootId }
  }
  const about = held?.manifestSha256 === manifestSha256 ? aboutTarget(held) : { manifestSha256, imageSha256 }
  return { ...about, bootId }
}
