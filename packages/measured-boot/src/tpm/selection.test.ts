import { expect, test } from 'vitest'
import { toHex } from '../bytes.ts'
import { bytesOf, fuzz } from './recorded/fixtures.ts'
import { type PcrSelection, readSelection, writeSelection } from './selection.ts'
import { tpmReader } from './wire.ts'

function selectionOf(bytes: Uint8Array): PcrSelection[] {
  const reader = tpmReader(bytes, 'TPML_PCR_SELECTION')
  const selection = readSelection(reader)
  reader.end()
  return selection
}

test.each<[string, PcrSelection[]]>([
  ['00000000', []],
  ['00000001 000b 03 000800', [{ bank: 'sha256', pcrs: [11] }]],
  ['00000001 000b 03 000000', [{ bank: 'sha256', pcrs: [] }]],
  ['00000001 000c 03 918880', [{ bank: 'sha384', pcrs: [0, 4, 7, 11, 15, 23] }]],
  [
    '00000003 0004 03 010000 0012 03 ffffff 000d 03 000001',
    [
      { bank: 'sha1', pcrs: [0] },
      { bank: '0x0012', pcrs: Array.from({ length: 24 }, (_, pcr) => pcr) },
      { bank: 'sha512', pcrs: [16] },
    ],
  ],
])('%s', (hex, selection) => {
  const bytes = bytesOf(hex)
  expect(selectionOf(bytes)).toEqual(selection)
  expect(toHex(writeSelection(selection))).toBe(toHex(bytes))
})

test.each([
  ['a count that no TPM has', 'ffffffff', 'TPML_PCR_SELECTION, byte 0: 4294967295 banks announced'],
  ['more banks than there are', `00000011${'000b03000000'.repeat(17)}`, 'byte 0: 17 banks announced'],
  ['a count beyond the bytes', '00000002 000b 03 000800', 'byte 10: 2 bytes wanted, 0 left'],
  ['a bitmap of two bytes', '00000001 000b 02 0008', 'byte 6: a bitmap of 2 bytes'],
  ['a bitmap of four bytes', '00000001 000b 04 00080000', 'byte 6: a bitmap of 4 bytes'],
  ['bytes behind it', '00000000 00', 'byte 4: 1 bytes follow'],
])('%s is refused', (_, hex, message) => {
  expect(() => selectionOf(bytesOf(hex))).toThrow(message)
})

test('PCRs are written in any order and read rising; one that no TPM has is not written', () => {
  expect(selectionOf(writeSelection([{ bank: 'sha256', pcrs: [11, 0, 7, 0] }]))).toEqual([
    { bank: 'sha256', pcrs: [0, 7, 11] },
  ])
  for (const pcr of [24, -1, 1.5]) expect(() => writeSelection([{ bank: 'sha256', pcrs: [pcr] }])).toThrow(RangeError)
})

test('any bytes are a selection that is written as it was read, or Malformed', () => {
  fuzz(
    [bytesOf('00000001 000b 03 918880'), bytesOf('00000002 0004 03 010000 0012 03 ffffff')],
    selectionOf,
    writeSelection,
  )
})
