import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat, Malformed, toHex } from '../bytes.ts'
import { parseDevicePath } from './device-path.ts'
import { GLOBAL_GUID, recordedLog, text, u32, variableData } from './fixture.ts'
import { labelOf } from './label.ts'
import { parseEventLog } from './parse.ts'
import { parseVariable, variableIn } from './variable.ts'

const db = variableData(GLOBAL_GUID, 'PK', text('value'))

test('UEFI_VARIABLE_DATA is read with what stands behind it', () => {
  expect(parseVariable(concat(db, text('123456')))).toEqual({
    guid: '8be4df61-93ca-11d2-aa0d-00e098032b8c',
    name: 'PK',
    value: text('value'),
    valueAt: 36,
    behind: 6,
  })
})

describe('refused, with the byte', () => {
  const sizes = (characters: number[], bytes: number[]) =>
    concat(GLOBAL_GUID, ...characters.map(u32), ...bytes.map(u32))
  test.each<[string, Uint8Array, string, number]>([
    ['nothing', text(''), 'Truncated', 0],
    ['half a GUID', GLOBAL_GUID.subarray(0, 8), 'Truncated', 0],
    ['a name of 2^32 characters', sizes([0, 1], [0, 0]), 'TooLarge', 16],
    ['a value of 2^32 bytes', sizes([0, 0], [0, 1]), 'Truncated', 24],
    ['a name longer than the data', sizes([8, 0], [0, 0]), 'Truncated', 32],
    ['a value longer than what is left', concat(sizes([1, 0], [8, 0]), text('a\0bcdefg')), 'Truncated', 34],
  ])('%s', (_, bytes, code, offset) => {
    expect(() => parseVariable(bytes)).toThrow(expect.objectContaining({ name: 'Malformed', code, offset }))
    expect(variableIn(bytes)).toBeUndefined()
  })
})

test.each<[string, number[], string, number]>([
  ['a node shorter than its head', [1, 1, 3, 0], 'BadValue', 2],
  ['no end', [1, 1, 4, 0], 'Truncated', 4],
  ['something behind the end', [0x7f, 0xff, 4, 0, 0], 'TrailingBytes', 4],
])('a device path with %s is Malformed', (_, bytes, code, offset) => {
  const read = () => parseDevicePath(Uint8Array.from(bytes))
  expect(read).toThrow(expect.objectContaining({ name: 'Malformed', code, offset }))
})

describe('any bytes', () => {
  const path = Uint8Array.from(Buffer.from('02010c00d041030a00000000010106000001' + '7fff0400', 'hex'))
  const near = (good: Uint8Array) =>
    fc.oneof(
      fc.uint8Array({ maxLength: 120 }),
      fc
        .array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 4 })
        .map((puts) => puts.reduce<Uint8Array>((bytes, [at, value]) => bytes.with(at, value), good)),
      fc.tuple(fc.nat(good.length), fc.nat(good.length)).map(([a, b]) => concat(good.subarray(0, a), good.subarray(b))),
    )
  const onlyMalformed = (read: () => unknown, length: number) => {
    try {
      read()
    } catch (error) {
      expect(error).toBeInstanceOf(Malformed)
      expect((error as Malformed).offset).toBeLessThanOrEqual(length)
    }
  }

  test('are a variable or Malformed', () => {
    fc.assert(
      fc.property(near(db), (bytes) => onlyMalformed(() => parseVariable(bytes), bytes.length)),
      { numRuns: 2000 },
    )
  })

  test('are a device path or Malformed', () => {
    expect(parseDevicePath(path).map(({ type, subType, data }) => [type, subType, toHex(data)])).toEqual([
      [2, 1, 'd041030a00000000'],
      [1, 1, '0001'],
    ])
    fc.assert(
      fc.property(near(path), (bytes) => onlyMalformed(() => parseDevicePath(bytes), bytes.length)),
      { numRuns: 2000 },
    )
  })

  test('have a label of bounded length, or none, under every type', () => {
    const events = parseEventLog(recordedLog('retry')).events
    fc.assert(
      fc.property(
        fc.constantFrom(...events),
        fc.constantFrom(...events),
        fc.uint8Array({ maxLength: 900 }),
        (one, other, raw) => {
          for (const data of [raw, concat(other.data, raw)]) {
            const label = labelOf({ ...one, data })
            expect(label?.length ?? 0).toBeLessThanOrEqual(256)
            expect(label ?? '').not.toMatch(/\p{C}/u)
          }
        },
      ),
      { numRuns: 500 },
    )
  })
})
