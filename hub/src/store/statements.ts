import type { StatementKind, StatementRef } from '@skerry/api'
import type { BatchSeal } from '@skerry/trust'
import { idsOf, keyOf, type NodeId } from './heads.ts'
import type { Reader, Tx } from './store.ts'

/** A statement as ingest appends it: the exact text the node signed, and what was read out of it. */
export type NewStatement = {
  readonly cluster: string
  readonly node: string
  readonly incarnation: number
  readonly seq: number
  readonly prev: string
  readonly kind: StatementKind
  /** The phase a transition went to; `order` for a refusal of the order in force (`phaseOf`); empty for all else. */
  readonly phase: string
  /** The manifest that the node confirms by it. */
  readonly confirms?: string | undefined
  readonly digest: string
  readonly text: string
}

// No JSON text holds this character, so columns travel as one string each: an array's elements would each be quoted.
const SEPARATOR = '\u001e'

/** Appends statements, none of which may be there: their heads are locked, and what is stored below and among them was looked at. */
export async function appendStatements(tx: Tx, rows: readonly NewStatement[]): Promise<void> {
  if (rows.length === 0) return
  const column = (of: (row: NewStatement) => string | number) => rows.map(of).join(SEPARATOR)
  await tx`
    insert into statement (cluster, node, incarnation, seq, kind, digest, text, received_at)
    select c, n, i::int, s::bigint, k, d, t, now() from rows from (
      string_to_table(${column((r) => r.cluster)}, ${SEPARATOR}), string_to_table(${column((r) => r.node)}, ${SEPARATOR}),
      string_to_table(${column((r) => r.incarnation)}, ${SEPARATOR}), string_to_table(${column((r) => r.seq)}, ${SEPARATOR}),
      string_to_table(${column((r) => r.kind)}, ${SEPARATOR}), string_to_table(${column((r) => r.digest)}, ${SEPARATOR}),
      string_to_table(${column((r) => r.text)}, ${SEPARATOR})) as u(c, n, i, s, k, d, t)`
  const evidence = rows.filter(({ kind }) => kind === 'evidence')
  if (evidence.length > 0)
    await tx`insert into evidence_queue (cluster, node, incarnation, seq)
      select * from unnest(${evidence.map((r) => r.cluster)}::text[], ${evidence.map((r) => r.node)}::text[],
        ${evidence.map((r) => r.incarnation)}::int[], ${evidence.map((r) => r.seq)}::bigint[])`
  await appendConfirmed(tx, rows)
  const newest = newestOfEach(rows)
  await tx`
    insert into statement_newest as held (cluster, node, kind, phase, incarnation, seq)
    select * from unnest(${newest.map((r) => r.cluster)}::text[], ${newest.map((r) => r.node)}::text[], ${newest.map((r) => r.kind)}::text[],
      ${newest.map((r) => r.phase)}::text[], ${newest.map((r) => r.incarnation)}::int[], ${newest.map((r) => r.seq)}::bigint[])
    on conflict (cluster, node, kind, phase) do update set incarnation = excluded.incarnation, seq = excluded.seq
    where (excluded.incarnation, excluded.seq) > (held.incarnation, held.seq)`
}

// Each manifest once, with the lowest number that confirms it and the highest, in whatever order they come.
async function appendConfirmed(tx: Tx, rows: readonly NewStatement[]): Promise<void> {
  const said = new Map<string, NewStatement & { readonly confirms: string; readonly last: number }>()
  for (const row of rows) {
    const { confirms } = row
    if (confirms === undefined) continue
    const key = `${row.cluster}/${row.node}/${row.incarnation}/${confirms}`
    const { seq = row.seq, last = row.seq } = said.get(key) ?? {}
    said.set(key, { ...row, confirms, seq: Math.min(seq, row.seq), last: Math.max(last, row.seq) })
  }
  if (said.size === 0) return
  const all = [...said.values()]
  await tx`
    insert into confirmed_manifest as held (cluster, node, incarnation, manifest_sha256, seq, last_seq)
    select * from unnest(${all.map((r) => r.cluster)}::text[], ${all.map((r) => r.node)}::text[], ${all.map((r) => r.incarnation)}::int[],
      ${all.map((r) => r.confirms)}::text[], ${all.map((r) => r.seq)}::bigint[], ${all.map((r) => r.last)}::bigint[])
    on conflict (cluster, node, incarnation, manifest_sha256) do update
    set seq = least(held.seq, excluded.seq), last_seq = greatest(held.last_seq, excluded.last_seq)
    where excluded.seq < held.seq or excluded.last_seq > held.last_seq`
}

