import type { EventSpec } from '@skerry/api'
import { createObjects, deleteObjects } from './resources.ts'
import type { Tx } from './store.ts'

export type NewEvent = Omit<EventSpec, 'eventTime'>

/** Says in a sentence what happened, in the transaction in which it did. */
export async function recordEvent(tx: Tx, event: NewEvent): Promise<void> {
  await recordEvents(tx, [event])
}

/** The same of many at once. */
export async function recordEvents(tx: Tx, events: readonly NewEvent[]): Promise<void> {
  if (events.length === 0) return
  const numbers = await tx<
    { n: string }[]
  >`select nextval('resource_version') as n from generate_series(1, ${events.length})`
  const eventTime = new Date().toISOString()
  await createObjects(
    tx,
    'Event',
    events.map((event, index) => {
      const { kind, name, namespace = kind === 'ManagedCluster' ? name : 'default' } = event.regarding
      const metadata = { name: `${name.slice(0, 200)}.${Number(numbers[index]?.n).toString(16)}`, namespace }
      return { metadata, spec: { ...event, eventTime } }
    }),
  )
}

/**
 * Events older than the newest `keep` go, as deletions that every watcher sees: the statements and audit records they tell
 * of stay. At most so many, the oldest first, because every other writer waits meanwhile. Returns how many went.
 */
export async function pruneEvents(tx: Tx, keep: number, atMost: number): Promise<number> {
  const old = await tx<{ namespace: string; name: string }[]>`
    select namespace, name from resource where kind = 'Event' order by resource_version
    limit (select least(${atMost}, greatest(count(*) - ${keep}, 0)) from resource where kind = 'Event')`
  return (await deleteObjects(tx, 'Event', old)).length
}
