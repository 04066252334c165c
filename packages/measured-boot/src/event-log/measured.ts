import { type Bank, TRUSTED_BANKS } from '../banks.ts'
import { Malformed, toHex } from '../bytes.ts'
import { type Coverage, coverageOf, provenVariable, provesOf } from './coverage.ts'
import { EVENT_TYPES } from './event-types.ts'
import { type Known, knownIn } from './known.ts'
import type { EventLog, LogEvent } from './parse.ts'
import type { Variable } from './variable.ts'

/** One extend of one bank: what the event's digest is, and what of its data that digest proves. */
export type Measurement = {
  readonly event: LogEvent
  readonly digest: Uint8Array
  /** The digest in hex, as manifests and findings write it. */
  readonly hex: string
  /** What the digest proves if the event's type is true. */
  readonly coverage: Coverage
  /** Whether the digest is that of these bytes of the data, whatever the type. */
  readonly proves: (start: number, end: number) => boolean
  /** The variable that the digest proves, whatever the event's type says; old shims' authorities included. */
  readonly variable: () => Variable | undefined
  /** What everybody's digest this is: a separator, an action, a section's name. */
  readonly known: Known | undefined
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
  const extended: Measurement[] = []
  const unmeasured: LogEvent[] = []
  for (const event of log.events) {
    const digest = event.digests.get(bank)
    if (event.type === EVENT_TYPES.EV_NO_ACTION) unmeasured.push(event)
    else if (digest === undefined) throw unsupported(`event ${event.index} has no ${bank} digest`)
    else {
      const hex = toHex(digest)
      const known = everybodys.get(hex)
      const proves = provesOf(bank, event.data, hex, known)
      const variable = askedOnce(event.data, proves)
      extended.push({
        event,
        digest,
        hex,
        coverage: coverageOf(event, proves),
        proves,
        variable,
        known,
      })
    }
  }
  return { bank, extends: extended, byPcr: Map.groupBy(extended, ({ event }) => event.pcr), unmeasured }
}

/** Grammar and facts want the same. */
function askedOnce(data: Uint8Array, proves: Measurement['proves']): Measurement['variable'] {
  let asked = false
  let variable: Variable | undefined
  return () => {
    if (!asked) variable = provenVariable(data, proves)
    asked = true
    return variable
  }
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
