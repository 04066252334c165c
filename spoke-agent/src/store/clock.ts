import type { Database } from './database.ts'

/** Time for what expires. The wall clock may say anything; the hub's signed word cannot be unheard. */
export type Clock = {
  /** Epoch ms: the wall clock, and never before the newest time that the hub has signed. */
  now(): number
  /** A verified document was signed at this time. The floor only rises. */
  heard(atMs: number): void
}

/** A clock whose floor is kept: a machine that wakes in 1970 still knows what it has heard. */
export function openClock(database: Database, wall: () => number): Clock {
  const floor = () => Math.max(database.load<number>('time_floor') ?? 0, database.load<number>('marker_at') ?? 0)
  return {
    now: () => Math.max(wall(), floor()),
    heard(atMs) {
      if (atMs > floor()) database.save('time_floor', atMs)
    },
  }
}
