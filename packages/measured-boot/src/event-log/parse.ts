import { BANKS, bankOf } from '../banks.ts'
import { type Reader, readerOf } from '../bytes.ts'
import { EVENT_TYPES, type EventTypeName, eventTypeOf } from './event-types.ts'

/** What a log may have at most. Real ones have 4 to 75 KB; a whole dbx in one event has about 25 KB. */
export const LOG_LIMITS = {
  bytes: 1 << 20,
  events: 8192,
  digestsPerEvent: 16,
  digestBytes: 64,
  dataBytes: 1 << 18,
} as const

/** EV_NO_ACTION events may belong to no PCR at all (Platform Firmware Profile, 10.4.5). */
export const NO_PCR = 0xffffffff
const PCRS = 24

/** An algorithm that the log's header announces; `name` is TCG's number in hex where we have no name for it. */
export type LogBank = { readonly id: number; readonly name: string; readonly size: number }

export type LogEvent = {
  /** The header is event 0, as in the output of other tools. */
  readonly index: number
  readonly pcr: number
  readonly type: number
  readonly typeName: EventTypeName | undefined
  /** One digest for each announced bank, by the bank's name. */
  readonly digests: ReadonlyMap<string, Uint8Array>
  readonly data: Uint8Array
  /** Where the event begins in the log. */
  readonly offset: number
}

export type EventLog = { readonly banks: readonly LogBank[]; readonly events: readonly LogEvent[] }

/**
 * The crypto-agile event log, as `binary_bios_measurements` holds it: TCG PC Client Platform Firmware Profile, 10.2.
 * The values are windows into `bytes`. What firmware may break in spirit is read and left to the grammar; what would
 * let two readers see two logs (a second header, digests that were not announced, bytes behind the end) is Malformed.
 */
export function parseEventLog(bytes: Uint8Array): EventLog {
  const log = readerOf(bytes, 'TCG_PCR_EVENT', 'little')
  if (bytes.length > LOG_LIMITS.bytes) log.fail('TooLarge', `${bytes.length} bytes, at most ${LOG_LIMITS.bytes}`)
  const banks = header(log, bytes)
  const reader = readerOf(bytes.subarray(log.offset()), 'TCG_PCR_EVENT2', 'little', log.offset())
  const least = 4 + 4 + 4 + banks.reduce((sum, { size }) => sum + 2 + size, 0) + 4
  const events: LogEvent[] = []
  while (reader.left() > 0) {
    if (events.length === LOG_LIMITS.events) reader.fail('TooLarge', `more than ${LOG_LIMITS.events} events`)
    if (reader.left() < least && isFilling(bytes.subarray(reader.offset()))) reader.end()
    events.push(event(reader, bytes, banks, events.length + 1))
  }
  return { banks, events }
}

const SIGNATURE = 'Spec ID Event03\0'

function header(log: Reader, bytes: Uint8Array): readonly LogBank[] {
  const pcr = log.u32()
  const type = log.u32()
  log.raw(20)
  const size = log.u32()
  const begins = log.offset()
  const agile = pcr === 0 && type === EVENT_TYPES.EV_NO_ACTION && startsWith(bytes.subarray(begins), SIGNATURE)
  if (!agile && isSha1Format(bytes)) {
    log.fail('Unsupported', 'a log in the SHA-1 format of TPM 1.2: its digests prove nothing', 0)
  }
  if (!agile) log.fail('BadMagic', 'does not begin with a Spec ID Event03', 0)
  if (size > LOG_LIMITS.dataBytes) log.fail('TooLarge', `a header of ${size} bytes`, begins - 4)
  const spec = readerOf(log.raw(size), 'TCG_EfiSpecIDEventStruct', 'little', begins)
  spec.raw(SIGNATURE.length)
  spec.u32() // platformClass: clients and servers write the same log
  spec.u8()
  if (spec.u8() !== 2) spec.fail('Unsupported', 'specVersionMajor is not 2', spec.offset() - 1)
  spec.u8()
  spec.u8() // uintnSize: nothing that is read here depends on it
  const count = spec.u32()
  if (count === 0 || count > LOG_LIMITS.digestsPerEvent) {
    spec.fail('BadValue', `${count} algorithms, 1 to ${LOG_LIMITS.digestsPerEvent} may be`, spec.offset() - 4)
  }
  const banks: LogBank[] = []
  for (let at = 0; at < count; at++) banks.push(announced(spec, banks))
  spec.raw(spec.u8())
  spec.end()
  return banks
}

