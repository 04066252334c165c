import { describe, expect, test } from 'vitest'
import { digest } from '../banks.ts'
import { toHex } from '../bytes.ts'
import { parseCertify, parseQuote } from './attest.ts'
import { nameOf, parsePublic } from './public-area.ts'
import { bytesOf, fuzz, recorded } from './recorded/fixtures.ts'

const quote = recorded('ak-ecc256.quote')

test('a quote is read whole', () => {
  const { qualifiedSigner, extraData, clock, firmwareVersion, selection, pcrDigest } = parseQuote(quote)
  expect(qualifiedSigner.length).toBe(34)
  expect(toHex(extraData)).toBe(toHex(digest('sha256', new TextEncoder().encode('a nonce'))))
  expect(clock).toEqual({ clockMs: expect.any(Number), resetCount: 2, restartCount: 0, safe: true })
  expect(firmwareVersion).toBe('2019102300163636')
  expect(selection).toEqual([{ bank: 'sha256', pcrs: [0, 4, 7, 11] }])
  expect(toHex(pcrDigest)).toBe(toHex(digest('sha256', recorded('pcrs-sha256.bin'))))
})

test('two banks, and none, are read as they are', () => {
  expect(parseQuote(recorded('two-banks.quote')).selection).toEqual([
    { bank: 'sha256', pcrs: [0, 4, 7, 11] },
    { bank: 'sha384', pcrs: [0] },
  ])
  expect(parseQuote(recorded('no-pcrs.quote')).selection).toEqual([{ bank: 'sha256', pcrs: [] }])
})

test('a certified key is named by its Name', () => {
  const certify = parseCertify(recorded('node-key.certify'))
  expect(toHex(certify.name)).toBe(toHex(nameOf(parsePublic(recorded('node-key.pub')))))
  expect(certify.qualifiedName.length).toBe(34)
})

describe('what is refused, with the byte', () => {
  const hex = toHex(quote)
  const [clockAt, safeAt] = [2 * (4 + 2 + 36 + 34), 2 * (4 + 2 + 36 + 34 + 16)]
  const patched = (at: number, bytes: string) => bytesOf(hex.slice(0, at) + bytes + hex.slice(at + bytes.length))
  test.each([
    ['another magic', patched(0, 'ff544348'), 'BadMagic', 0],
    ['another magic, whatever follows', bytesOf('00000000'), 'BadMagic', 0],
    ['a certification', recorded('node-key.certify'), 'WrongType', 4],
    ['a type that nobody has', patched(8, 'ffff'), 'WrongType', 4],
    ['a signer longer than a name', patched(12, '0043'), 'TooLarge', 6],
    ['a nonce longer than a TPM takes', patched(84, '0043'), 'TooLarge', 42],
    ['a clock of more than 2^53 ms', patched(clockAt, '0020000000000000'), 'TooLarge', clockAt / 2],
    ['a "safe" that is neither', patched(safeAt, '02'), 'BadValue', safeAt / 2],
    ['too many banks', patched(safeAt + 18, '00000011'), 'TooLarge', safeAt / 2 + 9],
    ['a digest longer than any', patched(2 * (quote.length - 34), '0041'), 'TooLarge', quote.length - 34],
    ['a byte behind', Uint8Array.from([...quote, 0]), 'TrailingBytes', quote.length],
    ['a byte too few', quote.subarray(0, -1), 'Truncated', quote.length - 32],
  ])('%s', (_, bytes, code, offset) => {
    expect(() => parseQuote(bytes)).toThrow(expect.objectContaining({ code, offset, what: 'TPMS_ATTEST' }))
  })

  test('a clock at the edge is exact', () => {
    expect(parseQuote(patched(clockAt, '001fffffffffffff')).clock.clockMs).toBe(2 ** 53 - 1)
  })

  test('a quote is no certification', () => {
    expect(() => parseCertify(quote)).toThrow('TPMS_ATTEST, byte 4: 0x8018, where a certify is 0x8017')
  })
})

test('any bytes are a quote or a certification, or Malformed', () => {
  fuzz([quote, recorded('two-banks.quote'), recorded('no-pcrs.quote')], parseQuote)
  fuzz([recorded('node-key.certify')], parseCertify)
})