/** The signature of a batch that brought at least one new statement, and which numbers it is over. */
export type NewBatch = Stretch & BatchSeal

/** Keeps the seals of batches, in the transaction of what they brought. All their statements are stored, by this batch or before. */
export async function appendBatches(tx: Tx, batches: readonly NewBatch[]): Promise<void> {
  if (batches.length === 0) return
  await tx`insert into statement_batch (cluster, node, incarnation, first_seq, last_seq, header, signature, payload)
    select * from unnest(${batches.map((b) => b.cluster)}::text[], ${batches.map((b) => b.node)}::text[], ${batches.map((b) => b.incarnation)}::int[],
      ${batches.map((b) => b.first)}::bigint[], ${batches.map((b) => b.last)}::bigint[], ${batches.map((b) => b.header)}::text[],
      ${batches.map((b) => b.signature)}::text[], ${batches.map((b) => b.payload ?? null)}::text[])`
}

function newestOfEach(rows: readonly NewStatement[]): NewStatement[] {
  const newest = new Map<string, NewStatement>()
  for (const row of rows) {
    const key = `${row.cluster}/${row.node}/${row.kind}/${row.phase}`
    const held = newest.get(key)
    if (!held || row.incarnation > held.incarnation || (row.incarnation === held.incarnation && row.seq > held.seq))
      newest.set(key, row)
  }
  return [...newest.values()]
}

/** A stretch of one node's numbers, both ends included. */
export type Stretch = { cluster: string; node: string; incarnation: number; first: number; last: number }

/**
 * What is stored in each stretch and beside it, in the order asked: digests by number from `first - 1` to `last`, and
 * the text of `last + 1`.
 */
export async function storedAround(
  tx: Reader,
  stretches: readonly Stretch[],
): Promise<{ digests: Map<number, string>; above: string | undefined }[]> {
  const found = stretches.map(() => ({ digests: new Map<number, string>(), above: undefined as string | undefined }))
  if (stretches.length === 0) return found
  const rows = await tx<{ place: string; seq: string; digest: string; above: string | null }[]>`
    select u.o as place, s.seq, s.digest, case when s.seq = u.l + 1 then s.text end as above
    from unnest(${stretches.map((s) => s.cluster)}::text[], ${stretches.map((s) => s.node)}::text[], ${stretches.map((s) => s.incarnation)}::int[],
      ${stretches.map((s) => s.first)}::bigint[], ${stretches.map((s) => s.last)}::bigint[]) with ordinality as u(c, n, i, f, l, o)
    join statement s on s.cluster = u.c and s.node = u.n and s.incarnation = u.i and s.seq between u.f - 1 and u.l + 1`
  for (const { place, seq, digest, above } of rows) {
    const held = found[Number(place) - 1]
    if (!held) continue
    if (above === null) held.digests.set(Number(seq), digest)
    else held.above = above
  }
  return found
}

/** How many statements are stored from `first` on, how many of them are gap statements, and their bytes, of each of these nodes; by `cluster/node`. */
export async function storedAbove(
  tx: Reader,
  places: readonly Omit<Stretch, 'last'>[],
): Promise<Map<string, { count: number; gaps: number; bytes: number }>> {
  if (places.length === 0) return new Map()
  const rows = await tx<{ cluster: string; node: string; count: number; gaps: number; bytes: string }[]>`
    select u.c as cluster, u.n as node, a.count, a.gaps, a.bytes
    from unnest(${places.map((p) => p.cluster)}::text[], ${places.map((p) => p.node)}::text[], ${places.map((p) => p.incarnation)}::int[],
      ${places.map((p) => p.first)}::bigint[]) as u(c, n, i, f)
    cross join lateral (select count(*)::int as count, (count(*) filter (where s.kind = 'gap'))::int as gaps, coalesce(sum(octet_length(s.text)), 0) as bytes from statement s
      where s.cluster = u.c and s.node = u.n and s.incarnation = u.i and s.seq >= u.f) a`
  return new Map(rows.map(({ count, gaps, bytes, ...id }) => [keyOf(id), { count, gaps, bytes: Number(bytes) }]))
}

