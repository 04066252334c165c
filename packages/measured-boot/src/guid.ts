import { Malformed } from './bytes.ts'

/** EFI_GUID as people write it (UEFI, appendix A): three little-endian fields, then eight bytes. */
export function guidOf(bytes: Uint8Array): string {
  if (bytes.length !== 16)
    throw new Malformed(
      bytes.length < 16 ? 'Truncated' : 'TrailingBytes',
      'EFI_GUID',
      Math.min(bytes.length, 16),
      `${bytes.length} bytes, where a GUID has 16`,
    )
  const hex = turned(bytes).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

export function guidBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text))
    throw new Malformed('BadValue', 'EFI_GUID', 0, `"${text}" is no GUID`)
  return new Uint8Array(turned(Buffer.from(text.replaceAll('-', ''), 'hex')))
}

/** The same 16 bytes with the first three fields in the other order. */
function turned(bytes: Uint8Array): Buffer {
  const other = Buffer.from(bytes)
  other.writeUInt32BE(other.readUInt32LE(0), 0)
  other.writeUInt16BE(other.readUInt16LE(4), 4)
  other.writeUInt16BE(other.readUInt16LE(6), 6)
  return other
}
