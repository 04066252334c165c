import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

// nkeys: base32 of (prefix byte, 32 bytes, CRC-16 little endian); a seed carries two prefix bytes. Made with node:crypto,
// because the packages for it derive the public key anew at every call and take 50 ms for a JWT.

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const PREFIX = { operator: 14 << 3, account: 0, user: 20 << 3 } as const
const SEED_PREFIX = 18 << 3
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex')

export type NkeyKind = keyof typeof PREFIX
export type Nkey = { readonly pub: string; readonly seed: string; sign(text: string): string }

/** A new key pair of a kind. */
export function createNkey(kind: NkeyKind): Nkey {
  return fromPrivate(kind, generateKeyPairSync('ed25519').privateKey)
}

/** The key pair of a seed. Throws when the text is no seed of that kind. */
export function parseSeed(kind: NkeyKind, seed: string): Nkey {
  const bytes = decode(seed.trim())
  const prefix = (((bytes[0] ?? 0) & 7) << 5) | ((bytes[1] ?? 0) >> 3)
  if (((bytes[0] ?? 0) & 0xf8) !== SEED_PREFIX || prefix !== PREFIX[kind] || bytes.length !== 36)
    throw new Error(`not a seed of kind ${kind}`)
  if (!crc16(bytes.subarray(0, 34)).equals(bytes.subarray(34))) throw new Error('the seed has a wrong checksum')
  return fromPrivate(
    kind,
    createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, bytes.subarray(2, 34)]), format: 'der', type: 'pkcs8' }),
  )
}

function fromPrivate(kind: NkeyKind, key: KeyObject): Nkey {
  const prefix = PREFIX[kind]
  const secret = key.export({ format: 'der', type: 'pkcs8' }).subarray(-32)
  const open = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32)
  return {
    pub: encode(Buffer.from([prefix]), open),
    seed: encode(Buffer.from([SEED_PREFIX | (prefix >> 5), (prefix & 31) << 3]), secret),
    sign: (text) => sign(null, Buffer.from(text), key).toString('base64url'),
  }
}

function encode(...parts: Buffer[]): string {
  const bytes = Buffer.concat(parts)
  return base32(Buffer.concat([bytes, crc16(bytes)]))
}

/** Base32 without padding, as nkeys and routing tokens use it. */
export function base32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = ((value & 0xff) << 8) | byte
    bits += 8
    for (; bits >= 5; bits -= 5) text += ALPHABET[(value >>> (bits - 5)) & 31]
  }
  return bits > 0 ? text + ALPHABET[(value << (5 - bits)) & 31] : text
}

function decode(text: string): Buffer {
  const bytes: number[] = []
  let bits = 0
  let value = 0
  for (const character of text) {
    const digit = ALPHABET.indexOf(character)
    if (digit < 0) throw new Error('not base32')
    value = ((value & 0xfff) << 5) | digit
    bits += 5
    if (bits >= 8) {
      bits -= 8
      bytes.push((value >>> bits) & 0xff)
    }
  }
  return Buffer.from(bytes)
}

function crc16(bytes: Uint8Array): Buffer {
  let crc = 0
  for (const byte of bytes) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff
  }
  return Buffer.from([crc & 0xff, crc >> 8])
}
