import type { DesiredState, Position } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

export type StoredDesired = {
  cluster: string
  position: Position
  payload: Uint8Array
  digest: string
  document: DesiredState
}
type Row = { cluster: string; timeline: string; generation: string; payload: Buffer; digest: string }

/** The newest desired state of every cluster that has one. */
export async function newestDesired(tx: Reader): Promise<StoredDesired[]> {
  const rows = await tx<
    Row[]
  >`select distinct on (cluster) cluster, timeline, generation, payload, digest from desired_state order by cluster, timeline desc, generation desc`
  return rows.map(toStored)
}

/** Appends a desired state; its position is new by the primary key. */
export async function appendDesired(
  tx: Tx,
  cluster: string,
  position: Position,
  payload: Uint8Array,
  digest: string,
): Promise<void> {
  await tx`insert into desired_state (cluster, timeline, generation, payload, digest, created_at) values (${cluster}, ${position.timeline}, ${position.generation}, ${Buffer.from(payload)}, ${digest}, now())`
}

export type ToPublish = StoredDesired & { routingToken: string; jws: string | undefined }

/** The newest desired states with their routing tokens, and the signed text where one was made. */
export async function desiredToPublish(tx: Reader, only: 'unpublished' | 'all'): Promise<ToPublish[]> {
  const rows = await tx<(Row & { token: string; jws: string | null })[]>`
    select d.*, r.token, p.jws from (select distinct on (cluster) * from desired_state order by cluster, timeline desc, generation desc) d
    join cluster_routing r on r.cluster = d.cluster
    left join publication p on p.cluster = d.cluster and p.timeline = d.timeline and p.generation = d.generation
    ${only === 'unpublished' ? tx`where p.jws is null` : tx``} order by d.cluster`
  return rows.map((row) => ({ ...toStored(row), routingToken: row.token, jws: row.jws ?? undefined }))
}

/** Records what was sent: the signed text, so that a refill sends the very same. */
export async function savePublication(
  tx: Tx,
  cluster: string,
  position: Position,
  subject: string,
  jws: string,
  streamSeq: number,
): Promise<void> {
  await tx`insert into publication (cluster, timeline, generation, subject, jws, stream_seq, sent_at) values (${cluster}, ${position.timeline}, ${position.generation}, ${subject}, ${jws}, ${streamSeq}, now())
    on conflict (cluster, timeline, generation) do update set stream_seq = excluded.stream_seq, sent_at = now()`
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
