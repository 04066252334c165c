// A byte for each slot, 1 or 0, worked on four at a time: no sum or product of such bytes runs over into the next.

/** A mask as words, without the up to three bytes behind the last one. */
export const wordsOf = (mask: Uint8Array) => new Int32Array(mask.buffer, mask.byteOffset, mask.length >> 2)

/** A mask of so much room that has all of these. */
export function maskOf(room: number, lists: readonly ArrayLike<number>[]): Uint8Array {
  const mask = new Uint8Array(room)
  for (const slots of lists) for (let at = 0; at < slots.length; at += 1) mask[slots[at] ?? 0] = 1
  return mask
}

/** Clears in `mask` whom `other`, at least as long, has not. */
export function narrowTo(mask: Uint8Array, other: Uint8Array): void {
  const [words, by] = [wordsOf(mask), wordsOf(other)]
  for (let at = 0; at < words.length; at += 1) words[at] = (words[at] ?? 0) & (by[at] ?? 0)
  for (let slot = words.length * 4; slot < mask.length; slot += 1) mask[slot] = (mask[slot] ?? 0) & (other[slot] ?? 0)
}

/** Sets in `mask` whom `other`, as long, has. */
export function widenBy(mask: Uint8Array, other: Uint8Array): void {
  const [words, by] = [wordsOf(mask), wordsOf(other)]
  for (let at = 0; at < words.length; at += 1) words[at] = (words[at] ?? 0) | (by[at] ?? 0)
  for (let slot = words.length * 4; slot < mask.length; slot += 1) mask[slot] = (mask[slot] ?? 0) | (other[slot] ?? 0)
}
