import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BANKS, type BankName, digest } from '../banks.ts'
import { toHex } from '../bytes.ts'
import { readAk } from './ak-signer.ts'
import { nameOf, parsePublic } from './public-area.ts'
import { publicKeyOf } from './public-key.ts'
import { checkQuote, QUOTE_CHECKS, type QuoteToCheck } from './quote.ts'
import { bytesOf, damaged, recorded } from './recorded/fixtures.ts'

const PCRS = [0, 4, 7, 11]
const nonce = digest('sha256', new TextEncoder().encode('a nonce'))

function values(bank: BankName): Map<number, Uint8Array> {
  const { size } = BANKS[bank]
  return new Map(PCRS.map((pcr, at) => [pcr, recorded(`pcrs-${bank}.bin`).subarray(at * size, (at + 1) * size)]))
}

const honest = (name = 'ak-ecc256', ak = name): QuoteToCheck => ({
  ak: recorded(`${ak}.pub`),
  quote: recorded(`${name}.quote`),
  signature: recorded(`${name}.sig`),
  nonce,
  bank: 'sha256',
  selection: PCRS,
  pcrs: new Map([['sha256', values('sha256')]]),
})

/** `check: codes` of each check that fails. */
const failing = (given: QuoteToCheck) =>
  checkQuote(given)
    .checks.filter(({ ok }) => !ok)
    .map(({ name, faults }) => `${name}: ${faults.map(({ code }) => code).join(' ')}`)

test.each(['ak-ecc256', 'ak-ecc384', 'ak-ecc521', 'ak-rsa2048', 'ak-pss', 'ak-rsa3072'])(
  'an honest quote by %s passes every check, in their order',
  (name) => {
    const checked = checkQuote(honest(name))
    expect(checked.checks).toEqual(QUOTE_CHECKS.map((check) => ({ name: check, ok: true, faults: [] })))
    expect(checked).toMatchObject({ ok: true, authenticated: true, quote: { clock: { resetCount: 2, safe: true } } })
  },
)

test('a checked quote says the Name of the key that it was held against, whatever else is wrong', () => {
  const name = nameOf(parsePublic(recorded('ak-ecc256.pub')))
  expect(checkQuote(honest()).akName).toEqual(name)
  expect(checkQuote({ ...honest(), quote: new Uint8Array(), signature: new Uint8Array() }).akName).toEqual(name)
  const pem = publicKeyOf(parsePublic(recorded('ak-ecc256.pub')))
    .export({ type: 'spki', format: 'pem' })
    .toString()
  for (const ak of [pem, recorded('ak-ecc256.pub').subarray(1)])
    expect(checkQuote({ ...honest(), ak }).akName).toBeUndefined()
})

test('a key that was read before serves many quotes, with the same answers', () => {
  const ak = readAk(recorded('ak-ecc256.pub'))
  const other = { ...honest(), signature: recorded('two-banks.sig') }
  for (const given of [honest(), other]) expect(checkQuote({ ...given, ak })).toEqual(checkQuote(given))
  expect(failing({ ...honest(), ak: readAk(recorded('node-key.pub')) })).toEqual([
    'akAttributes: NotRestricted',
    'signature: WrongSignature',
  ])
})

const without = (pcr: number) => new Map([...values('sha256')].filter(([index]) => index !== pcr))
const withAll = (...more: [number, Uint8Array][]) => new Map([...values('sha256'), ...more])
const patched = (bytes: Uint8Array, at: number, hex: string) => {
  const copy = bytes.slice()
  copy.set(bytesOf(hex), at)
  return copy
}
const { quote, signature } = honest()
const zeros = new Uint8Array(32)

