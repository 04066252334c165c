import type { StatementKind, StatementRef } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

/** A statement as ingest appends it: the exact text the node signed, and what was read out of it. */
export type NewStatement = {
  cluster: string
  node: string
  incarnation: number
  seq: number
  kind: StatementKind
  digest: string
  text: string
}

/** Appends what is new. Returns those that were; the others were here already, which is how a repeated report looks. */
export async function appendStatements(
  tx: Tx,
  rows: readonly NewStatement[],
): Promise<{ cluster: string; node: string; incarnation: number; seq: number }[]> {
  if (rows.length === 0) return []
  const column = <T>(of: (row: NewStatement) => T) => rows.map(of)
  const done = await tx<{ cluster: string; node: string; incarnation: number; seq: string }[]>`
    insert into statement (cluster, node, incarnation, seq, kind, digest, text, received_at)
    select c, n, i, s, k, d, t, now() from unnest(
      ${column((r) => r.cluster)}::text[], ${column((r) => r.node)}::text[], ${column((r) => r.incarnation)}::int[], ${column((r) => r.seq)}::bigint[],
      ${column((r) => r.kind)}::text[], ${column((r) => r.digest)}::text[], ${column((r) => r.text)}::text[]) as u(c, n, i, s, k, d, t)
    on conflict do nothing returning cluster, node, incarnation, seq`
  return done.map((row) => ({ ...row, seq: Number(row.seq) }))
}

/** Digests of stored statements of one node by number, for the numbers asked. */
export async function digestsOf(
  tx: Reader,
  cluster: string,
  node: string,
  incarnation: number,
  seqs: readonly number[],
): Promise<Map<number, string>> {
  const rows = await tx<{ seq: string; digest: string }[]>`
    select seq, digest from statement where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation} and seq = any(${[...seqs]}::bigint[])`
  return new Map(rows.map(({ seq, digest }) => [Number(seq), digest]))
}

/** Statements of one node from a number on, in order, as their exact texts. */
export async function listStatements(
  tx: Reader,
  {
    cluster,
    node,
    incarnation,
    fromSeq,
    limit,
  }: Omit<StatementRef, 'seq' | 'digest'> & { fromSeq: number; limit: number },
): Promise<{ seq: number; digest: string; text: string; receivedAt: Date }[]> {
  const rows = await tx<{ seq: string; digest: string; text: string; received_at: Date }[]>`
    select seq, digest, text, received_at from statement
    where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation} and seq >= ${fromSeq} order by seq limit ${limit}`
  return rows.map(({ seq, received_at, ...row }) => ({ ...row, seq: Number(seq), receivedAt: received_at }))
}

export type StoredStatement = { ref: StatementRef; kind: StatementKind; text: string; receivedAt: Date }

/** The newest statement of each kind of every node (and, of transitions, of each phase gone to): what is known of a fleet, in one read. */
export async function newestStatements(tx: Reader, cluster?: string): Promise<StoredStatement[]> {
  const rows = await tx<
    {
      cluster: string
      node: string
      incarnation: number
      seq: string
      digest: string
      kind: StatementKind
      text: string
      received_at: Date
    }[]
  >`
    select distinct on (s.cluster, s.node, s.kind, s.text::jsonb->'body'->>'to') s.*
    from statement s join node_identity i on i.cluster = s.cluster and i.node = s.node and i.incarnation = s.incarnation
    ${cluster === undefined ? tx`` : tx`where s.cluster = ${cluster}`}
    order by s.cluster, s.node, s.kind, s.text::jsonb->'body'->>'to', s.seq desc`
  return rows.map(({ received_at, seq, kind, text, digest, ...id }) => ({
    ref: { cluster: id.cluster, node: id.node, incarnation: id.incarnation, seq: Number(seq), digest },
    kind,
    text,
    receivedAt: received_at,
  }))
}
