import { expect, test } from 'vitest'
import { es256Of } from './es256.ts'

const ones = (length: number) => new Uint8Array(length).fill(1)

test.each([
  ['whole numbers', 32, 32],
  ['a short r', 31, 32],
  ['a short s', 32, 30],
])('%s: both halves end where they should', (_, r, s) => {
  const expected = [...new Uint8Array(32 - r), ...ones(r), ...new Uint8Array(32 - s), ...ones(s)]
  expect([...es256Of({ algorithm: 'ecdsa', hash: 'sha256', r: ones(r), s: ones(s) })]).toEqual(expected)
})

test.each([
  { algorithm: 'ecdsa', hash: 'sha256', r: ones(48), s: ones(48) } as const,
  { algorithm: 'rsassa', hash: 'sha256', bytes: ones(256) } as const,
])('a signature of another kind ($algorithm) is refused', (signature) => {
  expect(() => es256Of(signature)).toThrow(expect.objectContaining({ code: 'NotUnderstood' }))
})
