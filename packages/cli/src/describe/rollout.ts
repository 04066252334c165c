import type { ActivationWindow, ObjectOf, RolloutCluster, RolloutStatus } from '@skerry/api'
import { FAILURE_STATES, FINISHED_STATES } from '@skerry/policy'
import { type ClusterChoice, cutAt, LEFT_OUT } from '../cluster-choice.ts'
import { type Entry, entries, entry, table } from '../output/sections.ts'
import { ago, when } from '../output/times.ts'
import { conditionTable, statementText } from './parts.ts'

/** A rollout: how far it is, and for the clusters that are chosen what each does, why, since when and on whose word. */
export function describeRollout({ spec, status }: ObjectOf<'Rollout'>, choice: ClusterChoice, nowMs: number): Entry[] {
  const { counts, byState } = status ?? {}
  // They are counted as not started, and are nobody's that this rollout waits for.
  const removed = byState?.['Removed'] ?? 0
  const { type = 'All', all, progressive, progressivePerGroup } = spec.strategy ?? {}
  const limits = { All: all, Progressive: progressive, ProgressivePerGroup: progressivePerGroup }[type]
  return entries(
    entry('Placement', spec.placementRef.name),
    entry('Image', spec.image.name),
    entry('Manifest', status?.image && `${status.image.target}, sha256 ${status.image.manifestSha256}`),
    entry('Strategy', type),
    entry('Limits', limits && Object.entries(limits).map(limitText).join(', ')),
    entry('Semantics', spec.semantics === 'OCM' ? "OCM's rules alone say who is next" : undefined),
    entry('Out of reach', spec.offlinePolicy && offlineText(spec)),
    entry('Windows', spec.windows?.activation.map(windowText).join('\n')),
    entry('Waves', spec.waves?.map(waveText).join('\n')),
    entry('First sent', status?.firstSent && when(status.firstSent.at, nowMs)),
    entry('Counts as success', `attestation ${spec.attestation ?? 'affirming'} or better`),
    entry('Phase', status?.phase ?? 'Pending'),
    entry('Started', status?.startedAt && when(status.startedAt, nowMs)),
    entry('Completed', status?.completedAt && when(status.completedAt, nowMs)),
    entry('Looked at again', status?.recheckAt && when(status.recheckAt, nowMs)),
    entry(
      'Counts',
      counts &&
        `${counts.succeeded} of ${counts.total} succeeded, ${counts.inProgress} under way, ${counts.deferred} deferred, ${counts.notStarted - removed} not started, ${counts.rolledBack} rolled back, ${counts.failed} failed${removed === 0 ? '' : `, ${removed} removed`}`,
    ),
    entry('By state', status?.byState && byStateText(status.byState)),
    entry('Slowest', status?.slowest?.map((one) => slowText(one, nowMs)).join('\n')),
    (status?.groups ?? []).length > 1 ? groupTable(status?.groups ?? [], nowMs) : undefined,
    conditionTable(status?.conditions, nowMs),
    clusterList(status?.clusters ?? [], choice, nowMs),
  )
}

function clusterList(clusters: readonly RolloutCluster[], { states, limit }: ClusterChoice, nowMs: number): Entry {
  const chosen = clusters.filter(({ state }) => states?.includes(state) ?? true).toSorted(whatIsOpenFirst)
  if (chosen.length === 0) return { label: 'Clusters', value: '<none>' }
  const { shown, left } = cutAt(chosen, limit)
  return {
    label: 'Clusters',
    entries: [
      ...shown.map((cluster) => ({ label: cluster.name, entries: clusterEntries(cluster, nowMs) })),
      ...(left.length > 0 ? [{ label: `… and ${left.length} more`, value: LEFT_OUT }] : []),
    ],
  }
}

// What a list that is cut short must not hide: what failed, then what something is still to come of.
function whatIsOpenFirst(a: RolloutCluster, b: RolloutCluster): number {
  const rank = ({ state }: RolloutCluster) => (FAILURE_STATES.has(state) ? 0 : FINISHED_STATES.has(state) ? 2 : 1)
  return rank(a) - rank(b)
}

function byStateText(byState: NonNullable<RolloutStatus['byState']>): string {
  return Object.entries(byState)
    .map(([state, count]) => `${count} ${state}`)
    .join(', ')
}

function slowText({ name, state, since }: NonNullable<RolloutStatus['slowest']>[number], nowMs: number): string {
  return `${name}: ${state} since ${when(since, nowMs)}`
}

function groupTable(groups: NonNullable<RolloutStatus['groups']>, nowMs: number): Entry {
  const rows = groups.map(({ index, name, openedAt, passedAt, total, succeeded, failed }) => [
    String(index),
    name,
    passedAt ? `through ${ago(passedAt, nowMs)}` : openedAt ? `began ${ago(openedAt, nowMs)}` : 'waits',
    `${succeeded}/${total}`,
    String(failed),
  ])
  return table('Groups', ['INDEX', 'NAME', 'TURN', 'SUCCEEDED', 'FAILED'], rows)
}

function limitText([name, value]: [string, unknown]): string {
  if (Array.isArray(value)) return `${name} ${value.map(groupText).join(' and ')}`
  return `${name} ${value}${name === 'maxConcurrency' && /^0+%?$/.test(`${value}`) ? ' (no limit)' : ''}`
}

function groupText({ groupName, groupIndex }: { groupName?: string; groupIndex?: number }): string {
  return groupName ? `"${groupName}"` : `${groupIndex}`
}

function offlineText({ offlinePolicy, offlineAfter = '24h' }: ObjectOf<'Rollout'>['spec']): string {
  return `${offlinePolicy}${offlinePolicy === 'CountAsFailure' ? ` after ${offlineAfter}` : ''}`
}

/** When a cluster is looked at again. Of one that time does not help nothing is stored: that would be written every minute. */
function recheckText({ state, recheckAt }: RolloutCluster, nowMs: number): string | undefined {
  if (recheckAt !== undefined) return when(recheckAt, nowMs)
  return FINISHED_STATES.has(state) ? undefined : 'with the next news of it, within a minute at the latest'
}

export function windowText({ at, timeZone, durationSeconds }: ActivationWindow): string {
  return `${at} (${timeZone}), ${durationSeconds} s`
}

export function waveText({
  startAfter,
  percent,
  spread,
}: NonNullable<ObjectOf<'Rollout'>['spec']['waves']>[number]): string {
  return `${percent}% from ${startAfter} on${spread === undefined ? '' : `, spread over ${spread}`}`
}

function clusterEntries(cluster: RolloutCluster, nowMs: number): Entry[] {
  const { position, backTo } = cluster
  return entries(
    entry('State', cluster.state),
    entry('Back in reach', cluster.returnedAt && when(cluster.returnedAt, nowMs)),
    entry('Reason', cluster.reason),
    entry('Message', cluster.message),
    entry('Since', when(cluster.since, nowMs)),
    entry(
      'Assigned',
      cluster.assignedAt &&
        `${when(cluster.assignedAt, nowMs)}${position ? `, desired state ${position.timeline}.${position.generation}` : ''}`,
    ),
    entry('Delivered', cluster.deliveredAt && when(cluster.deliveredAt, nowMs)),
    entry('Its minute', cluster.waveAt && when(cluster.waveAt, nowMs)),
    entry('Back to', backTo && `${backTo.version} (${backTo.state}): ${backTo.message}`),
    entry('Looked at again', recheckText(cluster, nowMs)),
    entry('Rests on', statementText(cluster.statement)),
  )
}
