import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { concat } from '../bytes.ts'
import { ascii, fileOf, fuzz, haveStub, haveTool, makeKey, run, scratch, smallUki, thrown, tinyPe } from './fixture.ts'
import { judgePcrSignatures, type PcrSignature, parsePcrSignatures } from './pcrsig.ts'
import { digestUki, predictPcr11 } from './predict.ts'
import { parseUki } from './sections.ts'

const MEASURE = '/usr/lib/systemd/systemd-measure'
const SWTPM = 'swtpm'
const haveTools = haveStub && [MEASURE, SWTPM, 'openssl'].every(haveTool)
const dir = scratch()
const plain = { '.linux': tinyPe(), '.cmdline': ascii('panic=1'), '.osrel': ascii('ID=x\n'), '.initrd': ascii('i') }
const publicKey = (crt: string) => ascii(run('openssl', ['x509', '-in', crt, '-noout', '-pubkey']))
const judge = (uki: Uint8Array) => {
  const parsed = parseUki(uki)
  return judgePcrSignatures(parsed.sections, (bank) => predictPcr11(digestUki(parsed, bank)))
}

describe.skipIf(!haveTools)('.pcrsig as systemd-measure signs it', () => {
  let swtpm: ChildProcess
  let [pem, other]: [Uint8Array, Uint8Array] = [ascii(''), ascii('')]
  let signed: { [bank: string]: Record<string, unknown>[] } = {}
  const sections = () => ({ ...plain, '.pcrpkey': pem })
  const withSignature = (value: unknown, more: Record<string, Uint8Array | undefined> = {}) =>
    smallUki({ ...sections(), '.pcrsig': ascii(JSON.stringify(value)), ...more })

  beforeAll(async () => {
    const state = `${dir}/tpm`
    mkdirSync(state)
    // The policy is computed by a TPM, so that it is a TPM that ours is compared with.
    swtpm = spawn(SWTPM, [
      ...['socket', '--tpm2', '--tpmstate', `dir=${state}`, '--flags', 'not-need-init,startup-clear'],
      ...['--server', `type=unixio,path=${dir}/s`, '--ctrl', `type=unixio,path=${dir}/s.ctrl`],
    ])
    await vi.waitFor(
      () => expect([`${dir}/s`, `${dir}/s.ctrl`].filter((path) => !existsSync(path))).toEqual([]),
      60_000,
    )
    const key = makeKey(dir, 'pcr')
    pem = publicKey(key.crt)
    other = publicKey(makeKey(dir, 'other').crt)
    const files = Object.entries(sections()).map(([name, data]) => `--${name.slice(1)}=${fileOf(dir, data)}`)
    signed = JSON.parse(
      run(MEASURE, [
        ...['sign', ...files, '--bank=sha256', '--bank=sha384', `--private-key=${key.key}`],
        ...[`--public-key=${fileOf(dir, pem)}`, `--tpm2-device=swtpm:path=${dir}/s`],
      ]),
    )
  })
  afterAll(() => {
    swtpm?.kill()
  })

  test('is good for each phase and bank', () => {
    const phases = ['enter-initrd', 'enter-initrd:leave-initrd', 'enter-initrd:leave-initrd:sysinit']
    const judged = judge(withSignature(signed))
    for (const bank of ['sha256', 'sha384']) {
      const of = judged.filter((one) => one.bank === bank)
      expect(of.map(({ verdict }) => verdict)).toEqual(Array(4).fill('Good'))
      expect(of.map(({ index }) => index)).toEqual([0, 1, 2, 3])
      expect(of.map(({ phase }) => phase).sort()).toEqual([...phases, `${phases[2]}:ready`])
    }
  })

  const first = () => signed['sha256']?.[0] ?? {}
  test.each<[string, string, () => Uint8Array]>([
    ['NoKey', 'no .pcrpkey', () => withSignature(signed, { '.pcrpkey': undefined })],
    ['OtherKey', 'another .pcrpkey', () => withSignature(signed, { '.pcrpkey': other })],
    ['OtherKey', 'another key named', () => withSignature({ sha256: [{ ...first(), pkfp: '00'.repeat(32) }] })],
    ['OtherPolicy', 'another command line', () => withSignature(signed, { '.cmdline': ascii('panic=1 debug') })],
    ['OtherPolicy', 'a policy of another bank', () => withSignature({ sha384: [first()] })],
    ['OtherPcrs', 'other PCRs', () => withSignature({ sha256: [{ ...first(), pcrs: [7, 11] }] })],
    ['OtherPcrs', 'no PCRs', () => withSignature({ sha256: [{ ...first(), pcrs: [] }] })],
    [
      'BadSignature',
      "another entry's signature",
      () => withSignature({ sha256: [{ ...first(), sig: signed['sha256']?.[1]?.['sig'] }] }),
    ],
    ['BadSignature', 'no signature to speak of', () => withSignature({ sha256: [{ ...first(), sig: 'AAAA' }] })],
  ])('is %s with %s', (verdict, _, uki) => {
    const judged = judge(uki())
    expect(judged.length).toBeGreaterThan(0)
    expect(new Set(judged.map((one) => one.verdict))).toEqual(new Set([verdict]))
  })

  test('is refused with a .pcrpkey that is no RSA public key', () => {
    for (const text of ['', 'no key', run('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout'])]) {
      const uki = withSignature(signed, { '.pcrpkey': ascii(`${text} `) })
      expect(thrown(() => judge(uki))).toMatchObject({ name: 'Malformed', what: '.pcrpkey' })
    }
  })

  test('of any bytes is judged or Malformed', () => {
    const uki = parseUki(smallUki(sections()))
    const pcr11 = predictPcr11(digestUki(uki, 'sha256'))
    const read = (bytes: Uint8Array) => judgePcrSignatures(new Map([...uki.sections, ['.pcrsig', bytes]]), () => pcr11)
    fuzz(read, [ascii(JSON.stringify({ sha256: [first()] }))])
    fuzz((bytes) => judgePcrSignatures(new Map([...uki.sections, ['.pcrpkey', bytes]]), () => pcr11), [pem], 200)
    fuzz(
      (bytes) =>
        judgePcrSignatures(
          new Map([
            ['.pcrpkey', bytes],
            ['.pcrsig', ascii('{}')],
          ]),
          () => pcr11,
        ),
      [pem],
      200,
    )
  })
})

