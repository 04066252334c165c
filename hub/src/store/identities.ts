import type { NodeClass, PcrValues, PublicJwk, RegistrationState } from '@skerry/api'
import type { RecordedIdentity, TpmIdentity } from '@skerry/policy'
import type { Reader, Tx } from './store.ts'

// Who a node is: one record a node, found by the key that it proved or by its TPM, never by a name.

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

/** What policy asks of a record. */
export function recordedIdentity({
  state,
  requestId,
  decidedAt,
  credentialIssuedAt,
}: Pick<NodeIdentity, 'state' | 'requestId' | 'decidedAt' | 'credentialIssuedAt'>): RecordedIdentity {
  return { state, requestId, decidedAtMs: decidedAt.getTime(), issuedAtMs: credentialIssuedAt.getTime() }
}

export async function setIdentityState(
  tx: Tx,
  { cluster, node }: Pick<NodeIdentity, 'cluster' | 'node'>,
  state: RegistrationState,
): Promise<void> {
  await tx`update node_identity set state = ${state} where cluster = ${cluster} and node = ${node}`
}
