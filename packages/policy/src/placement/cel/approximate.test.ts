import fc from 'fast-check'
import { expect, test } from 'vitest'
import { approximate } from './quantity.ts'

// Expected: what apimachinery's ParseQuantity and AsApproximateFloat64 give; the doubles are written as their sums.

test.each<[string | number, number]>([
  ['0', 0],
  ['250m', 250 * 1e-3],
  ['0.5', 5 * 1e-1],
  ['1.50', 150 * 1e-2],
  ['16', 16],
  [16, 16],
  ['+7', 7],
  ['-7', -7],
  ['.5', 5 * 1e-1],
  ['5.', 5],
  ['64Gi', 64 * 2 ** 30],
  ['1Ei', 2 ** 60],
  ['5e9', 5 * 1e9],
  ['1E3', 1e3],
  ['2E', 2 * 1e18],
  ['3k', 3 * 1e3],
  ['100n', 100 * 1e-9],
  // Where an int64 does not do: in nanos.
  ['0.5Gi', 2 ** 29 * 1e9 * 1e-9],
  ['7.5Gi', 7.5 * 2 ** 30],
  // Upstream's reader wants no digits before a suffix.
  ['m', 0],
  ['0.0000000001', 1 * 1e-9],
  ['-0.0000000001', -1 * 1e-9],
  ['123456789012345678901', Number('123456789012345678901000000000') * 1e-9],
])('%j is %d', (text, value) => {
  expect(approximate(text)).toBe(value)
})

test.each(['', '1.2.3', '1 Gi', '0x10', '1Zi', '--1', 'NaN'])('%j is no quantity', (text) => {
  expect(approximate(text)).toBeUndefined()
})

test('any whole number with a suffix is that number', () => {
  const suffixes = [
    ['', 1],
    ['Ki', 2 ** 10],
    ['Mi', 2 ** 20],
    ['k', 1e3],
    ['M', 1e6],
  ] as const
  fc.assert(
    fc.property(fc.nat(1_000_000), fc.constantFrom(...suffixes), (number, [suffix, factor]) => {
      expect(approximate(`${number}${suffix}`)).toBe(number * factor)
    }),
  )
})
