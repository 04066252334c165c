import { isTrusted } from '../banks.ts'
import type { ObjectAttribute } from './attributes.ts'
import type { PublicArea } from './public-area.ts'
import type { Fault } from './wire.ts'

export const AK_FAULTS = {
  NotRestricted: 'it signs whatever it is given, also an attestation that no TPM made',
  NotFixedTpm: 'it can leave its TPM',
  NotFixedParent: 'it can be moved under another key',
  NotMadeByTpm: 'its private half was brought into the TPM from outside',
  CannotSign: 'it does not sign',
  CanDecrypt: 'it decrypts, and a restricted key for both is a storage key',
  NoScheme: 'it has no signing scheme of its own, so a signature could choose one',
  UntrustedHash: 'it signs with SHA-1',
  UntrustedName: 'its name is a SHA-1 digest, which another key may share',
  AttributesUnknown: 'a key in PEM does not say what its TPM holds it to',
} as const
export type AkFaultCode = keyof typeof AK_FAULTS

const MUST: readonly (readonly [ObjectAttribute, AkFaultCode])[] = [
  ['restricted', 'NotRestricted'],
  ['fixedTPM', 'NotFixedTpm'],
  ['fixedParent', 'NotFixedParent'],
  ['sensitiveDataOrigin', 'NotMadeByTpm'],
  ['sign', 'CannotSign'],
]

/** Everything for which a key is no attestation key. Only what is restricted and signs proves that a TPM made what it signed (Part 1). Empty: it is one. */
export function akFaults({ attributes, scheme, nameAlg }: PublicArea): Fault<AkFaultCode>[] {
  const codes = MUST.filter(([attribute]) => !attributes.includes(attribute)).map(([, code]) => code)
  if (attributes.includes('decrypt')) codes.push('CanDecrypt')
  if (!scheme) codes.push('NoScheme')
  else if (!isTrusted(scheme.hash)) codes.push('UntrustedHash')
  if (!isTrusted(nameAlg)) codes.push('UntrustedName')
  return codes.map((code) => ({ code, message: AK_FAULTS[code] }))
}
