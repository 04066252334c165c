import type { Database } from '../store/database.ts'
import type { LeftOut } from '../store/left-out.ts'

// How much is kept while nobody takes it, and what gives way first. The measure is what agent.db has in use: everything
// that grows in the dark lies there.

export const BOUND_MIB = 64
/** Ended lives alone may have 16 MiB; a bound below twice that would leave the present one too little. */
export const LEAST_BOUND_MIB = 32

/**
 * `enough`: everything is said. `short`: only what proves an upgrade. `none`: that has used up its reserve too, so nothing
 * is begun that would have to be proven.
 */
export type Room = 'enough' | 'short' | 'none'

/** The reserve above the bound; and so far below it there must be room before everything is said again. */
const eighth = (boundBytes: number) => Math.floor(boundBytes / 8)

/** Below this there is room again, once there was none. Until then what the hub has already gives way. */
export function calmBytes(boundBytes: number): number {
  return boundBytes - eighth(boundBytes)
}

/** How much room there is. What is being left out is left out until there is some to spare: a page more or less is none. */
export function roomOf(bytes: number, boundBytes: number, leavesOut: boolean): Room {
  if (bytes >= boundBytes + eighth(boundBytes)) return 'none'
  return bytes >= (leavesOut ? calmBytes(boundBytes) : boundBytes) ? 'short' : 'enough'
}

/** Bytes of the database that hold something; pages that were freed are used again and do not count. */
export function bytesInUse({ sql }: Pick<Database, 'sql'>): number {
  const value = (name: string) => Number(sql.prepare(`pragma ${name}`).get()?.[name])
  return (value('page_count') - value('freelist_count')) * value('page_size')
}

/** Why nothing new is begun, and what ends it. */
export function noRoom(boundBytes: number): string {
  return `agent.db has used up its ${mib(boundBytes)} and the reserve above them with statements that the hub has not taken: nothing new is accepted or activated until the link is back, or the agent is started with a greater --outbox-mib`
}

/** How much was left unsaid, in words. */
export function leftOutWords({ sinceAt, untilAt, counts }: LeftOut, boundBytes: number): string {
  const parts = Object.entries(counts).map(([kind, count]) => `${count} ${kind}`)
  return `${parts.join(', ')} left out between ${sinceAt} and ${untilAt}, for agent.db had reached its bound of ${mib(boundBytes)} with statements that the hub had not taken; what proves an upgrade is complete`
}

/** What the person at the site sees of it. */
export function roomView(database: Pick<Database, 'load' | 'sql'>): object | null {
  const boundBytes = database.load<number>('outbox_bound')
  if (boundBytes === undefined) return null
  const leftOut = database.load<LeftOut>('left_out')
  const bytes = bytesInUse(database)
  const room = roomOf(bytes, boundBytes, leftOut !== undefined)
  return { bytes, boundBytes, room, leftOut: leftOut ?? null, ...said(room, boundBytes) }
}

function said(room: Room, boundBytes: number): { message?: string; next?: string } {
  switch (room) {
    case 'enough':
      return {}
    case 'short':
      return {
        message: `agent.db has reached its bound of ${mib(boundBytes)}: refusals, waits and boots outside an upgrade are counted and not said`,
        next: 'bring the link to the hub back; or start the agent with a greater --outbox-mib',
      }
    case 'none':
      return {
        message: noRoom(boundBytes),
        next: 'bring the link to the hub back; or start the agent with a greater --outbox-mib',
      }
    default: {
      const never: never = room
      return never
    }
  }
}

const mib = (bytes: number) => `${Math.round((bytes / 1024 ** 2) * 10) / 10} MiB`
