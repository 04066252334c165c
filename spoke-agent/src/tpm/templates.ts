import { createHash } from 'node:crypto'
import { type EccArea, type PublicArea, type RsaArea, writePublic } from '@skerry/measured-boot'

// What keys are made from. A primary key is a function of its hierarchy's seed and these bytes: the same key after every
// boot, and nothing to store, so that A and B of a machine have one identity. A changed byte is another key for every node:
// never change one, add a new template. TPM2_Clear leaves the endorsement seed, and so all of these, as they are.

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))
const EMPTY = new Uint8Array()
const ZEROS_32 = new Uint8Array(32)

const RSA_EK: RsaArea = {
  type: 'rsa',
  nameAlg: 'sha256',
  attributes: ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'adminWithPolicy', 'restricted', 'decrypt'],
  // PolicyA: PolicySecret of the endorsement hierarchy.
  authPolicy: bytes('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa'),
  symmetric: { keyBits: 128 },
  scheme: null,
  keyBits: 2048,
  exponent: 0,
  modulus: new Uint8Array(256),
}

const ECC_EK: EccArea = {
  type: 'ecc',
  nameAlg: 'sha256',
  attributes: RSA_EK.attributes,
  authPolicy: RSA_EK.authPolicy,
  symmetric: { keyBits: 128 },
  scheme: null,
  curve: 'P-256',
  kdf: null,
  x: ZEROS_32,
  y: ZEROS_32,
}

const ECC_384_EK: EccArea = {
  ...ECC_EK,
  nameAlg: 'sha384',
  attributes: [
    'fixedTPM',
    'fixedParent',
    'sensitiveDataOrigin',
    'userWithAuth',
    'adminWithPolicy',
    'restricted',
    'decrypt',
  ],
  // PolicyB of SHA-384.
  authPolicy: bytes('b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12'),
  symmetric: { keyBits: 256 },
  curve: 'P-384',
  x: EMPTY,
  y: EMPTY,
}

/** TCG EK Credential Profile 2.5, Annex B: templates L-1, L-2 and H-3, where their certificates lie in NV, and who may use them. */
export const EK_KINDS = {
  'ecc-p384': { template: ECC_384_EK, certificateIndex: 0x01c00016, by: 'empty-password' },
  'ecc-p256': { template: ECC_EK, certificateIndex: 0x01c0000a, by: 'policy' },
  rsa2048: { template: RSA_EK, certificateIndex: 0x01c00002, by: 'policy' },
} as const
export type EkKind = keyof typeof EK_KINDS

/** Any number does, so long as it is always the same: it tells keys of one kind apart. */
const unique = (use: string) => new Uint8Array(createHash('sha256').update(`skerry ${use} 1`).digest())

/**
 * No noDA would mean that whoever tries passwords on anything in this TPM locks the node out of its own identity; the empty
 * password of these keys is nothing to guess.
 */
const signing = (use: string, more: EccArea['attributes']): EccArea => ({
  type: 'ecc',
  nameAlg: 'sha256',
  attributes: ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'userWithAuth', 'noDA', ...more],
  authPolicy: EMPTY,
  symmetric: null,
  scheme: { algorithm: 'ecdsa', hash: 'sha256' },
  curve: 'P-256',
  kdf: null,
  x: unique(use),
  y: ZEROS_32,
})

/** Signs only what its TPM made (restricted): quotes, and that another key lies in the same TPM. */
export const AK_TEMPLATE = writePublic(signing('attestation key', ['restricted', 'sign']))
/** Signs what the node says. */
export const NODE_KEY_TEMPLATE = writePublic(signing('node key', ['sign']))

/** Whether a key was made from a template, whatever came out as its public number. */
export function isMadeFrom(template: PublicArea, area: PublicArea): boolean {
  const blank = (one: PublicArea): PublicArea =>
    one.type === 'rsa' ? { ...one, exponent: one.exponent || 65537, modulus: EMPTY } : { ...one, x: EMPTY, y: EMPTY }
  return Buffer.from(writePublic(blank(template))).equals(writePublic(blank(area)))
}
