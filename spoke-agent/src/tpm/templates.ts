import { createHash } from 'node:crypto'
import { type EccArea, type EkTemplateName, type PublicArea, writePublic } from '@skerry/measured-boot'

// What keys are made from. A primary key is a function of its hierarchy's seed and these bytes: the same key after every
// boot, and nothing to store, so that A and B of a machine have one identity. A changed byte is another key for every node:
// never change one, add a new template. TPM2_Clear leaves the endorsement seed, and so all of these, as they are.

const EMPTY = new Uint8Array()
const ZEROS_32 = new Uint8Array(32)

/** The endorsement keys that are used here, best first: small and quick ones, and those that need no session, before RSA. */
export const EK_KINDS = ['H-3', 'H-2', 'L-2', 'H-4', 'H-1', 'L-1', 'H-6'] as const satisfies readonly EkTemplateName[]

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
/**
 * Signs what the node says. `unique` is the disk's own: a node whose disk was lost comes with another key, and the old one
 * that comes back is a fork.
 */
export const nodeKeyTemplate = (unique: string): Uint8Array => writePublic(signing(`node key of ${unique}`, ['sign']))

/** Whether a key was made from a template, whatever came out as its public number. */
export function isMadeFrom(template: PublicArea, area: PublicArea): boolean {
  const blank = (one: PublicArea): PublicArea =>
    one.type === 'rsa' ? { ...one, exponent: one.exponent || 65537, modulus: EMPTY } : { ...one, x: EMPTY, y: EMPTY }
  return Buffer.from(writePublic(blank(template))).equals(writePublic(blank(area)))
}
