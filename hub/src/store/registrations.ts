import type { NodeClass, PublicJwk, RegistrationState, RegistrationStatus } from '@skerry/api'
import type { RecordedIdentity } from '@skerry/policy'
import type { Reader, Tx } from './store.ts'

// The rows behind registration: exchanges under way, who a node is, and which NATS keys are ended.

/** One exchange of a node's keys with the hub. Proven, it stays as long as its Registration; open, it expires. */
export type Exchange = {
  /** Digest of the public keys. */
  readonly id: string
  /** Request and challenge exactly as they went over the wire. */
  readonly request: string
  readonly challenge: string
  readonly transcript: string
  readonly cluster: string
  readonly node: string
  /** The token that admits it; null for a node whose key a record holds. */
  readonly tokenName: string | null
  readonly provenAt: Date | null
}

/** How many exchanges may be open at a time: of all tokens together, of this token, of one known node. */
export type OpenBounds = { readonly all: number; readonly token: number; readonly node: number }

/** The expiry of an exchange that does not expire; open ones are found by the index below it. */
const NEVER = new Date('9999-12-31T00:00:00Z')

const EXCHANGE = 'id, request, challenge, transcript, cluster, node, token_name as "tokenName", proven_at as "provenAt"'

export async function loadExchange(tx: Reader, id: string): Promise<Exchange | undefined> {
  const [row] = await tx<Exchange[]>`select ${tx.unsafe(EXCHANGE)} from registration_request where id = ${id}`
  return row
}

/**
 * Stores an open exchange over whatever these keys had before. Returns false, and stores nothing, when a bound is reached;
 * what has expired goes first.
 */
export async function saveOpenExchange(
  tx: Reader,
  exchange: Omit<Exchange, 'provenAt'>,
  { expiresAt, nowMs, bounds }: { expiresAt: Date; nowMs: number; bounds: OpenBounds },
): Promise<boolean> {
  const { id, request, challenge, transcript, cluster, node, tokenName } = exchange
  const now = new Date(nowMs)
  const others = tx`from registration_request where expires_at < ${NEVER} and expires_at > ${now} and id <> ${id}`
  const free =
    tokenName === null
      ? tx`(select count(*) ${others} and token_name is null and cluster = ${cluster} and node = ${node}) < ${bounds.node}`
      : tx`(select count(*) filter (where token_name is not null) < ${bounds.all} and count(*) filter (where token_name = ${tokenName}) < ${bounds.token} ${others})`
  const rows = await tx`
    with gone as (delete from registration_request where expires_at <= ${now} and id <> ${id})
    insert into registration_request (id, request, challenge, transcript, cluster, node, token_name, created_at, expires_at)
    select ${id}, ${request}, ${challenge}, ${transcript}, ${cluster}, ${node}, ${tokenName}, ${now}::timestamptz, ${expiresAt}::timestamptz where ${free}
    on conflict (id) do update set request = excluded.request, challenge = excluded.challenge, transcript = excluded.transcript,
      cluster = excluded.cluster, node = excluded.node, token_name = excluded.token_name, proven_at = null, expires_at = excluded.expires_at
    returning 1`
  return rows.length > 0
}

/** Where an exchange stands, in one look: the poll of every node that waits. */
export async function loadProgress(
  tx: Reader,
  id: string,
): Promise<
  | {
      readonly transcript: string
      readonly proven: boolean
      /** The Registration's present exchange, and its status. */
      readonly current: string | null
      readonly status: RegistrationStatus | null
      /** Of the record that was made for this very exchange. */
      readonly acceptance: string | null
      readonly natsJwt: string | null
    }
  | undefined
> {
  const [row] = await tx<NonNullable<Awaited<ReturnType<typeof loadProgress>>>[]>`
    select r.transcript, r.proven_at is not null as proven, o.spec->>'keysDigest' as current, o.status, i.acceptance, i.nats_jwt as "natsJwt"
    from registration_request r
    left join resource o on o.kind = 'Registration' and o.namespace = r.cluster and o.name = r.node
    left join node_identity i on i.cluster = r.cluster and i.node = r.node and i.request_id = r.id and i.state = 'Accepted'
    where r.id = ${id}`
  return row
}

