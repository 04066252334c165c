import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { big, concat, equal, Malformed, readerOf, toHex } from './bytes.ts'

const thrown = (act: () => unknown): unknown => {
  try {
    return act()
  } catch (error) {
    return error
  }
}

describe('a reader', () => {
  test('reads numbers in the order it was told', () => {
    const bytes = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    const big = readerOf(bytes, 'B', 'big')
    expect([big.u8(), big.u16(), big.u32(), big.u64(), big.left()]).toEqual([
      1,
      0x0203,
      0x04050607,
      0x08090a0b0c0d0e0fn,
      0,
    ])
    const little = readerOf(bytes, 'L', 'little')
    expect([little.u8(), little.u16(), little.u32(), little.u64()]).toEqual([
      1,
      0x0302,
      0x07060504,
      0x0f0e0d0c0b0a0908n,
    ])
  })

  test('names the structure and the byte of the whole at which it failed', () => {
    const reader = readerOf(Uint8Array.of(1, 2, 3), 'TPMS_ATTEST', 'big', 100)
    reader.u16()
    expect(thrown(() => reader.u32())).toMatchObject({ code: 'Truncated', what: 'TPMS_ATTEST', offset: 102 })
    expect(reader.offset()).toBe(102)
    expect(thrown(() => reader.end())).toMatchObject({ code: 'TrailingBytes', offset: 102 })
  })

  test('never reads past its bytes, whatever is asked of it, also in a window of a larger buffer', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 40 }),
        fc.nat(8),
        fc.array(fc.oneof(fc.constantFrom('u8', 'u16', 'u32', 'u64'), fc.nat(50)), { maxLength: 20 }),
        (bytes, skip, asks) => {
          const window = bytes.subarray(Math.min(skip, bytes.length))
          const reader = readerOf(window, 'X', 'big')
          const got: Uint8Array[] = []
          for (const ask of asks) {
            const before = reader.offset()
            try {
              if (typeof ask === 'number') got.push(reader.raw(ask))
              else reader[ask as 'u8']()
            } catch (error) {
              expect(error).toBeInstanceOf(Malformed)
              expect(reader.offset()).toBe(before)
            }
          }
          expect(reader.offset() + reader.left()).toBe(window.length)
          expect(got.every((part) => part.buffer === bytes.buffer || part.length === 0)).toBe(true)
        },
      ),
    )
  })
})

test('bytes are put together and compared as they are', () => {
  expect(toHex(concat(big.u8(1), big.u16(0x0203), big.u32(0xfffefdfc)))).toBe('010203fffefdfc')
  expect([
    equal(Uint8Array.of(1), Uint8Array.of(1)),
    equal(Uint8Array.of(1), Uint8Array.of(2)),
    equal(Uint8Array.of(), Uint8Array.of(0)),
  ]).toEqual([true, false, false])
})
