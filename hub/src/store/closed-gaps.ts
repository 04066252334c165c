import type { StatementRef } from '@skerry/api'
import { idsOf, keyOf, type NodeId } from './heads.ts'
import type { Run } from './statements.ts'
import type { Reader, Tx } from './store.ts'

// Numbers below a node's watermark that are not stored: the node closed them by its own word. Only ingest writes them.

/** A stretch that is lost, in order of its numbers, and the gap statement that closes it. */
export type ClosedGap = {
  readonly fromSeq: number
  readonly toSeq: number
  readonly reason: string
  readonly statement: StatementRef
  readonly closedAt: Date
}

/** What is lost of these nodes in these lives, each in order; by `cluster/node`. */
export async function listClosedGaps(tx: Reader, nodes: readonly NodeId[]): Promise<Map<string, ClosedGap[]>> {
  if (nodes.length === 0) return new Map()
  const rows = await tx<
    (NodeId & {
      first_seq: string
      last_seq: string
      seq: string
      digest: string
      reason: string
      closed_at: Date
    })[]
  >`
    select g.cluster, g.node, g.incarnation, g.first_seq, g.last_seq, s.seq, s.digest, s.text::jsonb->'body'->>'reason' as reason,
      g.closed_at
    from ${idsOf(tx, nodes)} join closed_gap g on g.cluster = u.c and g.node = u.n and g.incarnation = u.i
    join statement s on s.cluster = g.cluster and s.node = g.node and s.incarnation = g.incarnation and s.seq = g.gap_seq
    order by g.cluster, g.node, g.last_seq`
  return Map.groupBy(
    rows.map(({ cluster, node, incarnation, ...row }) => ({
      cluster,
      node,
      fromSeq: Number(row.first_seq),
      toSeq: Number(row.last_seq),
      reason: row.reason,
      statement: { cluster, node, incarnation, seq: Number(row.seq), digest: row.digest },
      closedAt: row.closed_at,
    })),
    keyOf,
  )
}

/**
 * The first of each node's stretches below which something answers a marker that was made so much later than the stretch was
 * closed; by `cluster/node`. Statements are long, and are read where something is lost alone.
 */
export async function answeredSince(
  tx: Reader,
  nodes: readonly NodeId[],
  laterByMs: number,
): Promise<Map<string, ClosedGap['toSeq']>> {
  if (nodes.length === 0) return new Map()
  const rows = await tx<(NodeId & { last_seq: string })[]>`
    select g.cluster, g.node, g.incarnation, min(g.last_seq) as last_seq
    from ${idsOf(tx, nodes)} join closed_gap g on g.cluster = u.c and g.node = u.n and g.incarnation = u.i
    join statement b on b.cluster = g.cluster and b.node = g.node and b.incarnation = g.incarnation and b.seq = g.first_seq - 1
    join epoch_marker m on m.digest = b.text::jsonb->>'marker' and m.at > g.closed_at + ${laterByMs} * interval '1 millisecond'
    group by g.cluster, g.node, g.incarnation`
  return new Map(rows.map((row) => [keyOf(row), Number(row.last_seq)]))
}

/** The bare stretches of one life, in order. */
export async function closedStretches(tx: Reader, { cluster, node, incarnation }: NodeId): Promise<Run[]> {
  const rows = await tx<{ first_seq: string; last_seq: string }[]>`
    select first_seq, last_seq from closed_gap
    where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation} order by last_seq`
  return rows.map(({ first_seq, last_seq }) => ({ first: Number(first_seq), last: Number(last_seq) }))
}

/** Keeps that these numbers are lost, each stretch by the gap statement `by`. The node's head is locked. */
export async function saveClosed(
  tx: Tx,
  { cluster, node, incarnation }: NodeId,
  closed: readonly (Run & { readonly by: number })[],
): Promise<void> {
  if (closed.length === 0) return
  await tx`insert into closed_gap (cluster, node, incarnation, first_seq, last_seq, gap_seq, closed_at)
    select ${cluster}, ${node}, ${incarnation}, f, l, b, now() from unnest(${closed.map(({ first }) => first)}::bigint[],
      ${closed.map(({ last }) => last)}::bigint[], ${closed.map(({ by }) => by)}::bigint[]) as u(f, l, b)`
}

/** Of what was lost, `left` is. The node's head is locked. */
export async function shrinkClosed(
  tx: Tx,
  { cluster, node, incarnation }: NodeId,
  left: readonly Run[],
): Promise<void> {
  await tx`delete from closed_gap where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation}
    and last_seq <> all(${left.map(({ last }) => last)}::bigint[])`
  await tx`update closed_gap set first_seq = u.f
    from unnest(${left.map(({ first }) => first)}::bigint[], ${left.map(({ last }) => last)}::bigint[]) as u(f, l)
    where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation} and last_seq = u.l and first_seq <> u.f`
}
