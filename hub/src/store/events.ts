import type { EventSpec } from '@skerry/api'
import { createObject, deleteObject } from './resources.ts'
import type { Tx } from './store.ts'

/** Says in a sentence what happened, in the transaction in which it did. */
export async function recordEvent(tx: Tx, event: Omit<EventSpec, 'eventTime'>): Promise<void> {
  const namespace =
    event.regarding.namespace ?? (event.regarding.kind === 'ManagedCluster' ? event.regarding.name : 'default')
  const [next] = await tx<{ n: string }[]>`select nextval('resource_version') as n`
  const name = `${event.regarding.name.slice(0, 200)}.${Number(next?.n).toString(16)}`
  await createObject(tx, 'Event', {
    metadata: { name, namespace },
    spec: { ...event, eventTime: new Date().toISOString() },
  })
}

/** Events older than the newest `keep` go, as deletions that every watcher sees: the statements and audit records they tell of stay. */
export async function pruneEvents(tx: Tx, keep: number): Promise<void> {
  const old = await tx<{ namespace: string; name: string }[]>`
    select namespace, name from resource where kind = 'Event' order by resource_version desc offset ${keep}`
  for (const { namespace, name } of old) await deleteObject(tx, 'Event', namespace, name)
}
