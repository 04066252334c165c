import {
  type BankName,
  type NodeClass,
  type NodeKeyPlace,
  type PcrValues,
  type PublicJwk,
  parse,
  RegistrationRequest,
  type RegistrationState,
  type RegistrationStatus,
} from '@skerry/api'
import type { FirstBoot, RecordedIdentity, TpmIdentity } from '@skerry/policy'
import type { Reader, Tx } from './store.ts'

// The rows behind registration: exchanges under way, who a node is, and which NATS keys are ended.

/** One exchange of a node's keys with the hub. Proven, it stays as long as its Registration; open, it expires. */
export type Exchange = {
  /** Digest of the public keys. */
  readonly id: string
  /** What the verified request says, as JSON, without its token: the secret in it is nowhere in the database. */
  readonly request: string
  /** Exactly as it went over the wire. */
  readonly challenge: string
  /** Of both as they went over the wire. */
  readonly transcript: string
  readonly cluster: string
  readonly node: string
  /** The token that admits it; null for a node whose key a record holds. */
  readonly tokenName: string | null
  readonly provenAt: Date | null
  /** The proof that was taken, as it was signed; null before, and of one that was proven before proofs were kept. */
  readonly proof: string | null
  /** What the hub asked of a TPM and what it knows of it, as JSON (`tpmOf`); null for class software-key. */
  readonly tpm: string | null
}

/** The TPM's half of an exchange. The secret itself is nowhere: only the TPM that was asked can say it. */
export type ExchangeTpm = TpmIdentity & {
  readonly secretSha256: string
  readonly bank: BankName
  /** Name of the HardwareProfile, and who vouches for the EK by it. */
  readonly profile: string
  readonly endorsedBy: string
  /** What its quote said; once it is proven. */
  readonly firstBoot?: FirstBoot
  /** Where the node key lies, as its proof showed. */
  readonly nodeKeyIn?: NodeKeyPlace
}

/** The hub wrote it, and nobody else does. */
export function tpmOf({ tpm }: Pick<Exchange, 'tpm'>): ExchangeTpm | undefined {
  return tpm === null ? undefined : (JSON.parse(tpm) as ExchangeTpm)
}

/** How many exchanges may be open at a time: of all tokens together, of this token, of one known node. */
export type OpenBounds = { readonly all: number; readonly token: number; readonly node: number }

/** The expiry of an exchange that does not expire; open ones are found by the index below it. */
const NEVER = new Date('9999-12-31T00:00:00Z')

const EXCHANGE =
  'id, request, challenge, transcript, cluster, node, token_name as "tokenName", proven_at as "provenAt", proof, tpm'

export async function loadExchange(tx: Reader, id: string): Promise<Exchange | undefined> {
  const [row] = await tx<Exchange[]>`select ${tx.unsafe(EXCHANGE)} from registration_request where id = ${id}`
  return row
}

/** The request of an exchange. It was verified before it was stored. */
export function requestOf({ request }: Pick<Exchange, 'request'>): RegistrationRequest {
  return parse(RegistrationRequest, JSON.parse(request), 'RegistrationRequest')
}

/** The exchanges with these ids, by id. */
export async function loadExchanges(tx: Reader, ids: readonly string[]): Promise<Map<string, Exchange>> {
  const rows = await tx<
    Exchange[]
  >`select ${tx.unsafe(EXCHANGE)} from registration_request where id = any(${ids}::text[])`
  return new Map(rows.map((row) => [row.id, row]))
}

/**
 * Stores an open exchange over whatever these keys had before. Returns false, and stores nothing, when a bound is reached;
 * what has expired goes first.
 */
