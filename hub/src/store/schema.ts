import type {
  ActVerb,
  BankName,
  EvidenceBody,
  Finding,
  NodeClass,
  NodeStatus,
  PcrAppraisal,
  PcrValues,
  PublicJwk,
  RegistrationState,
  StatementKind,
  Verdict,
} from '@skerry/api'
import type { Appraisal } from '@skerry/policy'
import { sql } from 'drizzle-orm'
import {
  bigint,
  bigserial,
  customType,
  index,
  integer,
  jsonb,
  pgSequence,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uniqueIndex,
} from 'drizzle-orm/pg-core'

// Every table of the hub. Who may write which: DESIGN.md, "Who writes what". Migrations are generated from this file.

const bytea = customType<{ data: Uint8Array; driverData: Buffer }>({
  dataType: () => 'bytea',
  toDriver: (value) => Buffer.from(value),
  fromDriver: (value) => new Uint8Array(value),
})
const at = (name: string) => timestamp(name, { withTimezone: true, precision: 3 })
const big = (name: string) => bigint(name, { mode: 'number' })

/** One sequence for every kind: `metadata.resourceVersion` is a total order. */
export const resourceVersions = pgSequence('resource_version')

export const resource = pgTable(
  'resource',
  {
    kind: text().notNull(),
    /** Empty for cluster-scoped kinds. */
    namespace: text().notNull().default(''),
    name: text().notNull(),
    uid: text().notNull(),
    generation: big('generation').notNull(),
    resourceVersion: big('resource_version').notNull(),
    labels: jsonb().$type<Record<string, string>>().notNull().default({}),
    annotations: jsonb().$type<Record<string, string>>().notNull().default({}),
    /** What else metadata holds: ownerReferences, finalizers. */
    meta: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    spec: jsonb().$type<unknown>(),
    status: jsonb().$type<unknown>(),
    createdAt: at('created_at').notNull(),
    deletionAt: at('deletion_at'),
    /** Whose token changed the spec last. Kept of Rollouts alone, which may ask for a second person. */
    specBy: text('spec_by'),
  },
  (t) => [
    primaryKey({ columns: [t.kind, t.namespace, t.name] }),
    uniqueIndex('resource_by_version').on(t.resourceVersion),
    index('resource_by_labels').using('gin', t.labels),
    index('registration_by_ek').on(sql`(${t.spec}->'tpm'->>'ekSha256')`).where(sql`kind = 'Registration'`),
    index('registration_by_ak').on(sql`(${t.spec}->'tpm'->>'akName')`).where(sql`kind = 'Registration'`),
  ],
)

/** The watch history: one row for each version that was committed. */
export const resourceChange = pgTable(
  'resource_change',
  {
    resourceVersion: big('resource_version').primaryKey(),
    type: text().$type<'ADDED' | 'MODIFIED' | 'DELETED'>().notNull(),
    kind: text().notNull(),
    namespace: text().notNull(),
    name: text().notNull(),
    object: jsonb().$type<unknown>().notNull(),
    /** What the object's labels were until this version: whether it leaves or enters a watcher's selection. */
    labelsBefore: jsonb('labels_before').$type<Record<string, string>>().notNull().default({}),
    at: at('at').notNull(),
  },
  (t) => [index('resource_change_by_kind').on(t.kind, t.resourceVersion)],
)

export const auditRecord = pgTable('audit_record', {
  id: bigserial({ mode: 'number' }).primaryKey(),
  at: at('at').notNull(),
  actor: text().notNull(),
  sourceIp: text('source_ip').notNull(),
  verb: text().notNull(),
  kind: text().notNull(),
  namespace: text().notNull(),
  name: text().notNull(),
  beforeDigest: text('before_digest'),
  afterDigest: text('after_digest'),
  requestId: text('request_id').notNull(),
  /** SHA-256 over the previous record's hash and this record's members: a record cannot be taken out unseen. */
  hash: text().notNull(),
})

export const controllerLease = pgTable('controller_lease', {
  name: text().primaryKey(),
  token: big('token').notNull(),
  holder: text().notNull(),
  acquiredAt: at('acquired_at').notNull(),
})

