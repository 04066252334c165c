import type { IdentityRow, NodeIdentity } from './identities.ts'
import type { Reader, Tx } from './store.ts'

// Which NATS keys may be used, and which are ended.

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
