import { type BootFacts, restated } from '@skerry/policy'
import { evidenceNonce } from '@skerry/trust'
import type { Logger } from 'pino'
import type { Driver } from '../drivers/driver.ts'
import type { Outbox, Place } from '../outbox/outbox.ts'
import { reasonOf } from '../reason.ts'
import type { Enrollment } from '../registration/enrollment.ts'
import type { Bus } from '../store/bus.ts'
import type { Database } from '../store/database.ts'
import type { Hardware } from '../tpm/index.ts'

// What a node can show for its boot. Every boot is told of, once; with a TPM once more when that gave no quote at first and
// does later in the same boot.

/** What evidence is made with. */
export type EvidenceOptions = {
  readonly database: Database
  readonly bus: Bus
  readonly outbox: Outbox
  readonly driver: Driver
  readonly enrollment: Enrollment
  readonly hardware: Hardware | undefined
  /** The first pause after a TPM gave no quote; they grow. Five seconds unless it is said. */
  readonly quoteAgainMs?: number
  readonly log: Logger
  readonly signal: AbortSignal
}

/** The chain grew, or a marker came, while the TPM was asked. */
class PlaceMoved extends Error {}
const MOST_QUOTES = 5

const FIRST_AGAIN_MS = 5_000
const LAST_AGAIN_MS = 300_000
const NOTHING_DUE = Number.POSITIVE_INFINITY

/** Tells of the boot that runs as far as that is due. Returns after how many milliseconds there is something to do again. */
export function makeEvidence(parts: EvidenceOptions): (facts: BootFacts) => Promise<number> {
  const { bus, outbox, quoteAgainMs = FIRST_AGAIN_MS } = parts
  let again: { readonly told: string; readonly tries: number; readonly atMs: number } | undefined

  return async (facts) => {
    // Another life is another chain, in which nothing was said of this boot yet; after a gap what was said of it may be lost.
    const told = `${outbox.chapter()}/${facts.bootId}`
    const isTold = bus.node().evidenceBootId === told
    if (isTold && bus.node().quoteOwed !== told) return NOTHING_DUE
    if (mustWait(parts, facts, told)) return NOTHING_DUE
    const tries = again?.told === told ? again.tries : 0
    const earlyMs = isTold && again?.told === told ? again.atMs - performance.now() : 0
    if (earlyMs > 0) return earlyMs
    tellWhereItStands(parts)
    await tell(parts, facts, told, isTold)
    if (bus.node().quoteOwed !== told) return NOTHING_DUE
    const pauseMs = Math.min(quoteAgainMs * 2 ** Math.min(tries, 20), LAST_AGAIN_MS) * (0.5 + Math.random() / 2)
    again = { told, tries: tries + 1, atMs: performance.now() + pauseMs }
    return pauseMs
  }

  // One that proves no upgrade waits while room is short. Those that others follow meanwhile are counted.
  function mustWait({ database }: EvidenceOptions, booted: BootFacts, told: string): boolean {
    const { owedBootId: owed, evidenceBootId: before } = bus.node()
    const sameChapter = before?.startsWith(`${outbox.chapter()}/`)
    if (sameChapter !== true || provesUpgrade(bus, booted) || outbox.room() === 'enough') return false
    if (owed === told || before === told) return true
    database.transact(() => {
      // Another boot has come since: of that one nobody can show anything any more.
      if (owed !== undefined) outbox.leaveOut('evidence')
      bus.saveNode({ ...bus.node(), owedBootId: told })
    })
    return true
  }
}

// What was confirmed, and how far an upgrade is, may be lost with what said it. Before the boot: a hub that hears of a boot
// after a confirmation knows that it came later, or is the same.
function tellWhereItStands({ database, bus, outbox, enrollment }: EvidenceOptions): void {
  const { evidenceBootId: before, restatedIn } = bus.node()
  const chapter = outbox.chapter()
  const isNew = before === undefined || !isOfLife(before, enrollment)
  if (isNew || before.startsWith(`${chapter}/`) || restatedIn === chapter) return
  database.transact(() => {
    const node = bus.node()
    for (const body of restated(node.state, bus.site()?.target)) outbox.append({ kind: 'transition', body })
    bus.saveNode({ ...node, restatedIn: chapter })
  })
}