describe('.pcrsig', () => {
  const entry = { pcrs: [11], pkfp: 'AB'.repeat(32), pol: '01'.repeat(32), sig: 'AQI=' }
  test('is its entries, and those of SHA-1 are left out', () => {
    const expected: PcrSignature = {
      bank: 'sha256',
      pcrs: [11],
      keySha256: 'ab'.repeat(32),
      policy: new Uint8Array(32).fill(1),
      signature: Uint8Array.of(1, 2),
    }
    const text = ascii(JSON.stringify({ sha1: [{ pcrs: 'x' }], sha256: [entry] }))
    expect(parsePcrSignatures(text)).toEqual([expected])
    expect(parsePcrSignatures(concat(text, new Uint8Array(3)))).toEqual([expected])
  })

  test.each<[string, string, RegExp]>([
    ['no JSON', '{', /no JSON/],
    ['a list', '[]', /no JSON object/],
    ['a bank that is no list', '{"sha256":{}}', /sha256 is no list/],
    ['an entry that is nothing', '{"sha256":[null]}', /sha256\[0\]\.pcrs/],
    ['a PCR that is no number', JSON.stringify({ sha256: [{ ...entry, pcrs: ['11'] }] }), /pcrs/],
    ['a fingerprint that is none', JSON.stringify({ sha256: [{ ...entry, pkfp: 'ab' }] }), /pkfp/],
    ['a policy that is none', JSON.stringify({ sha384: [entry, { ...entry, pol: 1 }] }), /sha384\[1\]\.pol/],
    ['a signature that is none', JSON.stringify({ sha256: [{ ...entry, sig: '#' }] }), /sig/],
    ['too many entries', JSON.stringify({ sha256: Array(65).fill(entry) }), /65 entries/],
    ['more text than there is need for', ' '.repeat(300_000), /300000 bytes/],
    ['text behind its end', '{}\0{', /after a NUL/],
  ])('with %s is refused', (_, text, message) => {
    const error = thrown(() => parsePcrSignatures(ascii(text)))
    expect(error).toMatchObject({ name: 'Malformed', what: '.pcrsig' })
    expect(String(error)).toMatch(message)
  })
})
