import { type Static, Type } from 'typebox'
import { Bytes, closed, oneOf, Sha256 } from '../words.ts'

// What an image promises that a machine will measure: the manifest's reference values (RATS), computed offline from the
// files (`skerry image manifest`) and computed again by whoever doubts them.

/** Banks whose values may count as evidence, best first. SHA-1 is refused everywhere. */
export const BANK_NAMES = ['sha512', 'sha384', 'sha256'] as const
export const BankName = oneOf(BANK_NAMES)
export type BankName = Static<typeof BankName>

/** A digest of any trusted bank: lower-case hex of 32, 48 or 64 bytes. */
export const Digest = Type.String({ pattern: '^([0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$', description: 'hex digest' })

/** With Secure Boot the stub trusts the firmware's word for the inner kernel, and measures one command line less. */
const BySecureBoot = closed({ on: Digest, off: Digest })

/** Boot phases in the order in which systemd measures their words into PCR 11; `''` is the UKI alone. */
export const BOOT_PHASES = [
  '',
  'enter-initrd',
  'enter-initrd:leave-initrd',
  'enter-initrd:leave-initrd:sysinit',
  'enter-initrd:leave-initrd:sysinit:ready',
] as const

/** What one bank will hold. PCR 4 is its events, because a firmware may try more than once in one boot. */
const Measured = closed({
  applications: closed(
    {
      loaders: Type.Array(Digest, {
        minItems: 1,
        maxItems: 16,
        description: 'Authenticode; each may start this image',
      }),
      uki: Digest,
      kernel: Type.Unsafe<string>({ ...Digest, description: 'the inner kernel: an event with Secure Boot off only' }),
    },
    { description: 'PCR 4' },
  ),
  pcr9: Digest,
  pcr11: closed({
    phases: Type.Array(closed({ phase: oneOf(BOOT_PHASES), value: Digest }), { minItems: 1, maxItems: 8 }),
  }),
  pcr12: BySecureBoot,
})

const none = closed({ kind: oneOf(['none']) })
export const UkiBoot = closed({
  kind: oneOf(['uki']),
  stub: closed({ vendor: oneOf(['systemd']), version: Type.String({ maxLength: 32 }) }),
  sections: Type.Array(closed({ name: Type.String({ maxLength: 8 }), length: Bytes, sha256: Sha256 }), {
    minItems: 1,
    maxItems: 32,
  }),
  commandLine: Type.String({ maxLength: 4096 }),
  signers: Type.Array(Sha256, { maxItems: 8, description: 'SHA-256 of the certificates whose signatures verify' }),
  certificates: Type.Optional(
    Type.Array(Type.String({ pattern: '^[A-Za-z0-9+/]+={0,2}$', maxLength: 8_192 }), {
      maxItems: 32,
      description:
        'what those signatures carry, DER in base64: by them a machine with Secure Boot knows before a download whether it would start the image',
    }),
  ),
  measured: closed({
    sha256: Type.Optional(Measured),
    sha384: Type.Optional(Measured),
    sha512: Type.Optional(Measured),
  }),
})
export type UkiBoot = Static<typeof UkiBoot>

/** `none`: nothing measures this boot, so nothing can be predicted (driver `slots`). */
export const Boot = Type.Unsafe<Static<typeof none> | UkiBoot>({
  type: 'object',
  required: ['kind'],
  discriminator: { propertyName: 'kind' },
  oneOf: [none, UkiBoot],
})
export type Boot = Static<typeof Boot>
export const BOOT_KINDS = ['none', 'uki'] as const
