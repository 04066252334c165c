import type { Tx } from './store.ts'

// The token in the subjects of what goes down to a cluster.

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
