import { createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { DOCUMENTS } from '@skerry/api'
import { CompactSign, compactVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import { signBytes, signDocument, verifyDocument, verifySelfSigned } from './documents.ts'
import { createKey, keyRing, keysInForce, verifyKey } from './keys.ts'

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

  test.each([
    ['EdDSA', hub],
    ['ES256', node],
  ] as const)('another implementation reads what is signed with %s here, and is read', async (alg, signer) => {
    const ours = await signDocument('Heartbeat', heartbeat, signer)
    const { payload, protectedHeader } = await compactVerify(ours, createPublicKey(signer.key), { algorithms: [alg] })
    expect(JSON.parse(new TextDecoder().decode(payload))).toEqual(heartbeat)
    const theirs = await new CompactSign(payload).setProtectedHeader(protectedHeader).sign(signer.key)
    expect(await verifyDocument('Heartbeat', theirs, keys)).toMatchObject({ payload: heartbeat })
  })

  test('other-site-order: addressed to another', async () => {
    const text = await signDocument('Heartbeat', heartbeat, hub, 'shop-10')
    await expect(verifyDocument('Heartbeat', text, keys, { aud: 'shop-1' })).rejects.toThrow(code('WrongAudience'))
    const nobody = await signDocument('Heartbeat', heartbeat, hub)
    await expect(verifyDocument('Heartbeat', nobody, keys, { aud: 'shop-1' })).rejects.toThrow(code('WrongAudience'))
  })

  test('type-reuse: a signature over one kind is none over another', async () => {
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
    ['jku in the header', () => forge({ ...header, jku: 'https://evil.example/jwks' }), 'MalformedJws'],
    ['x5u in the header', () => forge({ ...header, x5u: 'https://evil.example/x5u' }), 'MalformedJws'],
    ['x5c in the header', () => forge({ ...header, x5c: ['AAAA'] }), 'MalformedJws'],
    ['no algorithm at all', () => forge({ typ: header.typ, kid: header.kid }), 'BadSignature'],
    ["another algorithm than the key's", () => forge({ ...header, alg: 'EdDSA' }), 'BadSignature'],
    ['a kid that is no string', () => forge({ ...header, kid: 7 }), 'MalformedJws'],
    ['a header that is no object', () => forge('[]'), 'MalformedJws'],
    ['a byte order mark before the header', () => forge(`\ufeff${JSON.stringify(header)}`), 'MalformedJson'],
    [
      'the flattened form, with an unprotected header',
      () => {
        const [protectedPart, payload, signature] = forge(header).split('.')
        return JSON.stringify({ protected: protectedPart, payload, signature, header: { kid: node.thumbprint } })
      },
      'MalformedJws',
    ],
    ['the alphabet of plain base64', () => forge(header).replace(/^./, '+'), 'MalformedJws'],
    ['a space', () => forge(header).replace('.', '. '), 'MalformedJws'],
    [
      'a signature in DER',
      () => forge(header).replace(/[^.]+$/, Buffer.alloc(70, 1).toString('base64url')),
      'MalformedJws',
    ],
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
      'parser-differential: a doubled payload member',
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
  ])('alg-confusion and its relatives: %s is refused', async (_, make, expected) => {
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

  test('the other half of an ECDSA signature verifies too, and names nothing: a document is called by its payload', async () => {
    const text = await signDocument('Heartbeat', heartbeat, node)
    const [protectedPart, payload, signature = ''] = text.split('.')
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
    const [r, s] = [
      Buffer.from(signature, 'base64url').subarray(0, 32),
      Buffer.from(signature, 'base64url').subarray(32),
    ]
    const other = Buffer.from((order - BigInt(`0x${s.toString('hex')}`)).toString(16).padStart(64, '0'), 'hex')
    const twin = `${protectedPart}.${payload}.${Buffer.concat([r, other]).toString('base64url')}`
    expect(twin).not.toBe(text)
    const { digest } = await verifyDocument('Heartbeat', text, keys)
    expect((await verifyDocument('Heartbeat', twin, keys)).digest).toBe(digest)
  })

  test('base64url has one spelling: loose last bits are refused', async () => {
    const text = await signDocument('Heartbeat', { ...heartbeat, seq: 44 }, node)
    const [protectedPart = '', payload = '', signature] = text.split('.')
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    // Whatever does not fill its last sextet has unused bits there.
    const loose = (part: string) => part.slice(0, -1) + letters[(letters.indexOf(part.at(-1) ?? '') ^ 1) % 64]
    const parts = [protectedPart, payload].filter((part) => part.length % 4 !== 0)
    expect(parts.length).toBeGreaterThan(0)
    for (const part of parts) {
      const bad = [protectedPart, payload, signature].map((one) => (one === part ? loose(part) : one)).join('.')
      await expect(verifyDocument('Heartbeat', bad, keys)).rejects.toThrow(code('MalformedJws'))
    }
  })

  test('a key verifies new documents in its interval alone: not before it, and never once it is retired', async () => {
    const next = createKey('EdDSA')
    const [begin, end] = [Date.parse('2026-06-01T00:00:00Z'), Date.parse('2026-07-01T00:00:00Z')]
    const listed = [
      { jwk: hub.jwk, notBefore: '1970-01-01T00:00:00Z', notAfter: '2026-07-01T00:00:00Z' },
      { jwk: next.jwk, notBefore: '2026-06-01T00:00:00Z' },
    ]
    const believes = (signer: typeof hub, nowMs: number) =>
      signDocument('Heartbeat', heartbeat, signer)
        .then((text) => verifyDocument('Heartbeat', text, keysInForce(listed, nowMs)))
        .then(
          () => true,
          (error) => error.code,
        )
    expect([await believes(hub, begin - 1), await believes(next, begin - 1)]).toEqual([true, 'UnknownKey'])
    expect([await believes(hub, begin), await believes(next, begin)]).toEqual([true, true])
    expect([await believes(hub, end - 1), await believes(hub, end), await believes(next, end)]).toEqual([
      true,
      'UnknownKey',
      true,
    ])
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
    const zero = Buffer.alloc(32).toString('base64url')
    expect(() => verifyKey({ kty: 'EC', crv: 'P-256', x: zero, y: zero })).toThrow(code('InvalidField'))
    expect(() => verifyKey({ kty: 'EC', crv: 'Ed25519', x: zero, y: zero } as never)).toThrow(code('InvalidField'))
  })
})
