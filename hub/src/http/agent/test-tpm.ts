import {
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
} from 'node:crypto'
import type { RegistrationChallenge, RegistrationRequest, TpmQuote } from '@skerry/api'
import { EK_TEMPLATES, nameOf, writePublic } from '@skerry/measured-boot'
import { evidenceOf, makeTpm } from '@skerry/policy/testing'

// A TPM as the door sees it, its keys in our hands: what a real one does is held on an emulator (kind-e2e).

export type TestTpm = ReturnType<typeof makeHardware>

const u32 = (value: number) => Uint8Array.from(Buffer.from(value.toString(16).padStart(8, '0'), 'hex'))
const sha256 = (...parts: readonly Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest()
const label = (text: string) => Buffer.from(`${text}\0`)
/** The TPM2B at the beginning of bytes, and what stands behind it. */
const cut = (bytes: Uint8Array): [Uint8Array, Uint8Array] => {
  const end = 2 + Buffer.from(bytes).readUInt16BE(0)
  return [bytes.subarray(2, end), bytes.subarray(end)]
}
const kdfa = (key: Uint8Array, use: string, context: Uint8Array, bits: number) =>
  createHmac('sha256', key)
    .update(Buffer.concat([u32(1), label(use), context, u32(bits)]))
    .digest()
    .subarray(0, bits / 8)

/** A TPM with an EK of template L-2 (P-256), and an attestation key. */
export function makeHardware() {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
  const [pointX, pointY] = [x, y].map((one) => new Uint8Array(Buffer.from(one, 'base64url')))
  const ek = { ...EK_TEMPLATES['L-2'].area, x: pointX ?? new Uint8Array(), y: pointY ?? new Uint8Array() }
  const ekPublic = writePublic(ek)
  const ak = makeTpm()
  const keys: Pick<RegistrationRequest, 'class' | 'ek' | 'ak'> = {
    class: 'tpm',
    ek: Buffer.from(ekPublic).toString('base64'),
    ak: Buffer.from(writePublic(ak.area)).toString('base64'),
  }
  return {
    keys,
    ekSha256: sha256(ekPublic).toString('hex'),
    akName: ak.name,
    /** TPM2_ActivateCredential (Part 1, annex C and "Credential Protection"); undefined where a TPM answers 0x1DF. */
    activate({ idObject, encryptedSecret }: NonNullable<RegistrationChallenge['tpm']>): string | undefined {
      const [itsX, rest] = cut(new Uint8Array(cut(Buffer.from(encryptedSecret, 'base64'))[0]))
      const [itsY] = cut(rest)
      const key = { kty: 'EC', crv: 'P-256', ...{ x: base64url(itsX), y: base64url(itsY) } }
      const its = createPublicKey({ format: 'jwk', key })
      const shared = diffieHellman({ privateKey, publicKey: its })
      const seed = sha256(u32(1), shared, label('IDENTITY'), itsX, ek.x)
      const name = nameOf(ak.area)
      const [mac, identity] = cut(cut(Buffer.from(idObject, 'base64'))[0])
      const hmacKey = kdfa(seed, 'INTEGRITY', new Uint8Array(), 256)
      if (!createHmac('sha256', hmacKey).update(identity).update(name).digest().equals(mac)) return undefined
      const decipher = createDecipheriv('aes-128-cfb', kdfa(seed, 'STORAGE', name, 128), new Uint8Array(16))
      return Buffer.from(cut(Buffer.concat([decipher.update(identity), decipher.final()]))[0]).toString('hex')
    },
    /** A quote of a boot that was recorded on a real machine, over this nonce. */
    quote(nonce: string, more: Omit<NonNullable<Parameters<typeof evidenceOf>[2]>, 'nonce'> = {}): TpmQuote {
      const evidence = evidenceOf(ak, 'secure-boot-off', { nonce, ...more })
      const { class: _, bootId: __, slot: ___, imageSha256: ____, nonce: _____, ...quote } = evidence
      return quote as TpmQuote
    },
  }
}

const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url')
