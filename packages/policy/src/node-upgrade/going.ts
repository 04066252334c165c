import type { TransitionBody } from '@skerry/api'
import { effectsOf, type Stage, type State, type Step, type Target } from './state.ts'

// How every step of the machine ends.

/** Goes on, and says so. */
export function go(
  state: State,
  stage: Stage,
  reason: string,
  message: string,
  target?: Target,
  facts?: { bootId: string; slot?: string },
): Step {
  const next: State = { ...state, stage, reason, message }
  const about = target ?? ('target' in stage ? stage.target : undefined)
  const statement: TransitionBody = {
    from: state.stage.phase,
    to: stage.phase,
    reason,
    message,
    ...(about ? aboutTarget(about) : {}),
    ...(facts ? { bootId: facts.bootId, ...(facts.slot ? { slot: facts.slot } : {}) } : {}),
  }
  return { state: next, effects: effectsOf(next), statement }
}

/** What a statement about a target names it by. */
export function aboutTarget({ position, manifestSha256, imageSha256 }: Target) {
  return { position, manifestSha256, imageSha256 }
}

/** Stays in its phase, and says nothing. */
export function stay(state: State): Step {
  return { state, effects: effectsOf(state) }
}
