import { type Static, Type } from 'typebox'
import { REACHABILITY } from './kinds/managed-cluster.ts'
import { Message, Reason } from './meta.ts'
import { VERDICTS } from './wire/attestation.ts'
import { BATCH_BYTES } from './wire/statement.ts'
import { NodeClass } from './wire/status.ts'
import { Count, closed, integer, Jws, Label, oneOf, PublicJwk, Sha256, Time } from './words.ts'

// The report that leaves a hub: what it claims of the fleet, and, as it is exported, everything by which somebody who
// trusts neither the hub nor its database can check the claims.

const Result = oneOf(['pass', 'fail', 'not-assessed'])

const Ref = closed({
  cluster: Label,
  node: Label,
  incarnation: integer({ minimum: 1 }),
  seq: integer({ minimum: 1 }),
  digest: Sha256,
})

const Claim = closed({
  claim: oneOf(['HeardFrom', 'RunsAssignedImage', 'BootAttested', 'ChainComplete']),
  result: Result,
  message: Message,
  statements: Type.Array(Ref, { description: 'what it rests on' }),
})
export type Claim = Static<typeof Claim>

const ReportedNode = closed({
  node: Label,
  class: NodeClass,
  limitation: Type.Optional(Type.String()),
  /** What no statement can show: the claims that need it are the hub's as far as that goes. */
  hubSays: closed(
    {
      incarnation: integer({ minimum: 1 }),
      hardwareId: Type.Optional(Type.String({ maxLength: 64, description: 'whose profile it is judged by' })),
      lastHeardAt: Type.Optional(Time),
      watermark: Count,
      newestSeq: Count,
      closed: Type.Optional(
        Type.Array(
          closed({ fromSeq: integer({ minimum: 1 }), toSeq: Count, seq: integer({ minimum: 1 }), reason: Reason }),
          {
            description:
              'numbers up to the watermark that are lost, each stretch with the gap statement that closes it',
          },
        ),
      ),
      verdict: Type.Optional(
        closed({ seq: integer({ minimum: 1 }), bootId: Type.String(), verdict: oneOf(VERDICTS), reason: Reason }),
      ),
    },
    { description: 'what the hub knows of the node beside its statements' },
  ),
  claims: Type.Array(Claim),
})

const ReportedCluster = closed({
  cluster: Label,
  reachability: oneOf(REACHABILITY),
  result: Result,
  assigned: Type.Optional(closed({ image: Type.String(), imageSha256: Sha256, rollout: Type.String() })),
  nodes: Type.Array(ReportedNode),
})

const Base64url = Type.String({ pattern: '^[A-Za-z0-9_-]+$', maxLength: 4096 })

/** One life of a node: its key, and every statement it signed in it, each text once, with the signatures over them. */
export const NodeEvidence = closed({
  cluster: Label,
  node: Label,
  incarnation: integer({ minimum: 1 }),
  nodeKey: PublicJwk,
  registration: closed(
    {
      transcript: Type.Unsafe<string>({ ...Sha256, description: '`prev` of statement 1; its head is the fingerprint' }),
      proof: Type.Optional(Jws),
      acceptedBy: Type.String(),
      acceptedAt: Time,
    },
    { description: 'how the key came to be this node’s' },
  ),
  batches: Type.Array(
    closed({
      first: integer({ minimum: 1 }),
      last: integer({ minimum: 1 }),
      header: Base64url,
      signature: Base64url,
      payload: Type.Optional(
        Type.String({ maxLength: 262_144, description: 'where its JSON is another spelling than the plain one' }),
      ),
    }),
  ),
  statements: Type.Array(closed({ seq: integer({ minimum: 1 }), text: Type.String({ maxLength: BATCH_BYTES }) })),
})
export type NodeEvidence = Static<typeof NodeEvidence>

const Base64 = Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', description: 'base64' })

/** What people signed, as far as the boots of this report are held against it; the bytes are as they were signed. */
export const SignedReferences = closed({
  roots: Type.Array(Base64, { minItems: 1, description: 'TUF root metadata, from version 1 on' }),
  targets: Type.Unsafe<string>({ ...Base64, description: 'the newest TUF targets metadata' }),
  files: Type.Array(closed({ path: Type.String({ maxLength: 256 }), bytes: Base64 }), {
    description: 'manifests and hardware profiles that the targets name',
  }),
})
export type SignedReferences = Static<typeof SignedReferences>

export const ComplianceReport = closed({
  kind: oneOf(['ComplianceReport']),
  apiVersion: oneOf(['skerry.dev/v1alpha1']),
  only: Type.Optional(Type.Array(Label, { description: 'the clusters that were asked for; absent: every one' })),
  asOf: Time,
  totals: closed({ pass: Count, fail: Count, 'not-assessed': Count }),
  clusters: Type.Array(ReportedCluster),
  evidence: Type.Optional(Type.Array(NodeEvidence)),
  references: Type.Optional(SignedReferences),
})
export type ComplianceReport = Static<typeof ComplianceReport>
