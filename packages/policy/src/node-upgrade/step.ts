import type { FailureOutcome } from '@skerry/api'
import { go, stay } from './going.ts'
import {
  type BootFacts,
  type Event,
  effectsOf,
  type Fault,
  type Glimpse,
  isUnheardOf,
  type Memory,
  type Stage,
  type State,
  type Step,
  type Target,
} from './state.ts'
import { seen, unseen } from './unseen.ts'

// step(): total over states and events. An event that means nothing to a state changes nothing.

const FIRST_RETRY_MS = 1_000
const LAST_RETRY_MS = 300_000
/** A slot that is armed and never boots is given up after this: the machine did not reboot. */
const REBOOT_DEADLINE_MS = 600_000
/** Boots that may interrupt an activation or a verification: power cuts are no fault of an image, a boot loop is. */
const MAX_BOOTS = 5
const MEMORY_SIZE = 32
const FRESH = { attempt: 0, notBeforeMs: 0, told: [] } as const

/** The next state, what it wants done, and the statement that says so. State and statement are saved in one transaction. */
export function step(state: State, event: Event, nowMs: number): Step {
  switch (event.type) {
    case 'Desired':
      return desired(state, event.target, event.running)
    case 'Withdrawn':
      return withdrawn(state)
    case 'Preflighted':
      if (state.stage.phase !== 'Preflight') return stay(state)
      return go(
        state,
        { phase: 'Staging', target: state.stage.target, ...FRESH },
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
      if (event.untilMs !== undefined && nowMs >= event.untilMs) return stay(state)
      return go(
        state,
        {
          phase: 'Activating',
          target: state.stage.target,
          fromBootId: event.bootId,
          sinceMs: nowMs,
          interruptions: 0,
        },
        'TurnGranted',
        'arming the other slot and rebooting; there are no pods to drain',
      )
    case 'TurnHeld':
      if (state.stage.phase !== 'Staged') return stay(state)
      // The same for another time, as newer terms may have it: shown, and not said again.
      if (state.reason === event.reason) return stay({ ...state, message: event.message })
      return go(state, state.stage, event.reason, event.message)
    case 'Observed':
      return observed(state, event.facts, nowMs)
    case 'Unseen':
      return notSeen(state, event.glimpse, event.fault, nowMs)
    case 'Blessed':
      return blessed(state)
    case 'Undone':
      if (state.stage.phase !== 'RollingBack' || state.stage.because.outcome !== 'NeverRebooted') return stay(state)
      return failBecause(state, state.stage, nowMs)
    default: {
      const never: never = event
      return never
    }
  }
}

function desired(state: State, target: Target, running: Pick<BootFacts, 'bootId' | 'imageSha256'>): Step {
  const { stage, memory } = state
  const { confirmed } = memory
  const under = stage.phase === 'Idle' || stage.phase === 'Failed' ? undefined : stage
  // From the armed slot on there is no way but through.
  const armed = under && under.phase !== 'Preflight' && under.phase !== 'Staging' && under.phase !== 'Staged'
  if (under?.target.imageSha256 === target.imageSha256) {
    // The same bytes under newer terms: nothing is begun again. A retry is what is under way, if that can still be said.
    const heard = armed ? memory : afterRetry(memory, target)
    const next: State = { ...state, memory: heard, stage: { ...under, target } }
    return { state: next, effects: effectsOf(next) }
  }
  // What is newer waits for the end.
  if (armed) return stay(state)
  if (confirmed?.imageSha256 === target.imageSha256) {
    const bootId = confirmed.bootId ?? (running.imageSha256 === target.imageSha256 ? running.bootId : undefined)
    // Said once: the hub counts a success only from a statement that names the boot.
    if (stage.phase === 'Idle' && (confirmed.bootId !== undefined || bootId === undefined)) return stay(state)
    const { imageSha256, manifestSha256, version } = target
    const releaseCounter = Math.max(confirmed.releaseCounter, target.releaseCounter)
    const known = { imageSha256, manifestSha256, version, releaseCounter, ...(bootId ? { bootId } : {}) }
    return go(
      { ...state, memory: { ...memory, confirmed: known } },
      { phase: 'Idle' },
      under ? 'Superseded' : 'AlreadyRunning',
      'the desired image is the one that runs',
      target,
      bootId === undefined ? undefined : { bootId },
    )
  }
  // Admission refuses these before they come here, and this holds even if it did not.
  if (target.releaseCounter < (confirmed?.releaseCounter ?? 0)) return stay(state)
  const failed = memory.failures.find(({ imageSha256 }) => imageSha256 === target.imageSha256)
  if (failed && !isUnheardOf(target.retry, memory)) return stay(state)
  const begun: State = { ...state, memory: afterRetry(memory, target) }
  if (failed)
    // One transaction forgets, says so and begins: a power cut finds the act either not heard of or carried out.
    return go(
      begun,
      { phase: 'Preflight', target, ...FRESH },
      'RetryAsked',
      `a person asks to try ${target.version} again, which ended in ${failed.outcome} here at ${failed.at} (act ${target.retry})`,
    )
  return go(
    begun,
    { phase: 'Preflight', target, ...FRESH },
    under ? 'Superseded' : 'Preflight',
    under ? `a newer desired state asks for ${target.version}` : `checking ${target.version}`,
  )
}

/** What is remembered once a person's retry was heard: not that these bytes failed, but that it was asked. */
function afterRetry(memory: Memory, { retry, imageSha256 }: Target): Memory {
  if (!isUnheardOf(retry, memory)) return memory
  return {
    ...memory,
    failures: memory.failures.filter((failure) => failure.imageSha256 !== imageSha256),
    retried: [retry, ...(memory.retried ?? [])].slice(0, MEMORY_SIZE),
  }
}

function withdrawn(state: State): Step {
  const { stage } = state
  if (stage.phase !== 'Preflight' && stage.phase !== 'Staging' && stage.phase !== 'Staged') return stay(state)
  // The newest word on an idle node is now about another image: what runs is told anew when it is asked for.
  const { bootId: _, ...confirmed } = state.memory.confirmed ?? { imageSha256: '', releaseCounter: 0 }
  const memory = state.memory.confirmed ? { ...state.memory, confirmed } : state.memory
  return go(
    { ...state, memory },
    { phase: 'Idle' },
    'Withdrawn',
    `${stage.target.version} is no longer asked for`,
    stage.target,
  )
}

function faulted(state: State, { of, reason, message }: Fault, jitter: number, nowMs: number): Step {
  const { stage } = state
  switch (stage.phase) {
    case 'Preflight':
    case 'Staging':
      if (of === 'image') return fail(state, stage.target, 'Refused', reason, message, nowMs)
      return wait(state, stage, reason, message, jitter, nowMs)
    case 'Activating':
      if (of === 'image') return fail(state, stage.target, 'ActivationFailed', reason, message, nowMs)
      return nowMs - stage.sinceMs >= REBOOT_DEADLINE_MS ? giveUp(state, stage.target, reason, message) : stay(state)
    case 'Confirming':
    case 'RollingBack':
      // There is nothing better to do than to try again, and to say why it takes so long.
      return wait(state, stage, reason, message, jitter, nowMs)
    case 'Idle':
    case 'Staged':
    case 'Verifying':
    case 'Failed':
      return stay(state)
    default: {
      const never: never = stage
      return never
    }
  }
}

// One statement a reason, not one a try: an outage of a week is not ten thousand statements.
function wait(
  state: State,
  stage: Stage & { attempt: number; told: readonly string[] },
  reason: string,
  message: string,
  jitter: number,
  nowMs: number,
): Step {
  const attempt = stage.attempt + 1
  const waitMs = Math.min(FIRST_RETRY_MS * 2 ** Math.min(attempt, 20), LAST_RETRY_MS) * (0.5 + jitter / 2)
  const told = stage.told.includes(reason)
  const waiting = {
    ...stage,
    attempt,
    notBeforeMs: nowMs + waitMs,
    told: told ? stage.told : [...stage.told, reason].slice(-MEMORY_SIZE),
  }
  if (!told) return go(state, waiting, reason, message)
  const next: State = { ...state, stage: waiting, reason, message }
  return { state: next, effects: effectsOf(next) }
}

function notSeen(state: State, glimpse: Glimpse, fault: Fault, nowMs: number): Step {
  const { stage } = state
  const waits = stage.phase === 'Activating' && stage.fromBootId === glimpse.bootId
  if (waits && nowMs - stage.sinceMs >= REBOOT_DEADLINE_MS)
    return giveUp(state, stage.target, fault.reason, fault.message)
  return unseen(state, glimpse, fault, nowMs)
}

// Image digest and boot id tell apart: the agent restarted, the node rebooted into the target, the platform fell back.
function observed(before: State, facts: BootFacts, nowMs: number): Step {
  const state = seen(before)
  const { stage } = state
  if (stage.phase === 'Activating') {
    const { target } = stage
    if (facts.imageSha256 === target.imageSha256) return booted(state, target, 1, facts, nowMs)
    if (facts.fellBackFrom === target.imageSha256) return fellBack(state, target, facts, nowMs)
    if (facts.bootId !== stage.fromBootId) {
      // Power was lost before the slot was armed: the old image booted anew, and nothing was tried.
      const interruptions = stage.interruptions + 1
      if (interruptions >= MAX_BOOTS)
        return giveUp(state, target, 'NeverRebooted', `${interruptions} boots, and none into the armed slot`)
      const next: State = {
        ...state,
        stage: { ...stage, fromBootId: facts.bootId, sinceMs: nowMs, interruptions },
      }
      return { state: next, effects: effectsOf(next) }
    }
    if (nowMs - stage.sinceMs >= REBOOT_DEADLINE_MS)
      return giveUp(state, target, 'NeverRebooted', 'the slot was armed and the node did not reboot')
    return stay(state)
  }
  if (stage.phase === 'Verifying') return verify(state, stage, facts, nowMs)
  if (stage.phase === 'Confirming') {
    const { target, bootId, boots } = stage
    if (facts.imageSha256 !== target.imageSha256) return fellBack(state, target, facts, nowMs)
    // What passed its gates was another boot: this one proves itself anew.
    return facts.bootId === bootId ? stay(state) : bootedAgain(state, target, boots, facts, nowMs)
  }
  if (stage.phase === 'RollingBack' && facts.imageSha256 !== stage.target.imageSha256) {
    // A slot that never booted is left only when it is disarmed: until then any power cut boots it.
    if (stage.because.outcome === 'NeverRebooted' && facts.fellBackFrom !== stage.target.imageSha256) return stay(state)
    return failBecause(state, stage, nowMs, facts)
  }
  return stay(state)
}

function booted(state: State, target: Target, boots: number, facts: BootFacts, nowMs: number): Step {
  return go(
    state,
    { phase: 'Verifying', target, bootId: facts.bootId, bootedAtMs: nowMs, boots },
    boots === 1 ? 'Booted' : 'BootedAgain',
    boots === 1
      ? `${target.version} booted; it must stay healthy for ${target.gates.healthySeconds} s`
      : `${target.version} booted once more before it was confirmed`,
    target,
    facts,
  )
}

function bootedAgain(state: State, target: Target, boots: number, facts: BootFacts, nowMs: number): Step {
  if (boots < MAX_BOOTS) return booted(state, target, boots + 1, facts, nowMs)
  return rollBack(state, target, 'BootLoop', `${boots} boots, and none stayed long enough to be confirmed`, facts)
}

function rollBack(state: State, target: Target, reason: string, message: string, facts: BootFacts): Step {
  const because = { outcome: 'RolledBack' as const, reason, message }
  return go(state, { phase: 'RollingBack', target, because, ...FRESH }, reason, message, target, facts)
}

// The node would not reboot. The slot may be armed all the same, and must not stay so.
function giveUp(state: State, target: Target, reason: string, message: string): Step {
  const because = { outcome: 'NeverRebooted' as const, reason, message }
  return go(state, { phase: 'RollingBack', target, because, ...FRESH }, reason, message, target)
}

function verify(state: State, stage: Stage & { phase: 'Verifying' }, facts: BootFacts, nowMs: number): Step {
  const { target } = stage
  if (facts.imageSha256 !== target.imageSha256) return fellBack(state, target, facts, nowMs)
  if (facts.bootId !== stage.bootId) return bootedAgain(state, target, stage.boots, facts, nowMs)
  if (facts.healthy) {
    const healthySinceMs = stage.healthySinceMs ?? nowMs
    if (nowMs - healthySinceMs >= target.gates.healthySeconds * 1000) {
      return go(
        state,
        { phase: 'Confirming', target, bootId: facts.bootId, boots: stage.boots, ...FRESH },
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
    return rollBack(state, target, 'GatesFailed', message, facts)
  }
  const { healthySinceMs: _, ...unhealthy } = stage
  return { state: { ...state, stage: unhealthy }, effects: effectsOf(state) }
}

function blessed(state: State): Step {
  const { stage, memory } = state
  if (stage.phase !== 'Confirming') return stay(state)
  const { target, bootId } = stage
  const { imageSha256, manifestSha256, version } = target
  const releaseCounter = Math.max(target.releaseCounter, memory.confirmed?.releaseCounter ?? 0)
  const confirmed = { imageSha256, manifestSha256, version, releaseCounter, bootId }
  return go(
    { ...state, memory: { ...memory, confirmed } },
    { phase: 'Idle' },
    'Confirmed',
    `runs ${target.version}`,
    target,
    { bootId },
  )
}

function failBecause(state: State, stage: Stage & { phase: 'RollingBack' }, nowMs: number, facts?: BootFacts): Step {
  const { outcome, reason, message } = stage.because
  return fail(state, stage.target, outcome, reason, message, nowMs, facts)
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
