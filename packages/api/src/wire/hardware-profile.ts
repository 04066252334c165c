import { type Static, Type } from 'typebox'
import { Message } from '../meta.ts'
import { closed, integer, mapOf, oneOf, Sha256 } from '../words.ts'
import { BankName, Digest } from './boot.ts'

/** PCR values by index, as hex. */
export const PcrValues = mapOf(Digest, {
  maxProperties: 24,
  propertyNames: Type.String({ pattern: '^([0-9]|1[0-9]|2[0-3])$' }),
})
export type PcrValues = Static<typeof PcrValues>

const SignatureLists = Type.String({
  pattern: '^[A-Za-z0-9+/]*={0,2}$',
  maxLength: 131_072,
  description: 'EFI_SIGNATURE_LISTs in base64; empty where none is enrolled',
})

/**
 * TUF target `hardware/<name>.json`, signed offline: what a type of machine is, and what its firmware may measure. The
 * firmware is not the image's: a machine keeps it while images come and go.
 */
export const HardwareProfile = closed({
  kind: oneOf(['HardwareProfile']),
  name: Type.String({ pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' }),
  hardwareIds: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: 64 }),
  tpm: closed({
    roots: Type.Array(Type.String({ maxLength: 8_192, description: 'PEM certificate' }), {
      maxItems: 32,
      description: 'CAs of TPM makers: an EK certificate chains up to one of them',
    }),
    inventory: Type.Array(Sha256, {
      maxItems: 10_000,
      description: 'SHA-256 of TPM2B_PUBLIC of EKs that are ours, for machines whose TPM has no certificate',
    }),
  }),
  banks: Type.Array(BankName, { minItems: 1, maxItems: 3, description: 'that this firmware fills, best first' }),
  firmware: Type.Array(closed({ pcrs: PcrValues, note: Type.Optional(Message) }), {
    maxItems: 256,
    description: 'known values of PCR 0, 2, 3 and 6',
  }),
  learn: oneOf(
    ['off', 'tofu', 'quorum'],
    'an unknown firmware: off: contraindicated · tofu: what a node showed when it registered counts for it · quorum: warning until so many sites show it',
  ),
  quorum: Type.Optional(integer({ minimum: 2, maximum: 1_000 })),
  secureBoot: Type.Optional(
    closed(
      {
        pk: SignatureLists,
        kek: SignatureLists,
        db: SignatureLists,
        dbx: Type.Array(SignatureLists, { minItems: 1, maxItems: 64 }),
      },
      { description: 'must be on, with these lists; absent: must be off, with none' },
    ),
  ),
  allowed: Type.Optional(
    Type.Array(Type.String({ maxLength: 64 }), {
      maxItems: 32,
      description: 'findings of the event log’s grammar that this firmware is known for',
    }),
  ),
})
export type HardwareProfile = Static<typeof HardwareProfile>

/** The most bytes that a profile's file may have: lists of revoked images are long, and so are inventories. */
export const PROFILE_BYTES = 1_048_576

/** Path of a profile in the TUF repository. */
export function profileTarget(name: string): string {
  return `hardware/${name}.json`
}
