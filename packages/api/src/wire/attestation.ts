import { type Static, Type } from 'typebox'
import { Message } from '../meta.ts'
import { Count, closed, integer, mapOf, oneOf, Sha256 } from '../words.ts'
import { BankName, Digest } from './boot.ts'
import { PcrValues } from './hardware-profile.ts'

/** EAR's tiers (draft-ietf-rats-ear): what an attestation result says of one boot. */
export const VERDICTS = ['affirming', 'warning', 'contraindicated', 'none'] as const
export const Verdict = oneOf(VERDICTS)
export type Verdict = Static<typeof Verdict>

const base64 = (maxLength: number) =>
  Type.String({ pattern: '^[A-Za-z0-9+/]+={0,2}$', maxLength, description: 'base64' })

/** A log of up to 96 KiB. Machines were seen with up to 75 KB (attestation of public logs). */
const EVENT_LOG_BASE64 = 131_072

/**
 * What a TPM says of a boot: the members of evidence, of a registration's proof and of the file that `skerry attest
 * verify` reads. The quote is the only part that the TPM signed; the rest is believed as far as it follows from it.
 */
const quoteMembers = {
  akPublic: base64(2_048),
  quote: base64(2_048),
  signature: base64(2_048),
  pcrs: closed(
    {
      sha256: Type.Optional(PcrValues),
      sha384: Type.Optional(PcrValues),
      sha512: Type.Optional(PcrValues),
    },
    { description: 'the quoted values, of exactly one bank' },
  ),
  eventLog: Type.Optional(base64(EVENT_LOG_BASE64)),
  eventLogSha256: Type.Unsafe<string>({
    ...Sha256,
    description: 'binds the log as a file, where no digest in it does',
  }),
  measurementLog: Type.Optional(base64(16_384)),
}
export const TpmQuote = closed(quoteMembers)
export type TpmQuote = Static<typeof TpmQuote>

/** One thing that is not as it should be, or that nobody can know. `tier` is the best verdict that it leaves. */
export const Finding = closed({
  code: Type.String({ maxLength: 64, description: 'UpperCamel' }),
  tier: oneOf(VERDICTS),
  message: Message,
  pcr: Type.Optional(integer({ minimum: 0, maximum: 23 })),
  event: Type.Optional(Type.Unsafe<number>({ ...Count, description: 'index in the event log' })),
  expected: Type.Optional(Type.Array(Type.String({ maxLength: 512 }), { maxItems: 64 })),
  actual: Type.Optional(Type.String({ maxLength: 512 })),
})
export type Finding = Static<typeof Finding>

/** A PCR of a boot beside what it should hold. `expected` is empty where nothing says: then `by` says why. */
export const PcrAppraisal = closed({
  pcr: integer({ minimum: 0, maximum: 23 }),
  actual: Digest,
  expected: Type.Array(Digest, { maxItems: 64 }),
  by: oneOf(['manifest', 'profile', 'registration', 'quorum', 'log', 'nothing'], 'what the expectation rests on'),
  learnedFrom: Type.Optional(
    Type.Array(Type.String({ maxLength: 128 }), {
      maxItems: 16,
      description: 'by quorum: nodes at other clusters that show this value, as `cluster/node`; the first of them',
    }),
  ),
  ok: Type.Boolean(),
})
export type PcrAppraisal = Static<typeof PcrAppraisal>

/** AR4SI's trustworthiness vector (draft-ietf-rats-ar4si), the claims that are made here. 0 is no claim. */
export const TrustVector = closed({
  'instance-identity': integer({ minimum: -128, maximum: 127 }),
  configuration: integer({ minimum: -128, maximum: 127 }),
  executables: integer({ minimum: -128, maximum: 127 }),
  hardware: integer({ minimum: -128, maximum: 127 }),
  'storage-opaque': integer({ minimum: -128, maximum: 127 }),
})
export type TrustVector = Static<typeof TrustVector>

export const EAR_PROFILE = 'tag:skerry.dev,2026:ear'

/** An attestation result: an EAR (draft-ietf-rats-ear), signed by the hub's result key. One submodule: the node. */
export const AttestationResult = closed({
  kind: oneOf(['AttestationResult']),
  eat_profile: oneOf([EAR_PROFILE]),
  iat: Type.Unsafe<number>({ ...Count, description: 'Unix time in seconds' }),
  'ear.verifier-id': closed({ developer: Type.String(), build: Type.String() }),
  eat_nonce: Sha256,
  submods: mapOf(
    closed({
      'ear.status': Verdict,
      'ear.trustworthiness-vector': TrustVector,
      'ear.appraisal-policy-id': Type.Unsafe<string>({
        ...Sha256,
        description: 'digest of the policy’s version, the manifest and the profile that were used',
      }),
      'skerry.statement': closed({
        incarnation: integer({ minimum: 1 }),
        seq: integer({ minimum: 1 }),
        digest: Sha256,
      }),
      'skerry.boot': closed({ bootId: Type.String(), imageSha256: Sha256 }),
      'skerry.bank': Type.Optional(BankName),
      'skerry.findings': Type.Array(Finding, { maxItems: 64 }),
    }),
    { maxProperties: 1, description: 'by `<cluster>/<node>`' },
  ),
})
export type AttestationResult = Static<typeof AttestationResult>
