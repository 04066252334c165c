import { DENIED_BECAUSE_ANNOTATION, type ObjectOf, type StatusFor } from '@skerry/api'
import { setCondition } from '@skerry/policy'
import type { NewEvent } from '../store/events.ts'

/** What is told when a cluster that had been accepted is not any more, or is again: its status says what it was before. */
export function acceptanceEvent({ metadata, spec, status }: ObjectOf<'ManagedCluster'>): NewEvent[] {
  const was = status?.conditions?.find(({ type }) => type === 'HubAcceptedManagedCluster')
  const accepted = spec.hubAcceptsClient === true
  if (!was || (was.status === 'True') === accepted) return []
  const why = metadata.annotations?.[DENIED_BECAUSE_ANNOTATION]
  const regarding = { kind: 'ManagedCluster', name: metadata.name }
  if (accepted)
    return [
      {
        ...{ type: 'Normal', reason: 'ClusterAccepted', message: 'the hub accepts this cluster' },
        ...{ component: 'registration', regarding },
      },
    ]
  const message = `the hub does not accept this cluster any more, and its nodes are cut off${why ? `: ${why}` : ''}`
  return [{ type: 'Warning', reason: 'ClusterDenied', message, component: 'registration', regarding }]
}

/** The part of a cluster's status that tells of joining: OCM's two conditions, and the claims of its accepted nodes. */
export function joiningStatus(
  { spec, status }: ObjectOf<'ManagedCluster'>,
  registrations: readonly ObjectOf<'Registration'>[],
  nowMs: number,
): NonNullable<StatusFor<'ManagedCluster'>> {
  const accepted = spec.hubAcceptsClient === true
  const nodes = registrations.filter((registration) => registration.status?.state === 'Accepted')
  const conditions = setCondition(
    setCondition(
      status?.conditions ?? [],
      accepted
        ? {
            type: 'HubAcceptedManagedCluster',
            status: 'True',
            reason: 'HubClusterAdminAccepted',
            message: 'the hub accepts this cluster',
          }
        : {
            type: 'HubAcceptedManagedCluster',
            status: 'False',
            reason: 'HubClusterAdminDenied',
            message: 'the hub does not accept this cluster',
          },
      nowMs,
    ),
    nodes.length > 0
      ? {
          type: 'ManagedClusterJoined',
          status: 'True',
          reason: 'ManagedClusterJoined',
          message: 'a node of this cluster is registered and accepted',
        }
      : {
          type: 'ManagedClusterJoined',
          status: 'False',
          reason: 'NoNodeAccepted',
          message: 'no node of this cluster is registered and accepted',
        },
    nowMs,
  )
  // Where nodes say different things under one name, the first by name is heard.
  const claims = new Map<string, string>()
  for (const registration of nodes.toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)))
    for (const [name, value] of Object.entries(registration.spec.claims)) if (!claims.has(name)) claims.set(name, value)
  const clusterClaims = [...claims]
    .map(([name, value]) => ({ name, value }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const { clusterClaims: _before, ...rest } = status ?? {}
  return { ...rest, conditions, ...(clusterClaims.length > 0 ? { clusterClaims } : {}) }
}
