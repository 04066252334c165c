import type { BootFacts } from '@skerry/policy'
import type { Boot } from '../boots.ts'

// A machine of two slots that is only told of: it has no bytes and no processor, and boots in the time that it is given.
// What it does is what the `slots` driver's does: an armed slot boots on trial, a slot that does not come up is fallen back
// from, and every boot has an id of its own.

/** What becomes of an image on this machine. */
export type Fate = 'well' | 'never well' | 'does not come up'

export type MachineOptions = {
  readonly name: string
  readonly factory: string
  readonly fateOf: (imageSha256: string) => Fate
  readonly rebootMs: () => number
  readonly onUp: () => void
}

export type Machine = {
  /** What runs; undefined while it boots. */
  status(): BootFacts | undefined
  /** Arms the other slot with these bytes, and boots it. */
  activate(imageSha256: string): void
  /** What runs is what it boots from now on. */
  confirm(): void
  /** Leaves what is on trial by a boot of what was confirmed. */
  rollback(): void
  boots(): readonly Boot[]
  off(): void
}

/** Boots of a trial slot before the firmware falls back. */
const TRIES = 3

export function openMachine({ name, factory, fateOf, rebootMs, onUp }: MachineOptions): Machine {
  const boots: Boot[] = []
  let confirmed = { slot: 'a', imageSha256: factory }
  let running: BootFacts | undefined = begins(confirmed)
  let timer: NodeJS.Timeout | undefined

  function begins({ slot, imageSha256 }: typeof confirmed, triesLeft?: number): BootFacts {
    const bootId = `${name}-${boots.length + 1}`
    boots.push({ bootId, slot, imageSha256, ...(triesLeft === undefined ? {} : { triesLeft }) })
    return { bootId, slot, imageSha256, healthy: fateOf(imageSha256) === 'well' }
  }

  function reboot(boot: () => BootFacts): void {
    running = undefined
    clearTimeout(timer)
    timer = setTimeout(() => {
      running = boot()
      onUp()
    }, rebootMs())
  }

  return {
    status: () => running,
    activate(imageSha256) {
      const other = { slot: confirmed.slot === 'a' ? 'b' : 'a', imageSha256 }
      reboot(() => {
        if (fateOf(imageSha256) !== 'does not come up') return begins(other, TRIES - 1)
        for (let left = TRIES - 1; left >= 0; left -= 1) begins(other, left)
        return { ...begins(confirmed), fellBackFrom: imageSha256 }
      })
    },
    confirm() {
      if (running) confirmed = { slot: running.slot, imageSha256: running.imageSha256 }
    },
    rollback: () => reboot(() => begins(confirmed)),
    boots: () => boots,
    off: () => clearTimeout(timer),
  }
}
