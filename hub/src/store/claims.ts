import type { Position } from '@skerry/api'
import type { Reader } from './store.ts'

/** A node's word that it holds a desired state which the hub does not have. */
export type ClaimAhead = {
  readonly cluster: string
  readonly node: string
  readonly position: Position
  readonly digest: string
  /** Timelines that the hub began for this cluster, as far as its database knows. */
  readonly begun: number
}

/**
 * What accepted nodes say that they hold, in their newest `accepted` statement and their newest status, where it is above
 * the newest desired state of their cluster, or at the same place with other contents. Of clusters that are assigned something.
 */
export async function listClaimsAhead(tx: Reader): Promise<ClaimAhead[]> {
  // Numbers of JSON may be written 1.0 or 1e0: numeric reads them all.
  const rows = await tx<
    { cluster: string; node: string; timeline: string; generation: string; digest: string; begun: number }[]
  >`
    select distinct c.cluster, c.node, c.timeline, c.generation, c.digest,
      (select count(distinct timeline)::int from desired_state where cluster = c.cluster and timeline > 0) as begun
    from (
      select i.cluster, i.node, (said.held->>'timeline')::numeric as timeline, (said.held->>'generation')::numeric as generation, said.held->>'digest' as digest
      from assignment a
      join node_identity i on i.cluster = a.cluster and i.state = 'Accepted'
      cross join lateral (
        select s.text::jsonb->'body' as held from statement_newest w
        join statement s on s.cluster = w.cluster and s.node = w.node and s.incarnation = w.incarnation and s.seq = w.seq
        where w.cluster = i.cluster and w.node = i.node and w.incarnation = i.incarnation and w.kind = 'accepted'
        union all
        select h.status->'holds' from cluster_head h where h.cluster = i.cluster and h.node = i.node and h.incarnation = i.incarnation
      ) said
    ) c
    left join lateral (
      select timeline, generation, digest from desired_state where cluster = c.cluster order by timeline desc, generation desc limit 1
    ) d on true
    where c.timeline is not null and (d.timeline is null or (c.timeline, c.generation) > (d.timeline, d.generation)
      or (c.timeline = d.timeline and c.generation = d.generation and c.digest <> d.digest))
    order by c.cluster, c.node, c.timeline, c.generation`
  return rows.map(({ timeline, generation, ...row }) => ({
    ...row,
    position: { timeline: Number(timeline), generation: Number(generation) },
  }))
}
