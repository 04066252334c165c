import type { FailureOutcome, TransitionBody } from '@skerry/api'
import {
  type BootFacts,
  type Event,
  effectsOf,
  type Fault,
  type Stage,
  type State,
  type Step,
  type Target,
} from './state.ts'

// step(): total over states and events. An event that means nothing to a state changes nothing.

const FIRST_RETRY_MS = 1_000
const LAST_RETRY_MS = 300_000
/** A slot that is armed and never boots is given up after this: the machine did not reboot. */
const REBOOT_DEADLINE_MS = 600_000
const MEMORY_SIZE = 32

/** The next state, what it wants done, and the statement that says so. State and statement are saved in one transaction. */
export function step(state: State, event: Event, nowMs: number): Step {
  switch (event.type) {
    case 'Desired':
      return desired(state, event.target)
    case 'Preflighted':
      if (state.stage.phase !== 'Preflight') return stay(state)
      return go(
        state,
        { phase: 'Staging', target: state.stage.target, attempt: 0, notBeforeMs: 0 },
        'Staging',
        'downloading and verifying the image',
      )
    case 'Staged':
      if (state.stage.phase !== 'Staging') return stay(state)
      return go(
        state,
        { phase: 'Staged', target: state.stage.target },
        'Staged',
        'verified in the other slot; waiting for a turn',
      )
    case 'Faulted':
      return faulted(state, event.fault, event.jitter, nowMs)
    case 'TurnGranted':
      if (state.stage.phase !== 'Staged') return stay(state)
      return go(
        state,
        { phase: 'Activating', target: state.stage.target, fromBootId: event.bootId, sinceMs: nowMs },
        'TurnGranted',
        'arming the other slot and rebooting; there are no pods to drain',
      )
    case 'TurnHeld':
      if (state.stage.phase !== 'Staged' || state.reason === event.reason) return stay(state)
      return go(state, state.stage, event.reason, event.message)
    case 'Observed':
      return observed(state, event.facts, nowMs)
    case 'Blessed':
      return blessed(state)
    default: {
      const never: never = event
      return never
    }
  }
}

function desired(state: State, target: Target): Step {
  const { stage, memory } = state
  if (stage.phase === 'Idle' || stage.phase === 'Failed') {
    // The bytes are remembered; admission refuses them before they come here, and this holds even if it did not.
    if (memory.failures.some(({ imageSha256 }) => imageSha256 === target.imageSha256)) return stay(state)
    if (memory.confirmed?.imageSha256 === target.imageSha256) {
      if (stage.phase === 'Idle') return stay(state)
      return go(state, { phase: 'Idle' }, 'AlreadyRunning', 'the desired image is the one that runs', target)
    }
    return go(
      state,
      { phase: 'Preflight', target, attempt: 0, notBeforeMs: 0 },
      'Preflight',
      `checking ${target.version}`,
    )
  }
  if (stage.target.imageSha256 === target.imageSha256) {
    // The same bytes under newer terms: nothing is begun again.
    return {
      state: { ...state, stage: { ...stage, target } },
      effects: effectsOf({ ...state, stage: { ...stage, target } }),
    }
  }
  if (stage.phase !== 'Preflight' && stage.phase !== 'Staging' && stage.phase !== 'Staged') return stay(state)
  if (memory.confirmed?.imageSha256 === target.imageSha256)
    return go(state, { phase: 'Idle' }, 'Superseded', 'the desired image is again the one that runs', target)
  return go(
    state,
    { phase: 'Preflight', target, attempt: 0, notBeforeMs: 0 },
    'Superseded',
    `a newer desired state asks for ${target.version}`,
  )
}

function faulted(state: State, { of, reason, message }: Fault, jitter: number, nowMs: number): Step {
  const { stage } = state
  switch (stage.phase) {
    case 'Preflight':
    case 'Staging': {
      if (of === 'image') return fail(state, stage.target, 'Refused', reason, message, nowMs)
      const attempt = stage.attempt + 1
      const waitMs = Math.min(FIRST_RETRY_MS * 2 ** Math.min(attempt, 20), LAST_RETRY_MS) * (0.5 + jitter / 2)
      const waiting = { ...stage, attempt, notBeforeMs: nowMs + waitMs }
      // One statement a reason, not one a try: an outage of a week is not ten thousand statements.
      if (state.reason === reason)
        return { state: { ...state, stage: waiting }, effects: effectsOf({ ...state, stage: waiting }) }
      return go(state, waiting, reason, message)
    }
    case 'Activating':
      if (of === 'image') return fail(state, stage.target, 'ActivationFailed', reason, message, nowMs)
      return nowMs - stage.sinceMs >= REBOOT_DEADLINE_MS
        ? fail(state, stage.target, 'NeverRebooted', reason, message, nowMs)
        : stay(state)
    case 'Idle':
    case 'Staged':
    case 'Verifying':
    case 'Confirming':
    case 'RollingBack':
    case 'Failed':
      return stay(state)
    default: {
      const never: never = stage
      return never
    }
  }
}

