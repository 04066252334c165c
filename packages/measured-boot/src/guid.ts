import { Malformed } from './bytes.ts'

/** The bytes in the order in which people write them, which is its own inverse: three little-endian fields, then eight bytes. */
const FIELDS = [
  [3, 2, 1, 0],
  [5, 4],
  [7, 6],
  [8, 9],
  [10, 11, 12, 13, 14, 15],
] as const
const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** EFI_GUID as people write it (UEFI, appendix A). */
export function guidOf(bytes: Uint8Array): string {
  if (bytes.length !== 16)
    throw new Malformed(
      bytes.length < 16 ? 'Truncated' : 'TrailingBytes',
      'EFI_GUID',
      Math.min(bytes.length, 16),
      `${bytes.length} bytes, where a GUID has 16`,
    )
  let text = ''
  for (const field of FIELDS) {
    if (text !== '') text += '-'
    for (const at of field) text += DIGITS[bytes[at] ?? 0]
  }
  return text
}

export function guidBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text))
    throw new Malformed('BadValue', 'EFI_GUID', 0, `"${text}" is no GUID`)
  const written = Buffer.from(text.replaceAll('-', ''), 'hex')
  return Uint8Array.from(FIELDS.flat(), (at) => written[at] ?? 0)
}
