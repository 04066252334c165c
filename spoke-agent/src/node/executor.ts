import { comparePositions } from '@skerry/api'
import type { BootFacts, Effect, Event, Fault, Glimpse, State } from '@skerry/policy'
import { effectsOf, step } from '@skerry/policy'
import { evidenceNonce } from '@skerry/trust'
import type { Logger } from 'pino'
import { type Driver, DriverFault } from '../drivers/driver.ts'
import type { Outbox, Place } from '../outbox/outbox.ts'
import { reasonOf } from '../reason.ts'
import type { Enrollment } from '../registration/enrollment.ts'
import type { Bus } from '../store/bus.ts'
import type { Database } from '../store/database.ts'
import type { Hardware } from '../tpm/index.ts'
import { makeBell } from '../waits.ts'

// Carries out what step() says. State and statement are one transaction; the effect runs after it and may run again.

export type ExecutorOptions = {
  readonly database: Database
  readonly bus: Bus
  readonly outbox: Outbox
  readonly driver: Driver
  readonly enrollment: Enrollment
  readonly hardware: Hardware | undefined
  /** Brings an image's verified file here. */
  readonly fetchImage: (wanted: { sha256: string; length: number }, signal: AbortSignal) => Promise<string>
  readonly onBooted: (facts: BootFacts) => void
  readonly watchMs: number
  readonly now: () => number
  readonly log: Logger
  readonly signal: AbortSignal
}

const IDLE_MS = 5_000

/** Runs the node's machine until the signal. */
export async function runNode(options: ExecutorOptions): Promise<void> {
  const { bus, driver, log, signal, now, watchMs } = options
  const bell = makeBell()
  const quiet = bus.onChange(bell.ring)
  while (!signal.aborted) {
    let waitMs = IDLE_MS
    try {
      const facts = await look()
      if (facts) {
        options.onBooted(facts)
        await options.hardware?.look()
        await giveEvidence(options, facts)
        feed(options, { type: 'Observed', facts })
        takeTurn(options, facts)
      }
      const [effect] = effectsOf(bus.node().state)
      // Of a boot that cannot be looked at nothing is done but to leave it.
      if (effect && (facts || effect.effect === 'Leave')) waitMs = await carryOut(options, effect)
      const { stage } = bus.node().state
      if (stage.phase === 'Verifying' || 'unseen' in stage) waitMs = Math.min(waitMs, watchMs)
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
  { driver, fetchImage, signal }: ExecutorOptions,
  { effect, target }: Exclude<Effect, { effect: 'Watch' }>,
): Promise<Event[]> {
  switch (effect) {
    case 'Preflight':
      await driver.preflight(target)
      return [{ type: 'Preflighted' }]
    case 'Stage':
      await driver.stage(target, await fetchImage({ sha256: target.imageSha256, length: target.imageLength }, signal))
      return [{ type: 'Staged' }]
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

/** The chain grew, or a marker came, while the TPM was asked. */
class PlaceMoved extends Error {}
const MOST_QUOTES = 5

// Every boot is told of, once, with what the node can show for it. One that proves no upgrade waits while room is short.
async function giveEvidence(options: ExecutorOptions, facts: BootFacts): Promise<void> {
  const { database, bus, outbox, enrollment, driver, log } = options
  // Another life is another chain, in which nothing was said of this boot yet.
  const told = `${enrollment.incarnation}/${facts.bootId}`
  const { owedBootId: owed, evidenceBootId: before } = bus.node()
  if (before === told) return
  const sameLife = before?.startsWith(`${enrollment.incarnation}/`)
  if (sameLife === true && !provesUpgrade(bus, facts) && outbox.room() !== 'enough') {
    if (owed === told) return
    database.transact(() => {
      // Another boot has come since: of that one nobody can show anything any more.
      if (owed !== undefined) outbox.leaveOut('evidence')
      bus.saveNode({ ...bus.node(), owedBootId: told })
    })
    return
  }
  for (let quotes = 1; ; quotes += 1) {
    const place = outbox.place()
    const quote = await quoteOf(options, place)
    try {
      record(options, facts, told, { place, quote, last: quotes === MOST_QUOTES })
      break
    } catch (error) {
      if (!(error instanceof PlaceMoved)) throw error
    }
  }
  log.info({ bootId: facts.bootId, driver: driver.name }, 'evidence of this boot recorded')
}

// What the TPM says of this boot. One that cannot be asked keeps nothing back: the statement is made without it, and the
// hub has no verdict on this boot.
async function quoteOf({ enrollment, hardware, log, signal }: ExecutorOptions, place: Place): Promise<object> {
  if (enrollment.class !== 'tpm') return {}
  if (!hardware) {
    log.error('this node is registered with a TPM and has none: this boot is told of without a quote')
    return {}
  }
  const { marker, seq, prev } = place
  try {
    const nonce = new Uint8Array(Buffer.from(evidenceNonce(marker, seq, prev), 'hex'))
    return await hardware.quote(nonce, enrollment.bank ?? 'sha256')
  } catch (error) {
    signal.throwIfAborted()
    log.error({ reason: reasonOf(error) }, 'the TPM gives no quote: this boot is told of without one')
    return {}
  }
}

// Evidence and state, together. A quote is for one place in the chain alone: PlaceMoved where that is another now, and at
// the last try the statement is made without it.
function record(
  { database, bus, outbox, enrollment }: ExecutorOptions,
  { bootId, slot, imageSha256 }: BootFacts,
  told: string,
  { place, quote, last }: { readonly place: Place; readonly quote: object; readonly last: boolean },
): void {
  database.transact(() => {
    const { owedBootId: owed, ...node } = bus.node()
    const sameLife = node.evidenceBootId?.startsWith(`${enrollment.incarnation}/`)
    if (owed !== undefined && owed !== told) outbox.leaveOut('evidence')
    outbox.append((now) => {
      const { seq, prev, marker } = now
      const moved = seq !== place.seq || prev !== place.prev || marker !== place.marker
      const isQuoted = Object.keys(quote).length > 0
      if (moved && isQuoted && !last) throw new PlaceMoved('the chain went on')
      return {
        kind: 'evidence',
        body: {
          ...{ class: enrollment.class, bootId, slot, imageSha256, nonce: evidenceNonce(marker, seq, prev) },
          ...(moved ? {} : quote),
        },
      }
    })
    // Nor was it said in which boot the image proved good: that is told anew when it is asked for.
    const { bootId: _, ...kept } = node.state.memory.confirmed ?? { imageSha256, releaseCounter: 0, bootId: '' }
    const confirmed = sameLife === false ? kept : (node.state.memory.confirmed ?? kept)
    bus.saveNode({
      ...node,
      state: { ...node.state, memory: { ...node.state.memory, confirmed } },
      evidenceBootId: told,
    })
  })
}

// A boot in the midst of an upgrade; or one of which it is about to be said that it runs what was asked for.
function provesUpgrade(bus: Bus, { imageSha256 }: BootFacts): boolean {
  const { stage, memory } = bus.node().state
  switch (stage.phase) {
    case 'Activating':
    case 'Verifying':
    case 'Confirming':
      return true
    case 'RollingBack':
      // Booted once more, what shall be left proves nothing new.
      return stage.target.imageSha256 !== imageSha256
    case 'Idle':
    case 'Preflight':
    case 'Staging':
    case 'Staged':
    case 'Failed':
      return memory.confirmed?.bootId === undefined && bus.site()?.target?.imageSha256 === imageSha256
    default: {
      const never: never = stage
      return never
    }
  }
}

function same(a: State, b: State): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
