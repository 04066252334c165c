import { killAnything } from './stories/kill-anything.ts'
import { offlineSlots } from './stories/offline-slots.ts'
import { upgradeAndRollbackSlots } from './stories/upgrade-and-rollback-slots.ts'
import type { World } from './world.ts'

export type Story = {
  readonly name: string
  /** One line for `list`. */
  readonly tells: string
  /** Throws at the first thing that is not as told. */
  readonly play: (world: World) => Promise<void>
}

export const STORIES: readonly Story[] = [upgradeAndRollbackSlots, offlineSlots, killAnything]
