import type { KindName } from '@skerry/api'
import { CHANGE_CHANNEL } from './resources.ts'
import type { Store } from './store.ts'

/** Tells everybody in this process that newer versions of these kinds were committed. */
export type Changes = {
  subscribe(kinds: readonly KindName[], listener: () => void): () => void
  stop(): Promise<void>
}

/** Listens for committed versions. After a lost connection it hints once, so that nobody waits for what was missed. */
export async function watchChanges(store: Store): Promise<Changes> {
  const subscribers = new Set<{ kinds: readonly string[]; listener: () => void }>()
  const hint = (kind?: string) => {
    for (const { kinds, listener } of subscribers) if (kind === undefined || kinds.includes(kind)) listener()
  }
  const listening = await store.sql.listen(CHANGE_CHANNEL, hint, () => hint())
  return {
    subscribe(kinds, listener) {
      const subscriber = { kinds, listener }
      subscribers.add(subscriber)
      return () => subscribers.delete(subscriber)
    },
    stop: () => listening.unlisten(),
  }
}