/** Marks an exchange as proven, if it is still the one with this transcript. Returns whether it was. */
export async function markProven(tx: Tx, id: string, transcript: string, nowMs: number): Promise<boolean> {
  const rows = await tx`
    update registration_request set proven_at = ${new Date(nowMs)}, expires_at = ${NEVER} where id = ${id} and transcript = ${transcript} returning 1`
  return rows.length > 0
}

export async function deleteExchange(tx: Tx, id: string): Promise<void> {
  await tx`delete from registration_request where id = ${id}`
}

/** Forgets proven exchanges whose Registration is gone: the keys in them begin anew. */
export async function deleteOrphanedExchanges(tx: Tx): Promise<void> {
  await tx`delete from registration_request r where proven_at is not null and not exists (
    select 1 from resource o where o.kind = 'Registration' and o.namespace = r.cluster and o.name = r.node)`
}

/** Who a node is: the one record that every later check reads. */
export type NodeIdentity = {
  readonly cluster: string
  readonly node: string
  readonly state: RegistrationState
  readonly class: NodeClass
  readonly nodeKey: PublicJwk
  readonly nodeKeyThumbprint: string
  readonly natsKey: string
  readonly incarnation: number
  /** Digest of the keys that the credential was minted for: the id of their exchange. */
  readonly requestId: string
  /** Of the exchange that began this incarnation. */
  readonly transcript: string
  readonly acceptance: string
  readonly natsJwt: string
  readonly credentialIssuedAt: Date
  readonly credentialExpiresAt: Date
  readonly decidedBy: string
  readonly decidedAt: Date
}

/** A record without its long texts, for reading all of them. */
export type IdentityRow = Omit<NodeIdentity, 'nodeKey' | 'acceptance' | 'natsJwt' | 'transcript'>

const IDENTITY_ROW = `cluster, node, state, class, node_key_thumbprint as "nodeKeyThumbprint", nats_key as "natsKey", incarnation, request_id as "requestId",
  credential_issued_at as "credentialIssuedAt", credential_expires_at as "credentialExpiresAt", decided_by as "decidedBy", decided_at as "decidedAt"`
const IDENTITY = `${IDENTITY_ROW}, node_key as "nodeKey", transcript, acceptance, nats_jwt as "natsJwt"`

/** Every record, or those of one cluster. */
export async function listIdentities(tx: Reader, cluster?: string): Promise<IdentityRow[]> {
  return tx<IdentityRow[]>`select ${tx.unsafe(IDENTITY_ROW)} from node_identity
    ${cluster === undefined ? tx`` : tx`where cluster = ${cluster}`} order by cluster, node`
}

export async function loadIdentity(tx: Reader, cluster: string, node: string): Promise<NodeIdentity | undefined> {
  const [row] = await tx<
    NodeIdentity[]
  >`select ${tx.unsafe(IDENTITY)} from node_identity where cluster = ${cluster} and node = ${node}`
  return row
}

/** The record a key belongs to: by the key alone, never by a name. */
export async function identityByKey(tx: Reader, thumbprint: string): Promise<NodeIdentity | undefined> {
  const [row] = await tx<
    NodeIdentity[]
  >`select ${tx.unsafe(IDENTITY)} from node_identity where node_key_thumbprint = ${thumbprint}`
  return row
}