/** Numbers that are stored without a gap, both ends included. */
export type Run = Pick<Stretch, 'first' | 'last'>

/** What is stored above each node's watermark, as runs in order; by `cluster/node`. Of a node without a gap nothing is read. */
export async function runsAbove(
  tx: Reader,
  nodes: readonly (NodeId & { readonly watermark: number; readonly newestSeq: number })[],
): Promise<Map<string, Run[]>> {
  const gapped = nodes.filter(({ watermark, newestSeq }) => watermark < newestSeq)
  if (gapped.length === 0) return new Map()
  const rows = await tx<{ cluster: string; node: string; first: string; last: string }[]>`
    select cluster, node, min(seq) as first, max(seq) as last from (
      select u.c as cluster, u.n as node, s.seq, s.seq - row_number() over (partition by u.c, u.n order by s.seq) as run
      from unnest(${gapped.map((g) => g.cluster)}::text[], ${gapped.map((g) => g.node)}::text[], ${gapped.map((g) => g.incarnation)}::int[],
        ${gapped.map((g) => g.watermark)}::bigint[]) as u(c, n, i, w)
      join statement s on s.cluster = u.c and s.node = u.n and s.incarnation = u.i and s.seq > u.w) numbered
    group by cluster, node, run order by cluster, node, first`
  const runs = rows.map(({ first, last, ...id }) => ({ key: keyOf(id), first: Number(first), last: Number(last) }))
  return Map.groupBy(runs, ({ key }) => key)
}

/** The lowest stretch of numbers that is missing in a chain above which something is stored. */
export type Gap = Run & {
  readonly newest: number
  /** When the first of what is stored above the watermark came. */
  readonly since: Date
  /** When the marker was made that the statement below the gap answers; undefined where this hub knows none such. */
  readonly markedAt: Date | undefined
}

/** The gap above each node's watermark; by `cluster/node`. Of a node without one nothing is read. */
export async function lowestGaps(
  tx: Reader,
  nodes: readonly (NodeId & { readonly watermark: number; readonly newestSeq: number })[],
): Promise<Map<string, Gap>> {
  const gapped = nodes.filter(({ watermark, newestSeq }) => watermark < newestSeq)
  if (gapped.length === 0) return new Map()
  const rows = await tx<
    {
      cluster: string
      node: string
      below: string
      above: string
      newest: string
      since: Date
      marked_at: Date | null
    }[]
  >`
    select u.c as cluster, u.n as node, u.w as below, a.above, a.newest, a.since, m.at as marked_at
    from unnest(${gapped.map((g) => g.cluster)}::text[], ${gapped.map((g) => g.node)}::text[], ${gapped.map((g) => g.incarnation)}::int[],
      ${gapped.map((g) => g.watermark)}::bigint[]) as u(c, n, i, w)
    cross join lateral (select min(s.seq) as above, max(s.seq) as newest, min(s.received_at) as since from statement s
      where s.cluster = u.c and s.node = u.n and s.incarnation = u.i and s.seq > u.w) a
    left join statement b on b.cluster = u.c and b.node = u.n and b.incarnation = u.i and b.seq = u.w
    left join epoch_marker m on m.digest = b.text::jsonb->>'marker'
    where a.above > u.w + 1`
  return new Map(
    rows.map(({ below, above, newest, since, marked_at, ...id }) => [
      keyOf(id),
      {
        first: Number(below) + 1,
        last: Number(above) - 1,
        newest: Number(newest),
        since,
        markedAt: marked_at ?? undefined,
      },
    ]),
  )
}

