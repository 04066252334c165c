import type { BankName, HardwareProfile, TpmQuote } from '@skerry/api'
import {
  digest,
  type Facts,
  factsOf,
  grammarOf,
  isEmptyBank,
  Malformed,
  type Measured,
  type MeasurementRecord,
  measuredIn,
  parseEventLog,
  parseMeasurementLog,
  recordFindings,
  replay,
  replayRecords,
} from '@skerry/measured-boot'
import { counted } from '../words.ts'
import { type Found, found, made } from './findings.ts'

/** The logs that were replayed against the quoted values, as far as they could be read. */
export type Measurements = {
  readonly findings: readonly Found[]
  /** Only where the replay explains every quoted PCR: nothing may be read from logs that do not. */
  readonly facts: Facts | undefined
  readonly measured: Measured | undefined
}

type Values = ReadonlyMap<number, Uint8Array>

/** Findings of the grammar that leave no doubt about what ran: a firmware that tried again says so itself. */
const WARNINGS: readonly string[] = ['BootRetried']

/**
 * Reads the firmware's log and systemd's of what came after it, replays both against what the TPM signed, and holds them
 * to their grammar. Facts come from the firmware's log alone: what userspace says of itself explains values, no more.
 */
export function readMeasurements(
  { eventLog, eventLogSha256, measurementLog }: Pick<TpmQuote, 'eventLog' | 'eventLogSha256' | 'measurementLog'>,
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
  const firmware = replay(measured)
  const later = afterFirmware(measurementLog, firmware, bank, quoted, profile)
  const replayed = mismatches(later.values, quoted)
  const explained = replayed.length === 0
  findings.push(...later.findings, ...replayed, ...emptiness(quoted, bank), ...grammar(measured, profile))
  return { findings, measured, facts: explained ? factsOf(measured) : undefined }
}

type Later = { readonly findings: readonly Found[]; readonly values: Values }

/** What the PCRs hold after systemd's measurements too; without its log, or with one that cannot be read, what the firmware's leads to. */
function afterFirmware(
  measurementLog: string | undefined,
  firmware: Values,
  bank: BankName,
  quoted: Values,
  profile: HardwareProfile | undefined,
): Later {
  if (measurementLog === undefined) return { findings: [], values: firmware }
  let records: readonly MeasurementRecord[]
  let led: ReturnType<typeof replayRecords>
  try {
    records = parseMeasurementLog(Buffer.from(measurementLog, 'base64'))
    led = replayRecords(firmware, records, bank, quoted)
  } catch (error) {
    if (!(error instanceof Malformed)) throw error
    return { findings: [found('MeasurementLogMalformed', `${error.code}: ${error.message}`)], values: firmware }
  }
  const findings = recordFindings(records.slice(0, led.covered), bank).map(({ code, message, pcr, expected, actual }) =>
    made(code, profile?.allowed?.includes(code) ? 'affirming' : 'contraindicated', 'executables', message, {
      pcr,
      ...(expected === undefined ? {} : { expected: [expected] }),
      ...(actual === undefined ? {} : { actual }),
    }),
  )
  const behind = records.length - led.covered
  if (behind > 0)
    findings.push(
      found(
        'RecordsAfterQuote',
        `of systemd’s log the last ${counted(behind, 'record')} came after the quote: nothing vouches for them`,
      ),
    )
  return { findings, values: led.values }
}

/** A PCR that the logs do not lead to: somebody else extended it, or a log is of another boot. */
function mismatches(values: Values, quoted: Values): Found[] {
  return [...quoted].flatMap(([pcr, value]) => {
    const expected = values.get(pcr) ?? new Uint8Array(value.length)
    if (Buffer.compare(expected, value) === 0) return []
    return [
      found('ReplayMismatch', `PCR ${pcr}: what was logged leads to another value than the TPM quoted`, {
        pcr,
        expected: [hex(expected)],
        actual: hex(value),
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