describe('each thing that can be wrong is refused by its name', () => {
  test.each<[string, QuoteToCheck, string[]]>([
    [
      'another key',
      { ...honest(), ak: recorded('ak-ecc384.pub') },
      ['scheme: WrongScheme', 'signature: WrongSignature', 'pcrDigest: WrongPcrs'],
    ],
    [
      'another key of the same kind',
      { ...honest(), ak: recorded('node-key.pub') },
      ['akAttributes: NotRestricted', 'signature: WrongSignature'],
    ],
    [
      'a key of another type',
      { ...honest(), ak: recorded('ak-rsa2048.pub') },
      ['scheme: WrongScheme', 'signature: WrongScheme'],
    ],
    [
      'a storage key',
      { ...honest(), ak: recorded('ek-ecc256.pub') },
      [
        'akAttributes: CannotSign CanDecrypt NoScheme',
        'scheme: NoScheme',
        'signature: NotEvaluated',
        'pcrDigest: NotEvaluated',
      ],
    ],
    [
      'a key that signs with SHA-1',
      honest('bad-sha1'),
      ['akAttributes: UntrustedHash', 'scheme: UntrustedHash', 'signature: NotEvaluated', 'pcrDigest: NotEvaluated'],
    ],
    [
      'no key',
      { ...honest(), ak: new Uint8Array() },
      ['akAttributes: Truncated', 'scheme: NotEvaluated', 'signature: NotEvaluated', 'pcrDigest: NotEvaluated'],
    ],
    [
      'a point that is none',
      { ...honest(), ak: patched(recorded('ak-ecc256.pub'), 60, '00') },
      ['akAttributes: BadValue', 'scheme: NotEvaluated', 'signature: NotEvaluated', 'pcrDigest: NotEvaluated'],
    ],
    [
      'a signature of another quote',
      { ...honest(), signature: recorded('two-banks.sig') },
      ['signature: WrongSignature'],
    ],
    [
      'a signature that names SHA-1',
      { ...honest(), signature: patched(signature, 2, '0004') },
      ['scheme: WrongScheme'],
    ],
    [
      'an unknown signature',
      { ...honest(), signature: patched(signature, 0, '001a') },
      ['scheme: Unsupported', 'signature: Unsupported', 'pcrDigest: NotEvaluated'],
    ],
    [
      'half a signature',
      { ...honest(), signature: signature.subarray(0, 40) },
      ['scheme: NotEvaluated', 'signature: Truncated', 'pcrDigest: NotEvaluated'],
    ],
    [
      'a wrong magic',
      { ...honest(), quote: patched(quote, 0, 'ff544348') },
      [
        'signature: WrongSignature',
        'structure: BadMagic',
        'nonce: NotEvaluated',
        'selection: NotEvaluated',
        'pcrDigest: NotEvaluated',
      ],
    ],
    [
      'a quote with a byte behind',
      { ...honest(), quote: Uint8Array.from([...quote, 0]) },
      [
        'signature: WrongSignature',
        'structure: TrailingBytes',
        'nonce: NotEvaluated',
        'selection: NotEvaluated',
        'pcrDigest: NotEvaluated',
      ],
    ],
    [
      'half a quote',
      { ...honest(), quote: quote.subarray(0, 60) },
      [
        'signature: WrongSignature',
        'structure: Truncated',
        'nonce: NotEvaluated',
        'selection: NotEvaluated',
        'pcrDigest: NotEvaluated',
      ],
    ],
    [
      'a certification by the same key',
      { ...honest(), quote: recorded('node-key.certify'), signature: recorded('node-key.sig') },
      ['structure: WrongType', 'nonce: NotEvaluated', 'selection: NotEvaluated', 'pcrDigest: NotEvaluated'],
    ],
    ['another nonce', { ...honest(), nonce: zeros }, ['nonce: WrongNonce']],
    ['a shorter nonce', { ...honest(), nonce: nonce.subarray(0, 20) }, ['nonce: WrongNonce']],
    ['no nonce', { ...honest(), nonce: new Uint8Array() }, ['nonce: NoNonce']],
    ['a PCR more', { ...honest(), pcrs: new Map([['sha256', withAll([14, zeros])]]) }, ['selection: ExtraPcr']],
    [
      'a PCR that no TPM has',
      { ...honest(), pcrs: new Map([['sha256', withAll([99, zeros])]]) },
      ['selection: ExtraPcr'],
    ],
    [
      'a PCR fewer',
      { ...honest(), pcrs: new Map([['sha256', without(7)]]) },
      ['selection: MissingPcr', 'pcrDigest: NotEvaluated'],
    ],
    ['no PCRs', { ...honest(), pcrs: new Map() }, ['selection: MissingPcr', 'pcrDigest: NotEvaluated']],
    [
      'a bank more',
      {
        ...honest(),
        pcrs: new Map([
          ['sha256', values('sha256')],
          ['sha384', values('sha384')],
        ]),
      },
      ['selection: ExtraBank'],
    ],
    [
      'values of another bank',
      { ...honest(), pcrs: new Map([['sha384', values('sha384')]]) },
      ['selection: ExtraBank MissingPcr', 'pcrDigest: NotEvaluated'],
    ],
    [
      'a PCR that is no digest',
      { ...honest(), pcrs: new Map([['sha256', withAll([7, new Uint8Array(33)])]]) },
      ['pcrDigest: WrongSize'],
    ],
    ['another value', { ...honest(), pcrs: new Map([['sha256', withAll([7, zeros])]]) }, ['pcrDigest: WrongPcrs']],
    [
      'two values exchanged',
      {
        ...honest(),
        pcrs: new Map([
          ['sha256', withAll([0, values('sha256').get(4) ?? zeros], [4, values('sha256').get(0) ?? zeros])],
        ]),
      },
      ['pcrDigest: WrongPcrs'],
    ],
    ['fewer PCRs asked for', { ...honest(), selection: [0, 4, 7] }, ['selection: WrongSelection']],
    ['more PCRs asked for', { ...honest(), selection: [0, 4, 7, 11, 12] }, ['selection: WrongSelection']],
    ['another bank asked for', { ...honest(), bank: 'sha384' }, ['selection: WrongBank WrongSelection']],
    ['two banks', honest('two-banks', 'ak-ecc256'), ['selection: TwoBanks WrongBank', 'pcrDigest: NotEvaluated']],
    [
      'another bank',
      { ...honest('bank-sha384', 'ak-ecc256'), pcrs: new Map([['sha384', values('sha384')]]) },
      ['selection: WrongBank WrongSelection'],
    ],
    [
      'a SHA-1 bank',
      { ...honest('bank-sha1', 'ak-ecc256'), pcrs: new Map([['sha1', values('sha1')]]) },
      ['selection: UntrustedBank WrongBank WrongSelection'],
    ],
    [
      'a quote of nothing',
      { ...honest('no-pcrs', 'ak-ecc256'), selection: [], pcrs: new Map() },
      ['selection: NoPcrs'],
    ],
  ])('%s', (_, given, expected) => {
    expect(failing(given)).toEqual(expected)
    expect(checkQuote(given).ok).toBe(false)
  })
})

