import { concat, Malformed, readerOf } from '../bytes.ts'
import { guidBytes, guidOf } from '../guid.ts'

/** One entry of a list: EFI_SIGNATURE_DATA. `data` is a certificate in DER or an image's SHA-256. */
export type SignatureEntry = { readonly owner: string; readonly data: Uint8Array }
/** EFI_SIGNATURE_LIST: UEFI, 32.4.1. All entries of one list have one length. */
export type SignatureList = { readonly kind: 'x509' | 'sha256'; readonly entries: readonly SignatureEntry[] }

const KINDS = {
  x509: 'a5c059a1-94e4-4aa7-87b5-ab155c2bf072',
  sha256: 'c1c41626-504c-4092-aca9-41f936934328',
} as const
const GUID_BYTES = 16
const HEADER_BYTES = 28
const MOST_BYTES = 2 ** 20
const WHAT = 'EFI_SIGNATURE_LIST'

/** What PK, KEK, db and dbx hold: lists behind each other, to the last byte. No bytes are no lists. */
export function parseSignatureLists(bytes: Uint8Array): readonly SignatureList[] {
  const reader = readerOf(bytes, WHAT, 'little')
  if (bytes.length > MOST_BYTES) reader.fail('TooLarge', `${bytes.length} bytes, at most ${MOST_BYTES} are read`)
  const lists: SignatureList[] = []
  while (reader.left() > 0) {
    const at = reader.offset()
    const type = guidOf(reader.raw(GUID_BYTES))
    const kind = type === KINDS.x509 ? 'x509' : type === KINDS.sha256 ? 'sha256' : undefined
    if (!kind) return reader.fail('Unsupported', `signatures of type ${type}`, at)
    const [listSize, headerSize, size] = [reader.u32(), reader.u32(), reader.u32()]
    if (headerSize !== 0) reader.fail('BadValue', `a header of ${headerSize} bytes, there is none`, at + 20)
    if (kind === 'sha256' ? size !== GUID_BYTES + 32 : size <= GUID_BYTES)
      reader.fail('BadValue', `entries of ${size} bytes`, at + 24)
    const content = listSize - HEADER_BYTES
    if (content <= 0 || content % size !== 0)
      reader.fail('BadValue', `${listSize} bytes are not a number of entries of ${size}`, at + 16)
    if (content > reader.left()) reader.fail('Truncated', `a list of ${listSize} bytes`, at + 16)
    const entries: SignatureEntry[] = []
    for (let index = 0; index < content / size; index++)
      entries.push({ owner: guidOf(reader.raw(GUID_BYTES)), data: reader.raw(size - GUID_BYTES) })
    lists.push({ kind, entries })
  }
  return lists
}

export function encodeSignatureLists(lists: readonly SignatureList[]): Uint8Array {
  return concat(
    ...lists.flatMap(({ kind, entries }) => {
      const size = GUID_BYTES + (entries[0]?.data.length ?? 0)
      if (entries.some(({ data }) => data.length !== size - GUID_BYTES) || (kind === 'sha256' && size !== 48))
        throw new Malformed('BadValue', WHAT, 0, `entries of one ${kind} list have one length`)
      const numbers = new DataView(new ArrayBuffer(12))
      numbers.setUint32(0, HEADER_BYTES + size * entries.length, true)
      numbers.setUint32(8, size, true)
      return [guidBytes(KINDS[kind]), new Uint8Array(numbers.buffer), ...entries.map(signatureData)]
    }),
  )
}

/** An entry as a firmware measures the one that let an image start. */
export function signatureData({ owner, data }: SignatureEntry): Uint8Array {
  return concat(guidBytes(owner), data)
}
