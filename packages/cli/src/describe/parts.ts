import type { Condition, KindName, NodeClass, ObjectOf, StatementRef, StoredMeta } from '@skerry/api'
import { type Entry, entries, entry, table } from '../output/sections.ts'
import { ago } from '../output/times.ts'

// What several kinds tell in the same words.

export function metadataEntries({
  name,
  namespace,
  labels = {},
  annotations = {},
  creationTimestamp,
}: StoredMeta): Entry[] {
  const pairs = (values: Record<string, string>) =>
    Object.entries(values)
      .filter(([key]) => !key.endsWith('/last-applied-configuration'))
      .map(([key, value]) => `${key}=${value}`)
      .join('\n')
  return entries(
    entry('Name', name),
    entry('Namespace', namespace),
    entry('Labels', pairs(labels)),
    entry('Annotations', pairs(annotations)),
    entry('Created', creationTimestamp),
  )
}

export function conditionTable(conditions: readonly Condition[] | undefined, nowMs: number): Entry {
  const rows = (conditions ?? []).map(({ type, status, reason, message, lastTransitionTime }) => [
    type,
    status,
    ago(lastTransitionTime, nowMs),
    reason,
    message,
  ])
  return table('Conditions', ['TYPE', 'STATUS', 'SINCE', 'REASON', 'MESSAGE'], rows)
}

/** The statement that a claim rests on, as a person can look it up. */
export function statementText(ref: StatementRef | undefined): string | undefined {
  return ref && `${ref.cluster}/${ref.node} number ${ref.seq} of life ${ref.incarnation}, sha256 ${ref.digest}`
}

/** A class with what it cannot prove: a file as a key is never shown as if it were more. */
export function classText(kind: NodeClass | undefined): string {
  if (kind === 'software-key')
    return 'software-key (the key is a file: statements prove who holds the file, not what the machine booted)'
  return kind ?? 'unknown'
}

/** What happened to an object, oldest first. A cluster's are those of its nodes and registrations, each with its name. */
export function eventTable(kind: KindName, events: readonly ObjectOf<'Event'>[], nowMs: number): Entry {
  const sorted = events.toSorted((a, b) => (a.spec.eventTime < b.spec.eventTime ? -1 : 1))
  const whose = kind === 'ManagedCluster'
  return table(
    'Events',
    ['LAST SEEN', 'TYPE', 'REASON', ...(whose ? ['OBJECT'] : []), 'FROM', 'MESSAGE'],
    sorted.map(({ spec: { eventTime, type, reason, regarding, component, message } }) => [
      ago(eventTime, nowMs),
      type,
      reason,
      ...(whose ? [`${regarding.kind}/${regarding.name}`] : []),
      component,
      message,
    ]),
  )
}

/** Whether an event tells of this object. */
export function regards(event: ObjectOf<'Event'>, kind: KindName, { name, namespace }: StoredMeta): boolean {
  const { regarding } = event.spec
  return (
    regarding.kind === kind &&
    regarding.name === name &&
    (namespace === undefined || regarding.namespace === undefined || regarding.namespace === namespace)
  )
}
