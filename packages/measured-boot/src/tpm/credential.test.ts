import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { BANKS } from '../banks.ts'
import { toHex } from '../bytes.ts'
import { makeCredential } from './credential.ts'
import { type EccArea, nameOf, parsePublic } from './public-area.ts'
import { recorded } from './recorded/fixtures.ts'

// That a TPM opens what is made here is shown in against-tools.test.ts.

const ek = (name: string) => parsePublic(recorded(`ek-${name}.pub`))
const akName = nameOf(parsePublic(recorded('ak-ecc256.pub')))
const secret = new Uint8Array(32).fill(7)
const seed = (size: number) => ({ seed: new Uint8Array(size).fill(1) })
const ephemeral = (namedCurve: string) => ({ ephemeral: generateKeyPairSync('ec', { namedCurve }).privateKey })

describe('a credential follows from its arguments', () => {
  test('for an RSA EK all but the padding of the seed', () => {
    const [one, other] = [
      makeCredential(ek('rsa2048'), akName, secret, seed(32)),
      makeCredential(ek('rsa2048'), akName, secret, seed(32)),
    ]
    expect(toHex(one.idObject)).toBe(toHex(other.idObject))
    expect(toHex(one.encryptedSecret)).not.toBe(toHex(other.encryptedSecret))
    expect([one.idObject.length, one.encryptedSecret.length]).toEqual([2 + 2 + 32 + 2 + 32, 2 + 256])
  })

  test.each([
    ['ecc256', 'P-256', 32],
    ['ecc384', 'P-384', 48],
    ['ecc521', 'P-521', 66],
  ] as const)('for the %s EK whole', (name, curve, size) => {
    const area = ek(name)
    const fresh = ephemeral(curve)
    const made = makeCredential(area, akName, secret, fresh)
    expect(makeCredential(area, akName, secret, fresh)).toEqual(made)
    expect(made.encryptedSecret.length).toBe(2 + 2 * (2 + size))
    expect(made.idObject.length).toBe(2 + 2 + BANKS[area.nameAlg].size + 2 + secret.length)
    const changed = [
      makeCredential(area, akName, secret, ephemeral(curve)),
      makeCredential(area, nameOf(parsePublic(recorded('ak-pss.pub'))), secret, fresh),
      makeCredential(area, akName, new Uint8Array(32).fill(8), fresh),
    ]
    for (const other of changed) expect(toHex(other.idObject)).not.toBe(toHex(made.idObject))
  })
})

describe('what cannot be one is refused', () => {
  const p256 = ek('ecc256') as EccArea
  test.each([
    ['a signing key as EK', parsePublic(recorded('ak-ecc256.pub')), akName, 'Unsupported'],
    ['an EK without a cipher', { ...p256, symmetric: null }, akName, 'Unsupported'],
    ['an EK that also signs', { ...p256, attributes: [...p256.attributes, 'sign' as const] }, akName, 'Unsupported'],
    ['an EK whose point is none', { ...p256, y: p256.x }, akName, 'BadValue'],
    ['a name without its algorithm', p256, akName.subarray(2), 'BadValue'],
    ['a name of another length', p256, akName.subarray(0, 33), 'BadValue'],
    ['no name', p256, new Uint8Array(), 'BadValue'],
  ])('%s', (_, area, name, code) => {
    expect(() => makeCredential(area, name, secret, ephemeral('P-256'))).toThrow(expect.objectContaining({ code }))
  })

  test.each([
    ['a secret too long for the EK', 'rsa2048', new Uint8Array(33), seed(32)],
    ['no secret', 'rsa2048', new Uint8Array(), seed(32)],
    ['a seed too short', 'rsa2048', secret, seed(20)],
    ['a fresh key for an RSA EK', 'rsa2048', secret, ephemeral('P-256')],
    ['a seed for an ECC EK', 'ecc256', secret, seed(32)],
    ['a fresh key on another curve', 'ecc256', secret, ephemeral('P-384')],
    ['a fresh key of another type', 'ecc256', secret, { ephemeral: generateKeyPairSync('x25519').privateKey }],
  ])('%s', (_, name, secret, randomness) => {
    expect(() => makeCredential(ek(name), akName, secret, randomness)).toThrow(RangeError)
  })
})
