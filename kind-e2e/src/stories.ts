import { killAnything } from './stories/kill-anything.ts'
import { machineRegisters } from './stories/machine-registers.ts'
import { offline } from './stories/offline.ts'
import { offlineSlots } from './stories/offline-slots.ts'
import { powerCut } from './stories/power-cut.ts'
import { rolloutFleet } from './stories/rollout-fleet.ts'
import { secureBoot } from './stories/secure-boot.ts'
import type { Story } from './stories/story.ts'
import { tamperedImage } from './stories/tampered-image.ts'
import { upgradeAndRollback } from './stories/upgrade-and-rollback.ts'
import { upgradeAndRollbackSlots } from './stories/upgrade-and-rollback-slots.ts'

export const STORIES: readonly Story[] = [
  upgradeAndRollbackSlots,
  offlineSlots,
  killAnything,
  rolloutFleet,
  machineRegisters,
  upgradeAndRollback,
  tamperedImage,
  offline,
  secureBoot,
  powerCut,
]
