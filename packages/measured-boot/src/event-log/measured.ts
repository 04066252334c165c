import { type Bank, digest, TRUSTED_BANKS } from '../banks.ts'
import { equal, Malformed, toHex } from '../bytes.ts'
import { type Coverage, coverageOf } from './coverage.ts'
import { EVENT_TYPES } from './event-types.ts'
import { type Known, knownIn } from './known.ts'
import type { EventLog, LogEvent } from './parse.ts'

/** One extend of one bank: what the event's digest is, and what of its data that digest proves. */
export type Measurement = {
  readonly event: LogEvent
  readonly digest: Uint8Array
  /** The digest in hex, as manifests and findings write it. */
  readonly hex: string
  /** Whether the digest is that of the whole data, whatever the type says. */
  readonly ofData: boolean
  readonly coverage: Coverage
  /** What everybody's digest this is: a separator, an action, a section's name. */
  readonly known: Known | undefined
}

/** A log as one bank tells it. `extends` has every event that was measured, in order; the others extended nothing. */
export type Measured = {
  readonly bank: Bank
  readonly extends: readonly Measurement[]
  readonly unmeasured: readonly LogEvent[]
}

/** Looks at a log through one bank, and computes once what replay, grammar and facts all need. Throws Malformed if the log lacks the bank. */
export function measuredIn(log: EventLog, bank: Bank): Measured {
  if (!log.banks.some(({ name }) => name === bank)) lacks(bank)
  const known = knownIn(bank)
  const extended: Measurement[] = []
  const unmeasured: LogEvent[] = []
  for (const event of log.events) {
    if (event.type === EVENT_TYPES.EV_NO_ACTION) {
      unmeasured.push(event)
      continue
    }
    const measured = event.digests.get(bank) ?? lacks(bank)
    const hex = toHex(measured)
    const ofData = equal(digest(bank, event.data), measured)
    const coverage = coverageOf(event, bank, measured, ofData)
    extended.push({ event, digest: measured, hex, ofData, coverage, known: known.get(hex) })
  }
  return { bank, extends: extended, unmeasured }
}

/** The bank to judge a log by: the one that was asked for, or the best that it has. SHA-1 proves nothing and is refused. */
export function bankToJudge(log: EventLog, asked?: string): Bank {
  const has = new Set(log.banks.map(({ name }) => name))
  const found = TRUSTED_BANKS.find((bank) => has.has(bank) && (asked === undefined || asked === bank))
  if (found !== undefined) return found
  const banks = log.banks.map(({ name }) => name).join(', ')
  if (asked === 'sha1') throw unsupported('SHA-1 proves nothing: ask for another bank')
  throw unsupported(
    asked === undefined ? `its banks (${banks}) prove nothing` : `it has no ${asked} bank, it has ${banks}`,
  )
}

function lacks(bank: Bank): never {
  throw unsupported(`it has no ${bank} bank`)
}

function unsupported(message: string): Malformed {
  return new Malformed('Unsupported', 'TCG_EfiSpecIDEventStruct', 0, message)
}
