import { type Static, Type } from 'typebox'
import { closed, integer, Jws, Label, mapOf, NatsUserKey, oneOf, PublicJwk, Sha256, Time } from '../words.ts'
import { TpmQuote } from './attestation.ts'
import { BankName } from './boot.ts'
import { NodeClass } from './status.ts'

/** Challenged → Pending → Accepted or Denied; later Suspended, Left, Revoked. */
export const REGISTRATION_STATES = [
  'Challenged',
  'Pending',
  'Accepted',
  'Denied',
  'Suspended',
  'Left',
  'Revoked',
] as const
export const RegistrationState = oneOf(REGISTRATION_STATES)
export type RegistrationState = Static<typeof RegistrationState>

/** Where a node key lies. */
export const NODE_KEY_PLACES = ['tpm', 'file'] as const
export type NodeKeyPlace = (typeof NODE_KEY_PLACES)[number]

const Base64 = Type.String({ pattern: '^[A-Za-z0-9+/]+={0,2}$', maxLength: 16_384 })

/** POST /agent/v1/registrations: a JWS by the node key it names. */
export const RegistrationRequest = closed({
  kind: oneOf(['RegistrationRequest']),
  token: Type.Optional(
    Type.String({ maxLength: 130, description: 'id.secret; not needed by a node whose keys are known' }),
  ),
  cluster: Type.Optional(Label),
  nodeName: Type.String({
    minLength: 1,
    maxLength: 253,
    description: "the Node's name; the hub derives the id from it",
  }),
  class: NodeClass,
  ekCertificates: Type.Optional(Type.Array(Base64, { maxItems: 8 })),
  ek: Type.Optional(Base64),
  ak: Type.Optional(Base64),
  nodeKey: PublicJwk,
  natsKey: NatsUserKey,
  hardwareId: Type.String({ minLength: 1, maxLength: 64 }),
  claims: mapOf(Type.String({ minLength: 1, maxLength: 1024 }), {
    maxProperties: 20,
    propertyNames: Type.String({ minLength: 1, maxLength: 253 }),
  }),
  acceptHub: Type.Unsafe<string>({
    ...Sha256,
    description: 'SHA-256 of root 1: the only hub this site will ever believe',
  }),
  agentVersion: Type.String({ maxLength: 64 }),
  incarnation: Type.Optional(
    integer({
      minimum: 1,
      description: 'the life this continues (renewal, return); absent: a new life of the node begins',
    }),
  ),
})
export type RegistrationRequest = Static<typeof RegistrationRequest>

/** The answer: something only the holder of the keys can answer. The nonce is signed; only the TPM opens the credential. */
export const RegistrationChallenge = closed({
  kind: oneOf(['RegistrationChallenge']),
  id: Type.Unsafe<string>({
    ...Sha256,
    description: 'digest of the public keys in the request: a repeated request meets the same row',
  }),
  nonce: Sha256,
  tpm: Type.Optional(
    closed({
      idObject: Type.Unsafe<string>({ ...Base64, description: 'TPM2B_ID_OBJECT: a secret for the AK by its Name' }),
      encryptedSecret: Type.Unsafe<string>({ ...Base64, description: 'TPM2B_ENCRYPTED_SECRET: for the EK' }),
      bank: BankName,
      pcrs: Type.Array(integer({ minimum: 0, maximum: 23 }), { minItems: 1, maxItems: 24, uniqueItems: true }),
    }),
  ),
  expiresAt: Time,
})
export type RegistrationChallenge = Static<typeof RegistrationChallenge>

/** The AK's word that the node key lies in its TPM, over the exchange (TPM2_Certify). */
export const NodeKeyCertificate = closed({
  public: Type.Unsafe<string>({ ...Base64, description: 'TPM2B_PUBLIC of the node key' }),
  attest: Type.Unsafe<string>({ ...Base64, description: 'TPMS_ATTEST' }),
  signature: Type.Unsafe<string>({ ...Base64, description: 'TPMT_SIGNATURE by the AK' }),
})
export type NodeKeyCertificate = Static<typeof NodeKeyCertificate>

/** POST …/{id}/proof: a JWS by the node key over the transcript of both earlier bodies. */
export const RegistrationProof = closed({
  kind: oneOf(['RegistrationProof']),
  id: Sha256,
  nonce: Sha256,
  transcript: Type.Unsafe<string>({
    ...Sha256,
    description: 'transcriptDigest(request, challenge): all keys are in it; the nonce of the quote',
  }),
  tpm: Type.Optional(
    closed({
      secret: Type.Unsafe<string>({ ...Sha256, description: 'what was in the credential, as hex' }),
      quote: TpmQuote,
      nodeKey: Type.Optional(NodeKeyCertificate),
    }),
  ),
})
export type RegistrationProof = Static<typeof RegistrationProof>

/** What the hub signed when it accepted a node. The node keeps it: it restores the row of a hub that lost it. */
export const Acceptance = closed({
  kind: oneOf(['Acceptance']),
  cluster: Label,
  node: Label,
  incarnation: integer({ minimum: 1 }),
  class: NodeClass,
  ekSha256: Type.Optional(Sha256),
  akName: Type.Optional(Type.String({ maxLength: 128 })),
  nodeKeyThumbprint: Type.String({ maxLength: 64 }),
  natsKey: NatsUserKey,
  routingToken: Type.String({ pattern: '^[a-z2-7]{16,32}$' }),
  transcript: Type.Unsafe<string>({
    ...Sha256,
    description: "digest of the exchange that began this incarnation: `prev` of the node's first statement",
  }),
  decidedBy: Type.String({ maxLength: 256 }),
  decidedAt: Time,
})
export type Acceptance = Static<typeof Acceptance>

/** GET …/{id}, and the answer to a proof. */
export const RegistrationAnswer = closed({
  kind: oneOf(['RegistrationAnswer']),
  id: Sha256,
  state: RegistrationState,
  reason: Type.String(),
  message: Type.String(),
  fingerprint: Type.String(),
  acceptance: Type.Optional(Jws),
  natsJwt: Type.Optional(Type.String({ maxLength: 8192 })),
})
export type RegistrationAnswer = Static<typeof RegistrationAnswer>

/** What a site administrator puts on a machine: whom it trusts, where to knock, and with which token. */
export const SiteBundle = closed({
  kind: oneOf(['SiteBundle']),
  acceptHub: Sha256,
  root: Type.String({ maxLength: 524_288, description: 'root 1, the exact text; its SHA-256 is acceptHub' }),
  hubUrls: Type.Array(Type.String({ format: 'uri' }), { minItems: 1, maxItems: 8 }),
  caPem: Type.Optional(Type.String({ maxLength: 65_536 })),
  token: Type.Optional(Type.String({ maxLength: 130 })),
})
export type SiteBundle = Static<typeof SiteBundle>
