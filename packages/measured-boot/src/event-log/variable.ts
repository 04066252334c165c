import { Malformed, readerOf } from '../bytes.ts'
import { guidOf } from '../guid.ts'

/** UEFI_VARIABLE_DATA (Platform Firmware Profile, 10.2.6), from an event's data. */
export type Variable = {
  /** As GUIDs are written: 8be4df61-93ca-11d2-aa0d-00e098032b8c. */
  readonly guid: string
  readonly name: string
  /** A window into the event's data. */
  readonly value: Uint8Array
  /** Where the value begins in the event's data, and how many bytes follow it. */
  readonly valueAt: number
  readonly behind: number
}

const NAME_CHARACTERS = 1024
const HEADER_BYTES = 16 + 8 + 8

/** Throws Malformed, with offsets from the start of `data`. Bytes behind the value are counted, not refused: old shims write six. */
export function parseVariable(data: Uint8Array): Variable {
  const { guid, name, ...rest } = layoutOf(data)
  return { ...rest, guid: guidOf(guid), name: utf16(name) }
}

/** The same before its GUID and its name are made texts: where its value lies can be told without. */
type Layout = Omit<Variable, 'guid' | 'name'> & { readonly guid: Uint8Array; readonly name: Uint8Array }

function layoutOf(data: Uint8Array): Layout {
  const reader = readerOf(data, 'UEFI_VARIABLE_DATA', 'little')
  const guid = reader.raw(16)
  const characters = reader.length64()
  const bytes = reader.length64()
  if (characters > NAME_CHARACTERS) reader.fail('TooLarge', `a name of ${characters} characters`, 16)
  if (bytes > data.length) reader.fail('Truncated', `a value of ${bytes} bytes`, 24)
  const name = reader.raw(characters * 2)
  const valueAt = reader.offset()
  const value = reader.raw(bytes)
  return { guid, name, value, valueAt, behind: reader.left() }
}

/** The variable that these bytes are, or nothing: for readers of logs, to whom bytes that are none are no error. */
export const variableIn = (data: Uint8Array): Variable | undefined => readIn(data, parseVariable)
export const variableLayoutIn = (data: Uint8Array): Layout | undefined => readIn(data, layoutOf)

function readIn<Read>(data: Uint8Array, read: (data: Uint8Array) => Read): Read | undefined {
  if (data.length < HEADER_BYTES) return undefined
  try {
    return read(data)
  } catch (error) {
    if (error instanceof Malformed) return undefined
    throw error
  }
}

export function utf16(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf16le')
}
