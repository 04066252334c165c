import { concat, Malformed, readerOf } from './bytes.ts'

/** One element of DER (X.690, 8 and 10): its tag byte, its content, and all of its bytes. `offset` is of the first one. */
export type Der = {
  readonly tag: number
  readonly content: Uint8Array
  readonly whole: Uint8Array
  readonly offset: number
  readonly contentOffset: number
}

export const TAG = {
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
  context0: 0xa0,
  context1: 0xa1,
} as const

const MOST_CHILDREN = 64

/** The element that `bytes` begin with, and how many bytes it takes. Tags of one byte and definite lengths alone. */
export function derElement(bytes: Uint8Array, what: string, offset = 0): Der {
  const reader = readerOf(bytes, what, 'big', offset)
  const tag = reader.u8()
  if ((tag & 0x1f) === 0x1f) reader.fail('Unsupported', 'a tag of several bytes', offset)
  let length = reader.u8()
  if (length > 0x7f) {
    const size = length & 0x7f
    if (size === 0 || size > 4) reader.fail('Unsupported', `a length of ${size} bytes`, offset + 1)
    length = 0
    for (const byte of reader.raw(size)) length = length * 256 + byte
    if (length < 0x80 || length < 256 ** (size - 1)) reader.fail('BadValue', 'a length longer than need be', offset + 1)
  }
  const contentOffset = reader.offset()
  const content = reader.raw(length)
  return { tag, content, whole: bytes.subarray(0, contentOffset - offset + length), offset, contentOffset }
}

/** An element as it is written; of up to 255 bytes, which is more than anything that is written here. */
export function derWritten(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const length = content.reduce((sum, part) => sum + part.length, 0)
  if (length > 0xff) throw new RangeError(`an element of ${length} bytes`)
  return concat(length > 0x7f ? Uint8Array.of(tag, 0x81, length) : Uint8Array.of(tag, length), ...content)
}

/** INTEGER of a number that is not negative, in its shortest form (X.690, 8.3.2). */
export function derInteger(number: Uint8Array): Uint8Array {
  let from = 0
  while (from < number.length - 1 && number[from] === 0) from += 1
  const shortest = number.subarray(from)
  const signed = (shortest[0] ?? 0) > 0x7f || shortest.length === 0
  return signed ? derWritten(TAG.integer, Uint8Array.of(0), shortest) : derWritten(TAG.integer, shortest)
}

/** The elements of a constructed one, in order. */
export function derChildren(parent: Der, what: string): readonly Der[] {
  const children: Der[] = []
  for (let at = 0; at < parent.content.length; ) {
    if (children.length === MOST_CHILDREN)
      throw new Malformed('TooLarge', what, parent.contentOffset + at, `more than ${MOST_CHILDREN} elements`)
    const child = derElement(parent.content.subarray(at), what, parent.contentOffset + at)
    children.push(child)
    at += child.whole.length
  }
  return children
}

/** `element` if it is there and has this tag. */
export function derTagged(element: Der | undefined, tag: number, what: string, within: Der): Der {
  if (element === undefined)
    throw new Malformed(
      'Truncated',
      what,
      within.contentOffset + within.content.length,
      `no element 0x${tag.toString(16)}`,
    )
  if (element.tag !== tag)
    throw new Malformed('BadValue', what, element.offset, `0x${element.tag.toString(16)} is no 0x${tag.toString(16)}`)
  return element
}

/** An object identifier in hex of its content: what it is compared by. */
export function derOid(element: Der | undefined, what: string, within: Der): string {
  return Buffer.from(derTagged(element, TAG.oid, what, within).content).toString('hex')
}
