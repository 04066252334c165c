import { concat, Malformed, toHex } from './bytes.ts'

/** EFI_GUID as people write it (UEFI, appendix A): three little-endian fields, then eight bytes. */
export function guidOf(bytes: Uint8Array): string {
  if (bytes.length !== 16)
    throw new Malformed(
      bytes.length < 16 ? 'Truncated' : 'TrailingBytes',
      'EFI_GUID',
      Math.min(bytes.length, 16),
      `${bytes.length} bytes, where a GUID has 16`,
    )
  const hex = toHex(bytes)
  const turned = (...at: readonly number[]) => at.map((byte) => hex.slice(byte * 2, byte * 2 + 2)).join('')
  return `${turned(3, 2, 1, 0)}-${turned(5, 4)}-${turned(7, 6)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

export function guidBytes(text: string): Uint8Array {
  const match = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/i.exec(text)
  if (!match) throw new Malformed('BadValue', 'EFI_GUID', 0, `"${text}" is no GUID`)
  const [first, second, third, ...rest] = match.slice(1).map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')))
  return concat(...[first, second, third].map((field) => (field ?? new Uint8Array()).reverse()), ...rest)
}