/** Writes a node's record. A record elsewhere that this key has left gives the key up. */
export async function saveIdentity(tx: Tx, i: NodeIdentity): Promise<void> {
  await tx`delete from node_identity where node_key_thumbprint = ${i.nodeKeyThumbprint} and state = 'Left' and (cluster, node) <> (${i.cluster}, ${i.node})`
  const key = tx.json(i.nodeKey as Parameters<Tx['json']>[0])
  await tx`insert into node_identity (cluster, node, state, class, node_key, node_key_thumbprint, nats_key, incarnation, request_id, transcript, acceptance, nats_jwt,
      credential_issued_at, credential_expires_at, decided_by, decided_at)
    values (${i.cluster}, ${i.node}, ${i.state}, ${i.class}, ${key}, ${i.nodeKeyThumbprint}, ${i.natsKey}, ${i.incarnation}, ${i.requestId}, ${i.transcript}, ${i.acceptance}, ${i.natsJwt},
      ${i.credentialIssuedAt}, ${i.credentialExpiresAt}, ${i.decidedBy}, ${i.decidedAt})
    on conflict (cluster, node) do update set state = excluded.state, class = excluded.class, node_key = excluded.node_key, node_key_thumbprint = excluded.node_key_thumbprint,
      nats_key = excluded.nats_key, incarnation = excluded.incarnation, request_id = excluded.request_id, transcript = excluded.transcript, acceptance = excluded.acceptance,
      nats_jwt = excluded.nats_jwt, credential_issued_at = excluded.credential_issued_at, credential_expires_at = excluded.credential_expires_at,
      decided_by = excluded.decided_by, decided_at = excluded.decided_at`
}

/** What policy asks of a record. */
export function recordedIdentity({ state, requestId, decidedAt, credentialIssuedAt }: IdentityRow): RecordedIdentity {
  return { state, requestId, decidedAtMs: decidedAt.getTime(), issuedAtMs: credentialIssuedAt.getTime() }
}

/** Why a NATS key may not be this node's: it was ended before, or is another node's. */
export async function natsKeyFault(
  tx: Reader,
  natsKey: string,
  { cluster, node }: Pick<NodeIdentity, 'cluster' | 'node'>,
): Promise<'Ended' | 'HeldByOther' | undefined> {
  const [row] = await tx<{ ended: boolean; held: boolean }[]>`
    select exists (select 1 from nats_revocation where nats_key = ${natsKey}) as ended,
      exists (select 1 from node_identity where nats_key = ${natsKey} and (cluster, node) <> (${cluster}, ${node})) as held`
  if (row?.held) return 'HeldByOther'
  return row?.ended ? 'Ended' : undefined
}

export async function setIdentityState(
  tx: Tx,
  { cluster, node }: Pick<NodeIdentity, 'cluster' | 'node'>,
  state: RegistrationState,
): Promise<void> {
  await tx`update node_identity set state = ${state} where cluster = ${cluster} and node = ${node}`
}

/** The cluster's routing token, made by `make` when it has none. */
export async function routingTokenOf(tx: Tx, cluster: string, make: () => string): Promise<string> {
  await tx`insert into cluster_routing (cluster, token, created_at) values (${cluster}, ${make()}, now()) on conflict do nothing`
  const [row] = await tx<{ token: string }[]>`select token from cluster_routing where cluster = ${cluster}`
  if (!row) throw new Error(`the routing token of ${cluster} was not stored`)
  return row.token
}

/** Ends a NATS key: whatever was issued for it up to now is refused. */
export async function revokeKey(
  tx: Tx,
  { natsKey, cluster, node, credentialExpiresAt }: Omit<IdentityRow, 'state'>,
  nowMs: number,
): Promise<void> {
  await tx`insert into nats_revocation (nats_key, cluster, node, revoked_at, expires_at) values (${natsKey}, ${cluster}, ${node}, ${new Date(nowMs)}, ${credentialExpiresAt})
    on conflict (nats_key) do update set revoked_at = excluded.revoked_at, expires_at = greatest(nats_revocation.expires_at, excluded.expires_at)`
}

/** nkey → Unix seconds of its revocation, without those whose credentials have ended anyway. */
export async function listRevocations(tx: Reader): Promise<Map<string, number>> {
  const rows = await tx<
    { nats_key: string; revoked_at: Date }[]
  >`select nats_key, revoked_at from nats_revocation where expires_at > now() order by nats_key`
  return new Map(rows.map((row) => [row.nats_key, inSeconds(row.revoked_at)]))
}

/** Forgets revocations of credentials that are past their own end. */
export async function pruneRevocations(tx: Tx, nowMs: number): Promise<void> {
  await tx`delete from nats_revocation where expires_at <= ${new Date(nowMs)}`
}

// NATS counts in whole seconds: rounded up, so that a credential of the very second is ended too.
function inSeconds(at: Date): number {
  return Math.ceil(at.getTime() / 1000)
}