test('the order in which PCRs were asked for and supplied does not matter; the bank asked for may be another', () => {
  expect(
    failing({
      ...honest(),
      selection: [11, 0, 7, 4, 0],
      pcrs: new Map([['sha256', new Map([...values('sha256')].reverse())]]),
    }),
  ).toEqual([])
  expect(
    failing({ ...honest('bank-sha384', 'ak-ecc256'), bank: 'sha384', pcrs: new Map([['sha384', values('sha384')]]) }),
  ).toEqual([])
})

describe('what no restricted key has signed is shown and not believed', () => {
  test.each<[string, QuoteToCheck]>([
    ['a wrong signature', { ...honest(), signature: recorded('two-banks.sig') }],
    // The same key, so that the signature is right, under a public area that says "not restricted".
    ['a key that signs anything', { ...honest(), ak: patched(recorded('ak-ecc256.pub'), 6, '00040072') }],
  ])('%s', (_, given) => {
    const checked = checkQuote(given)
    expect(checked).toMatchObject({ authenticated: false, claimed: { clock: { resetCount: 2 } } })
    expect(checked).not.toHaveProperty('quote')
  })

  test("a wrong nonce leaves the quote the TPM's", () => {
    expect(checkQuote({ ...honest(), nonce: zeros })).toMatchObject({ ok: false, authenticated: true })
  })
})

