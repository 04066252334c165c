import type { Target } from '@skerry/policy'
import type { Logger } from 'pino'
import type { Driver, SlotView } from '../drivers/driver.ts'
import type { EdgeNode, EdgeSite } from '../store/bus.ts'
import type { Database } from '../store/database.ts'

// What lies in the machine's slots, kept for a person at the site: who asks there has no driver.

export type KeptSlots = readonly SlotView[]

type Parts = {
  readonly driver: Pick<Driver, 'slots'>
  readonly database: Pick<Database, 'load' | 'save'>
  readonly log: Pick<Logger, 'warn'>
  readonly signal: AbortSignal
}

/**
 * Looks at the slots and keeps what they hold, where that changed; nothing after the signal. A driver that cannot look says
 * why by its status. Never rejects: nothing that the node has to do may wait for a view of it.
 */
export async function keepSlots({ driver, database, log, signal }: Parts): Promise<void> {
  try {
    const before = database.load<KeptSlots>('slots') ?? []
    const seen = await driver.slots().catch(() => before.map(withoutBoot))
    if (signal.aborted) return
    const versions = versionsIn(database, before)
    const slots = seen.map((slot) => {
      const version = slot.version ?? versions.get(slot.imageSha256 ?? '')
      return version === undefined ? slot : { ...slot, version }
    })
    if (JSON.stringify(slots) !== JSON.stringify(before)) database.save('slots', slots)
  } catch (error) {
    log.warn({ err: error }, 'what lies in the slots could not be kept')
  }
}

/** Of another boot, maybe, than the one that runs now. */
function withoutBoot({ booted: _, ...slot }: SlotView): SlotView {
  return slot
}

/** Versions by image, from the orders that this node knows of and what was known of its slots before. */
function versionsIn(database: Pick<Database, 'load'>, before: KeptSlots): ReadonlyMap<string, string> {
  const { stage, memory } = database.load<EdgeNode>('edge_node')?.state ?? {}
  const target: Target | undefined = stage && 'target' in stage ? stage.target : undefined
  const known = [...before, memory?.confirmed, target, database.load<EdgeSite>('edge_site')?.target]
  return new Map(
    known.flatMap((one) => (one?.imageSha256 && one.version ? [[one.imageSha256, one.version] as const] : [])),
  )
}
