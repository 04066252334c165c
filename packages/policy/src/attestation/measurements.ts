import type { BankName, HardwareProfile, TpmQuote } from '@skerry/api'
import {
  digest,
  type Facts,
  factsOf,
  grammarOf,
  isEmptyBank,
  Malformed,
  type Measured,
  measuredIn,
  parseEventLog,
  replay,
} from '@skerry/measured-boot'
import { type Found, found, made } from './findings.ts'

/** A log that was replayed against the quoted values, as far as it could be read. */
export type Measurements = {
  readonly findings: readonly Found[]
  /** Only where the replay explains every quoted PCR: nothing may be read from a log that does not. */
  readonly facts: Facts | undefined
  readonly measured: Measured | undefined
}

type Values = ReadonlyMap<number, Uint8Array>

/** Findings of the grammar that leave no doubt about what ran: a firmware that tried again says so itself. */
const WARNINGS: readonly string[] = ['BootRetried']

/** Reads the event log, replays it against what the TPM signed, and holds it to its grammar. */
export function readMeasurements(
  { eventLog, eventLogSha256 }: Pick<TpmQuote, 'eventLog' | 'eventLogSha256'>,
  bank: BankName,
  quoted: Values,
  profile: HardwareProfile | undefined,
): Measurements {
  const nothing = { facts: undefined, measured: undefined }
  if (eventLog === undefined)
    return {
      ...nothing,
      findings: [found('EventLogMissing', 'no event log came with the quote: nobody can say what its values are of')],
    }
  const bytes = Buffer.from(eventLog, 'base64')
  const findings: Found[] = []
  const sha256 = hex(digest('sha256', bytes))
  if (sha256 !== eventLogSha256)
    findings.push(
      found('EventLogReplaced', 'the event log is not the one that the node signed for', {
        expected: [eventLogSha256],
        actual: sha256,
      }),
    )
  let measured: Measured
  try {
    measured = measuredIn(parseEventLog(bytes), bank)
  } catch (error) {
    if (!(error instanceof Malformed)) throw error
    return { ...nothing, findings: [...findings, found('EventLogMalformed', `${error.code}: ${error.message}`)] }
  }
  const replayed = mismatches(measured, quoted)
  const explained = replayed.length === 0
  findings.push(...replayed, ...emptiness(quoted, bank), ...grammar(measured, profile))
  return { findings, measured, facts: explained ? factsOf(measured) : undefined }
}

/** A PCR that the log does not lead to: somebody else extended it, or the log is of another boot. */
function mismatches(measured: Measured, quoted: Values): Found[] {
  const values = replay(measured)
  return [...quoted].flatMap(([pcr, value]) => {
    const expected = hex(values.get(pcr) ?? new Uint8Array(value.length))
    const actual = hex(value)
    if (expected === actual) return []
    return [
      found('ReplayMismatch', `PCR ${pcr}: the event log leads to another value than the TPM quoted`, {
        pcr,
        expected: [expected],
        actual,
      }),
    ]
  })
}

function emptiness(quoted: Values, bank: BankName): Found[] {
  if (!isEmptyBank(quoted, bank)) return []
  return [made('EmptyBank', 'contraindicated', 'hardware', `the firmware measured nothing into bank ${bank}`)]
}

function grammar(measured: Measured, profile: HardwareProfile | undefined): Found[] {
  return grammarOf(measured).map(({ code, message, pcr, event, expected, actual }) => {
    const tier = profile?.allowed?.includes(code)
      ? 'affirming'
      : WARNINGS.includes(code)
        ? 'warning'
        : 'contraindicated'
    return made(code, tier, pcr === 7 ? 'configuration' : 'executables', message, {
      ...(pcr === undefined ? {} : { pcr }),
      ...(event === undefined ? {} : { event }),
      ...(expected === undefined ? {} : { expected: [expected] }),
      ...(actual === undefined ? {} : { actual }),
    })
  })
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
