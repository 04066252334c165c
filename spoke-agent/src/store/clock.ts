import type { HubKey } from '@skerry/api'
import { countedTime } from '@skerry/trust'
import type { Database } from './database.ts'

/** Time for what expires. The wall clock may say anything; what a key of the hub has signed cannot be unheard while it counts. */
export type Clock = {
  /**
   * Epoch ms: the wall clock, and never before the newest time that the hub has signed. A key's word counts up to its
   * notAfter, and falls away when hub.json does not list the key any more.
   */
  now(): number
  /** A verified document said that it was signed at this time. What one key said only rises. */
  heard(signed: SignedTime): void
}

type SignedTime = {
  /** For what hub.json lists the key. */
  readonly role: ClockRole
  /** Thumbprint of the key. */
  readonly by: string
  readonly atMs: number
}

type ClockRole = 'desiredState' | 'ack'
/** The keys of the trusted hub.json, where there is one. */
type ClockKeys = () => { readonly [role in ClockRole]: readonly HubKey[] } | undefined

/** A clock whose floors are kept: a machine that wakes in 1970 still knows what it has heard. */
export function openClock(database: Database, wall: () => number, keys: ClockKeys): Clock {
  const load = () => database.load<readonly SignedTime[]>('time_floors') ?? []
  // With no hub.json to ask, all of it counts: what was lost makes nothing valid again.
  const counted = (floors: readonly SignedTime[]) => {
    const listed = keys()
    if (!listed) return floors
    return floors.flatMap((floor) => {
      const atMs = countedTime(listed[floor.role], floor)
      return atMs === undefined ? [] : [{ ...floor, atMs }]
    })
  }
  return {
    now: () => Math.max(wall(), ...counted(load()).map(({ atMs }) => atMs)),
    heard({ role, by, atMs }) {
      const floors = load()
      const isSame = (floor: SignedTime) => floor.role === role && floor.by === by
      if (floors.some((floor) => isSame(floor) && floor.atMs >= atMs)) return
      const listed = keys()
      const others = floors.filter(
        (floor) => !isSame(floor) && (!listed || countedTime(listed[floor.role], floor) !== undefined),
      )
      database.save('time_floors', [...others, { role, by, atMs }])
    },
  }
}
