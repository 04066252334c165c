import type { Confirmation } from '@skerry/policy'
import { idsOf, keyOf, type NodeId } from './heads.ts'
import type { Run } from './statements.ts'
import type { Reader } from './store.ts'

/** What a node confirmed in one life, and which numbers of it are lost, in order. */
export type Confirmed = { readonly confirmations: readonly Confirmation[]; readonly lost: readonly Run[] }

/**
 * What these lives confirmed of these manifests. A hub of an older version keeps none by itself, so the newest statement of a
 * node that is idle is read too.
 */
export async function confirmationsOf(
  tx: Reader,
  lives: readonly NodeId[],
  manifests: readonly string[],
): Promise<(life: NodeId) => Confirmed> {
  const asked = [...new Map(lives.map((life) => [lifeOf(life), life])).values()]
  if (asked.length === 0) return () => NOTHING
  type Said = NodeId & { manifestSha256: string; first: string; last: string }
  const [said, closed] = await Promise.all([
    tx<Said[]>`
      select u.c as cluster, u.n as node, u.i as incarnation, m.manifest_sha256 as "manifestSha256", m.seq as first,
        greatest(m.seq, m.last_seq) as last
      from ${idsOf(tx, asked)} join confirmed_manifest m on m.cluster = u.c and m.node = u.n and m.incarnation = u.i
      where m.manifest_sha256 = any(${manifests}::text[])
      union all
      select u.c, u.n, u.i, t.text::jsonb->'body'->>'manifestSha256', w.seq, w.seq
      from ${idsOf(tx, asked)} join statement_newest w on w.cluster = u.c and w.node = u.n and w.incarnation = u.i
        and w.kind = 'transition' and w.phase = 'Idle'
      join statement t on t.cluster = w.cluster and t.node = w.node and t.incarnation = w.incarnation and t.seq = w.seq
      where t.text::jsonb->'body' ? 'bootId' and t.text::jsonb->'body'->>'manifestSha256' = any(${manifests}::text[])`,
    tx<(NodeId & { first: string; last: string })[]>`
      select u.c as cluster, u.n as node, u.i as incarnation, g.first_seq as first, g.last_seq as last
      from ${idsOf(tx, asked)} join closed_gap g on g.cluster = u.c and g.node = u.n and g.incarnation = u.i
      order by g.last_seq`,
  ])
  const confirmations = Map.groupBy(
    said.map((one) => ({ ...one, first: Number(one.first), last: Number(one.last) })),
    lifeOf,
  )
  const lost = Map.groupBy(
    closed.map((one) => ({ ...one, first: Number(one.first), last: Number(one.last) })),
    lifeOf,
  )
  return (life) => ({ confirmations: confirmations.get(lifeOf(life)) ?? [], lost: lost.get(lifeOf(life)) ?? [] })
}

const NOTHING: Confirmed = { confirmations: [], lost: [] }

function lifeOf(life: NodeId): string {
  return `${keyOf(life)}/${life.incarnation}`
}
