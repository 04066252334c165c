import { comparePositions } from '@skerry/api'
import type { BootFacts, Effect, Event, Fault, Glimpse, State } from '@skerry/policy'
import { effectsOf, step } from '@skerry/policy'
import { DriverFault } from '../drivers/driver.ts'
import { reasonOf } from '../reason.ts'
import { makeBell } from '../waits.ts'
import { type EvidenceOptions, makeEvidence } from './evidence.ts'
import { keepProgress } from './progress.ts'
import { keepSlots } from './slots.ts'

// Carries out what step() says. State and statement are one transaction; the effect runs after it and may run again.

export type ExecutorOptions = EvidenceOptions & {
  /** Brings an image's verified file here, and says on the way how many bytes of it are. */
  readonly fetchImage: (
    wanted: { sha256: string; length: number },
    signal: AbortSignal,
    onProgress: (done: number) => void,
  ) => Promise<string>
  readonly onBooted: (facts: BootFacts) => void
  readonly watchMs: number
  readonly now: () => number
}

const IDLE_MS = 5_000

/** Runs the node's machine until the signal. */
export async function runNode(options: ExecutorOptions): Promise<void> {
  const { bus, driver, log, signal, now, watchMs } = options
  const bell = makeBell()
  const evidence = makeEvidence(options)
  const quiet = bus.onChange(bell.ring)
  while (!signal.aborted) {
    let waitMs = IDLE_MS
    let evidenceDueMs = IDLE_MS
    try {
      const facts = await look()
      if (facts) {
        options.onBooted(facts)
        await options.hardware?.look()
        evidenceDueMs = await evidence(facts)
        feed(options, { type: 'Observed', facts })
        takeTurn(options, facts)
      }
      // What proved good is the floor from now on. A power cut before this line is made good at the next start.
      const { confirmed } = bus.node().state.memory
      if (confirmed) await options.hardware?.raiseReleaseFloor(confirmed.releaseCounter)
      // Before the effect: a download may take hours.
      await keepSlots(options)
      const [effect] = effectsOf(bus.node().state)
      // Of a boot that cannot be looked at nothing is done but to leave it.
      if (effect && (facts || effect.effect === 'Leave')) waitMs = await carryOut(options, effect)
      const { stage } = bus.node().state
      if (stage.phase === 'Verifying' || 'unseen' in stage) waitMs = Math.min(waitMs, watchMs)
      waitMs = Math.min(waitMs, evidenceDueMs)
    } catch (error) {
      if (signal.aborted) break
      log.error({ err: error }, 'the node could not be looked at and is looked at again')
      waitMs = 1_000
    }
    if (waitMs > 0) await bell.wait(waitMs, signal)
  }
  quiet()

  /** What runs; undefined where that cannot be told, which is then fed to the machine and kept with its reason. */
  async function look(): Promise<BootFacts | undefined> {
    try {
      const facts = await driver.status()
      keepUnseen(undefined)
      return facts
    } catch (error) {
      signal.throwIfAborted()
      const fault = faultOf(error)
      const glimpse = await driver.glimpse()
      keepUnseen({ ...fault, ...glimpse })
      feed(options, { type: 'Unseen', glimpse, fault })
      return undefined
    }
  }

  // Written and logged once a reason and boot: the message may differ with every look.
  function keepUnseen(fault: (Fault & Glimpse) | undefined): void {
    const { unseen, ...node } = bus.node()
    if (unseen?.reason === fault?.reason && unseen?.bootId === fault?.bootId) return
    if (!fault) {
      bus.saveNode(node)
      return
    }
    const { reason, message, bootId } = fault
    log.error({ reason, message, bootId }, 'what runs cannot be looked at')
    bus.saveNode({ ...node, unseen: { reason, message, bootId, since: new Date(now()).toISOString() } })
  }

  function takeTurn({ enrollment }: ExecutorOptions, facts: BootFacts): void {
    const site = bus.site()
    if (site?.target) feed(options, { type: 'Desired', target: site.target, running: facts })
    else if (site) feed(options, { type: 'Withdrawn' })
    // One made for another order, or before this one was staged, says nothing of what is staged now.
    const { stage } = bus.node().state
    const staged = site?.plan?.staged
    if (stage.phase !== 'Staged' || !staged || comparePositions(staged, stage.target.position) !== 0) return
    const hold = site?.plan?.hold.find(({ node }) => node === enrollment.node)
    if (site?.plan?.turns.includes(enrollment.node)) {
      const { turnsUntilMs } = site.plan
      const until = turnsUntilMs === undefined ? {} : { untilMs: turnsUntilMs }
      feed(options, { type: 'TurnGranted', bootId: facts.bootId, ...until })
    } else if (hold) feed(options, { type: 'TurnHeld', reason: hold.reason, message: hold.message })
  }

  /** Runs one effect and feeds what came of it; returns how long to wait before looking again. */
  async function carryOut(parts: ExecutorOptions, effect: Effect): Promise<number> {
    if (effect.effect === 'Watch') return watchMs
    const early = effect.notBeforeMs - now()
    if (early > 0) return early
    log.info({ effect: effect.effect, version: effect.target.version }, 'effect begins')
    try {
      feed(parts, ...(await run(parts, effect)))
      log.info({ effect: effect.effect, version: effect.target.version }, 'effect ended')
      return REBOOTING.has(effect.effect) ? Math.min(watchMs, 500) : 0
    } catch (error) {
      signal.throwIfAborted()
      const fault = faultOf(error)
      log.warn({ effect: effect.effect, ...fault }, 'effect failed')
      feed(parts, { type: 'Faulted', fault, jitter: Math.random() })
      return 200
    }
  }
}

