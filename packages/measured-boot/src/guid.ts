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
  const byte = (at: number) => hex.slice(at * 2, at * 2 + 2)
  const [first, second, third] = [
    `${byte(3)}${byte(2)}${byte(1)}${byte(0)}`,
    `${byte(5)}${byte(4)}`,
    `${byte(7)}${byte(6)}`,
  ]
  return `${first}-${second}-${third}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

export function guidBytes(text: string): Uint8Array {
  const match = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/i.exec(text)
  if (!match) throw new Malformed('BadValue', 'EFI_GUID', 0, `"${text}" is no GUID`)
  const [first, second, third, ...rest] = match.slice(1).map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')))
  return concat(...[first, second, third].map((field) => (field ?? new Uint8Array()).reverse()), ...rest)
}
