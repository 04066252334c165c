import type { ObjectOf } from '@skerry/api'
import type { Heard } from '@skerry/client'
import { type Entry, entries, entry, table } from '../output/sections.ts'
import { ago, when } from '../output/times.ts'
import { conditionTable } from './parts.ts'

export type ClusterSurroundings = {
  /** When each node was last heard from. */
  readonly heard: readonly Heard[]
  readonly nodes: readonly ObjectOf<'EdgeNode'>[]
  readonly registrations: readonly ObjectOf<'Registration'>[]
  /** `namespace/name` of the placements that chose it. */
  readonly chosenBy: readonly string[]
}

/** A cluster: both halves of its acceptance, whether it is heard, what it claims, its nodes, and who chose it. */
export function describeCluster(
  { spec, status }: ObjectOf<'ManagedCluster'>,
  { heard, nodes, registrations, chosenBy }: ClusterSurroundings,
  nowMs: number,
): Entry[] {
  const reachable = status?.conditions?.find(({ type }) => type === 'Reachable')
  const heardAt = new Map(heard.map(({ node, lastHeardAt }) => [node, lastHeardAt]))
  const last = heard
    .map(({ lastHeardAt }) => lastHeardAt)
    .toSorted()
    .at(-1)
  const taints = (spec.taints ?? []).map(({ key, value, effect }) => `${key}${value ? `=${value}` : ''}:${effect}`)
  return entries(
    entry('Accepted by the hub', spec.hubAcceptsClient === true ? 'yes' : 'no (spec.hubAcceptsClient)'),
    entry('Reachability', reachable ? `${reachable.reason}: ${reachable.message}` : 'NeverSeen'),
    entry('Last heard', last === undefined ? 'never' : when(last, nowMs)),
    entry('Taints', taints.join('\n')),
    entry('Claims', (status?.clusterClaims ?? []).map(({ name, value }) => `${name}=${value}`).join('\n')),
    entry('Kubernetes', status?.version?.kubernetes),
    entry('Chosen by', chosenBy.length > 0 ? chosenBy.join('\n') : 'no placement'),
    conditionTable(status?.conditions, nowMs),
    table(
      'Nodes',
      ['NAME', 'PHASE', 'IMAGE', 'CLASS', 'VERDICT', 'REACHABILITY', 'LAST HEARD'],
      nodes.map(({ metadata, status: node = {} }) => [
        metadata.name,
        node.phase ?? '',
        node.image?.name ?? node.image?.sha256.slice(0, 12) ?? '',
        node.class ?? '',
        node.attestation?.verdict ?? 'none',
        node.reachability ?? '',
        ago(heardAt.get(metadata.name), nowMs),
      ]),
    ),
    table(
      'Registrations',
      ['NODE', 'STATE', 'CLASS', 'FINGERPRINT', 'DECIDED BY', 'MESSAGE'],
      registrations.map(({ metadata, spec: asked, status: found }) => [
        metadata.name,
        found?.state ?? 'Pending',
        asked.class,
        asked.fingerprint,
        // What its cluster was denied, no decision about itself undoes.
        found?.reason === 'HubClusterAdminDenied' ? 'its cluster' : (asked.decision?.by ?? ''),
        found?.message ?? '',
      ]),
    ),
  )
}
