import type { PublicJwk } from '@skerry/api'
import type { NodeIdentity } from './identities.ts'
import type { Reader } from './store.ts'

// The lives of nodes, each with the key and the exchange that it began with. saveIdentities writes them.

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
