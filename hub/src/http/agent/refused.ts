import { Refusal } from '@skerry/api'
import { recordEvent, recordEvents } from '../../store/events.ts'
import { type Store, write } from '../../store/store.ts'
import { TwoHolders } from './entry.ts'

/** What telling of refusals needs: where events go, whose clock, and who counts. */
export type RefusedRegistrations = {
  readonly store: Store
  readonly now: () => number
  readonly onRefused: (document: string, refusal: Refusal) => void
}

/** One event a code in so long: strangers decide how often this happens, and must not fill the history. */
const QUIET_MS = 60_000

/** Counts every refusal, and shows each code as an event at most once a minute, with how many there were since. */
export function tellRefusals({ store, now, onRefused }: RefusedRegistrations) {
  const told = new Map<string, { atMs: number; since: number }>()
  const toldOfNode = new Map<string, number>()
  /** `who` is asked only where an event is written. */
  return async (document: string, error: unknown, who: () => Promise<string>): Promise<void> => {
    if (!(error instanceof Refusal)) return
    onRefused(document, error)
    if (error instanceof TwoHolders) await tellBoth(error)
    const before = told.get(error.code)
    if (before && now() - before.atMs < QUIET_MS) {
      before.since += 1
      return
    }
    told.set(error.code, { atMs: now(), since: 0 })
    const more = before && before.since > 0 ? `; ${before.since} more since the last such event` : ''
    const name = await who()
    await write(store, (tx) =>
      recordEvent(tx, {
        type: 'Warning',
        reason: error.code,
        message: `${name} was refused: ${error.message.slice(0, 1_000)}${more}`,
        component: 'registration',
        regarding: { kind: 'Registration', name: 'refused' },
      }),
    )
  }
  // Both people who look after one of the two see it; at most once a minute for the node whose TPM was named.
  async function tellBoth({ code, message, places }: TwoHolders): Promise<void> {
    const byName = new Map(places.map((place) => [`${place.cluster}/${place.node}`, place]))
    const [name = ''] = byName.keys()
    const nowMs = now()
    for (const [one, atMs] of toldOfNode) if (nowMs - atMs >= QUIET_MS) toldOfNode.delete(one)
    if (toldOfNode.has(name)) return
    toldOfNode.set(name, nowMs)
    await write(store, (tx) =>
      recordEvents(
        tx,
        [...byName.values()].map(({ cluster, node }) => ({
          type: 'Warning',
          reason: code,
          message: message.slice(0, 1_000),
          component: 'registration',
          regarding: { kind: 'Registration', namespace: cluster, name: node },
        })),
      ),
    )
  }
}
