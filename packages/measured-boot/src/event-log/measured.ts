import { BANKS, type Bank, TRUSTED_BANKS } from '../banks.ts'
import { concat, Malformed, toHex } from '../bytes.ts'
import { type Coverage, coverageOf, Proof, provenVariable } from './coverage.ts'
import { EVENT_TYPES } from './event-types.ts'
import { type Known, knownIn } from './known.ts'
import type { EventLog, LogEvent } from './parse.ts'
import type { Variable } from './variable.ts'

/** One extend of one bank: what the event's digest is, and what of its data that digest proves. */
export class Measurement {
  readonly event: LogEvent
  readonly digest: Uint8Array
  /** The digest in hex, as manifests and findings write it. */
  readonly hex: string
  /** What everybody's digest this is: a separator, an action, a section's name. */
  readonly known: Known | undefined
  /** What the digest is of, whatever the type. */
  readonly proof: Proof
  /** What the digest proves if the event's type is true. */
  readonly coverage: Coverage
  #variable: Variable | 'not read yet' | undefined = 'not read yet'

  constructor(bank: Bank, event: LogEvent, digest: Uint8Array, hex: string, known: Known | undefined) {
    this.event = event
    this.digest = digest
    this.hex = hex
    this.known = known
    this.proof = new Proof(bank, event.data, hex, known)
    this.coverage = coverageOf(event, this.proof)
  }

  /** The variable that the digest proves, whatever the event's type says; old shims' authorities included. */
  variable(): Variable | undefined {
    // Grammar and facts want the same.
    if (this.#variable === 'not read yet') this.#variable = provenVariable(this.proof)
    return this.#variable
  }
}

/** A log as one bank tells it. `extends` has every event that was measured, in order; the others extended nothing. */
export type Measured = {
  readonly bank: Bank
  readonly extends: readonly Measurement[]
  /** The same by their PCR. */
  readonly byPcr: ReadonlyMap<number, readonly Measurement[]>
  readonly unmeasured: readonly LogEvent[]
}

/** Looks at a log through one bank, and computes once what replay, grammar and facts all need. Throws Malformed if the log lacks the bank. */
export function measuredIn(log: EventLog, bank: Bank): Measured {
  if (!log.banks.some(({ name }) => name === bank)) throw unsupported(`it has no ${bank} bank`)
  const everybodys = knownIn(bank)
  const unmeasured = log.events.filter(({ type }) => type === EVENT_TYPES.EV_NO_ACTION)
  const measured = log.events
    .filter(({ type }) => type !== EVENT_TYPES.EV_NO_ACTION)
    .map((event) => {
      const digest = event.digests.get(bank)
      if (digest === undefined) throw unsupported(`event ${event.index} has no ${bank} digest`)
      return { event, digest }
    })
  // All at once: a text for each digest by itself costs half as much as hashing it.
  const hexes = toHex(concat(...measured.map(({ digest }) => digest)))
  const digits = BANKS[bank].size * 2
  const extended = measured.map(({ event, digest }, nth) => {
    const hex = hexes.slice(nth * digits, (nth + 1) * digits)
    return new Measurement(bank, event, digest, hex, everybodys.get(hex))
  })
  return { bank, extends: extended, byPcr: Map.groupBy(extended, ({ event }) => event.pcr), unmeasured }
}

/** The measurements of one PCR, in order. */
export function ofPcr({ byPcr }: Measured, pcr: number): readonly Measurement[] {
  return byPcr.get(pcr) ?? []
}

/** The bank to judge a log by: the one that was asked for, or the best that it has. SHA-1 proves nothing and is refused. */
export function bankToJudge(log: EventLog, asked?: string): Bank {
  const has = log.banks.map(({ name }) => name)
  const found = TRUSTED_BANKS.find((bank) => has.includes(bank) && (asked === undefined || asked === bank))
  if (found !== undefined) return found
  if (asked === 'sha1') throw unsupported('SHA-1 proves nothing: ask for another bank')
  if (asked === undefined) throw unsupported(`its banks (${has.join(', ')}) prove nothing`)
  throw unsupported(`it has no ${asked} bank, it has ${has.join(', ')}`)
}

function unsupported(message: string): Malformed {
  return new Malformed('Unsupported', 'TCG_EfiSpecIDEventStruct', 0, message)
}
