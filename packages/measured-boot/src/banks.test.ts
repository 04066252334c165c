import { expect, test } from 'vitest'
import { BANKS, bankOf, digest, extended, isTrusted, TRUSTED_BANKS } from './banks.ts'
import { toHex } from './bytes.ts'

test('ids lead to banks and nothing else does', () => {
  expect(Object.values(BANKS).map(({ id }) => bankOf(id))).toEqual(Object.keys(BANKS))
  expect(bankOf(0x10)).toBeUndefined()
  expect(Object.keys(BANKS).filter((bank) => !isTrusted(bank as keyof typeof BANKS))).toEqual(['sha1'])
})

test.each(TRUSTED_BANKS)('a %s bank starts at zero and takes digests in their order', (bank) => {
  const [a, b] = [digest(bank, Uint8Array.of(1)), digest(bank, Uint8Array.of(2))]
  const zero = new Uint8Array(BANKS[bank].size)
  expect(extended(bank, [])).toEqual(zero)
  expect(toHex(extended(bank, [a, b]))).toBe(toHex(digest(bank, digest(bank, zero, a), b)))
  expect(extended(bank, [b, a])).not.toEqual(extended(bank, [a, b]))
})

test('a part of a digest that was sliced off is a copy', () => {
  const whole = digest('sha256')
  whole.slice().fill(0)
  expect(toHex(whole)).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
})

test('a start, or a digest, that is none of the bank is refused: what stands beside it in memory must not be hashed', () => {
  const [one, short] = [digest('sha256', Uint8Array.of(1)), new Uint8Array(31)]
  expect(() => extended('sha256', [one], short)).toThrow('31 bytes are no start of a sha256 PCR')
  expect(() => extended('sha256', [one, short])).toThrow('31 bytes are no sha256 digest')
})
