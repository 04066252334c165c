import { expect, test } from 'vitest'
import { toHex } from './bytes.ts'
import { guidBytes, guidOf } from './guid.ts'

test('a GUID has its first three fields backwards', () => {
  const bytes = guidBytes('8be4df61-93ca-11d2-aa0d-00e098032b8c')
  expect(toHex(bytes)).toBe('61dfe48bca93d211aa0d00e098032b8c')
  expect(guidOf(bytes)).toBe('8be4df61-93ca-11d2-aa0d-00e098032b8c')
})

test('what is no GUID is refused', () => {
  expect(() => guidBytes('db')).toThrow('"db" is no GUID')
  expect(() => guidOf(new Uint8Array(15))).toThrow('EFI_GUID, byte 15')
  expect(() => guidOf(new Uint8Array(17))).toThrow('EFI_GUID, byte 16')
})
