import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect } from 'vitest'
import { Malformed } from '../../bytes.ts'

/** One of the recordings beside; README.md says how they were made. */
export function recorded(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(import.meta.dirname, name)))
}

export const recordedText = (name: string): string => readFileSync(join(import.meta.dirname, name), 'utf8')

/** Good bytes with a bit flipped, a part cut out, or bytes put in; and bytes from nowhere. */
export function damaged(good: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const one = fc.constantFrom(...good)
  const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })
  const flipped = fc
    .tuple(one, fc.array(fc.tuple(place, fc.nat(7)), { minLength: 1, maxLength: 4 }))
    .map(([bytes, flips]) => {
      const bad = bytes.slice()
      for (const [at, bit] of flips) {
        const index = Math.floor(at * bad.length)
        bad[index] = (bad[index] ?? 0) ^ (1 << bit)
      }
      return bad
    })
  const cut = fc.tuple(one, place, place).map(([bytes, a, b]) => {
    const [from, to] = [Math.floor(Math.min(a, b) * bytes.length), Math.floor(Math.max(a, b) * bytes.length)]
    return Uint8Array.from([...bytes.subarray(0, from), ...bytes.subarray(to)])
  })
  const widened = fc.tuple(one, place, fc.uint8Array({ minLength: 1, maxLength: 9 })).map(([bytes, a, more]) => {
    const at = Math.floor(a * (bytes.length + 1))
    return Uint8Array.from([...bytes.subarray(0, at), ...more, ...bytes.subarray(at)])
  })
  return fc.oneof(flipped, cut, widened, fc.uint8Array({ maxLength: 200 }), one)
}

/** Holds a parser to rule 1 of DESIGN.md: a value or Malformed, and a value that is written as it was read. */
export function fuzz<Value>(
  good: readonly Uint8Array[],
  parse: (bytes: Uint8Array) => Value,
  write?: (value: Value) => Uint8Array,
  numRuns = 3000,
): void {
  let read = 0
  fc.assert(
    fc.property(damaged(good), (bytes) => {
      let value: Value
      try {
        value = parse(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(Malformed)
        if (error instanceof Malformed) {
          expect(error.offset).toBeGreaterThanOrEqual(0)
          expect(error.offset).toBeLessThanOrEqual(bytes.length)
        }
        return
      }
      read += 1
      if (write) expect(write(value)).toEqual(bytes)
    }),
    { numRuns },
  )
  // Were nothing ever read, nothing was tried.
  expect(read).toBeGreaterThan(numRuns / 30)
}

export const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
