import {
  constants,
  createCipheriv,
  createHmac,
  createPublicKey,
  diffieHellman,
  type KeyObject,
  publicEncrypt,
} from 'node:crypto'
import { BANKS, type BankName, bankOf, digest } from '../banks.ts'
import { big, concat, Malformed } from '../bytes.ts'
import { CURVES, type EccArea, type PublicArea, type RsaArea } from './public-area.ts'
import { padded, publicKeyOf } from './public-key.ts'
import { sized } from './wire.ts'

/**
 * What must be new for every credential: for an RSA EK a seed of as many random bytes as the EK's name hash has, for an
 * ECC EK the private half of a fresh key on its curve. (OpenSSL draws OAEP's padding itself.)
 */
export type CredentialRandomness = { readonly seed: Uint8Array } | { readonly ephemeral: KeyObject }

/** TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, the two parameters of TPM2_ActivateCredential. */
export type Credential = { readonly idObject: Uint8Array; readonly encryptedSecret: Uint8Array }

/**
 * TPM2_MakeCredential without a TPM (TPM 2.0 Part 1, "Credential Protection"): only the TPM that holds both `ek` and the
 * object of the name `akName` gets `secret` back. Throws Malformed for an EK that can open none (RSA-2048 or 3072, ECC)
 * and for what is no name, RangeError for a secret longer than the EK's name hash and for unfit randomness.
 */
export function makeCredential(
  ek: PublicArea,
  akName: Uint8Array,
  secret: Uint8Array,
  randomness: CredentialRandomness,
): Credential {
  const { size } = BANKS[ek.nameAlg]
  const { keyBits } = storageKey(ek)
  if (!isName(akName)) throw new Malformed('BadValue', 'TPM2B_NAME', 0, 'no hash algorithm and its digest')
  if (secret.length === 0 || secret.length > size)
    throw new RangeError(`a credential holds 1 to ${size} bytes for this EK, not ${secret.length}`)
  const { seed, encrypted } = ek.type === 'rsa' ? rsaSeed(ek, randomness) : eccSeed(ek, randomness)

  const symmetricKey = kdfa(ek.nameAlg, seed, 'STORAGE', akName, keyBits)
  const cipher = createCipheriv(`aes-${keyBits}-cfb`, symmetricKey, new Uint8Array(16))
  const identity = concat(cipher.update(sized(secret)), cipher.final())
  const hmacKey = kdfa(ek.nameAlg, seed, 'INTEGRITY', new Uint8Array(), size * 8)
  const mac = createHmac(ek.nameAlg, hmacKey).update(identity).update(akName).digest()
  return { idObject: sized(concat(sized(mac), identity)), encryptedSecret: sized(encrypted) }
}

/** A key that protects others has a cipher of its own; an EK is a restricted decryption key. */
function storageKey({ attributes, symmetric }: PublicArea): { keyBits: number } {
  const storage = attributes.includes('restricted') && attributes.includes('decrypt') && !attributes.includes('sign')
  if (!symmetric || !storage)
    throw new Malformed(
      'Unsupported',
      'TPMT_PUBLIC',
      0,
      'an EK is a restricted decryption key with AES, and this is none',
    )
  return symmetric
}

function isName(name: Uint8Array): boolean {
  const bank = bankOf(((name[0] ?? 0) << 8) | (name[1] ?? 0))
  return bank !== undefined && name.length === 2 + BANKS[bank].size
}

type Seed = { readonly seed: Uint8Array; readonly encrypted: Uint8Array }

/** Part 1, annex B: the seed goes under OAEP with the EK's name hash; the label ends with a zero byte. */
function rsaSeed(ek: RsaArea, randomness: CredentialRandomness): Seed {
  const { size } = BANKS[ek.nameAlg]
  if (!('seed' in randomness) || randomness.seed.length !== size)
    throw new RangeError(`an RSA EK of ${ek.nameAlg} takes a seed of ${size} bytes`)
  const encrypted = publicEncrypt(
    {
      key: publicKeyOf(ek),
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: ek.nameAlg,
      oaepLabel: label('IDENTITY'),
    },
    randomness.seed,
  )
  return { seed: randomness.seed, encrypted }
}

/** Part 1, annex C: one-pass Diffie-Hellman; what goes to the TPM is the fresh point. */
function eccSeed(ek: EccArea, randomness: CredentialRandomness): Seed {
  const { size } = CURVES[ek.curve]
  if (!('ephemeral' in randomness)) throw new RangeError('an ECC EK takes a fresh key')
  const { x, y, crv } = createPublicKey(randomness.ephemeral).export({ format: 'jwk' })
  if (crv !== ek.curve) throw new RangeError(`this EK takes a fresh key on ${ek.curve}`)
  const point = [x, y].map((coordinate) => padded(Buffer.from(coordinate ?? '', 'base64url'), size))
  const [pointX = new Uint8Array(), pointY = new Uint8Array()] = point
  const shared = diffieHellman({ privateKey: randomness.ephemeral, publicKey: publicKeyOf(ek) })
  const seed = kdfe(ek.nameAlg, shared, 'IDENTITY', pointX, padded(ek.x, size))
  return { seed, encrypted: concat(sized(pointX), sized(pointY)) }
}

/** KDFa of Part 1: counter mode of SP 800-108 with HMAC; `context` is contextU, contextV is empty here. */
function kdfa(hash: BankName, key: Uint8Array, use: string, context: Uint8Array, bits: number): Uint8Array {
  return blocks(bits, (counter) =>
    createHmac(hash, key).update(counter).update(label(use)).update(context).update(big.u32(bits)).digest(),
  )
}

/** KDFe of Part 1: the concatenation KDF of SP 800-56A, as long as the hash. */
function kdfe(hash: BankName, z: Uint8Array, use: string, partyU: Uint8Array, partyV: Uint8Array): Uint8Array {
  return blocks(BANKS[hash].size * 8, (counter) => digest(hash, counter, z, label(use), partyU, partyV))
}

function blocks(bits: number, block: (counter: Uint8Array) => Uint8Array): Uint8Array {
  const made: Uint8Array[] = []
  for (let have = 0, counter = 1; have < bits; counter++) {
    const next = block(big.u32(counter))
    made.push(next)
    have += next.length * 8
  }
  return concat(...made).subarray(0, bits / 8)
}

const label = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`)
