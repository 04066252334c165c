import type { NodeClass, PublicJwk, RegistrationState } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

// The rows behind registration: open requests, and who a node is.

export type OpenRequest = {
  id: string
  request: string
  challenge: string
  transcript: string
  cluster: string
  node: string
  tokenName: string | null
  provenAt: Date | null
  expiresAt: Date
}
export type NodeIdentity = {
  cluster: string
  node: string
  state: RegistrationState
  class: NodeClass
  nodeKey: PublicJwk
  nodeKeyThumbprint: string
  natsKey: string
  incarnation: number
  requestId: string
  transcript: string
  acceptance: string
  natsJwt: string
  credentialIssuedAt: Date
  credentialExpiresAt: Date
  decidedBy: string
  decidedAt: Date
}

export async function loadRequest(tx: Reader, id: string): Promise<OpenRequest | undefined> {
  const [row] = await tx<OpenRequest[]>`
    select id, request, challenge, transcript, cluster, node, token_name as "tokenName", proven_at as "provenAt", expires_at as "expiresAt" from registration_request where id = ${id}`
  return row
}

/** Stores a request with a fresh challenge; the same keys meet the same row. Returns false when too many are open. */
export async function saveRequest(tx: Tx, row: Omit<OpenRequest, 'provenAt'>, maxOpen: number): Promise<boolean> {
  await tx`delete from registration_request where expires_at < now() and proven_at is null`
  const [open] = await tx<
    { n: number }[]
  >`select count(*)::int as n from registration_request where proven_at is null and id <> ${row.id}`
  if ((open?.n ?? 0) >= maxOpen) return false
  await tx`insert into registration_request (id, request, challenge, transcript, cluster, node, token_name, created_at, expires_at)
    values (${row.id}, ${row.request}, ${row.challenge}, ${row.transcript}, ${row.cluster}, ${row.node}, ${row.tokenName}, now(), ${row.expiresAt})
    on conflict (id) do update set request = excluded.request, challenge = excluded.challenge, transcript = excluded.transcript, cluster = excluded.cluster, node = excluded.node,
      token_name = coalesce(registration_request.token_name, excluded.token_name), expires_at = excluded.expires_at`
  return true
}

export async function markProven(tx: Tx, id: string): Promise<void> {
  await tx`update registration_request set proven_at = coalesce(proven_at, now()) where id = ${id}`
}

/** How many different keys have used a token, and whether these are among them. */
export async function tokenUses(
  tx: Reader,
  tokenName: string,
  id: string,
): Promise<{ uses: number; alreadyCounted: boolean }> {
  const [row] = await tx<{ uses: number; mine: boolean }[]>`
    select count(*)::int as uses, coalesce(bool_or(id = ${id}), false) as mine from registration_request where token_name = ${tokenName} and proven_at is not null`
  return { uses: row?.uses ?? 0, alreadyCounted: row?.mine ?? false }
}

const IDENTITY = `cluster, node, state, class, node_key as "nodeKey", node_key_thumbprint as "nodeKeyThumbprint", nats_key as "natsKey", incarnation, request_id as "requestId", transcript,
  acceptance, nats_jwt as "natsJwt", credential_issued_at as "credentialIssuedAt", credential_expires_at as "credentialExpiresAt", decided_by as "decidedBy", decided_at as "decidedAt"`

export async function listIdentities(tx: Reader): Promise<NodeIdentity[]> {
  return tx<NodeIdentity[]>`select ${tx.unsafe(IDENTITY)} from node_identity order by cluster, node`
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

export async function saveIdentity(tx: Tx, i: NodeIdentity): Promise<void> {
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

export async function setIdentityState(tx: Tx, cluster: string, node: string, state: RegistrationState): Promise<void> {
  await tx`update node_identity set state = ${state} where cluster = ${cluster} and node = ${node}`
}

/** The cluster's routing token, made by `make` when it has none. */
export async function routingTokenOf(tx: Tx, cluster: string, make: () => string): Promise<string> {
  await tx`insert into cluster_routing (cluster, token, created_at) values (${cluster}, ${make()}, now()) on conflict do nothing`
  const [row] = await tx<{ token: string }[]>`select token from cluster_routing where cluster = ${cluster}`
  if (!row) throw new Error('the routing token was not stored')
  return row.token
}

/** Ends a NATS key: whatever was issued for it up to now is refused. */
export async function revokeKey(tx: Tx, { natsKey, cluster, node, credentialExpiresAt }: NodeIdentity): Promise<void> {
  await tx`insert into nats_revocation (nats_key, cluster, node, revoked_at, expires_at) values (${natsKey}, ${cluster}, ${node}, now(), ${credentialExpiresAt})
    on conflict (nats_key) do update set revoked_at = now()`
}

/** nkey → Unix seconds of its revocation, without those whose credentials have ended anyway. */
export async function listRevocations(tx: Reader): Promise<Map<string, number>> {
  const rows = await tx<
    { nats_key: string; revoked_at: Date }[]
  >`select nats_key, revoked_at from nats_revocation where expires_at > now() order by nats_key`
  return new Map(rows.map((row) => [row.nats_key, Math.ceil(row.revoked_at.getTime() / 1000)]))
}
