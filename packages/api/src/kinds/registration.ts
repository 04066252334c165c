import { type Static, Type } from 'typebox'
import { Message, Reason } from '../meta.ts'
import { Verdict } from '../wire/attestation.ts'
import { NODE_KEY_PLACES, RegistrationState } from '../wire/registration.ts'
import { NodeClass } from '../wire/status.ts'
import { Count, closed, integer, Label, mapOf, Name, NatsUserKey, oneOf, Sha256, Time } from '../words.ts'

/** Few uses, short-lived, bound to a set and optionally to a cluster. The secret never reaches the hub: only its hash does. */
export const JoinTokenSpec = closed({
  secretSha256: Sha256,
  expiresAt: Time,
  maxUses: integer({ minimum: 1, maximum: 10_000, description: 'how many nodes may register with it' }),
  clusterSet: Type.Optional(Name),
  cluster: Type.Optional(Label),
  classes: Type.Array(NodeClass, { minItems: 1, description: 'key classes it admits; software-key must be named' }),
  acceptance: oneOf(['Manual', 'Automatic'], 'Automatic: this token is the rule that accepts; Manual: a person does'),
})
export type JoinTokenSpec = Static<typeof JoinTokenSpec>

export const JoinTokenStatus = closed({ uses: Type.Optional(Count), lastUsedAt: Type.Optional(Time) })
export type JoinTokenStatus = Static<typeof JoinTokenStatus>

/** `id.secret`, as kubeadm's: the id is the JoinToken's name. */
export const JOIN_TOKEN_PATTERN = '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.[a-z0-9]{32,64}$'

/** One node's request to belong, one a node. Namespace = cluster, name = node id. */
export const RegistrationSpec = closed({
  nodeName: Type.String({ maxLength: 253 }),
  class: NodeClass,
  keysDigest: Type.String({ description: 'digest of all public keys of the request: the row this came from' }),
  nodeKeyThumbprint: Type.String({ description: 'RFC 7638' }),
  natsKey: NatsUserKey,
  fingerprint: Type.String({ description: 'short form of the transcript digest, to compare by telephone' }),
  joinToken: Type.Optional(Type.String()),
  hardwareId: Type.String(),
  tpm: Type.Optional(
    closed({
      ekSha256: Type.Unsafe<string>({ ...Sha256, description: 'of TPM2B_PUBLIC; never changes for a node' }),
      akName: Type.String({ pattern: '^[0-9a-f]+$', maxLength: 132, description: 'never changes for a node' }),
      endorsedBy: Type.String({ description: 'the root that the EK certificate chains up to, or the inventory' }),
      profile: Type.String({ description: 'the HardwareProfile it was judged by' }),
      nodeKeyIn: Type.Optional(
        oneOf(
          NODE_KEY_PLACES,
          'tpm: its AK certified that the node key lies in the same TPM and cannot leave it; file: that holds the node key',
        ),
      ),
      firstBoot: closed({ verdict: Verdict, reason: Reason, message: Message }),
    }),
  ),
  claims: mapOf(Type.String()),
  rotatedAt: Type.Optional(
    Type.Unsafe<string>({ ...Time, description: 'credentials issued before then are ended; the node makes a new key' }),
  ),
  decision: Type.Optional(
    closed({
      state: oneOf(['Accepted', 'Denied', 'Revoked']),
      by: Type.String(),
      at: Time,
      reason: Type.Optional(Message),
    }),
  ),
})
export type RegistrationSpec = Static<typeof RegistrationSpec>

export const RegistrationStatus = closed({
  state: Type.Optional(RegistrationState),
  reason: Type.Optional(Reason),
  message: Type.Optional(Message),
  incarnation: Type.Optional(integer({ minimum: 1 })),
  credentialExpiresAt: Type.Optional(Time),
})
export type RegistrationStatus = Static<typeof RegistrationStatus>
