import type { TransitionBody } from '@skerry/api'
import { aboutTarget } from './going.ts'
import type { State, Target } from './state.ts'

/**
 * Where the machine stands, as a statement from its phase to the same: for a chain in which the statements that said so are
 * lost. Idle, it names what was confirmed last, if a statement may name the boot, and its manifest as `held` does if those
 * are its bytes; failed, what failed and how it ended.
 */
export function restated({ stage, memory, reason, message }: State, held: Target | undefined): TransitionBody {
  const phase = { from: stage.phase, to: stage.phase, reason, message }
  if (stage.phase === 'Idle') {
    const { imageSha256, bootId } = memory.confirmed ?? {}
    if (imageSha256 === undefined || bootId === undefined) return phase
    return { ...phase, ...(held?.imageSha256 === imageSha256 ? aboutTarget(held) : { imageSha256 }), bootId }
  }
  const failure = memory.failures.find(({ imageSha256 }) => imageSha256 === stage.target.imageSha256)
  const ended = stage.phase === 'Failed' && failure ? { outcome: failure.outcome } : {}
  return { ...phase, ...aboutTarget(stage.target), ...ended }
}
