import type { DesiredState, Position } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

export type StoredDesired = {
  cluster: string
  position: Position
  payload: Uint8Array
  digest: string
  document: DesiredState
}
/** Documents read at a time. */
const AT_ONCE = 1_000

type Row = { cluster: string; timeline: string; generation: string; payload: Buffer; digest: string }

/** The newest desired state of every cluster that is assigned something and has one, or of those that are named. */
export async function newestDesired(tx: Reader, clusters?: readonly string[]): Promise<StoredDesired[]> {
  const assigned = clusters ? tx`(select unnest(${clusters}::text[]) as cluster)` : tx`assignment`
  const rows = await tx<Row[]>`
    select d.* from ${assigned} a cross join lateral (select cluster, timeline, generation, payload, digest from desired_state
      where cluster = a.cluster order by timeline desc, generation desc limit 1) d order by d.cluster`
  return rows.map(toStored)
}

/** Which image of which rollout the newest desired state of a cluster orders, how proven, and by which retry. */
export type Ordered = {
  readonly position: Position
  /** Where the first one stands that carries the same retry; newer terms may have come since. */
  readonly retriedAt?: Position
} & Readonly<Pick<DesiredState, 'image' | 'attestation' | 'retry'>>

async function ordersOf(tx: Reader, states: readonly StoredDesired[], held: ReadonlyMap<string, Ordered> = new Map()) {
  const since = new Map<string, Position | undefined>()
  const asked: { cluster: string; act: string }[] = []
  for (const { cluster, document } of states) {
    const act = document.retry?.act
    const before = held.get(cluster)
    if (act !== undefined && before?.retry?.act === act) since.set(cluster, before.retriedAt)
    else if (act !== undefined) asked.push({ cluster, act })
  }
  for (const [cluster, position] of await retriedAt(tx, asked)) since.set(cluster, position)
  return states.map(({ cluster, position, digest, document: { image, attestation, retry } }) => {
    const first = since.get(cluster)
    return {
      ...{ cluster, position, digest, image, attestation },
      ...(retry ? { retry } : {}),
      ...(first ? { retriedAt: first } : {}),
    }
  })
}

// An act's id is in no document that does not carry it: what is looked for is the text, and none is parsed.
async function retriedAt(
  tx: Reader,
  retries: readonly { readonly cluster: string; readonly act: string }[],
): Promise<Map<string, Position>> {
  if (retries.length === 0) return new Map()
  const rows = await tx<Pick<Row, 'cluster' | 'timeline' | 'generation'>[]>`
    select d.* from unnest(${retries.map(({ cluster }) => cluster)}::text[], ${retries.map(({ act }) => act)}::text[]) as u(c, a)
    cross join lateral (select cluster, timeline, generation from desired_state where cluster = u.c
      and position(convert_to(u.a, 'UTF8') in payload) > 0 order by timeline, generation limit 1) d`
  return new Map(
    rows.map(({ cluster, timeline, generation }) => [
      cluster,
      { timeline: Number(timeline), generation: Number(generation) },
    ]),
  )
}

/** What the newest desired state of each of these clusters orders, if it has one. */
export async function loadOrdered(tx: Reader, clusters: readonly string[]): Promise<Map<string, Ordered>> {
  const ordered = new Map<string, Ordered>()
  for (let from = 0; from < clusters.length; from += AT_ONCE)
    for (const { cluster, ...order } of await ordersOf(
      tx,
      await newestDesired(tx, clusters.slice(from, from + AT_ONCE)),
    ))
      ordered.set(cluster, order)
  return ordered
}

/** `newestDesired` as it is read again and again: of each cluster only a document that is another than before. */
export function openOrdered(tx: Reader): () => Promise<ReadonlyMap<string, Ordered>> {
  const held = new Map<string, Ordered & { readonly digest: string }>()
  return async () => {
    const rows = await tx<Omit<Row, 'payload'>[]>`
      select d.* from assignment a cross join lateral (select cluster, timeline, generation, digest from desired_state
        where cluster = a.cluster order by timeline desc, generation desc limit 1) d`
    const news = rows.filter(({ cluster, digest }) => held.get(cluster)?.digest !== digest)
    for (let from = 0; from < news.length; from += AT_ONCE)
      for (const { cluster, ...order } of await ordersOf(
        tx,
        await desiredAt(tx, news.slice(from, from + AT_ONCE)),
        held,
      ))
        held.set(cluster, order)
    const there = new Set(rows.map(({ cluster }) => cluster))
    for (const cluster of held.keys()) if (!there.has(cluster)) held.delete(cluster)
    return new Map(
      rows.flatMap(({ cluster }) => {
        const ordered = held.get(cluster)
        return ordered ? [[cluster, ordered] as const] : []
      }),
    )
  }
}

