import type { NodeStatus } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

export type Head = {
  cluster: string
  node: string
  incarnation: number
  watermark: number
  newestSeq: number
  lastHeardAt: Date
  status: NodeStatus | undefined
}
export type NodeId = { cluster: string; node: string; incarnation: number }

/** Every node's head, or one cluster's. */
export async function listHeads(tx: Reader, cluster?: string): Promise<Head[]> {
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
    ${cluster === undefined ? tx`` : tx`where cluster = ${cluster}`} order by cluster, node`
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

/**
 * Moves the watermarks of these nodes over what was just appended: to the highest number without a gap below it. A new
 * incarnation begins at 0. Returns them as they stand now. The order of nodes keeps two workers from waiting for each other.
 */
export async function advanceWatermarks(tx: Tx, nodes: readonly NodeId[]): Promise<Map<string, number>> {
  const ids = [...nodes].toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
  const marks = new Map<string, number>()
  for (const { cluster, node, incarnation } of ids) {
    await tx`insert into cluster_head (cluster, node, incarnation, last_heard_at) values (${cluster}, ${node}, ${incarnation}, now())
      on conflict (cluster, node) do update set last_heard_at = now(),
        incarnation = greatest(cluster_head.incarnation, excluded.incarnation),
        watermark = case when excluded.incarnation > cluster_head.incarnation then 0 else cluster_head.watermark end,
        newest_seq = case when excluded.incarnation > cluster_head.incarnation then 0 else cluster_head.newest_seq end,
        status_counter = case when excluded.incarnation > cluster_head.incarnation then 0 else cluster_head.status_counter end`
    const [row] = await tx<{ watermark: string }[]>`
      with head as (select watermark from cluster_head where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation}),
      beyond as (select seq, seq - row_number() over (order by seq) as run from statement, head
        where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation} and seq > head.watermark),
      reached as (select coalesce(max(beyond.seq), max(head.watermark)) as seq from head left join beyond on beyond.run = head.watermark)
      update cluster_head set watermark = reached.seq, newest_seq = greatest(newest_seq, reached.seq, (select coalesce(max(seq), 0) from beyond))
      from reached where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation} returning watermark`
    if (row) marks.set(keyOf({ cluster, node, incarnation }), Number(row.watermark))
  }
  return marks
}

/** Keeps the newest status by its counter. Returns whether this one was. */
export async function saveNodeStatus(tx: Tx, status: NodeStatus): Promise<boolean> {
  const { cluster, node, incarnation, counter } = status
  const rows = await tx`
    insert into cluster_head (cluster, node, incarnation, last_heard_at, status_counter, status, status_at)
    values (${cluster}, ${node}, ${incarnation}, now(), ${counter}, ${tx.json(JSON.parse(JSON.stringify(status)))}, now())
    on conflict (cluster, node) do update set last_heard_at = now(), incarnation = excluded.incarnation, status_counter = excluded.status_counter, status = excluded.status, status_at = now(),
      watermark = case when excluded.incarnation > cluster_head.incarnation then 0 else cluster_head.watermark end,
      newest_seq = case when excluded.incarnation > cluster_head.incarnation then 0 else cluster_head.newest_seq end
    where excluded.incarnation > cluster_head.incarnation or (excluded.incarnation = cluster_head.incarnation and excluded.status_counter > cluster_head.status_counter)
    returning 1`
  return rows.length > 0
}

/** Marks nodes as heard from now, many at once: what a second of heartbeats comes to. */
export async function touchHeads(tx: Tx, nodes: readonly NodeId[]): Promise<void> {
  if (nodes.length === 0) return
  await tx`insert into cluster_head (cluster, node, incarnation, last_heard_at)
    select c, n, i, now() from unnest(${nodes.map((n) => n.cluster)}::text[], ${nodes.map((n) => n.node)}::text[], ${nodes.map((n) => n.incarnation)}::int[]) as u(c, n, i) order by c, n
    on conflict (cluster, node) do update set last_heard_at = now() where cluster_head.incarnation = excluded.incarnation`
}

export function keyOf({ cluster, node }: { cluster: string; node: string; incarnation?: number }): string {
  return `${cluster}/${node}`
}
