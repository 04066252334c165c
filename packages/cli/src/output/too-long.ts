import { constants } from 'node:buffer'
import { AnswerTooLong } from '@skerry/client'

/** What one text may have at most, in characters; no more bytes than that are read into one. */
export const MOST_TEXT = constants.MAX_STRING_LENGTH

/** Runs `act`; where it would have made a longer text than there can be, the error is this sentence. */
export async function withinOneText<T>(act: () => T | Promise<T>, sentence: string): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    if (isTooLong(cause)) throw new Error(sentence, { cause })
    throw cause
  }
}

// The engine says it as a RangeError of these words, Node as an error with this code.
function isTooLong(error: unknown): boolean {
  if (error instanceof AnswerTooLong) return true
  if (error instanceof RangeError) return error.message === 'Invalid string length'
  return error instanceof Error && Reflect.get(error, 'code') === 'ERR_STRING_TOO_LONG'
}
