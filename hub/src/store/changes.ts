import { CHANGE_CHANNEL } from './resources.ts'
import type { Store } from './store.ts'

/** Tells everybody in this process that a newer version was committed. */
export type Changes = { subscribe(listener: () => void): () => void; stop(): Promise<void> }

/** Listens for committed versions. After a lost connection it hints once, so that nobody waits for what was missed. */
export async function watchChanges(store: Store): Promise<Changes> {
  const listeners = new Set<() => void>()
  const hint = () => {
    for (const listener of listeners) listener()
  }
  const listening = await store.sql.listen(CHANGE_CHANNEL, hint, hint)
  return {
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    stop: () => listening.unlisten(),
  }
}
