import { type KeyObject, X509Certificate } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { Malformed } from '../bytes.ts'
import { certificateExtensions } from './certificate-extensions.ts'
import { checkEkCertificate, type EkCertificateToCheck } from './ek-certificate.ts'
import { EK_TEMPLATES } from './ek-templates.ts'
import { type PublicArea, parsePublic } from './public-area.ts'
import { publicKeyOf } from './public-key.ts'
import { fuzz, recorded } from './recorded/fixtures.ts'
import {
  basicConstraints,
  certificate,
  criticalPolicies,
  type Extension,
  extendedKeyUsage,
  type Holder,
  holder,
  keyUsage,
  type Signed,
  unknownCritical,
} from './test-certificates.ts'

const NOW = Date.UTC(2030, 0, 1)
const YEAR = 365 * 86_400_000
const DATES = { from: NOW - YEAR, to: NOW + YEAR }
const root = (der: Uint8Array) => new X509Certificate(der)
const codes = (der: Uint8Array, given: EkCertificateToCheck) =>
  checkEkCertificate(der, given).faults.map(({ code }) => code)

describe('certificates that a maker made', () => {
  const given = (ek: string): EkCertificateToCheck => ({
    intermediates: [recorded('ca-issuer.der')],
    roots: [root(recorded('ca-root.der'))],
    nowMs: NOW,
    ek: parsePublic(recorded(`${ek}.pub`)),
  })

  test.each(['ek-rsa2048', 'ek-ecc384'])(
    '%s: a critical SAN, an issuer of RSA-3072 and the year 9999 are good, up to the pinned root',
    (ek) => {
      const { faults, chain } = checkEkCertificate(recorded(`${ek}.der`), given(ek))
      expect(faults).toEqual([])
      expect(chain.map(({ subject }) => subject)).toEqual([
        'CN=site-1:node-a',
        'CN=swtpm-localca',
        'CN=swtpm-localca-rootca',
      ])
      expect(chain[0]?.validTo).toContain('9999')
      expect(chain[1]?.publicKey.asymmetricKeyDetails?.modulusLength).toBe(3072)
    },
  )

  test('no bit of the certificate may differ', () => {
    const der = recorded('ek-ecc384.der')
    for (let bit = 0; bit < der.length * 8; bit += 37) {
      const bad = der.slice()
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(codes(bad, given('ek-ecc384')), `bit ${bit}`).not.toEqual([])
    }
  })

  test('any bytes are judged, and only the certificate is good', () => {
    const judged = (der: Uint8Array) => {
      const same = Buffer.from(der).equals(recorded('ek-ecc384.der'))
      expect(codes(der, given('ek-ecc384')).length === 0).toBe(same)
    }
    fuzz([recorded('ek-ecc384.der'), recorded('ek-rsa2048.der')], judged, undefined, 500)
    const issuing = (der: Uint8Array) => {
      checkEkCertificate(recorded('ek-ecc384.der'), { ...given('ek-ecc384'), intermediates: [der] })
    }
    fuzz([recorded('ca-issuer.der')], issuing, undefined, 500)
    fuzz([recorded('ca-issuer.der'), recorded('ek-rsa2048.der')], certificateExtensions)
  })

  test.each<[string, Uint8Array, Partial<EkCertificateToCheck>, string[]]>([
    ['another EK', recorded('ek-ecc384.der'), { ek: parsePublic(recorded('ek-rsa2048.pub')) }, ['OtherKey']],
    ['a template for an EK', recorded('ek-ecc384.der'), { ek: EK_TEMPLATES['H-3'].area }, ['BadKey']],
    ['no root', recorded('ek-ecc384.der'), { roots: [] }, ['UnknownIssuer']],
    ['another root', recorded('ek-ecc384.der'), { roots: [root(recorded('ek-rsa2048.der'))] }, ['UnknownIssuer']],
    ['no intermediate', recorded('ek-ecc384.der'), { intermediates: [] }, ['UnknownIssuer']],
    [
      'a day before it was made',
      recorded('ek-ecc384.der'),
      { nowMs: Date.UTC(2020, 0, 1) },
      ['NotYetValid', 'NotYetValid', 'NotYetValid'],
    ],
    ['bytes behind it', Uint8Array.from([...recorded('ek-ecc384.der'), 0]), {}, ['TrailingBytes']],
    ['no certificate', new Uint8Array(100), {}, ['Unreadable']],
    ['the CA itself', recorded('ca-issuer.der'), {}, ['IsCa', 'NoEkUse', 'OtherKey']],
    [
      'a flood of intermediates',
      recorded('ek-ecc384.der'),
      { intermediates: Array(17).fill(recorded('ca-issuer.der')) },
      ['TooMany'],
    ],
  ])('%s is refused', (_, der, changed, expected) => {
    expect(codes(der, { ...given('ek-ecc384'), ...changed })).toEqual(expected)
  })

  test('an intermediate may be what is pinned', () => {
    expect(
      codes(recorded('ek-ecc384.der'), {
        ...given('ek-ecc384'),
        intermediates: [],
        roots: [root(recorded('ca-issuer.der'))],
      }),
    ).toEqual([])
  })
})