/** A request that has not been proven yet, or the row a repeated one meets. Bounded and expiring. */
export const registrationRequest = pgTable(
  'registration_request',
  {
    /** Digest of all public keys in the request. */
    id: text().primaryKey(),
    /** What the verified request says, as JSON, without its token. */
    request: text().notNull(),
    /** The challenge's exact bytes; its nonce is no secret, it proves freshness. */
    challenge: text().notNull(),
    transcript: text().notNull(),
    /** The proof that was taken, a JWS by the node key; it holds no secret. */
    proof: text(),
    /** What was asked of a TPM, JSON; of the secret its hash alone. */
    tpm: text(),
    cluster: text().notNull(),
    node: text().notNull(),
    tokenName: text('token_name'),
    provenAt: at('proven_at'),
    createdAt: at('created_at').notNull(),
    expiresAt: at('expires_at').notNull(),
  },
  (t) => [index('registration_request_by_expiry').on(t.expiresAt)],
)

/** Who a node is: the one record that every later check reads. */
export const nodeIdentity = pgTable(
  'node_identity',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    state: text().$type<RegistrationState>().notNull(),
    class: text().$type<NodeClass>().notNull(),
    nodeKey: jsonb('node_key').$type<PublicJwk>().notNull(),
    nodeKeyThumbprint: text('node_key_thumbprint').notNull(),
    /** Of a node with a TPM: the Name of its attestation key, and what its firmware's PCRs held when it registered. */
    akName: text('ak_name'),
    firmware: jsonb().$type<PcrValues>(),
    natsKey: text('nats_key').notNull(),
    incarnation: integer().notNull(),
    requestId: text('request_id').notNull(),
    /** Digest of the registration exchange: `prev` of the node's first statement. */
    transcript: text().notNull(),
    acceptance: text().notNull(),
    natsJwt: text('nats_jwt').notNull(),
    credentialIssuedAt: at('credential_issued_at').notNull(),
    credentialExpiresAt: at('credential_expires_at').notNull(),
    decidedBy: text('decided_by').notNull(),
    decidedAt: at('decided_at').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.cluster, t.node] }),
    uniqueIndex('node_identity_by_key').on(t.nodeKeyThumbprint),
    index('node_identity_by_nats_key').on(t.natsKey),
  ],
)