async function desiredAt(tx: Reader, places: readonly Omit<Row, 'payload'>[]): Promise<StoredDesired[]> {
  const rows = await tx<Row[]>`
    select d.cluster, d.timeline, d.generation, d.payload, d.digest from unnest(${places.map(({ cluster }) => cluster)}::text[],
      ${places.map(({ timeline }) => timeline)}::bigint[], ${places.map(({ generation }) => generation)}::bigint[]) as u(c, t, g)
    join desired_state d on d.cluster = u.c and d.timeline = u.t and d.generation = u.g`
  return rows.map(toStored)
}

export type NewDesired = Pick<StoredDesired, 'cluster' | 'position' | 'payload' | 'digest'>

/** Appends desired states; their positions are new by the primary key. */
export async function appendDesired(tx: Tx, states: readonly NewDesired[]): Promise<void> {
  // The payload is JSON in UTF-8 and travels as text: the bytes that are stored are the very same.
  await tx`insert into desired_state (cluster, timeline, generation, payload, digest, created_at)
    select c, t, g, convert_to(p, 'UTF8'), d, now() from unnest(${states.map(({ cluster }) => cluster)}::text[],
      ${states.map(({ position }) => position.timeline)}::bigint[], ${states.map(({ position }) => position.generation)}::bigint[],
      ${states.map(({ payload }) => Buffer.from(payload).toString('utf8'))}::text[], ${states.map(({ digest }) => digest)}::text[]) as u(c, t, g, p, d)`
}

export type ToPublish = StoredDesired & { routingToken: string; jws: string | undefined }

/** The newest desired states with their routing tokens, and the signed text where one was made. `unpublished`: those that no stream is known to hold. */
export async function desiredToPublish(tx: Reader, only: 'unpublished' | 'all'): Promise<ToPublish[]> {
  const rows = await tx<(Row & { token: string; jws: string | null })[]>`
    select d.*, r.token, p.jws from cluster_routing r cross join lateral (select cluster, timeline, generation, payload, digest from desired_state
      where cluster = r.cluster order by timeline desc, generation desc limit 1) d
    left join publication p on p.cluster = d.cluster and p.timeline = d.timeline and p.generation = d.generation
    ${only === 'unpublished' ? tx`where p.jws is null or p.stream_seq = 0` : tx``} order by d.cluster`
  return rows.map((row) => ({ ...toStored(row), routingToken: row.token, jws: row.jws ?? undefined }))
}

export type Publication = {
  readonly cluster: string
  readonly position: Position
  readonly subject: string
  readonly jws: string
}

/** Keeps the signed texts before they leave, and returns what is kept: a text that was there already stays as it is. */
export async function savePublications(tx: Tx, sent: readonly Publication[]): Promise<Publication[]> {
  const rows = await tx<
    { cluster: string; jws: string }[]
  >`insert into publication (cluster, timeline, generation, subject, jws, stream_seq, sent_at)
    select c, t, g, s, j, 0, now() from unnest(${sent.map(({ cluster }) => cluster)}::text[],
      ${sent.map(({ position }) => position.timeline)}::bigint[], ${sent.map(({ position }) => position.generation)}::bigint[],
      ${sent.map(({ subject }) => subject)}::text[], ${sent.map(({ jws }) => jws)}::text[]) as u(c, t, g, s, j)
    on conflict (cluster, timeline, generation) do update set subject = excluded.subject returning cluster, jws`
  const kept = new Map(rows.map(({ cluster, jws }) => [cluster, jws]))
  return sent.map((text) => ({ ...text, jws: kept.get(text.cluster) ?? text.jws }))
}

/** Records under which stream sequence each was stored by NATS. */
export async function recordSent(
  tx: Tx,
  sent: readonly (Publication & { readonly streamSeq: number })[],
): Promise<void> {
  await tx`update publication p set stream_seq = u.n, subject = u.s, sent_at = now()
    from unnest(${sent.map(({ cluster }) => cluster)}::text[], ${sent.map(({ position }) => position.timeline)}::bigint[],
      ${sent.map(({ position }) => position.generation)}::bigint[], ${sent.map(({ subject }) => subject)}::text[],
      ${sent.map(({ streamSeq }) => streamSeq)}::bigint[]) as u(c, t, g, s, n)
    where p.cluster = u.c and p.timeline = u.t and p.generation = u.g`
}

/** The highest stream sequence that was ever handed out: a stream made anew goes on above it. */
export async function highestStreamSeq(tx: Reader): Promise<number> {
  const [row] = await tx<{ max: string | null }[]>`select max(stream_seq) as max from publication`
  return Number(row?.max ?? 0)
}

function toStored({ cluster, timeline, generation, payload, digest }: Row): StoredDesired {
  return {
    cluster,
    position: { timeline: Number(timeline), generation: Number(generation) },
    payload,
    digest,
    // Composed and judged by the desired controller before it was stored.
    document: JSON.parse(payload.toString('utf8')) as DesiredState,
  }
}

/** How many messages the stream of desired states should hold: one for each cluster that was sent one. */
export async function countPublished(tx: Reader): Promise<number> {
  const [row] = await tx<{ n: number }[]>`
    select count(*)::int as n from cluster_routing r where exists (select 1 from publication p where p.cluster = r.cluster and p.stream_seq > 0)`
  return row?.n ?? 0
}
