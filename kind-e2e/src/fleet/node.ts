import { comparePositions, type DesiredState, type Holds, type OSImageManifest, Refusal } from '@skerry/api'
import { HARDWARE_ID } from '@skerry/demo'
import type { State, Target } from '@skerry/policy'
import {
  admit,
  type BootFacts,
  type Effect,
  type Event,
  effectsOf,
  initialState,
  planSite,
  step,
  targetOf,
} from '@skerry/policy'
import { evidenceNonce } from '@skerry/trust'
import type { Machine } from './machine.ts'
import type { Site, Told } from './site.ts'

// A node that carries orders out as an agent does, by the same policy (`admit`, `planSite`, `step`), on a machine that is
// only told of. Order of what it says: the boot, then what the machine of its upgrade made of it, then the turn. It needs no
// hub for any of it.

export type NodeOptions = {
  readonly name: string
  readonly factory: string
  readonly machine: (onUp: () => void) => Machine
  /** The manifest at a target path, verified, if its digest is the one given; a Refusal otherwise. */
  readonly manifestOf: (target: string, sha256: string) => Promise<OSImageManifest>
  readonly say: Site['say']
  /** Something changed that is told beside the statements. */
  readonly onChange: () => void
  /** How long a download takes. */
  readonly stageMs: () => number
  readonly now: () => number
}

export type Node = {
  readonly machine: Machine
  /** Judges an order, and carries it out if it may be. */
  order(document: DesiredState, digest: string): Promise<void>
  state(): State
  status(): Told
  close(): void
}

/** How often a boot on trial is looked at. */
const WATCH_MS = 200
/** A timer knows no longer time. */
const LONGEST_MS = 2 ** 31 - 1

/** What an order asks for, once it is admitted; nothing where it asks for no image. */
type Wanted = { readonly manifest: OSImageManifest; readonly target: Target }
type Held = { readonly document: DesiredState; readonly holds: Holds; readonly wanted: Wanted | undefined }