function announced(spec: Reader, before: readonly LogBank[]): LogBank {
  const at = spec.offset()
  const id = spec.u16()
  const size = spec.u16()
  const bank = bankOf(id)
  const name = bank ?? `0x${id.toString(16).padStart(4, '0')}`
  if (before.some((other) => other.id === id)) spec.fail('BadValue', `announces ${name} twice`, at)
  if (bank !== undefined && size !== BANKS[bank].size) {
    spec.fail('BadValue', `announces ${size} bytes for ${name}, which has ${BANKS[bank].size}`, at + 2)
  }
  if (size === 0 || size > LOG_LIMITS.digestBytes) spec.fail('BadValue', `announces ${size} bytes for ${name}`, at + 2)
  return { id, name, size }
}

function event(reader: Reader, bytes: Uint8Array, banks: readonly LogBank[], index: number): LogEvent {
  const offset = reader.offset()
  const pcr = reader.u32()
  const type = reader.u32()
  const count = reader.u32()
  if (count !== banks.length) {
    if (isFilling(bytes.subarray(offset))) reader.fail('TrailingBytes', 'nothing but filling follows', offset)
    reader.fail('BadValue', `event ${index} has ${count} digests, the header announces ${banks.length}`, offset + 8)
  }
  if (pcr >= PCRS && !(pcr === NO_PCR && type === EVENT_TYPES.EV_NO_ACTION)) {
    reader.fail('BadValue', `event ${index} is of PCR ${pcr}`, offset)
  }
  const digests = new Map<string, Uint8Array>()
  for (let nth = 0; nth < count; nth++) {
    const at = reader.offset()
    const id = reader.u16()
    const bank = banks.find((one) => one.id === id)
    if (bank === undefined) return reader.fail('BadValue', `event ${index} has a digest of ${id}, not announced`, at)
    if (digests.has(bank.name)) reader.fail('BadValue', `event ${index} has two digests of ${bank.name}`, at)
    digests.set(bank.name, reader.raw(bank.size))
  }
  const size = reader.u32()
  if (size > LOG_LIMITS.dataBytes) reader.fail('TooLarge', `event ${index} has ${size} bytes`, reader.offset() - 4)
  const data = reader.raw(size)
  if (type === EVENT_TYPES.EV_NO_ACTION && startsWith(data, 'Spec ID Event')) {
    reader.fail('BadValue', `event ${index} is a second header`, offset)
  }
  return { index, pcr, type, typeName: eventTypeOf(type), digests, data, offset }
}

/** The format of TPM 1.2: nothing but SHA-1 events, with a header of another name or with none. */
function isSha1Format(bytes: Uint8Array): boolean {
  const named = bytes.subarray(32)
  if (startsWith(named, 'Spec ID Event00') || startsWith(named, 'Spec ID Event02')) return true
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  while (bytes.length - at >= 32) {
    const pcr = view.getUint32(at, true)
    if (pcr >= PCRS && !(pcr === NO_PCR && view.getUint32(at + 4, true) === EVENT_TYPES.EV_NO_ACTION)) return false
    at += 32 + view.getUint32(at + 28, true)
  }
  return at === bytes.length && at > 0
}

function isFilling(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0) || bytes.every((byte) => byte === 0xff)
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  if (bytes.length < text.length) return false
  for (let at = 0; at < text.length; at++) if (bytes[at] !== text.charCodeAt(at)) return false
  return true
}
