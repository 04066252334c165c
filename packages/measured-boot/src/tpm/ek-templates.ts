import type { ObjectAttribute } from './attributes.ts'
import { CURVES, type Curve, type EccArea, type RsaArea, type RsaBits } from './public-area.ts'

const LOW: readonly ObjectAttribute[] = [
  'fixedTPM',
  'fixedParent',
  'sensitiveDataOrigin',
  'adminWithPolicy',
  'restricted',
  'decrypt',
]
/** The high range may be used with the empty password too. */
const HIGH: readonly ObjectAttribute[] = [...LOW.slice(0, 3), 'userWithAuth', ...LOW.slice(3)]

/** PolicyA: PolicySecret(endorsement hierarchy). */
const POLICY_A = '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa'
/** PolicyB: PolicyA, or what the owner wrote into an NV index for it; one for each name hash. */
const POLICY_B = {
  sha256: 'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0',
  sha384: 'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12',
  sha512:
    'b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a4' +
    '29c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea',
} as const

type Range = Pick<RsaArea, 'nameAlg' | 'attributes' | 'authPolicy' | 'symmetric'>
const low: Range = { nameAlg: 'sha256', attributes: LOW, authPolicy: unhex(POLICY_A), symmetric: { keyBits: 128 } }
const high = (nameAlg: keyof typeof POLICY_B): Range => ({
  nameAlg,
  attributes: HIGH,
  authPolicy: unhex(POLICY_B[nameAlg]),
  symmetric: { keyBits: nameAlg === 'sha256' ? 128 : 256 },
})
const rsa = (range: Range, keyBits: RsaBits, unique: number): RsaArea => ({
  ...range,
  type: 'rsa',
  scheme: null,
  keyBits,
  exponent: 0,
  modulus: new Uint8Array(unique),
})
const ecc = (range: Range, curve: Curve, unique: number): EccArea => ({
  ...range,
  type: 'ecc',
  scheme: null,
  curve,
  kdf: null,
  x: new Uint8Array(unique),
  y: new Uint8Array(unique),
})

/**
 * The EK templates of the TCG EK Credential Profile whose keys can be judged here, with the NV index of the
 * certificate: given to TPM2_CreatePrimary in the endorsement hierarchy, a template makes the key that it certifies. In the low
 * range the index after it may hold a nonce for `unique`, and the one after that a whole template (Profile, 2.2.1.4).
 */
export const EK_TEMPLATES = {
  'L-1': { nvCertificate: 0x01c00002, area: rsa(low, 2048, 2048 / 8) },
  'L-2': { nvCertificate: 0x01c0000a, area: ecc(low, 'P-256', CURVES['P-256'].size) },
  'H-1': { nvCertificate: 0x01c00012, area: rsa(high('sha256'), 2048, 0) },
  'H-2': { nvCertificate: 0x01c00014, area: ecc(high('sha256'), 'P-256', 0) },
  'H-3': { nvCertificate: 0x01c00016, area: ecc(high('sha384'), 'P-384', 0) },
  'H-4': { nvCertificate: 0x01c00018, area: ecc(high('sha512'), 'P-521', 0) },
  'H-6': { nvCertificate: 0x01c0001c, area: rsa(high('sha384'), 3072, 0) },
} as const
export type EkTemplateName = keyof typeof EK_TEMPLATES

function unhex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}