/** Effects after which the machine goes down, if not at once. */
const REBOOTING: ReadonlySet<Effect['effect']> = new Set(['Activate', 'Rollback', 'Leave'])

function faultOf(error: unknown): Fault {
  if (error instanceof DriverFault) return { of: error.of, reason: error.reason, message: error.message }
  return { of: 'surroundings', reason: 'Unforeseen', message: reasonOf(error) }
}

async function run(
  { bus, driver, fetchImage, signal }: ExecutorOptions,
  { effect, target }: Exclude<Effect, { effect: 'Watch' }>,
): Promise<Event[]> {
  switch (effect) {
    case 'Preflight':
      await driver.preflight(target)
      return [{ type: 'Preflighted' }]
    case 'Stage': {
      const wanted = { sha256: target.imageSha256, length: target.imageLength }
      const file = await fetchImage(wanted, signal, (done) => keepProgress(bus, target, done))
      await driver.stage(target, file)
      return [{ type: 'Staged' }]
    }
    case 'Activate':
      await driver.activate(target)
      return []
    case 'Confirm':
      await driver.confirm(target)
      return [{ type: 'Blessed' }]
    case 'Rollback':
      await driver.rollback(target)
      return [{ type: 'Undone' }]
    case 'Leave':
      await driver.leave()
      return []
    default: {
      const never: never = effect
      return never
    }
  }
}

const WAITING: ReadonlySet<Event['type']> = new Set(['Faulted', 'TurnHeld', 'Unseen'])

function feed({ database, bus, outbox, now, log }: ExecutorOptions, ...events: readonly Event[]): void {
  for (const event of events) {
    const statement = database.transact(() => {
      const node = bus.node()
      const { state, statement } = step(node.state, event, now())
      if (!same(state, node.state)) bus.saveNode({ ...node, state })
      if (!statement) return undefined
      const said = { kind: 'transition', body: statement } as const
      // Why something takes so long proves nothing.
      const waits = WAITING.has(event.type) && statement.from === statement.to
      if (waits) outbox.offer(said)
      else outbox.append(said)
      return statement
    })
    if (!statement) continue
    // Once it is committed: whoever reads of a step finds it done after any power cut.
    const { from, to, reason, message } = statement
    log.info({ from, to, reason, message }, 'node went on')
  }
}

function same(a: State, b: State): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
