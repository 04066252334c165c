import { PLACEMENT_LABEL } from '@skerry/api'
import type { Reader } from './store.ts'

/** The clusters that a placement selects now and whose nodes last confirmed an image with a higher release counter than this one. */
export async function clustersAbove(
  tx: Reader,
  placement: { readonly namespace: string; readonly name: string },
  releaseCounter: number,
): Promise<{ cluster: string; releaseCounter: number }[]> {
  return tx<{ cluster: string; releaseCounter: number }[]>`
    select i.cluster, max((o.spec->>'releaseCounter')::numeric)::float8 as "releaseCounter"
    from resource p
    cross join lateral jsonb_array_elements(coalesce(p.status->'decisions', '[]'::jsonb)) d
    join node_identity i on i.cluster = d->>'clusterName' and i.state = 'Accepted'
    join statement_newest w on w.cluster = i.cluster and w.node = i.node and w.incarnation = i.incarnation and w.kind = 'transition' and w.phase = 'Idle'
    join statement s on s.cluster = w.cluster and s.node = w.node and s.incarnation = w.incarnation and s.seq = w.seq
    join resource o on o.kind = 'OSImage' and o.spec->'image'->>'sha256' = s.text::jsonb->'body'->>'imageSha256'
    where p.kind = 'PlacementDecision' and p.namespace = ${placement.namespace} and p.labels->>${PLACEMENT_LABEL} = ${placement.name}
      and (o.spec->>'releaseCounter')::numeric > ${releaseCounter}
    group by i.cluster order by i.cluster collate "C"`
}