/** The last number of the run without a gap that begins above `seq`, or `seq` when the next one is not stored. */
export async function endOfRun(tx: Reader, id: Omit<Stretch, 'first' | 'last'>, seq: number): Promise<number> {
  const { cluster, node, incarnation } = id
  const [row] = await tx<{ seq: string | null }[]>`
    select max(seq) as seq from (
      select s.seq, row_number() over (order by s.seq) as place from statement s
      where s.cluster = ${cluster} and s.node = ${node} and s.incarnation = ${incarnation} and s.seq > ${seq}) above
    where seq = ${seq} + place`
  return Number(row?.seq ?? seq)
}

/** The texts of the gap statements above a number, which are few (`MAX_ABOVE` of transport). */
export async function gapTextsAbove(
  tx: Reader,
  { cluster, node, incarnation }: NodeId,
  seq: number,
): Promise<string[]> {
  const rows = await tx<{ text: string }[]>`
    select text from statement where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation}
      and seq > ${seq} and kind = 'gap' order by seq`
  return rows.map(({ text }) => text)
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

/** The batches of one life whose statements end at or below `newestSeq`, in order, those behind `after` alone. */
export async function listBatches(
  tx: Reader,
  {
    cluster,
    node,
    incarnation,
    newestSeq,
    after,
    limit,
  }: Omit<StatementRef, 'seq' | 'digest'> & {
    newestSeq: number
    after: { first: number; last: number } | undefined
    limit: number
  },
): Promise<({ first: number; last: number } & BatchSeal)[]> {
  const rows = await tx<
    { first_seq: string; last_seq: string; header: string; signature: string; payload: string | null }[]
  >`
    select first_seq, last_seq, header, signature, payload from statement_batch
    where cluster = ${cluster} and node = ${node} and incarnation = ${incarnation} and last_seq <= ${newestSeq}
      ${after ? tx`and (last_seq, first_seq) > (${after.last}, ${after.first})` : tx``}
    order by last_seq, first_seq limit ${limit}`
  return rows.map(({ first_seq, last_seq, payload, ...seal }) => ({
    first: Number(first_seq),
    last: Number(last_seq),
    ...seal,
    ...(payload === null ? {} : { payload }),
  }))
}

export type StoredStatement = { ref: StatementRef; kind: StatementKind; text: string; receivedAt: Date }

/** The newest statement of each kind of each of these nodes in this life (and, of transitions, of each phase gone to). */
export async function newestStatements(tx: Reader, nodes: readonly NodeId[]): Promise<StoredStatement[]> {
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
    select s.* from ${idsOf(tx, nodes)} join statement_newest w on w.cluster = u.c and w.node = u.n and w.incarnation = u.i
    join statement s on s.cluster = w.cluster and s.node = w.node and s.incarnation = w.incarnation and s.seq = w.seq`
  return rows.map(({ received_at, seq, kind, text, digest, ...id }) => ({
    ref: { cluster: id.cluster, node: id.node, incarnation: id.incarnation, seq: Number(seq), digest },
    kind,
    text,
    receivedAt: received_at,
  }))
}

/** Of these transitions to Idle those by which an image was confirmed in that step; by `cluster/node`, one a node. */
export async function confirmedThere(
  tx: Reader,
  places: readonly Omit<StatementRef, 'digest'>[],
): Promise<Set<string>> {
  if (places.length === 0) return new Set()
  const rows = await tx<{ cluster: string; node: string }[]>`
    select s.cluster, s.node from unnest(${places.map((p) => p.cluster)}::text[], ${places.map((p) => p.node)}::text[],
      ${places.map((p) => p.incarnation)}::int[], ${places.map((p) => p.seq)}::bigint[]) as u(c, n, i, s)
    join statement s on s.cluster = u.c and s.node = u.n and s.incarnation = u.i and s.seq = u.s
    where s.text::jsonb->'body'->>'from' = 'Confirming'`
  return new Set(rows.map(keyOf))
}
