import type { ObjectOf, RolloutCluster } from '@skerry/api'
import { type Entry, entries, entry } from '../output/sections.ts'
import { when } from '../output/times.ts'
import { conditionTable, statementText } from './parts.ts'

/** A rollout: how far it is, and for every cluster what it does, why, since when and on whose word. */
export function describeRollout({ spec, status }: ObjectOf<'Rollout'>, nowMs: number): Entry[] {
  const { counts } = status ?? {}
  const progressive = spec.strategy?.progressive
  return entries(
    entry('Placement', spec.placementRef.name),
    entry('Image', spec.image.name),
    entry('Manifest', status?.image && `${status.image.target}, sha256 ${status.image.manifestSha256}`),
    entry('Strategy', spec.strategy?.type ?? 'All'),
    entry(
      'Limits',
      progressive &&
        Object.entries(progressive)
          .map(
            ([name, value]) =>
              `${name} ${value}${name === 'maxConcurrency' && /^0+%?$/.test(`${value}`) ? ' (no limit)' : ''}`,
          )
          .join(', '),
    ),
    entry(
      'Windows',
      spec.windows?.activation
        .map(({ at, timeZone, durationSeconds }) => `${at} (${timeZone}), ${durationSeconds} s`)
        .join('\n'),
    ),
    entry('Counts as success', `attestation ${spec.attestation ?? 'affirming'} or better`),
    entry('Phase', status?.phase ?? 'Pending'),
    entry('Started', status?.startedAt && when(status.startedAt, nowMs)),
    entry('Completed', status?.completedAt && when(status.completedAt, nowMs)),
    entry('Looked at again', status?.recheckAt && when(status.recheckAt, nowMs)),
    entry(
      'Counts',
      counts &&
        `${counts.succeeded} of ${counts.total} succeeded, ${counts.inProgress} under way, ${counts.deferred} deferred, ${counts.notStarted} not started, ${counts.rolledBack} rolled back, ${counts.failed} failed`,
    ),
    conditionTable(status?.conditions, nowMs),
    {
      label: 'Clusters',
      entries: (status?.clusters ?? []).map((cluster) => ({
        label: cluster.name,
        entries: clusterEntries(cluster, nowMs),
      })),
    },
  )
}

function clusterEntries(cluster: RolloutCluster, nowMs: number): Entry[] {
  const { position } = cluster
  return entries(
    entry('State', cluster.state),
    entry('Reason', cluster.reason),
    entry('Message', cluster.message),
    entry('Since', when(cluster.since, nowMs)),
    entry(
      'Assigned',
      cluster.assignedAt &&
        `${when(cluster.assignedAt, nowMs)}${position ? `, desired state ${position.timeline}.${position.generation}` : ''}`,
    ),
    entry('Delivered', cluster.deliveredAt && when(cluster.deliveredAt, nowMs)),
    entry('Looked at again', cluster.recheckAt && when(cluster.recheckAt, nowMs)),
    entry('Rests on', statementText(cluster.statement)),
  )
}
