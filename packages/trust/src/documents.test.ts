import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { DOCUMENTS } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { signBytes, signDocument, verifyDocument, verifySelfSigned } from './documents.ts'
import { createKey, keyRing, verifyKey } from './keys.ts'

const hub = createKey('EdDSA')
const node = createKey('ES256')
const keys = keyRing([hub.jwk, node.jwk])
const heartbeat = { kind: 'Heartbeat', cluster: 'shop-1', node: 'n1', incarnation: 1, seq: 4 } as const
const code = (expected: string) => expect.objectContaining({ name: 'Refusal', code: expected })
const b64 = (value: object | string) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const header = { alg: 'ES256', typ: DOCUMENTS.Heartbeat.typ, kid: node.thumbprint }
const forge = (head: object | string, payload: object | string = heartbeat, key = node.key) => {
  const text = `${b64(head)}.${b64(payload)}`
  return `${text}.${sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

describe('documents', () => {
  test.each([
    ['EdDSA', hub],
    ['ES256', node],
  ] as const)('a document signed with %s is read back with its digest and key', async (_, signer) => {
    const text = await signDocument('Heartbeat', heartbeat, signer, 'shop-1/n1')
    expect(await verifyDocument('Heartbeat', text, keys, { aud: 'shop-1/n1' })).toMatchObject({
      payload: heartbeat,
      thumbprint: signer.thumbprint,
    })
  })

  test('A20 other-site-order: addressed to another', async () => {
    const text = await signDocument('Heartbeat', heartbeat, hub, 'shop-10')
    await expect(verifyDocument('Heartbeat', text, keys, { aud: 'shop-1' })).rejects.toThrow(code('WrongAudience'))
    const nobody = await signDocument('Heartbeat', heartbeat, hub)
    await expect(verifyDocument('Heartbeat', nobody, keys, { aud: 'shop-1' })).rejects.toThrow(code('WrongAudience'))
  })

  test('A12 type-reuse: a signature over one kind is none over another', async () => {
    const text = await signBytes('EpochMarker', Buffer.from(JSON.stringify(heartbeat)), hub)
    await expect(verifyDocument('Heartbeat', text, keys)).rejects.toThrow(code('WrongType'))
  })

  test.each([
    ['alg none', () => `${b64({ ...header, alg: 'none' })}.${b64(heartbeat)}.${'A'.repeat(86)}`, 'BadSignature'],
    [
      'HS256 with the public key as secret',
      () => {
        const text = `${b64({ ...header, alg: 'HS256' })}.${b64(heartbeat)}`
        return `${text}.${createHmac('sha512', JSON.stringify(node.jwk)).update(text).digest('base64url')}`
      },
      'BadSignature',
    ],
    ['a key in the header', () => forge({ ...header, jwk: node.jwk }), 'MalformedJws'],
    ['crit', () => forge({ ...header, crit: ['b64'] }), 'MalformedJws'],
    ['b64 false', () => forge({ ...header, b64: false }), 'MalformedJws'],
    [
      'a doubled header member',
      () => forge(`{"alg":"ES256","typ":"x","typ":"${header.typ}","kid":"${node.thumbprint}"}`),
      'DuplicateMember',
    ],
    ['an unlisted key', () => forge({ ...header, kid: 'unknown' }), 'UnknownKey'],
    ["another's key id", () => forge({ ...header, kid: hub.thumbprint }), 'BadSignature'],
    [
      'another key behind the id',
      () => forge(header, heartbeat, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
      'BadSignature',
    ],
    [
      'A13 parser-differential: a doubled payload member',
      () =>
        forge(header, '{"kind":"Heartbeat","cluster":"shop-1","cluster":"shop-2","node":"n1","incarnation":1,"seq":4}'),
      'DuplicateMember',
    ],
    ['an unknown payload member', () => forge(header, { ...heartbeat, more: 1 }), 'InvalidField'],
    ['a payload of another kind', () => forge(header, { ...heartbeat, kind: 'Ack' }), 'InvalidField'],
    ['padding', () => `${forge(header)}=`, 'MalformedJws'],
    ['two dots too many', () => `${forge(header)}.x.y`, 'MalformedJws'],
    ['nothing', () => '', 'MalformedJws'],
    ['too much', () => forge(header, 'x'.repeat(2_000)), 'TooLarge'],
  ])('A11 alg-confusion and its relatives: %s is refused', async (_, make, expected) => {
    await expect(verifyDocument('Heartbeat', make(), keys)).rejects.toThrow(code(expected))
  })

  test('no bit of a signed document can be turned', async () => {
    const text = await signDocument('Heartbeat', heartbeat, node)
    for (let i = 0; i < text.length; i += 1) {
      const other = text[i] === 'A' ? 'B' : 'A'
      if (text[i] === '.') continue
      await expect(verifyDocument('Heartbeat', text.slice(0, i) + other + text.slice(i + 1), keys)).rejects.toThrow(
        expect.objectContaining({ name: 'Refusal' }),
      )
    }
  })

  test('a registration request must be signed by the key it names', async () => {
    const request = {
      kind: 'RegistrationRequest',
      nodeName: 'n',
      class: 'software-key',
      nodeKey: node.jwk,
      natsKey: `U${'A'.repeat(55)}`,
      hardwareId: 'x',
      claims: {},
      acceptHub: 'a'.repeat(64),
      agentVersion: '1',
    } as const
    expect((await verifySelfSigned(await signDocument('RegistrationRequest', request, node))).payload).toEqual(request)
    await expect(verifySelfSigned(await signDocument('RegistrationRequest', request, hub))).rejects.toThrow(
      code('UnknownKey'),
    )
  })

  test('weak and foreign keys are not loaded', () => {
    const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' })
    expect(() => verifyKey(p384 as never)).toThrow(code('InvalidField'))
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' })
    expect(() => verifyKey(rsa as never)).toThrow(code('InvalidField'))
  })
})
