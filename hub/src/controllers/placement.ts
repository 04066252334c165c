import { paced, REMOVAL_GUARD, type RemovalGuard } from '@skerry/policy'
import { type Lease, writeFenced } from '../store/leases.ts'
import { turns } from '../turns.ts'
import { PlacementFeed } from './placement-feed.ts'
import { dropSlices, isStored, readSlices, saveDecided } from './placement-save.ts'
import type { Controller } from './run.ts'

/** Everything is read and decided anew so often: whatever was missed by what was told of changes ends then. */
export const WHOLE_MS = 10 * 60_000
/** Expressions may ask for minutes of a fleet. So often it is seen whether their placement is still there. */
const ASK_MS = 1_000

/**
 * Decides the placements that a change may touch and stores what differs: slices and status of a placement in one
 * transaction. What it knows of the fleet lives as long as the lease, and no longer than a look that failed. `guard`: how
 * many of a placement's clusters may leave without an approval, and within what time.
 */
export function placementController(guard: RemovalGuard = REMOVAL_GUARD): Controller {
  let kept: { readonly feed: PlacementFeed; readonly lease: Lease; readonly wholeAtMs: number } | undefined
  return {
    name: 'placement',
    async reconcile({ store, lease, mirrors, now, signal }) {
      const nowMs = now()
      const known = kept?.lease === lease ? kept : { feed: new PlacementFeed(guard), lease, wholeAtMs: nowMs }
      // What is thrown half way leaves decisions that are not stored: the next look begins anew.
      kept = undefined
      const { feed } = known
      const isWhole = nowMs >= known.wholeAtMs + WHOLE_MS
      await feed.follow(mirrors, isWhole ? 'whole' : undefined)
      const letOthers = turns(signal)
      for (let isAsking = true; isAsking; ) {
        const followedAt = performance.now()
        isAsking = false
        for (const _ of feed.askCel()) {
          await letOthers()
          isAsking = performance.now() - followedAt > ASK_MS
          if (isAsking) break
        }
        if (isAsking) await feed.follow(mirrors)
      }
      for (const { placement, outcome } of feed.scheduler.due(nowMs)) {
        const decided = outcome()
        const stored = feed.slicesOf(placement)
        const slices = [...stored.values()]
        if (!isStored(placement, stored, decided)) {
          const made = paced(decided, placement, await readSlices(store.sql, slices, decided), nowMs)
          if (made !== decided)
            feed.scheduler.lookAgain(placement.metadata.namespace ?? '', placement.metadata.name, made.recheckAtMs)
          if (made === decided || !isStored(placement, stored, made))
            await writeFenced(store, lease, (tx) => saveDecided(tx, placement, slices, made, nowMs))
        }
        await letOthers()
      }
      const orphans = feed.orphans()
      if (orphans.length > 0) await writeFenced(store, lease, (tx) => dropSlices(tx, orphans))
      kept = isWhole ? { ...known, wholeAtMs: nowMs } : known
      return { recheckAtMs: feed.scheduler.dueAtMs }
    },
  }
}
