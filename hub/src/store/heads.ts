import type { NodeStatus } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

export type NodeId = { cluster: string; node: string; incarnation: number }
export type Head = NodeId & {
  watermark: number
  newestSeq: number
  lastHeardAt: Date
  status: NodeStatus | undefined
}

/** The heads of a cluster's nodes. */
export async function listHeads(tx: Reader, cluster: string): Promise<Head[]> {
  const rows = await tx<
    {
      cluster: string
      node: string
      incarnation: number
      watermark: string
      newest_seq: string
      last_heard_at: Date
      status: NodeStatus | null
    }[]
  >`
    select cluster, node, incarnation, watermark, newest_seq, last_heard_at, status from cluster_head
    where cluster = ${cluster} order by node`
  return rows.map((row) => ({
    cluster: row.cluster,
    node: row.node,
    incarnation: row.incarnation,
    watermark: Number(row.watermark),
    newestSeq: Number(row.newest_seq),
    lastHeardAt: row.last_heard_at,
    status: row.status ?? undefined,
  }))
}

/** What a node's head says while it is locked. `incarnation` is above the caller's when the node has begun another life. */
export type LockedHead = { incarnation: number; watermark: number; newestSeq: number }

/**
 * Locks the heads of these nodes until the transaction ends and marks them as heard from now. Makes those that are
 * missing; a node's new life begins at 0. Every writer of heads comes here first, and all are locked in the order of
 * their names: no two writers wait for each other, and one node's statements have one writer at a time.
 */
export async function lockHeads(tx: Tx, nodes: Iterable<NodeId>): Promise<Map<string, LockedHead>> {
  const ids = [...new Map([...nodes].map((id) => [keyOf(id), id])).values()]
  const rows = await tx<
    { cluster: string; node: string; incarnation: number; watermark: string; newest_seq: string }[]
  >`
    insert into cluster_head (cluster, node, incarnation, last_heard_at)
    select c, n, i, now() from unnest(${ids.map((id) => id.cluster)}::text[], ${ids.map((id) => id.node)}::text[], ${ids.map((id) => id.incarnation)}::int[]) as u(c, n, i)
    order by c, n
    on conflict (cluster, node) do update set last_heard_at = now(),
      incarnation = greatest(cluster_head.incarnation, excluded.incarnation),
      watermark = case when excluded.incarnation > cluster_head.incarnation then 0 else cluster_head.watermark end,
      newest_seq = case when excluded.incarnation > cluster_head.incarnation then 0 else cluster_head.newest_seq end,
      status_counter = case when excluded.incarnation > cluster_head.incarnation then 0 else cluster_head.status_counter end
    returning cluster, node, incarnation, watermark, newest_seq`
  return new Map(
    rows.map((row) => [
      keyOf(row),
      { incarnation: row.incarnation, watermark: Number(row.watermark), newestSeq: Number(row.newest_seq) },
    ]),
  )
}

/** What these nodes said of themselves last, by `keyOf`, each in the life that is asked for. */
export async function listNodeStatuses(tx: Reader, nodes: readonly NodeId[]): Promise<Map<string, NodeStatus>> {
  const rows = await tx<{ cluster: string; node: string; status: NodeStatus }[]>`
    select h.cluster, h.node, h.status from ${idsOf(tx, nodes)} join cluster_head h on h.cluster = u.c and h.node = u.n and h.incarnation = u.i
    where h.status is not null`
  return new Map(rows.map((row) => [keyOf(row), row.status]))
}

/** Nodes as rows `u(c, n, i)`. */
export function idsOf(tx: Reader, nodes: readonly NodeId[]) {
  return tx`unnest(${nodes.map(({ cluster }) => cluster)}::text[], ${nodes.map(({ node }) => node)}::text[],
    ${nodes.map(({ incarnation }) => incarnation)}::int[]) as u(c, n, i)`
}

/** Marks nodes as having something new to be read, their heads locked in `lockHeads`'s order. */
export async function bumpRevisions(tx: Tx, nodes: readonly NodeId[]): Promise<void> {
  if (nodes.length === 0) return
  await tx`
    with locked as materialized (select h.cluster, h.node from cluster_head h
      where (h.cluster, h.node) in (select c, n from ${idsOf(tx, nodes)}) order by h.cluster, h.node for update)
    update cluster_head h set revision = h.revision + 1 from locked l where h.cluster = l.cluster and h.node = l.node`
}

/** Writes how far locked heads have come, and that there is something new of them. */
export async function saveHeads(
  tx: Tx,
  heads: readonly (NodeId & { watermark: number; newestSeq: number })[],
): Promise<void> {
  if (heads.length === 0) return
  await tx`
    update cluster_head h set watermark = u.w, newest_seq = u.s, revision = h.revision + 1
    from unnest(${heads.map((h) => h.cluster)}::text[], ${heads.map((h) => h.node)}::text[], ${heads.map((h) => h.incarnation)}::int[],
      ${heads.map((h) => h.watermark)}::bigint[], ${heads.map((h) => h.newestSeq)}::bigint[]) as u(c, n, i, w, s)
    where h.cluster = u.c and h.node = u.n and h.incarnation = u.i`
}

/** A status, and when NATS took it in: by a clock that no node can write into. */
export type HeardStatus = { readonly status: NodeStatus; readonly heardAt: Date }

/**
 * Keeps each node's newest status by its counter; the heads are locked. At most one status a node. Resolves with what is
 * shown of these nodes from now on, by `keyOf`; a node in another life than its status is not among them.
 */
export async function saveNodeStatuses(tx: Tx, heard: readonly HeardStatus[]): Promise<Map<string, HeardStatus>> {
  if (heard.length === 0) return new Map()
  const statuses = heard.map(({ status }) => status)
  await tx`
    update cluster_head h set status_counter = u.k, status = u.s::jsonb, status_at = u.t::timestamptz
    from unnest(${statuses.map((s) => s.cluster)}::text[], ${statuses.map((s) => s.node)}::text[], ${statuses.map((s) => s.incarnation)}::int[],
      ${statuses.map((s) => s.counter)}::bigint[], ${statuses.map((s) => JSON.stringify(s))}::text[],
      ${heard.map(({ heardAt }) => heardAt.toISOString())}::text[]) as u(c, n, i, k, s, t)
    where h.cluster = u.c and h.node = u.n and h.incarnation = u.i and u.k > h.status_counter`
  const rows = await tx<{ status: NodeStatus; status_at: Date }[]>`
    select h.status, h.status_at from ${idsOf(tx, statuses)} join cluster_head h on h.cluster = u.c and h.node = u.n and h.incarnation = u.i
    where h.status is not null and h.status_at is not null`
  return new Map(rows.map((row) => [keyOf(row.status), { status: row.status, heardAt: row.status_at }]))
}

export function keyOf({ cluster, node }: { cluster: string; node: string }): string {
  return `${cluster}/${node}`
}

/**
 * Suspends an accepted node whose statements contradict each other. Whether it was accepted until now. Only a decision
 * made after this time ends it (policy, standingOf).
 */
export async function suspendForked(tx: Tx, { cluster, node }: { cluster: string; node: string }): Promise<boolean> {
  const { count } = await tx`
    update node_identity set state = 'Suspended', decided_at = now() where cluster = ${cluster} and node = ${node} and state = 'Accepted'`
  return count > 0
}
