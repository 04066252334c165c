import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat } from '../bytes.ts'
import { certificatesIn, chainFrom } from './ek-chain.ts'
import { fuzz, recorded } from './recorded/fixtures.ts'
import { basicConstraints, certificate, type Holder, holder } from './test-certificates.ts'

const NOW = Date.UTC(2030, 0, 1)
const DATES = { from: NOW, to: NOW + 86_400_000 }
const issued = (by: Holder, to: Holder) => certificate(by, to, { ...DATES, extensions: [basicConstraints(true)] })
const [maker, line, shop, other] = [holder('Maker'), holder('Line'), holder('Shop'), holder('Other')]
const [a, b, c] = [issued(maker, line), issued(line, shop), issued(other, other)]
const padding = (byte: number, length: number) => new Uint8Array(length).fill(byte)
const rubbish = Uint8Array.of(0x31, 0x82, 0x01, 0x00, 5, 5, 5)

const names = (contents: readonly Uint8Array[], most = 16) =>
  certificatesIn(contents, most).map(({ subject }) => subject.replace('CN=', ''))

describe('what lies in the NV indexes of a chain', () => {
  const whole = concat(a, b, c)
  test.each<[string, Uint8Array[], string[]]>([
    ['nothing', [], []],
    ['one certificate an index', [a, b, c], ['Line', 'Shop', 'Other']],
    ['all in one index', [whole], ['Line', 'Shop', 'Other']],
    ['filled up with zeros', [concat(a, padding(0, 700)), concat(b, padding(0, 9))], ['Line', 'Shop']],
    ['filled up with ones', [concat(a, padding(0xff, 700)), b], ['Line', 'Shop']],
    [
      'cut wherever an index is full',
      [whole.subarray(0, 100), whole.subarray(100, 700), whole.subarray(700)],
      ['Line', 'Shop', 'Other'],
    ],
    ['rubbish before a certificate of the next index', [concat(rubbish, a), b], ['Shop']],
    ['a certificate that is cut off', [a.subarray(0, -1)], []],
    ['a sequence that is none', [Uint8Array.of(0x30, 3, 2, 1, 1), b], ['Shop']],
  ])('%s', (_, contents, expected) => {
    expect(names(contents)).toEqual(expected)
  })

  test('no more are taken than asked for', () => {
    expect(names([whole, whole], 4)).toEqual(['Line', 'Shop', 'Other', 'Line'])
  })

  test('any bytes are read', () => {
    fuzz([concat(a, b), recorded('ca-issuer.der')], (bytes) => void certificatesIn([bytes], 8), undefined, 500)
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), (contents) => {
        expect(certificatesIn(contents, 8)).toEqual([])
      }),
    )
  })
})

describe('what leads up from an EK certificate', () => {
  const pool = (...ders: Uint8Array[]) => certificatesIn(ders, 64)
  const ek = certificate(shop, other, { ...DATES, extensions: [] })
  const chain = (der: Uint8Array, most: number, ...ders: Uint8Array[]) => chainFrom(der, pool(...ders), most)

  test('is in order, without what leads from others', () => {
    expect(chain(ek, 7, c, a, b)).toEqual([b, a])
    expect(chain(ek, 7, a)).toEqual([])
    expect(chain(new Uint8Array(9), 7, a, b)).toEqual([])
  })

  test('holds the twins of a name, and ends where names go in a circle, or at its bound', () => {
    const twin = issued(other, shop)
    expect(chain(ek, 7, b, twin, a)).toEqual([b, twin, a])
    const circle = [issued(shop, line), issued(line, shop)]
    expect(chain(ek, 7, ...circle)).toHaveLength(2)
    expect(chain(ek, 3, ...Array.from({ length: 9 }, () => issued(maker, shop)))).toHaveLength(3)
  })
})