/** Switches the node on. */
export function openNode({
  name,
  factory,
  machine: openMachine,
  manifestOf,
  say,
  onChange,
  stageMs,
  now,
}: NodeOptions): Node {
  let state = initialState({ imageSha256: factory, releaseCounter: 0 })
  let held: Held | undefined
  let toldBootId: string | undefined
  let staging: { readonly imageSha256: string; readonly timer: NodeJS.Timeout } | undefined
  let timer: NodeJS.Timeout | undefined
  let judging = Promise.resolve()
  const machine = openMachine(look)
  look()

  function feed(event: Event): void {
    const { state: next, statement } = step(state, event, now())
    state = next
    if (statement) say({ kind: 'transition', body: statement })
  }

  /** Until there is nothing to do but wait: for time, for the machine, or for an order. */
  function look(): void {
    clearTimeout(timer)
    const before = state
    for (;;) {
      const facts = machine.status()
      if (!facts) break
      const isNew = toldBootId !== facts.bootId
      if (isNew) tellBoot(facts)
      feed({ type: 'Observed', facts })
      const waitMs = takeTurn(facts)
      const [effect] = effectsOf(state)
      const effectMs = effect ? carryOut(effect) : Number.POSITIVE_INFINITY
      const nextMs = Math.min(waitMs, effectMs)
      if (nextMs === 0) continue
      if (Number.isFinite(nextMs)) timer = setTimeout(look, Math.min(nextMs, LONGEST_MS))
      break
    }
    if (state.stage.phase !== before.stage.phase || state.reason !== before.reason) onChange()
  }

  function tellBoot({ bootId, slot, imageSha256 }: BootFacts): void {
    toldBootId = bootId
    say(({ seq, prev, marker }) => {
      const nonce = evidenceNonce(marker, seq, prev)
      return { kind: 'evidence', body: { class: 'software-key', bootId, slot, imageSha256, nonce } }
    })
  }

  /** What it shall be, and whether it may become so now. Returns after how many milliseconds time alone may change that. */
  function takeTurn(facts: BootFacts): number {
    if (held?.wanted) feed({ type: 'Desired', target: held.wanted.target, running: facts })
    else if (held) feed({ type: 'Withdrawn' })
    const { stage } = state
    if (stage.phase !== 'Staged' || !held?.wanted) return Number.POSITIVE_INFINITY
    const { document, wanted } = held
    if (comparePositions(wanted.target.position, stage.target.position) !== 0) return Number.POSITIVE_INFINITY
    // Asked again before anything is activated: what was admitted when it came may not be any more.
    const refusal = admission(wanted.manifest, document)
    if (refusal) {
      feed({ type: 'TurnHeld', reason: refusal.code, message: refusal.message })
      return Number.POSITIVE_INFINITY
    }
    const plan = planSite(document, [{ node: name, phase: stage.phase }], now())
    const [hold] = plan.hold
    if (plan.turns.includes(name)) {
      const until = plan.turnsUntilMs === undefined ? {} : { untilMs: plan.turnsUntilMs }
      feed({ type: 'TurnGranted', bootId: facts.bootId, ...until })
    } else if (hold) feed({ type: 'TurnHeld', reason: hold.reason, message: hold.message })
    return plan.nextWindowMs === undefined ? Number.POSITIVE_INFINITY : Math.max(1, plan.nextWindowMs - now())
  }

  /** Begins an effect; returns after how many milliseconds to look again. */
  function carryOut(effect: Effect): number {
    const { imageSha256 } = effect.target
    switch (effect.effect) {
      case 'Preflight':
        feed({ type: 'Preflighted' })
        return 0
      case 'Stage':
        if (staging?.imageSha256 === imageSha256) return Number.POSITIVE_INFINITY
        clearTimeout(staging?.timer)
        staging = { imageSha256, timer: setTimeout(() => staged(), stageMs()) }
        return Number.POSITIVE_INFINITY
      case 'Activate':
        machine.activate(imageSha256)
        return Number.POSITIVE_INFINITY
      case 'Watch':
        return WATCH_MS
      case 'Confirm':
        machine.confirm()
        feed({ type: 'Blessed' })
        return 0
      case 'Rollback':
        machine.rollback()
        feed({ type: 'Undone' })
        return Number.POSITIVE_INFINITY
      // Every boot of such a machine can be looked at.
      case 'Leave':
        return Number.POSITIVE_INFINITY
      default: {
        const never: never = effect
        return never
      }
    }
  }

  function staged(): void {
    staging = undefined
    feed({ type: 'Staged' })
    look()
  }

  function admission(manifest: OSImageManifest, document: DesiredState): Refusal | undefined {
    return admit(manifest, document, {
      ...{ hardwareId: HARDWARE_ID, memory: state.memory },
      ...{ measuresBoot: false, appliesWorks: false },
    })
  }

  async function judge(document: DesiredState): Promise<Wanted | undefined> {
    if (!document.image) return undefined
    const { target: path, sha256 } = document.image
    const manifest = await manifestOf(path, sha256)
    const refusal = admission(manifest, document)
    if (refusal) throw refusal
    return { manifest, target: targetOf(document, manifest, sha256) }
  }

  async function receive(document: DesiredState, digest: string): Promise<void> {
    const { timeline, generation } = document
    const holds = { timeline, generation, digest }
    try {
      held = { document, holds, wanted: await judge(document) }
    } catch (error) {
      if (!(error instanceof Refusal) || error.retry === 'later') throw error
      const { code, message } = error
      const position = { timeline, generation }
      say({ kind: 'refused', body: { document: 'DesiredState', code, message, digest, position } })
      return
    }
    say({ kind: 'accepted', body: holds })
    look()
  }

  return {
    machine,
    order(document, digest) {
      judging = judging.then(() => receive(document, digest))
      return judging
    },
    state: () => state,
    status() {
      const boot = machine.status()
      return {
        ...{ phase: state.stage.phase, reason: state.reason, message: state.message },
        booted: { imageSha256: boot?.imageSha256 ?? '0'.repeat(64) },
        ...{ slot: boot?.slot ?? 'unknown', bootId: boot?.bootId ?? 'unknown' },
        failed: [...state.memory.failures],
        ...(held ? { holds: held.holds } : {}),
      }
    },
    close() {
      clearTimeout(timer)
      clearTimeout(staging?.timer)
      machine.off()
    },
  }
}