// Image digest and boot id tell apart: the agent restarted, the node rebooted into the target, the platform fell back.
function observed(state: State, facts: BootFacts, nowMs: number): Step {
  const { stage } = state
  if (stage.phase === 'Activating') {
    const { target } = stage
    if (facts.imageSha256 === target.imageSha256) {
      return go(
        state,
        { phase: 'Verifying', target, bootId: facts.bootId, bootedAtMs: nowMs },
        'Booted',
        `${target.version} booted; it must stay healthy for ${target.gates.healthySeconds} s`,
        target,
        facts,
      )
    }
    if (facts.fellBackFrom === target.imageSha256) return fellBack(state, target, facts, nowMs)
    if (facts.bootId !== stage.fromBootId) {
      // Power was lost before the slot was armed: the old image booted anew, and nothing was tried.
      const again = { ...stage, fromBootId: facts.bootId }
      return { state: { ...state, stage: again }, effects: effectsOf({ ...state, stage: again }) }
    }
    if (nowMs - stage.sinceMs >= REBOOT_DEADLINE_MS)
      return fail(
        state,
        target,
        'NeverRebooted',
        'NeverRebooted',
        'the slot was armed and the node did not reboot',
        nowMs,
      )
    return stay(state)
  }
  if (stage.phase === 'Verifying') return verify(state, stage, facts, nowMs)
  if (stage.phase === 'Confirming' && facts.imageSha256 !== stage.target.imageSha256)
    return fellBack(state, stage.target, facts, nowMs)
  if (stage.phase === 'RollingBack' && facts.imageSha256 !== stage.target.imageSha256) {
    return fail(state, stage.target, 'RolledBack', stage.because.reason, stage.because.message, nowMs, facts)
  }
  return stay(state)
}

function verify(state: State, stage: Stage & { phase: 'Verifying' }, facts: BootFacts, nowMs: number): Step {
  const { target } = stage
  if (facts.imageSha256 !== target.imageSha256) return fellBack(state, target, facts, nowMs)
  if (facts.bootId !== stage.bootId) {
    return go(
      state,
      { phase: 'Verifying', target, bootId: facts.bootId, bootedAtMs: nowMs },
      'BootedAgain',
      `${target.version} booted once more before it was confirmed`,
      target,
      facts,
    )
  }
  if (facts.healthy) {
    const healthySinceMs = stage.healthySinceMs ?? nowMs
    if (nowMs - healthySinceMs >= target.gates.healthySeconds * 1000) {
      return go(
        state,
        { phase: 'Confirming', target, bootId: facts.bootId },
        'GatesPassed',
        `healthy for ${target.gates.healthySeconds} s`,
        target,
        facts,
      )
    }
    if (nowMs - stage.bootedAtMs < target.gates.timeoutSeconds * 1000)
      return { state: { ...state, stage: { ...stage, healthySinceMs } }, effects: effectsOf(state) }
  }
  if (nowMs - stage.bootedAtMs >= target.gates.timeoutSeconds * 1000) {
    const message = `not healthy for ${target.gates.healthySeconds} s within ${target.gates.timeoutSeconds} s of its boot`
    return go(
      state,
      { phase: 'RollingBack', target, because: { reason: 'GatesFailed', message } },
      'GatesFailed',
      message,
      target,
      facts,
    )
  }
  const { healthySinceMs: _, ...unhealthy } = stage
  return { state: { ...state, stage: unhealthy }, effects: effectsOf(state) }
}

function blessed(state: State): Step {
  const { stage, memory } = state
  if (stage.phase !== 'Confirming') return stay(state)
  const { target, bootId } = stage
  const confirmed = { imageSha256: target.imageSha256, version: target.version, releaseCounter: target.releaseCounter }
  return go(
    { ...state, memory: { ...memory, confirmed } },
    { phase: 'Idle' },
    'Confirmed',
    `runs ${target.version}`,
    target,
    { bootId },
  )
}

function fellBack(state: State, target: Target, facts: BootFacts, nowMs: number): Step {
  return fail(
    state,
    target,
    'RolledBack',
    'FellBack',
    `${target.version} did not come up; the platform fell back to the other slot`,
    nowMs,
    facts,
  )
}

function fail(
  state: State,
  target: Target,
  outcome: FailureOutcome,
  reason: string,
  message: string,
  nowMs: number,
  facts?: BootFacts,
): Step {
  const failure = { imageSha256: target.imageSha256, outcome, reason, message, at: new Date(nowMs).toISOString() }
  const failures = [
    failure,
    ...state.memory.failures.filter(({ imageSha256 }) => imageSha256 !== target.imageSha256),
  ].slice(0, MEMORY_SIZE)
  const step = go(
    { ...state, memory: { ...state.memory, failures } },
    { phase: 'Failed', target },
    reason,
    message,
    target,
    facts,
  )
  return step.statement ? { ...step, statement: { ...step.statement, outcome } } : step
}

function go(
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
    ...(about
      ? { position: about.position, manifestSha256: about.manifestSha256, imageSha256: about.imageSha256 }
      : {}),
    ...(facts ? { bootId: facts.bootId, ...(facts.slot ? { slot: facts.slot } : {}) } : {}),
  }
  return { state: next, effects: effectsOf(next), statement }
}

function stay(state: State): Step {
  return { state, effects: effectsOf(state) }
}