async function tell(parts: EvidenceOptions, facts: BootFacts, told: string, isTold: boolean): Promise<void> {
  for (let quotes = 1; ; quotes += 1) {
    const place = parts.outbox.place()
    const quote = await quoteOf(parts, place, isTold)
    // What could be said without one was said.
    if (isTold && !quote) return
    try {
      record(parts, facts, told, { place, quote, last: quotes === MOST_QUOTES && !isTold })
      break
    } catch (error) {
      if (!(error instanceof PlaceMoved)) throw error
      if (quotes >= MOST_QUOTES) return
    }
  }
  parts.log.info({ bootId: facts.bootId, driver: parts.driver.name }, 'evidence of this boot recorded')
}

// What the TPM says of this boot. One that cannot be asked keeps nothing back: the statement is made without it, and the
// hub has no verdict on this boot before there is one.
async function quoteOf(
  { enrollment, hardware, log, signal }: EvidenceOptions,
  place: Place,
  isTold: boolean,
): Promise<object | undefined> {
  if (enrollment.class !== 'tpm') return undefined
  if (!hardware) {
    if (!isTold) log.error('this node is registered with a TPM and has none: this boot is told of without a quote')
    return undefined
  }
  const { marker, seq, prev } = place
  try {
    const nonce = new Uint8Array(Buffer.from(evidenceNonce(marker, seq, prev), 'hex'))
    return await hardware.quote(nonce, enrollment.bank ?? 'sha256')
  } catch (error) {
    signal.throwIfAborted()
    const sentence = 'the TPM gives no quote of this boot and is asked again'
    log[isTold ? 'debug' : 'error']({ reason: reasonOf(error) }, sentence)
    return undefined
  }
}

// Evidence and state, together. A quote is for one place in the chain alone: PlaceMoved where that is another now, and at
// the last try the statement is made without it.
function record(
  { database, bus, outbox, enrollment }: EvidenceOptions,
  { bootId, slot, imageSha256 }: BootFacts,
  told: string,
  { place, quote, last }: { readonly place: Place; readonly quote: object | undefined; readonly last: boolean },
): void {
  database.transact(() => {
    const { owedBootId: owed, quoteOwed: _, ...node } = bus.node()
    const before = node.evidenceBootId
    const sameLife = before === undefined ? undefined : isOfLife(before, enrollment)
    const isOther = owed !== undefined && !(isOfLife(owed, enrollment) && owed.endsWith(`/${bootId}`))
    if (isOther) outbox.leaveOut('evidence')
    let isQuoted = quote !== undefined
    outbox.append((now) => {
      const { seq, prev, marker } = now
      const moved = seq !== place.seq || prev !== place.prev || marker !== place.marker
      if (moved && isQuoted && !last) throw new PlaceMoved('the chain went on')
      if (moved) isQuoted = false
      return {
        kind: 'evidence',
        body: {
          ...{ class: enrollment.class, bootId, slot, imageSha256, nonce: evidenceNonce(marker, seq, prev) },
          ...(isQuoted ? quote : {}),
        },
      }
    })
    // Nor was it said in which boot the image proved good: that is told anew when it is asked for.
    const { bootId: __, ...kept } = node.state.memory.confirmed ?? { imageSha256, releaseCounter: 0, bootId: '' }
    const confirmed = sameLife === false ? kept : (node.state.memory.confirmed ?? kept)
    bus.saveNode({
      ...node,
      state: { ...node.state, memory: { ...node.state.memory, confirmed } },
      evidenceBootId: told,
      ...(enrollment.class === 'tpm' && !isQuoted ? { quoteOwed: told } : {}),
    })
  })
}

// Chapters are `<life>` and `<life>.<gap statement>`.
function isOfLife(told: string, { incarnation }: Enrollment): boolean {
  return told.split(/[./]/, 1)[0] === `${incarnation}`
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