describe('a key in PEM', () => {
  const pem = (name: string) =>
    publicKeyOf(parsePublic(recorded(`${name}.pub`)))
      .export({ type: 'spki', format: 'pem' })
      .toString()
  test.each(['ak-ecc256', 'ak-ecc384', 'ak-ecc521', 'ak-rsa2048', 'ak-pss', 'ak-rsa3072'])(
    '%s verifies, but nobody knows what it is held to',
    (name) => {
      expect(failing({ ...honest(name), ak: pem(name) })).toEqual(['akAttributes: AttributesUnknown'])
      expect(checkQuote({ ...honest(name), ak: pem(name) }).authenticated).toBe(false)
    },
  )
  test.each<[string, string, string, string[]]>([
    [
      'SHA-1',
      pem('bad-sha1'),
      'bad-sha1',
      ['scheme: UntrustedHash', 'signature: NotEvaluated', 'pcrDigest: NotEvaluated'],
    ],
    [
      'another type',
      pem('ak-rsa2048'),
      'ak-ecc256',
      ['scheme: WrongScheme', 'signature: NotEvaluated', 'pcrDigest: NotEvaluated'],
    ],
    [
      'the other type',
      pem('ak-ecc256'),
      'ak-rsa2048',
      ['scheme: WrongScheme', 'signature: NotEvaluated', 'pcrDigest: NotEvaluated'],
    ],
    ['another key', pem('node-key'), 'ak-ecc256', ['signature: WrongSignature']],
  ])('%s is refused', (_, ak, name, expected) => {
    expect(failing({ ...honest(name), ak })).toEqual(['akAttributes: AttributesUnknown', ...expected])
  })
  const unread = [
    'akAttributes: Unsupported',
    'scheme: NotEvaluated',
    'signature: NotEvaluated',
    'pcrDigest: NotEvaluated',
  ]
  test.each([
    ['no PEM', 'AAAA'],
    ['a damaged one', pem('ak-ecc256').replace('MFk', 'MFj')],
    ['an endless one', pem('ak-ecc256') + ' '.repeat(10_000)],
    [
      'a private one',
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ],
    [
      'a key of another curve',
      createPublicKey(generateKeyPairSync('ed25519').privateKey).export({ type: 'spki', format: 'pem' }).toString(),
    ],
    [
      'a short RSA key',
      generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    ],
  ])('%s is refused', (_, ak) => {
    expect(failing({ ...honest(), ak })).toEqual(unread)
  })
})

test.each([
  ['ak-ecc256', 1],
  ['ak-pss', 7],
])("%s: no bit of quote, signature, nonce or a PCR's value may differ (each bit, in steps of %d)", (name, step) => {
  const given = honest(name)
  const unseen: string[] = []
  const each = (what: string, bytes: Uint8Array, changed: (bad: Uint8Array) => QuoteToCheck) => {
    for (let bit = 0; bit < bytes.length * 8; bit += step) {
      const bad = bytes.slice()
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      if (checkQuote(changed(bad)).ok) unseen.push(`${what}, bit ${bit}`)
    }
  }
  each('quote', given.quote, (bad) => ({ ...given, quote: bad }))
  each('signature', given.signature, (bad) => ({ ...given, signature: bad }))
  each('nonce', nonce, (bad) => ({ ...given, nonce: bad }))
  for (const [pcr, value] of values('sha256'))
    each(`PCR ${pcr}`, value, (bad) => ({ ...given, pcrs: new Map([['sha256', withAll([pcr, bad])]]) }))
  expect(unseen).toEqual([])
})

test('whatever bytes come, there are seven checks, and only the honest ones pass', () => {
  const honestOf = (name: string) => toHex(recorded(name))
  fc.assert(
    fc.property(
      damaged([recorded('ak-ecc256.pub'), recorded('ak-rsa2048.pub')]),
      damaged([quote, recorded('node-key.certify')]),
      damaged([signature, recorded('ak-rsa2048.sig')]),
      fc.constantFrom(0, 1, 2, 3),
      (ak, bytes, sig, only) => {
        const given = {
          ...honest(),
          ...(only === 1 ? {} : { ak }),
          ...(only === 2 ? {} : { quote: bytes }),
          ...(only === 3 ? {} : { signature: sig }),
        }
        const checked = checkQuote(given)
        expect(checked.checks.map(({ name }) => name)).toEqual(QUOTE_CHECKS)
        const same =
          toHex(given.ak as Uint8Array) === honestOf('ak-ecc256.pub') &&
          toHex(given.quote) === toHex(quote) &&
          toHex(given.signature) === toHex(signature)
        if (!same) expect(checked.ok).toBe(false)
      },
    ),
    { numRuns: 2000 },
  )
})
