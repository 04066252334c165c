import type { KindName } from '@skerry/api'
import type { Hints } from '../controllers/run.ts'
import { type Changes, watchChanges } from '../store/changes.ts'
import type { Store } from '../store/store.ts'
import { onWake, type Topic } from '../store/wake.ts'
import type { Ends } from './ends.ts'

/** What a loop hears of: what it reads. */
export type Heard = { readonly kinds: readonly KindName[]; readonly topics: readonly Topic[] }

/** Everything that says "look again" in this process: committed versions of resources, and rows of other topics. */
export type Wakes = {
  readonly changes: Changes
  on(topics: readonly Topic[], listener: () => void): () => void
  /** A change of a resource of one of these kinds, or of one of these topics. */
  hints(on: Heard): Hints
}

export async function openWakes(store: Store, ends: Ends): Promise<Wakes> {
  const changes = await watchChanges(store)
  ends.push({ what: 'listening for changes', end: () => changes.stop().catch(() => undefined), withinMs: 1_000 })
  const listeners = new Set<{ topics: readonly Topic[]; listener: () => void }>()
  const waking = await onWake(store.sql, (topic) => {
    for (const { topics, listener } of listeners) if (topics.includes(topic)) listener()
  })
  ends.push({ what: 'listening for hints', end: () => waking.stop().catch(() => undefined), withinMs: 1_000 })

  const on = (topics: readonly Topic[], listener: () => void) => {
    const entry = { topics, listener }
    listeners.add(entry)
    return () => void listeners.delete(entry)
  }
  return {
    changes,
    on,
    hints: ({ kinds, topics }) => ({
      subscribe(listener) {
        const ends = [changes.subscribe(kinds, listener), on(topics, listener)]
        return () => {
          for (const end of ends) end()
        }
      },
    }),
  }
}
