import { go, stay } from './going.ts'
import { effectsOf, type Fault, type Glimpse, type Stage, type State, type Step, type Unseen } from './state.ts'

// A boot that cannot be looked at: its ESP is no VFAT or cannot be mounted, no file is what runs, the kernel shows no UEFI
// variables. Nothing but its boot id is known, and maybe that the firmware counts it. What nobody confirmed is given back
// by a reboot, which costs it a try, until the firmware falls back; what was confirmed stays, with its reason.

/** So long, and no longer than its gates, a boot that is to be left may still show itself, and be left in the orderly way. */
const SHOW_ITSELF_MS = 60_000
/** Boots in a row that are left unseen. No image has more tries; a firmware that cannot count them must not reboot for ever. */
const MOST_LEFT = 9
const REASONS_KEPT = 32

/** What becomes of a boot that cannot be looked at. */
export function unseen(state: State, glimpse: Glimpse, fault: Fault, nowMs: number): Step {
  const { stage } = state
  switch (stage.phase) {
    case 'Activating':
      // The image before still runs, and was to be left by arming: there is nothing to give back.
      return glimpse.bootId === stage.fromBootId ? stay(state) : unseenTrial(state, stage, glimpse, fault, nowMs)
    case 'Verifying':
    case 'Confirming':
      return unseenTrial(state, stage, glimpse, fault, nowMs)
    case 'RollingBack':
      return unseenRollback(state, stage, glimpse, fault, nowMs)
    // Nothing is on trial here. That the image which runs cannot be looked at is told beside the machine's state.
    case 'Idle':
    case 'Preflight':
    case 'Staging':
    case 'Staged':
    case 'Failed':
      return stay(state)
    default: {
      const never: never = stage
      return never
    }
  }
}

/** The stage of a boot that can be looked at. */
export function seen(state: State): State {
  const { stage } = state
  if (!('unseen' in stage)) return state
  const { unseen: _, ...rest } = stage
  return { ...state, stage: rest }
}

type OnTrial = Stage & { phase: 'Activating' | 'Verifying' | 'Confirming' }

function unseenTrial(state: State, stage: OnTrial, glimpse: Glimpse, fault: Fault, nowMs: number): Step {
  const { target } = stage
  const timeoutMs = target.gates.timeoutSeconds * 1000
  // It was seen in this very boot, so that it is the target whatever else is to be seen now.
  const wasSeen = stage.phase !== 'Activating' && stage.bootId === glimpse.bootId
  const firstMs = wasSeen && stage.phase === 'Verifying' ? stage.bootedAtMs : nowMs
  const now = unseenOf(stage.unseen, glimpse, fault, firstMs)
  if ((wasSeen || glimpse.onTrial !== false) && nowMs - now.sinceMs >= timeoutMs) {
    const message = `could not be looked at for ${target.gates.timeoutSeconds} s: ${fault.message}`
    const because = { outcome: 'RolledBack' as const, reason: fault.reason, message }
    const left = { ...now, sinceMs: nowMs, boots: 1, leave: true }
    const next = { phase: 'RollingBack' as const, target, because, attempt: 0, notBeforeMs: 0, told: [], unseen: left }
    return go(state, next, fault.reason, message, target, { bootId: glimpse.bootId })
  }
  const { unseen: before, ...rest } = stage
  if (rest.phase !== 'Verifying') return tell(state, { ...rest, unseen: now }, before, glimpse, fault)
  // What is not seen is not healthy.
  const { healthySinceMs: _, ...unhealthy } = rest
  return tell(state, { ...unhealthy, unseen: now }, before, glimpse, fault)
}

function unseenRollback(
  state: State,
  stage: Stage & { phase: 'RollingBack' },
  glimpse: Glimpse,
  fault: Fault,
  nowMs: number,
): Step {
  const before = stage.unseen
  const sameBoot = before?.bootId === glimpse.bootId
  const boots = sameBoot ? before.boots : (before?.boots ?? 0) + 1
  const now = unseenOf(before, glimpse, fault, nowMs)
  // A target that never booted is left by nobody, unless a power cut has booted it since.
  const onTrial = stage.because.outcome === 'RolledBack' ? glimpse.onTrial !== false : glimpse.onTrial === true
  const waitMs = Math.min(SHOW_ITSELF_MS, stage.target.gates.timeoutSeconds * 1000)
  const isDue = (sameBoot && before.leave) || nowMs - now.sinceMs >= waitMs
  const leave = onTrial && boots <= MOST_LEFT && isDue
  return tell(state, { ...stage, unseen: { ...now, boots, leave } }, before, glimpse, fault)
}

function unseenOf(before: Unseen | undefined, { bootId }: Glimpse, { reason }: Fault, firstMs: number): Unseen {
  if (before?.bootId !== bootId) return { bootId, sinceMs: firstMs, told: [reason] }
  if (before.told.includes(reason)) return before
  return { ...before, told: [...before.told, reason].slice(-REASONS_KEPT) }
}

// One statement a reason and boot, not one a look.
function tell(state: State, stage: Stage, before: Unseen | undefined, { bootId }: Glimpse, fault: Fault): Step {
  const { reason, message } = fault
  const told = before?.bootId === bootId && before.told.includes(reason)
  if (!told) return go(state, stage, reason, message, undefined, { bootId })
  const next: State = { ...state, stage }
  return { state: next, effects: effectsOf(next) }
}