export async function saveOpenExchange(
  tx: Reader,
  exchange: Omit<Exchange, 'provenAt' | 'proof'>,
  { expiresAt, nowMs, bounds }: { expiresAt: Date; nowMs: number; bounds: OpenBounds },
): Promise<boolean> {
  const { id, request, challenge, transcript, cluster, node, tokenName, tpm } = exchange
  const now = new Date(nowMs)
  const others = tx`from registration_request where expires_at < ${NEVER} and expires_at > ${now} and id <> ${id}`
  const free =
    tokenName === null
      ? tx`(select count(*) ${others} and token_name is null and cluster = ${cluster} and node = ${node}) < ${bounds.node}`
      : tx`(select count(*) filter (where token_name is not null) < ${bounds.all} and count(*) filter (where token_name = ${tokenName}) < ${bounds.token} ${others})`
  const rows = await tx`
    with gone as (delete from registration_request where expires_at <= ${now} and id <> ${id})
    insert into registration_request (id, request, challenge, transcript, cluster, node, token_name, tpm, created_at, expires_at)
    select ${id}, ${request}, ${challenge}, ${transcript}, ${cluster}, ${node}, ${tokenName}, ${tpm}, ${now}::timestamptz, ${expiresAt}::timestamptz where ${free}
    on conflict (id) do update set request = excluded.request, challenge = excluded.challenge, transcript = excluded.transcript,
      cluster = excluded.cluster, node = excluded.node, token_name = excluded.token_name, tpm = excluded.tpm, proven_at = null, proof = null, expires_at = excluded.expires_at
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

/** Marks exchanges as proven, with their proofs and what their TPMs showed, where they still have these transcripts: an open one may be replaced at any time. */
export async function markProven(
  tx: Tx,
  exchanges: readonly (Pick<Exchange, 'id' | 'transcript' | 'tpm'> & { readonly proof: string })[],
  nowMs: number,
): Promise<void> {
  await tx`update registration_request r set proven_at = ${new Date(nowMs)}, expires_at = ${NEVER}, proof = u.proof, tpm = u.tpm
    from unnest(${exchanges.map(({ id }) => id)}::text[], ${exchanges.map(({ transcript }) => transcript)}::text[],
      ${exchanges.map(({ proof }) => proof)}::text[], ${exchanges.map(({ tpm }) => tpm)}::text[]) as u(id, transcript, proof, tpm)
    where r.id = u.id and r.transcript = u.transcript`
}

export async function deleteExchanges(tx: Tx, ids: readonly string[]): Promise<void> {
  if (ids.length > 0) await tx`delete from registration_request where id = any(${ids}::text[])`
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
export type IdentityRow = Omit<NodeIdentity, 'nodeKey' | 'acceptance' | 'natsJwt' | 'transcript'> & {
  /** Of a node with a TPM: the Name of its attestation key, and what its firmware's PCRs held when it registered. */
  readonly akName: string | null
  readonly firmware: PcrValues | null
}

const IDENTITY_ROW = `cluster, node, state, class, node_key_thumbprint as "nodeKeyThumbprint", nats_key as "natsKey", incarnation, request_id as "requestId",
  credential_issued_at as "credentialIssuedAt", credential_expires_at as "credentialExpiresAt", decided_by as "decidedBy", decided_at as "decidedAt", ak_name as "akName", firmware`
const IDENTITY = `${IDENTITY_ROW}, node_key as "nodeKey", transcript, acceptance, nats_jwt as "natsJwt"`

/** Every record, or those of these clusters. */
export async function listIdentities(tx: Reader, clusters?: readonly string[]): Promise<IdentityRow[]> {
  return tx<IdentityRow[]>`select ${tx.unsafe(IDENTITY_ROW)} from node_identity
    ${clusters === undefined ? tx`` : tx`where cluster = any(${clusters}::text[])`} order by cluster, node`
}

export async function loadIdentity(tx: Reader, cluster: string, node: string): Promise<NodeIdentity | undefined> {
  const [row] = await tx<
    NodeIdentity[]
  >`select ${tx.unsafe(IDENTITY)} from node_identity where cluster = ${cluster} and node = ${node}`
  return row
}

/** The records of these nodes, by `cluster/node`. */
export async function identitiesAt(
  tx: Reader,
  places: readonly Pick<NodeIdentity, 'cluster' | 'node'>[],
): Promise<Map<string, IdentityRow>> {
  if (places.length === 0) return new Map()
  const rows = await tx<IdentityRow[]>`select ${tx.unsafe(IDENTITY_ROW)} from node_identity where (cluster, node) in (
    select * from unnest(${places.map(({ cluster }) => cluster)}::text[], ${places.map(({ node }) => node)}::text[]))`
  return new Map(rows.map((row) => [`${row.cluster}/${row.node}`, row]))
}

/** A node that is registered with a TPM. */
export type TpmHolder = TpmIdentity & { readonly cluster: string; readonly node: string }

/** The nodes that are registered with one of these EKs or with one of these AKs: accepted or not, whoever was deleted apart. */
export async function tpmHolders(tx: Reader, tpms: readonly TpmIdentity[]): Promise<TpmHolder[]> {
  if (tpms.length === 0) return []
  return tx<TpmHolder[]>`
    select namespace as cluster, name as node, spec->'tpm'->>'ekSha256' as "ekSha256", spec->'tpm'->>'akName' as "akName" from resource
    where kind = 'Registration' and (spec->'tpm'->>'ekSha256' = any(${tpms.flatMap(({ ekSha256, ekTwins = [] }) => [ekSha256, ...ekTwins])}::text[])
      or spec->'tpm'->>'akName' = any(${tpms.map(({ akName }) => akName)}::text[]))
    order by namespace, name`
}

/** Which of these nodes spoke with these keys in a life that has ended, by `cluster/node`; one that left begins anew. */
export async function keysOfFormerLives(
  tx: Reader,
  claims: readonly (Pick<NodeIdentity, 'cluster' | 'node'> & { readonly nodeKey: PublicJwk })[],
): Promise<Set<string>> {
  if (claims.length === 0) return new Set()
  const rows = await tx<{ cluster: string; node: string }[]>`
    select distinct l.cluster, l.node from node_life l join node_identity i using (cluster, node)
    join unnest(${claims.map(({ cluster }) => cluster)}::text[], ${claims.map(({ node }) => node)}::text[],
      ${claims.map(({ nodeKey }) => JSON.stringify(nodeKey))}::text[]) as u(cluster, node, key) using (cluster, node)
    where l.node_key = u.key::jsonb and l.incarnation < i.incarnation and i.node_key <> u.key::jsonb and i.state <> 'Left'`
  return new Set(rows.map(({ cluster, node }) => `${cluster}/${node}`))
}

/** Every record of these clusters, by `cluster/node`. */
export async function loadIdentities(tx: Reader, clusters: readonly string[]): Promise<Map<string, NodeIdentity>> {
  const rows = await tx<
    NodeIdentity[]
  >`select ${tx.unsafe(IDENTITY)} from node_identity where cluster = any(${clusters}::text[])`
  return new Map(rows.map((row) => [`${row.cluster}/${row.node}`, row]))
}

/** The records that keys belong to, by the key's thumbprint: by the key alone, never by a name. */
export async function identitiesByKey(tx: Reader, thumbprints: readonly string[]): Promise<Map<string, IdentityRow>> {
  const rows = await tx<
    IdentityRow[]
  >`select ${tx.unsafe(IDENTITY_ROW)} from node_identity where node_key_thumbprint = any(${thumbprints}::text[])`
  return new Map(rows.map((row) => [row.nodeKeyThumbprint, row]))
}

/** A record as it is written: with the proof that the life it is in began with, where this is its beginning. */
export type NewIdentity = NodeIdentity & {
  readonly proof?: string | undefined
  /** Name of the attestation key, as hex, and what PCR 0, 2, 3 and 6 held. Of one TPM they stay as they were first told. */
  readonly akName?: string | undefined
  readonly firmware?: PcrValues | undefined
}

/** Writes nodes' records, each node and each key once, and the lives they begin. A record elsewhere that a key has left gives the key up. */
export async function saveIdentities(tx: Tx, all: readonly NewIdentity[]): Promise<void> {
  if (all.length === 0) return
  const column = (of: (i: NodeIdentity) => string) => all.map(of)
  const [clusters, nodes, thumbprints] = [
    column((i) => i.cluster),
    column((i) => i.node),
    column((i) => i.nodeKeyThumbprint),
  ]
  await tx`delete from node_identity i using unnest(${clusters}::text[], ${nodes}::text[], ${thumbprints}::text[]) as u(c, n, t)
    where i.node_key_thumbprint = u.t and i.state = 'Left' and (i.cluster, i.node) <> (u.c, u.n)`
  await tx`insert into node_identity (cluster, node, state, class, node_key, node_key_thumbprint, nats_key, incarnation, request_id, transcript, acceptance, nats_jwt,
      credential_issued_at, credential_expires_at, decided_by, decided_at, ak_name, firmware)
    select c, n, s, cl, k::jsonb, t, nk, inc, r, tr, a, j, ia, ea, db, da, ak, fw::jsonb from unnest(${clusters}::text[], ${nodes}::text[], ${column((i) => i.state)}::text[],
      ${column((i) => i.class)}::text[], ${column((i) => JSON.stringify(i.nodeKey))}::text[], ${thumbprints}::text[], ${column((i) => i.natsKey)}::text[],
      ${all.map((i) => i.incarnation)}::int[], ${column((i) => i.requestId)}::text[], ${column((i) => i.transcript)}::text[], ${column((i) => i.acceptance)}::text[],
      ${column((i) => i.natsJwt)}::text[], ${column((i) => i.credentialIssuedAt.toISOString())}::timestamptz[], ${column((i) => i.credentialExpiresAt.toISOString())}::timestamptz[],
      ${column((i) => i.decidedBy)}::text[], ${column((i) => i.decidedAt.toISOString())}::timestamptz[],
      ${all.map((i) => i.akName ?? null)}::text[], ${all.map((i) => (i.firmware ? JSON.stringify(i.firmware) : null))}::text[])
      as u(c, n, s, cl, k, t, nk, inc, r, tr, a, j, ia, ea, db, da, ak, fw)
    on conflict (cluster, node) do update set state = excluded.state, class = excluded.class, node_key = excluded.node_key, node_key_thumbprint = excluded.node_key_thumbprint,
      nats_key = excluded.nats_key, incarnation = excluded.incarnation, request_id = excluded.request_id, transcript = excluded.transcript, acceptance = excluded.acceptance,
      nats_jwt = excluded.nats_jwt, credential_issued_at = excluded.credential_issued_at, credential_expires_at = excluded.credential_expires_at,
      decided_by = excluded.decided_by, decided_at = excluded.decided_at, ak_name = excluded.ak_name,
      firmware = case when node_identity.ak_name = excluded.ak_name then coalesce(node_identity.firmware, excluded.firmware) else excluded.firmware end`
  // Renewed, a life keeps the exchange that it began with: what it signed is verified with that for ever.
  await tx`insert into node_life (cluster, node, incarnation, node_key, transcript, proof, decided_by, decided_at)
    select c, n, i, k::jsonb, t, p, db, da from unnest(${clusters}::text[], ${nodes}::text[], ${all.map((i) => i.incarnation)}::int[],
      ${column((i) => JSON.stringify(i.nodeKey))}::text[], ${column((i) => i.transcript)}::text[], ${all.map((i) => i.proof ?? null)}::text[],
      ${column((i) => i.decidedBy)}::text[], ${column((i) => i.decidedAt.toISOString())}::timestamptz[]) as u(c, n, i, k, t, p, db, da)
    on conflict (cluster, node, incarnation) do nothing`
}

/** The greatest life that was ever counted of each place, by `cluster/node`, whether or not it has a record now. */
export async function lastLives(
  tx: Reader,
  places: readonly Pick<NodeIdentity, 'cluster' | 'node'>[],
): Promise<Map<string, number>> {
  const rows = await tx<{ cluster: string; node: string; last: number }[]>`
    select u.cluster, u.node, greatest(h.incarnation, l.last, 0) as last
    from unnest(${places.map(({ cluster }) => cluster)}::text[], ${places.map(({ node }) => node)}::text[]) as u(cluster, node)
    left join cluster_head h on h.cluster = u.cluster and h.node = u.node
    left join lateral (select max(incarnation) as last from node_life where cluster = u.cluster and node = u.node) l on true`
  return new Map(rows.map(({ cluster, node, last }) => [`${cluster}/${node}`, last]))
}

/** The key of one life of a node, and how it came to be the node's. */
export type NodeLife = {
  readonly nodeKey: PublicJwk
  readonly transcript: string
  readonly proof: string | null
  readonly decidedBy: string
  readonly decidedAt: Date
}

export async function loadLife(
  tx: Reader,
  { cluster, node, incarnation }: Pick<NodeIdentity, 'cluster' | 'node' | 'incarnation'>,
): Promise<NodeLife | undefined> {
  const [row] = await tx<NodeLife[]>`
    select node_key as "nodeKey", transcript, proof, decided_by as "decidedBy", decided_at as "decidedAt"
    from node_life where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation}`
  return row
}

/** What policy asks of a record. */
export function recordedIdentity({
  state,
  requestId,
  decidedAt,
  credentialIssuedAt,
}: Pick<NodeIdentity, 'state' | 'requestId' | 'decidedAt' | 'credentialIssuedAt'>): RecordedIdentity {
  return { state, requestId, decidedAtMs: decidedAt.getTime(), issuedAtMs: credentialIssuedAt.getTime() }
}

/** Who wants to use a NATS key. */
export type KeyClaim = Pick<NodeIdentity, 'cluster' | 'node' | 'natsKey'>

/** Why NATS keys may not be these nodes', by `cluster/node`: ended before, or another node's. A node that is not in the map may use its key. */
export async function natsKeyFaults(
  tx: Reader,
  claims: readonly KeyClaim[],
): Promise<Map<string, 'Ended' | 'HeldByOther'>> {
  const rows = await tx<{ cluster: string; node: string; held: boolean }[]>`
    select * from (select u.cluster, u.node, exists (select 1 from nats_revocation r where r.nats_key = u.key) as ended,
      exists (select 1 from node_identity i where i.nats_key = u.key and (i.cluster, i.node) <> (u.cluster, u.node)) as held
    from unnest(${claims.map(({ cluster }) => cluster)}::text[], ${claims.map(({ node }) => node)}::text[],
      ${claims.map(({ natsKey }) => natsKey)}::text[]) as u(cluster, node, key)) as judged where ended or held`
  return new Map(rows.map(({ cluster, node, held }) => [`${cluster}/${node}`, held ? 'HeldByOther' : 'Ended']))
}

export async function setIdentityState(
  tx: Tx,
  { cluster, node }: Pick<NodeIdentity, 'cluster' | 'node'>,
  state: RegistrationState,
): Promise<void> {
  await tx`update node_identity set state = ${state} where cluster = ${cluster} and node = ${node}`
}

/** The routing token of each cluster, made by `make` where there is none. */
export async function routingTokensOf(
  tx: Tx,
  clusters: readonly string[],
  make: () => string,
): Promise<Map<string, string>> {
  const load = () =>
    tx<
      { cluster: string; token: string }[]
    >`select cluster, token from cluster_routing where cluster = any(${clusters}::text[])`
  const known = new Map((await load()).map(({ cluster, token }) => [cluster, token]))
  const lacking = [...new Set(clusters)].filter((cluster) => !known.has(cluster))
  if (lacking.length === 0) return known
  // The version lock keeps every other maker out.
  await tx`insert into cluster_routing (cluster, token, created_at)
    select c, t, now() from unnest(${lacking}::text[], ${lacking.map(make)}::text[]) as u(c, t) on conflict do nothing`
  return new Map((await load()).map(({ cluster, token }) => [cluster, token]))
}

/** Ends a NATS key: whatever was issued for it up to now is refused. */
export async function revokeKey(
  tx: Tx,
  {
    natsKey,
    cluster,
    node,
    credentialExpiresAt,
  }: Pick<IdentityRow, 'natsKey' | 'cluster' | 'node' | 'credentialExpiresAt'>,
  nowMs: number,
): Promise<void> {
  await tx`insert into nats_revocation (nats_key, cluster, node, revoked_at, expires_at) values (${natsKey}, ${cluster}, ${node}, ${new Date(nowMs)}, ${credentialExpiresAt})
    on conflict (nats_key) do update set revoked_at = excluded.revoked_at, expires_at = greatest(nats_revocation.expires_at, excluded.expires_at)`
}

/**
 * The most that NATS can be told: they travel in one account JWT, and nats-server decodes none above 1 MiB, whatever its
 * max_payload is. A row takes 93.3 bytes of it.
 */
export const MAX_TOLD = 11_000

/**
 * nkey → Unix seconds of its revocation, without those whose credentials have ended anyway; and how many did not fit. Each
 * node's newest come first, so a node that ends key after key crowds out its own old ones before anything of another.
 */
export async function listRevocations(
  tx: Reader,
  most = MAX_TOLD,
): Promise<{ readonly told: ReadonlyMap<string, number>; readonly leftOut: number }> {
  const rows = await tx<{ nats_key: string; revoked_at: Date; total: number }[]>`
    select nats_key, revoked_at, (count(*) over ())::int as total from (
      select nats_key, revoked_at, row_number() over (partition by cluster, node order by revoked_at desc, nats_key) as age
      from nats_revocation where expires_at > now()) as aged
    order by age, revoked_at desc, nats_key limit ${most}`
  const told = new Map(rows.map((row) => [row.nats_key, inSeconds(row.revoked_at)]))
  return { told, leftOut: (rows[0]?.total ?? 0) - rows.length }
}

/** When each of these nodes ended the `nth` newest of its keys, by `cluster/node`: those that ended so many since a time. */
export async function nthKeyEnded(
  tx: Reader,
  places: readonly Pick<NodeIdentity, 'cluster' | 'node'>[],
  { nth, sinceMs }: { nth: number; sinceMs: number },
): Promise<Map<string, number>> {
  const rows = await tx<{ cluster: string; node: string; at: Date }[]>`
    select * from (select r.cluster, r.node, (array_agg(r.revoked_at order by r.revoked_at desc))[${nth}::int] as at
      from (select distinct * from unnest(${places.map(({ cluster }) => cluster)}::text[], ${places.map(({ node }) => node)}::text[])) as u(cluster, node)
      join nats_revocation r using (cluster, node) where r.revoked_at > ${new Date(sinceMs)} group by r.cluster, r.node) as ended
    where at is not null`
  return new Map(rows.map(({ cluster, node, at }) => [`${cluster}/${node}`, at.getTime()]))
}

/** Forgets revocations of credentials that are past their own end. */
export async function pruneRevocations(tx: Tx, nowMs: number): Promise<void> {
  await tx`delete from nats_revocation where expires_at <= ${new Date(nowMs)}`
}

// NATS counts in whole seconds: rounded up, so that a credential of the very second is ended too.
function inSeconds(at: Date): number {
  return Math.ceil(at.getTime() / 1000)
}
