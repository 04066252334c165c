import { hash } from 'node:crypto'
import { BANKS, type Bank, type BankName, extend } from '../banks.ts'
import { equal, Malformed, toHex } from '../bytes.ts'
import { type PcrValues, startOf } from './replay.ts'

/** What a log of userspace may have at most. A boot leaves some ten records of a few hundred bytes. */
export const MEASUREMENT_LOG_LIMITS = { bytes: 1 << 20, records: 4096, recordBytes: 1 << 16, digests: 16 } as const

const WHAT = 'tpm2-measure.log'

/** One record: what userspace extended into a PCR after the firmware's log had ended. */
export type MeasurementRecord = {
  readonly index: number
  /** None for systemd's registers in NV indexes, which no quote of PCRs holds. */
  readonly pcr: number | undefined
  readonly digests: ReadonlyMap<BankName, Uint8Array>
  /** What was measured, in words: proven only where a digest is that of these words. */
  readonly says: string | undefined
  /** A label, as event types are. */
  readonly eventType: string | undefined
  readonly offset: number
}

/**
 * systemd's /run/log/systemd/tpm2-measure.log: records in TCG's canonical event log encoding as JSON, each between a
 * record separator and a line feed (RFC 7464). Offsets in errors are those of the record.
 */
export function parseMeasurementLog(bytes: Uint8Array): readonly MeasurementRecord[] {
  const limits = MEASUREMENT_LOG_LIMITS
  if (bytes.length > limits.bytes) fail('TooLarge', 0, `${bytes.length} bytes, at most ${limits.bytes}`)
  const records: MeasurementRecord[] = []
  let at = 0
  while (at < bytes.length) {
    if (bytes[at] !== RECORD_SEPARATOR) fail('BadMagic', at, 'a record begins with a record separator')
    if (records.length === limits.records) fail('TooLarge', at, `more than ${limits.records} records`)
    const next = bytes.indexOf(RECORD_SEPARATOR, at + 1)
    const end = next === -1 ? bytes.length : next
    if (bytes[end - 1] !== LINE_FEED) fail('Truncated', at, 'a record without its line feed: it was not written whole')
    if (end - at > limits.recordBytes) fail('TooLarge', at, `a record of ${end - at} bytes`)
    records.push(recordOf(json(bytes.subarray(at + 1, end), at), records.length, at))
    at = end
  }
  return records
}

const RECORD_SEPARATOR = 0x1e
const LINE_FEED = 0x0a

/**
 * What userspace may extend once the firmware is gone (UAPI group, PCR registry). A record of any other PCR explains
 * nothing: what was started, and by whom, must be in the firmware's own log.
 */
const USERSPACE_PCRS: readonly number[] = [11, 12, 13, 14, 15]

/**
 * The values after the records too, from those that the firmware's log led to. A node asks for the quote first and reads
 * this log then: of the beginnings of the log that lead to `quoted` the longest counts, and `covered` is its number of
 * records; nothing vouches for those behind it. Where no beginning does, all are replayed. Throws Malformed where a record
 * lacks the bank.
 */
export function replayRecords(
  pcrs: PcrValues,
  records: readonly MeasurementRecord[],
  bank: Bank,
  quoted: PcrValues,
): { readonly values: PcrValues; readonly covered: number } {
  const compared = USERSPACE_PCRS.filter((pcr) => quoted.has(pcr))
  const values = new Map(pcrs)
  const led = () => compared.every((pcr) => equal(values.get(pcr) ?? startOf(bank, pcr), quoted.get(pcr) ?? NOTHING))
  let found = led() ? { values: new Map(values), covered: 0 } : undefined
  for (const { pcr, digests, index, offset } of records) {
    if (pcr !== undefined) {
      const digest = digests.get(bank) ?? fail('Unsupported', offset, `record ${index} has no ${bank} digest`)
      if (USERSPACE_PCRS.includes(pcr)) values.set(pcr, extend(bank, values.get(pcr) ?? startOf(bank, pcr), digest))
    }
    if (led()) found = { values: new Map(values), covered: index + 1 }
  }
  return found ?? { values, covered: records.length }
}

