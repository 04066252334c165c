import { Malformed, readerOf, toHex } from '../bytes.ts'
import { devicePathText, parseDevicePath } from './device-path.ts'
import { oneLine } from './findings.ts'
import type { LogEvent } from './parse.ts'
import { utf16, variableIn } from './variable.ts'

const CHARACTERS = 256

/**
 * What an event says of itself, for people to read: most of it is free text that no digest covers, and nothing may be
 * decided from it. Undefined where the data is not what the type says, or nothing to read.
 */
export function labelOf(event: LogEvent): string | undefined {
  const text = readable(event)
  if (text === undefined || text === '') return undefined
  return oneLine(text)
}

function readable({ typeName, data }: LogEvent): string | undefined {
  switch (typeName) {
    case 'EV_SEPARATOR':
      return toHex(data.subarray(0, 4))
    case 'EV_ACTION':
    case 'EV_EFI_ACTION':
    case 'EV_POST_CODE':
      return latin1(data)
    case 'EV_NO_ACTION':
      return latin1(data.subarray(0, 16)).replace(/\0.*$/s, '')
    case 'EV_EFI_VARIABLE_DRIVER_CONFIG':
    case 'EV_EFI_VARIABLE_BOOT':
    case 'EV_EFI_VARIABLE_BOOT2':
    case 'EV_EFI_VARIABLE_AUTHORITY': {
      const variable = variableIn(data)
      return variable && `${variable.guid}-${variable.name} (${variable.value.length} bytes)`
    }
    case 'EV_EFI_BOOT_SERVICES_APPLICATION':
    case 'EV_EFI_BOOT_SERVICES_DRIVER':
    case 'EV_EFI_RUNTIME_SERVICES_DRIVER':
      return tried(() => imageLoad(data))
    case 'EV_EVENT_TAG':
      return tried(() => tagged(data))
    case 'EV_IPL':
      return words(data)
    default:
      return undefined
  }
}

/** UEFI_IMAGE_LOAD_EVENT (Platform Firmware Profile, 10.2.3): where an image lay and where it came from. */
function imageLoad(data: Uint8Array): string {
  const reader = readerOf(data, 'UEFI_IMAGE_LOAD_EVENT', 'little')
  reader.raw(24)
  const length = reader.length64()
  if (length > reader.left()) reader.fail('Truncated', `a path of ${length} bytes`)
  const at = reader.offset()
  return devicePathText(parseDevicePath(reader.raw(length), at))
}

/** TCG_PCClientTaggedEvent (Platform Firmware Profile, 10.4.2.1). */
function tagged(data: Uint8Array): string {
  const reader = readerOf(data, 'TCG_PCClientTaggedEvent', 'little')
  const id = reader.u32()
  const text = words(reader.raw(reader.u32()))
  reader.end()
  return `0x${id.toString(16).padStart(8, '0')} ${text}`
}

/** UTF-16 where every second of the first bytes is zero, as in English it is; else one byte a character. */
function words(data: Uint8Array): string {
  const wide =
    data.length >= 2 && data.length % 2 === 0 && data.subarray(0, 16).every((byte, at) => at % 2 === 0 || byte === 0)
  return (wide ? utf16(data.subarray(0, CHARACTERS * 2 + 2)) : latin1(data)).replace(/\0+$/, '')
}

function latin1(data: Uint8Array): string {
  return Buffer.from(data.subarray(0, CHARACTERS + 1)).toString('latin1')
}

function tried(read: () => string): string | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof Malformed) return undefined
    throw error
  }
}
