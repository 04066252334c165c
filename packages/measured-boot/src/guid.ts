import { concat, Malformed, readerOf, toHex } from './bytes.ts'

/** EFI_GUID as people write it (UEFI, appendix A): three little-endian fields, then eight bytes. */
export function guidOf(bytes: Uint8Array): string {
  const reader = readerOf(bytes, 'EFI_GUID', 'little')
  const turned = (length: number) => toHex(Uint8Array.from(reader.raw(length)).reverse())
  const text = [turned(4), turned(2), turned(2), toHex(reader.raw(2)), toHex(reader.raw(6))].join('-')
  reader.end()
  return text
}

export function guidBytes(text: string): Uint8Array {
  const match = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/i.exec(text)
  if (!match) throw new Malformed('BadValue', 'EFI_GUID', 0, `"${text}" is no GUID`)
  const [first, second, third, ...rest] = match.slice(1).map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')))
  return concat(...[first, second, third].map((field) => (field ?? new Uint8Array()).reverse()), ...rest)
}
