import { readFileSync } from 'node:fs'
import { digest } from '../banks.ts'
import { concat } from '../bytes.ts'
import { EVENT_TYPES, type EventTypeName } from './event-types.ts'
import { type EventLog, type LogBank, type LogEvent, parseEventLog } from './parse.ts'

export const RECORDINGS = ['secure-boot-off', 'secure-boot-on', 'retry', 'two-banks'] as const
export type Recording = (typeof RECORDINGS)[number]

const at = (file: string): URL => new URL(`recordings/${file}`, import.meta.url)
export const recordingPath = (name: Recording): string => at(`${name}.bin`).pathname
export const recordedLog = (name: Recording): Uint8Array => new Uint8Array(readFileSync(at(`${name}.bin`)))
/** What systemd wrote into tpm2-measure.log after the boot `secure-boot-off`. */
export const recordedRecords = (): Uint8Array => new Uint8Array(readFileSync(at('userspace.jsonseq')))
/** What the machine's TPM held, by bank and PCR. */
export const recordedPcrs = (name: Recording | 'userspace'): Record<string, Record<string, string>> =>
  JSON.parse(readFileSync(at(`${name}.pcrs.json`), 'utf8'))

const little = (bytes: number, value: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, at) => Math.floor(value / 2 ** (8 * at)) & 0xff)
export const u16 = (value: number): Uint8Array => little(2, value)
export const u32 = (value: number): Uint8Array => little(4, value)
export const text = (value: string): Uint8Array => Uint8Array.from(Buffer.from(value, 'latin1'))
export const utf16le = (value: string): Uint8Array => Uint8Array.from(Buffer.from(value, 'utf16le'))

/** A log's bytes, as the specification writes them; what a test breaks, it breaks in the parts. */
export function writtenHeader(
  banks: readonly Pick<LogBank, 'id' | 'size'>[],
  vendor: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const spec = concat(
    text('Spec ID Event03\0'),
    u32(0),
    Uint8Array.of(0, 2, 0, 2),
    u32(banks.length),
    ...banks.flatMap(({ id, size }) => [u16(id), u16(size)]),
    Uint8Array.of(vendor.length),
    vendor,
  )
  return concat(u32(0), u32(3), new Uint8Array(20), u32(spec.length), spec)
}

export function writtenEvent(
  pcr: number,
  type: number,
  digests: readonly (readonly [id: number, digest: Uint8Array])[],
  data: Uint8Array,
): Uint8Array {
  const written = digests.flatMap(([id, digest]) => [u16(id), digest])
  return concat(u32(pcr), u32(type), u32(digests.length), ...written, u32(data.length), data)
}

export function written({ banks, events }: { readonly banks: EventLog['banks']; readonly events: readonly Part[] }) {
  const idOf = new Map(banks.map(({ id, name }) => [name, id]))
  const body = events.map(({ pcr, type, digests, data }) =>
    writtenEvent(
      pcr,
      type,
      [...digests].map(([name, digest]) => [idOf.get(name) ?? 0, digest] as const),
      data,
    ),
  )
  return concat(writtenHeader(banks), ...body)
}

export type Part = Pick<LogEvent, 'pcr' | 'type' | 'digests' | 'data'>
const SHA256: LogBank = { id: 0xb, name: 'sha256', size: 32 }

/** One SHA-256 event; its digest is that of the data unless it is given. */
export function part(pcr: number, type: EventTypeName | number, data: Uint8Array, measured: Uint8Array = data): Part {
  const number = typeof type === 'number' ? type : EVENT_TYPES[type]
  return { pcr, type: number, digests: new Map([['sha256', digest('sha256', measured)]]), data }
}

/** A SHA-256 log of these events, as the parser gives it. */
export const logOf = (...parts: readonly Part[]): EventLog => parseEventLog(written({ banks: [SHA256], events: parts }))

/** A recording whose events were changed by `change`, written and read again. */
export function changed(name: Recording, change: (events: readonly LogEvent[]) => readonly Part[]): EventLog {
  const log = parseEventLog(recordedLog(name))
  return parseEventLog(written({ ...log, events: change(log.events) }))
}

/** UEFI_VARIABLE_DATA; a GUID as bytes. */
export function variableData(guid: Uint8Array, name: string, value: Uint8Array): Uint8Array {
  return concat(guid, u32(name.length), u32(0), u32(value.length), u32(0), utf16le(name), value)
}
export const GLOBAL_GUID = Uint8Array.from(Buffer.from('61dfe48bca93d211aa0d00e098032b8c', 'hex'))
export const SECURITY_GUID = Uint8Array.from(Buffer.from('cbb219d73a3d9645a3bcdad00e67656f', 'hex'))