const NOTHING = new Uint8Array(0)

/** What may be wrong with a record that can be read; for policy to judge, as the grammar of the firmware's log. */
export const RECORD_FINDINGS = {
  RecordNotCovered: 'the digest is not that of the words, as it must be for this type',
  RecordInFirmwarePcr: "userspace extended one of the firmware's PCRs",
} as const
export type RecordFinding = {
  readonly code: keyof typeof RECORD_FINDINGS
  readonly record: number
  readonly pcr: number
  readonly expected?: string
  readonly actual?: string
  readonly message: string
}

/** Types whose digest is that of the words themselves; a volume key's, for one, is not. */
const OF_WORDS = ['phase', 'machine-id', 'filesystem', 'product-id']

export function recordFindings(records: readonly MeasurementRecord[], bank: Bank): readonly RecordFinding[] {
  return records.flatMap((record) => {
    const { pcr, index, says, eventType, digests } = record
    if (pcr === undefined) return []
    const found: RecordFinding[] = []
    const say = (code: keyof typeof RECORD_FINDINGS, more: { expected?: string; actual?: string } = {}) =>
      found.push({
        code,
        record: index,
        pcr,
        ...more,
        message: `PCR ${pcr}, record ${index}: ${RECORD_FINDINGS[code]}`,
      })
    if (pcr <= 7) say('RecordInFirmwarePcr')
    if (eventType !== undefined && OF_WORDS.includes(eventType) && provenWords(record, bank) === undefined) {
      const digest = digests.get(bank)
      say('RecordNotCovered', {
        expected: hash(bank, says ?? '', 'hex'),
        ...(digest === undefined ? {} : { actual: toHex(digest) }),
      })
    }
    return found
  })
}

/** The words that a record's digest proves, whatever its type says: a phase of the boot, the machine's id. */
export function provenWords({ says, digests }: MeasurementRecord, bank: Bank): string | undefined {
  const digest = digests.get(bank)
  return says !== undefined && digest !== undefined && hash(bank, says, 'hex') === toHex(digest) ? says : undefined
}

function recordOf(value: unknown, index: number, offset: number): MeasurementRecord {
  const bad = (message: string): never => fail('BadValue', offset, `record ${index}: ${message}`)
  if (!isObject(value)) return bad('no object')
  const { pcr, digests, content } = value
  if (pcr !== undefined && !(Number.isInteger(pcr) && typeof pcr === 'number' && pcr >= 0 && pcr < 24)) {
    bad('pcr is none of 0 to 23')
  }
  if (!Array.isArray(digests) || digests.length === 0 || digests.length > MEASUREMENT_LOG_LIMITS.digests) {
    return bad(`digests is no list of 1 to ${MEASUREMENT_LOG_LIMITS.digests}`)
  }
  const byBank = new Map<BankName, Uint8Array>()
  for (const one of digests) {
    if (!isObject(one) || typeof one.hashAlg !== 'string' || typeof one.digest !== 'string') {
      return bad('a digest is { hashAlg, digest }')
    }
    if (!isBank(one.hashAlg)) continue
    if (byBank.has(one.hashAlg)) bad(`two digests of ${one.hashAlg}`)
    if (one.digest.length !== BANKS[one.hashAlg].size * 2 || !/^[0-9a-f]*$/.test(one.digest)) {
      bad(`the digest of ${one.hashAlg} is not ${BANKS[one.hashAlg].size} bytes in hex`)
    }
    byBank.set(one.hashAlg, Uint8Array.from(Buffer.from(one.digest, 'hex')))
  }
  const text = (key: string) => (isObject(content) && typeof content[key] === 'string' ? content[key] : undefined)
  return {
    index,
    pcr: typeof pcr === 'number' ? pcr : undefined,
    digests: byBank,
    says: text('string'),
    eventType: text('eventType'),
    offset,
  }
}

function json(bytes: Uint8Array, offset: number): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return fail('BadValue', offset, 'no JSON')
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isBank(name: string): name is BankName {
  return Object.hasOwn(BANKS, name)
}

function fail(code: Malformed['code'], offset: number, message: string): never {
  throw new Malformed(code, WHAT, offset, message)
}
