import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { NodeKeyCertificate } from '@skerry/api'
import { judgeNodeKey } from '@skerry/policy'
import { lacksTpm, type TestTpm, testFolder, testTpm } from '@skerry/supervise/testing'
import { createKey, keyRing, signDocument, verifyDocument } from '@skerry/trust'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Hardware, openHardware } from '../tpm/index.ts'
import { nodeKeyThumbprint, openNodeKey } from './node-key.ts'

const DIGEST = 'c'.repeat(64)
const BEAT = { kind: 'Heartbeat', cluster: 'shop', node: 'shop', incarnation: 1, seq: 0 } as const
const open = ({ socketPath: path }: { socketPath: string }): Hardware =>
  openHardware({ path, eventLog: '/nowhere', now: () => 0, signal: new AbortController().signal, onTrouble() {} })

test('without a TPM the key is a file, made once, and stays one when a TPM comes', async () => {
  const dir = testFolder()
  expect(nodeKeyThumbprint(dir)).toBeUndefined()
  const key = await openNodeKey(dir, undefined)
  expect(nodeKeyThumbprint(dir)).toBe(key.thumbprint)
  expect(key.certify).toBeUndefined()
  const later = await openNodeKey(dir, open({ socketPath: '/nowhere' }))
  expect([later.thumbprint, later.certify]).toEqual([key.thumbprint, undefined])
  expect(readdirSync(join(dir, 'keys'))).toEqual(['node.pem'])
})

describe.skipIf(lacksTpm)('with a TPM (needs swtpm)', () => {
  let emulated: TestTpm
  let hardware: Hardware
  beforeAll(async () => {
    emulated = await testTpm()
    hardware = open(emulated)
  })
  afterAll(() => emulated.stop())

  test('it lies there and signs what a hub verifies; the folder holds nothing secret, and another folder has another key', async () => {
    const dir = testFolder()
    const key = await openNodeKey(dir, hardware)
    const again = await openNodeKey(dir, hardware)
    expect([again.thumbprint, nodeKeyThumbprint(dir)]).toEqual([key.thumbprint, key.thumbprint])
    for (const signer of [key, again]) {
      const { payload } = await verifyDocument(
        'Heartbeat',
        await signDocument('Heartbeat', BEAT, signer),
        keyRing([key.jwk]),
      )
      expect(payload).toEqual(BEAT)
    }
    expect(readdirSync(join(dir, 'keys'))).toEqual(['node.tpm.json'])
    expect(Object.keys(JSON.parse(readFileSync(join(dir, 'keys/node.tpm.json'), 'utf8')) as object)).toEqual([
      'unique',
      'public',
    ])
    expect((await openNodeKey(testFolder(), hardware)).thumbprint).not.toBe(key.thumbprint)
  })

  test('a TPM that is not there keeps no key from being known, and none is made in a file instead', async () => {
    const [dir, fresh] = [testFolder(), testFolder()]
    const { thumbprint } = await openNodeKey(dir, hardware)
    const without = await openNodeKey(dir, undefined)
    expect(without.thumbprint).toBe(thumbprint)
    await expect(without.sign(new Uint8Array())).rejects.toThrow(/lies in its TPM, and there is none: switch/)
    const gone = await openNodeKey(dir, open({ socketPath: '/nowhere' }))
    await expect(gone.sign(new Uint8Array())).rejects.toMatchObject({ code: 'NoTpm' })
    await expect(openNodeKey(fresh, open({ socketPath: '/nowhere' }))).rejects.toMatchObject({ code: 'NoTpm' })
    expect(existsSync(join(fresh, 'keys'))).toBe(false)
  })

  test('a copied disk signs nothing with another TPM, and does with a copy of both', async () => {
    const dir = testFolder()
    const { thumbprint } = await openNodeKey(dir, hardware)
    const other = await openNodeKey(dir, open(await testTpm()))
    await expect(other.sign(new Uint8Array())).rejects.toMatchObject({ code: 'OtherTpm' })
    const copy = await openNodeKey(dir, open(await testTpm({ copyOf: emulated })))
    expect(copy.thumbprint).toBe(thumbprint)
    expect(await copy.sign(new Uint8Array())).toHaveLength(64)
  })

  test('its AK certifies that it lies there, over an exchange; nothing else passes for that', async () => {
    const key = await openNodeKey(testFolder(), hardware)
    const ak = Buffer.from((await hardware.tpm.attestationKey()).public).toString('base64')
    const certificate = await key.certify?.(DIGEST)
    if (!certificate) throw new Error('it is not certified')
    const good = { certificate, ak, transcript: DIGEST, nodeKey: key.jwk }
    judgeNodeKey(good)
    const another = await openNodeKey(testFolder(), hardware)
    const foreign = await (await openNodeKey(testFolder(), open(await testTpm()))).certify?.(DIGEST)
    const quote = await hardware.quote(new Uint8Array(Buffer.from(DIGEST, 'hex')), 'sha256')
    const akAsNodeKey = { ...certificate, public: ak }
    const flipped = (of: keyof NodeKeyCertificate) => {
      const bytes = Buffer.from(certificate[of], 'base64')
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
      return { ...certificate, [of]: bytes.toString('base64') }
    }
    const cases: [string, object, RegExp][] = [
      ['another exchange', { transcript: 'd'.repeat(64) }, /answers another exchange/],
      ['another key of the same TPM', { nodeKey: another.jwk }, /another key than the one that signed/],
      ['a key in a file', { nodeKey: createKey('ES256').jwk }, /another key than the one that signed/],
      [
        'another key’s certificate',
        { certificate: await another.certify?.(DIGEST) },
        /another key than the one that signed/,
      ],
      ['another TPM', { certificate: foreign }, /the attestation key did not sign it/],
      ['the AK itself', { certificate: akAsNodeKey }, /another key.*restricted.*certified Name/],
      ['a quote', { certificate: { ...certificate, attest: quote.quote, signature: quote.signature } }, /0x8018/],
      ['a bit of its attributes', { certificate: flipped('public') }, /./],
      ['a bit of the attestation', { certificate: flipped('attest') }, /./],
      ['a bit of the signature', { certificate: flipped('signature') }, /did not sign/],
      ['no structure', { certificate: { ...certificate, attest: 'AAAA' } }, /TPMS_ATTEST/],
    ]
    for (const [what, changed, message] of cases)
      expect(() => judgeNodeKey({ ...good, ...changed }), what).toThrow(
        expect.objectContaining({
          code: 'ProofMismatch',
          field: 'tpm.nodeKey',
          message: expect.stringMatching(message),
        }),
      )
  })
})