/** One life of a node: the key that signs in it, and how that key came to be this node's. What it signed is verified with this row. */
export const nodeLife = pgTable(
  'node_life',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    incarnation: integer().notNull(),
    nodeKey: jsonb('node_key').$type<PublicJwk>().notNull(),
    /** Digest of the exchange that began it: `prev` of its first statement. */
    transcript: text().notNull(),
    /** The node key's signature over that exchange, a JWS; null of a life that began before it was kept. */
    proof: text(),
    decidedBy: text('decided_by').notNull(),
    decidedAt: at('decided_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.cluster, t.node, t.incarnation] })],
)

/** The secret last token of everything that goes down to a cluster. */
export const clusterRouting = pgTable('cluster_routing', {
  cluster: text().primaryKey(),
  token: text().notNull(),
  createdAt: at('created_at').notNull(),
})

export const natsRevocation = pgTable(
  'nats_revocation',
  {
    natsKey: text('nats_key').primaryKey(),
    cluster: text().notNull(),
    node: text().notNull(),
    revokedAt: at('revoked_at').notNull(),
    /** When the newest credential of this key would have ended anyway; the entry may be pruned after it. */
    expiresAt: at('expires_at').notNull(),
  },
  (t) => [index('nats_revocation_by_node').on(t.cluster, t.node, t.revokedAt)],
)

export const tufMetadata = pgTable(
  'tuf_metadata',
  {
    role: text().$type<'root' | 'targets' | 'snapshot' | 'timestamp'>().notNull(),
    version: big('version').notNull(),
    bytes: bytea().notNull(),
    sha256: text().notNull(),
    createdAt: at('created_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.role, t.version] })],
)

/** Target files small enough for the database: manifests and hub.json. Images are blobs on disk. */
export const tufTarget = pgTable(
  'tuf_target',
  {
    path: text().notNull(),
    sha256: text().notNull(),
    bytes: bytea().notNull(),
    createdAt: at('created_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.path, t.sha256] })],
)

/** What a cluster shall run, and for which rollout. */
export const assignment = pgTable('assignment', {
  cluster: text().primaryKey(),
  rolloutNamespace: text('rollout_namespace').notNull(),
  rolloutName: text('rollout_name').notNull(),
  rolloutUid: text('rollout_uid').notNull(),
  target: text().notNull(),
  manifestSha256: text('manifest_sha256').notNull(),
  imageSha256: text('image_sha256').notNull(),
  /** The part of the rollout that a site must know: windows, waves, gates, attestation. */
  terms: jsonb().$type<unknown>().notNull(),
  assignedAt: at('assigned_at').notNull(),
})

/** Append-only: what people did to rollouts. Those of a rollout that is gone stay. */
export const rolloutAct = pgTable(
  'rollout_act',
  {
    /** The order in which they were done. */
    seq: bigserial({ mode: 'number' }).primaryKey(),
    id: text().notNull(),
    verb: text().$type<ActVerb>().notNull(),
    actor: text().notNull(),
    at: at('at').notNull(),
    reason: text().notNull(),
    rolloutUid: text('rollout_uid').notNull(),
    manifestSha256: text('manifest_sha256'),
    gate: text(),
    clusters: jsonb().$type<string[]>(),
    expiresAt: at('expires_at'),
  },
  (t) => [index('rollout_act_by_rollout').on(t.rolloutUid, t.seq)],
)

/** Append-only. The newest (timeline, generation) of a cluster is what it shall be. */
export const desiredState = pgTable(
  'desired_state',
  {
    cluster: text().notNull(),
    timeline: big('timeline').notNull(),
    generation: big('generation').notNull(),
    /** The exact payload bytes; the publisher signs these and nothing else. */
    payload: bytea().notNull(),
    digest: text().notNull(),
    createdAt: at('created_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.cluster, t.timeline, t.generation] })],
)

export const publication = pgTable(
  'publication',
  {
    cluster: text().notNull(),
    timeline: big('timeline').notNull(),
    generation: big('generation').notNull(),
    subject: text().notNull(),
    /** The JWS as sent, so that a refill of NATS sends the same text. */
    jws: text().notNull(),
    streamSeq: big('stream_seq').notNull(),
    sentAt: at('sent_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.cluster, t.timeline, t.generation] })],
)

export const clusterHead = pgTable(
  'cluster_head',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    incarnation: integer().notNull(),
    /** Highest seq without a gap below it but those in `closed_gap`. */
    watermark: big('watermark').notNull().default(0),
    /** Highest seq stored, gaps or not. */
    newestSeq: big('newest_seq').notNull().default(0),
    lastHeardAt: at('last_heard_at').notNull(),
    statusCounter: big('status_counter').notNull().default(0),
    /** Rises with everything that is stored or judged of what the node said: whoever remembers it by this need not read it again. */
    revision: big('revision').notNull().default(0),
    status: jsonb().$type<NodeStatus>(),
    /** When NATS took the status in. */
    statusAt: at('status_at'),
  },
  (t) => [primaryKey({ columns: [t.cluster, t.node] })],
)

/** Append-only: the exact texts that nodes signed. */
export const statement = pgTable(
  'statement',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    incarnation: integer().notNull(),
    seq: big('seq').notNull(),
    kind: text().$type<StatementKind>().notNull(),
    digest: text().notNull(),
    text: text().notNull(),
    receivedAt: at('received_at').notNull(),
  },
  // No other index: it would be paid by every statement.
  (t) => [primaryKey({ columns: [t.cluster, t.node, t.incarnation, t.seq] })],
)

/**
 * Append-only: the signatures under which statements came, each over all from `firstSeq` to `lastSeq`. The texts stand in
 * `statement` alone; with them a row here is the JWS that the node sent.
 */
export const statementBatch = pgTable(
  'statement_batch',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    incarnation: integer().notNull(),
    lastSeq: big('last_seq').notNull(),
    firstSeq: big('first_seq').notNull(),
    /** As they stand in the JWS, base64url. */
    header: text().notNull(),
    signature: text().notNull(),
    /** The payload's JSON, where it is spelt otherwise than our agents do. */
    payload: text(),
  },
  (t) => [primaryKey({ columns: [t.cluster, t.node, t.incarnation, t.lastSeq, t.firstSeq] })],
)

/**
 * Which manifests a node has confirmed in a life, by which statement first and by which last: below its release counter no
 * boot is good. A hub of an older version leaves `lastSeq` as it is, which may then be below `seq`.
 */
export const confirmedManifest = pgTable(
  'confirmed_manifest',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    incarnation: integer().notNull(),
    manifestSha256: text('manifest_sha256').notNull(),
    seq: big('seq').notNull(),
    lastSeq: big('last_seq').notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.cluster, t.node, t.incarnation, t.manifestSha256] })],
)

/**
 * Numbers below a watermark that are not stored: the node closed them by the gap statement `gapSeq`. A row shrinks from its
 * low end when what it closed comes after all, and goes with its last number.
 */
export const closedGap = pgTable(
  'closed_gap',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    incarnation: integer().notNull(),
    lastSeq: big('last_seq').notNull(),
    firstSeq: big('first_seq').notNull(),
    gapSeq: big('gap_seq').notNull(),
    closedAt: at('closed_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.cluster, t.node, t.incarnation, t.lastSeq] })],
)

/** Evidence that was stored and not judged yet: ingest puts it here, judging takes it away. */
export const evidenceQueue = pgTable(
  'evidence_queue',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    incarnation: integer().notNull(),
    seq: big('seq').notNull(),
  },
  (t) => [primaryKey({ columns: [t.cluster, t.node, t.incarnation, t.seq] })],
)

/** The number of each node's newest statement of a kind, and of each phase gone to: what is known of a fleet is read here. */
export const statementNewest = pgTable(
  'statement_newest',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    kind: text().$type<StatementKind>().notNull(),
    /** The phase a transition went to; `order` for a refusal of the order in force; empty for all else. */
    phase: text().notNull(),
    incarnation: integer().notNull(),
    seq: big('seq').notNull(),
  },
  (t) => [primaryKey({ columns: [t.cluster, t.node, t.kind, t.phase] })],
)

export const epochMarker = pgTable(
  'epoch_marker',
  {
    number: big('number').primaryKey(),
    at: at('at').notNull(),
    jws: text().notNull(),
    digest: text().notNull(),
  },
  // By what a statement says of it, which places the statement in time.
  (t) => [index('epoch_marker_digest').on(t.digest)],
)

/** One a boot and evidence statement, and one more each time it is judged again by other signed files; append-only. */
export const attestationResult = pgTable(
  'attestation_result',
  {
    cluster: text().notNull(),
    node: text().notNull(),
    incarnation: integer().notNull(),
    seq: big('seq').notNull(),
    bootId: text('boot_id').notNull(),
    verdict: text().$type<Verdict>().notNull(),
    reason: text().notNull(),
    message: text().notNull(),
    /** Without quote and logs: the statement has those. */
    evidence: jsonb().$type<EvidenceBody>().notNull(),
    judgedAt: at('judged_at').notNull(),
    /** Rises each time the statement is judged again. */
    revision: integer().notNull().default(1),
    findings: jsonb().$type<Finding[]>(),
    pcrs: jsonb().$type<PcrAppraisal[]>(),
    bank: text().$type<BankName>(),
    clock: jsonb().$type<NonNullable<Appraisal['clock']>>(),
    /** The profile it was judged by, and a digest of what the firmware's PCRs held: who shows the same is found by them. */
    profile: text(),
    firmware: text(),
    policyId: text('policy_id'),
    /** The EAR as the hub signed it. What was judged before there were any has none. */
    ear: text(),
  },
  (t) => [
    primaryKey({ columns: [t.cluster, t.node, t.incarnation, t.seq, t.revision] }),
    index('attestation_result_by_boot').on(t.cluster, t.node, t.bootId, t.incarnation, t.seq, t.revision),
    index('attestation_result_clock')
      .on(t.cluster, t.node, t.incarnation, t.seq, t.revision)
      .where(sql`clock is not null`),
    index('attestation_result_by_firmware')
      .on(t.profile, t.firmware, t.cluster)
      .where(sql`verdict in ('affirming', 'warning')`),
    index('attestation_result_bad').on(t.cluster, t.node, t.incarnation, t.seq).where(sql`verdict = 'contraindicated'`),
  ],
)

/** What this hub must remember of itself: the head of the audit chain, and how far changes are compacted. */
export const hubState = pgTable('hub_state', {
  key: text().primaryKey(),
  value: jsonb().$type<unknown>().notNull(),
  changed: at('changed').notNull().default(sql`now()`),
})

/** Bearer tokens, by hash. */
export const apiToken = pgTable('api_token', {
  sha256: text().primaryKey(),
  name: text().notNull(),
  role: text().$type<'platform-admin' | 'viewer'>().notNull(),
  createdAt: at('created_at').notNull(),
  expiresAt: at('expires_at'),
})