describe('certificates that nobody should believe', () => {
  const ek = parsePublic(recorded('ek-ecc256.pub'))
  const maker = holder('Maker')
  const line = holder('Line')
  const shop = holder('Shop')
  const stranger = { ...holder('x'), name: 'Maker' }
  const CERT_SIGN = keyUsage(0x04)
  const ca = [basicConstraints(true), CERT_SIGN]
  const forEk = [extendedKeyUsage('6781050801'), basicConstraints(false)]
  const made = (
    by: Holder,
    extensions: readonly Extension[] = forEk,
    dates = DATES,
    key: KeyObject = publicKeyOf(ek),
  ) => certificate(by, { name: 'node', publicKey: key }, { ...dates, extensions })
  const issued = (by: Holder, to: Holder, extensions = ca, dates = DATES) =>
    certificate(by, to, { ...dates, extensions })
  const trusted = issued(maker, maker)
  const given = (
    intermediates: readonly Uint8Array[],
    roots = [trusted],
    of: PublicArea = ek,
  ): EkCertificateToCheck => ({
    intermediates,
    roots: roots.map(root),
    nowMs: NOW,
    ek: of,
  })
  const past = { from: NOW - 2 * YEAR, to: NOW - YEAR }
  const future = { from: NOW + YEAR, to: NOW + 2 * YEAR }

  test.each<[string, Uint8Array, EkCertificateToCheck, string[]]>([
    ['by the root itself', made(maker), given([]), []],
    ['with a critical policy, which nobody here asks for', made(maker, [...forEk, criticalPolicies]), given([]), []],
    ['by a line under it', made(line), given([issued(maker, line)]), []],
    ['three deep, in any order', made(shop), given([issued(line, shop), issued(maker, line)]), []],
    ['with a stranger’s certificate among them', made(line), given([issued(stranger, line), issued(maker, line)]), []],
    ['with an expired twin of the line', made(line), given([issued(maker, line, ca, past), issued(maker, line)]), []],
    [
      'with the path that the root allows',
      made(line),
      given([issued(maker, line)], [issued(maker, maker, [basicConstraints(true, 1), CERT_SIGN])]),
      [],
    ],
    [
      'by a root that does not speak of usage',
      made(maker),
      given([], [issued(maker, maker, [basicConstraints(true)])]),
      [],
    ],
    ['by a stranger of the same name', made(stranger), given([]), ['WrongSignature']],
    ['by a line of a stranger', made(line), given([issued(stranger, line)]), ['WrongSignature']],
    ['by nobody known', made(shop), given([issued(maker, line)]), ['UnknownIssuer']],
    ['by itself', made(holder('node')), given([]), ['UnknownIssuer']],
    [
      'by lines that certify each other',
      made(line),
      given([issued(shop, line), issued(line, shop)]),
      ['UnknownIssuer'],
    ],
    ['that is over', made(maker, forEk, past), given([]), ['Expired']],
    ['that has not begun', made(maker, forEk, future), given([]), ['NotYetValid']],
    ['by a line that is over', made(line), given([issued(maker, line, ca, past)]), ['Expired']],
    ['by a root that is over', made(maker), given([], [issued(maker, maker, ca, past)]), ['Expired']],
    ['by a line that is no CA', made(line), given([issued(maker, line, [basicConstraints(false)])]), ['IssuerNotCa']],
    ['by a line that says nothing', made(line), given([issued(maker, line, [])]), ['IssuerNotCa']],
    [
      'by a line that may not sign',
      made(line),
      given([issued(maker, line, [basicConstraints(true), keyUsage(0x80)])]),
      ['IssuerMayNotSign'],
    ],
    [
      'by more lines than the root allows',
      made(shop),
      given([issued(maker, line), issued(line, shop)], [issued(maker, maker, [basicConstraints(true, 1), CERT_SIGN])]),
      ['PathTooLong'],
    ],
    [
      'by a line under one that allows none',
      made(shop),
      given([issued(maker, line, [basicConstraints(true, 0), CERT_SIGN]), issued(line, shop)]),
      ['PathTooLong'],
    ],
    ['for something else', made(maker, [extendedKeyUsage('2b06010505070301')]), given([]), ['NoEkUse']],
    ['for nothing', made(maker, [basicConstraints(false)]), given([]), ['NoEkUse']],
    ['that is a CA', made(maker, [...ca, extendedKeyUsage('6781050801')]), given([]), ['IsCa']],
    ['with what nobody understands', made(maker, [...forEk, unknownCritical]), given([]), ['UnknownCritical']],
    [
      'under what nobody understands',
      made(line),
      given([issued(maker, line, [...ca, unknownCritical])]),
      ['UnknownCritical'],
    ],
    ['with one extension twice', made(maker, [...forEk, ...forEk]), given([]), ['Unreadable']],
    ['of another key', made(maker, forEk, DATES, line.publicKey), given([]), ['OtherKey']],
    [
      'with all of it',
      made(stranger, ca, past, line.publicKey),
      given([]),
      ['IsCa', 'NoEkUse', 'OtherKey', 'Expired', 'WrongSignature'],
    ],
  ])('%s', (_, der, how, expected) => {
    expect(codes(der, how)).toEqual(expected)
  })

  const rsaMaker = holder('Old maker', 2048)
  const signedBy = (signed: Signed, by: Holder, to: { name: string; publicKey: KeyObject }, extensions = ca) =>
    certificate(by, to, { ...DATES, extensions, signed })
  const node = { name: 'node', publicKey: publicKeyOf(ek) }
  test.each<[string, Uint8Array, EkCertificateToCheck, string[]]>([
    ['an EK’s, with ECDSA', signedBy('sha1', maker, node, forEk), given([]), ['WeakSignature']],
    [
      'an EK’s, with RSA',
      signedBy('sha1', rsaMaker, node, forEk),
      given([], [issued(rsaMaker, rsaMaker)]),
      ['WeakSignature'],
    ],
    [
      'an EK’s, with PSS, which does not say so',
      signedBy('pss-sha1', rsaMaker, node, forEk),
      given([], [issued(rsaMaker, rsaMaker)]),
      ['WeakSignature'],
    ],
    ['a line’s', made(line), given([signedBy('sha1', maker, line)]), ['WeakSignature']],
    ['an EK’s of nobody known', signedBy('sha1', shop, node, forEk), given([]), ['WeakSignature', 'UnknownIssuer']],
  ])('over SHA-1 is refused by name: %s', (_, der, how, expected) => {
    expect(codes(der, how)).toEqual(expected)
  })
  test.each<[string, Uint8Array, EkCertificateToCheck]>([
    ['a pinned root', made(maker), given([], [signedBy('sha1', maker, maker)])],
    ['PSS over SHA-256', signedBy('pss-sha256', rsaMaker, node, forEk), given([], [issued(rsaMaker, rsaMaker)])],
  ])('is good for what it is: %s', (_, der, how) => {
    expect(codes(der, how)).toEqual([])
  })

  test('a line whose key anybody can break vouches for nothing; what is pinned is believed for being pinned', () => {
    const weak = holder('Weak', 1024)
    expect(codes(made(weak), given([issued(maker, weak)]))).toEqual(['WeakKey'])
    expect(codes(made(weak), given([], [issued(weak, weak)]))).toEqual([])
  })

  test('a failure names the certificate and what it says', () => {
    const { faults } = checkEkCertificate(made(line), given([issued(maker, line, ca, past)]))
    expect(faults[0]?.message).toBe('the certificate of CN=Line is not valid any more: Jan  1 00:00:00 2029 GMT')
  })

  test('lines that all issue each other cost each one look', () => {
    const many = Array.from({ length: 15 }, (_, at) => issued(line, line, [basicConstraints(true, at), CERT_SIGN]))
    expect(codes(made(line), given(many)).at(-1)).toBe('UnknownIssuer')
  })
})

test('a certificate without its body is Malformed', () => {
  expect(() => certificateExtensions(Uint8Array.of(0x30, 0))).toThrow(Malformed)
})
