import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import type { Driver } from '../driver.ts'
import type { TestImage } from '../testing.ts'
import { realDisk } from './disk.ts'
import { isArmed, isConfirmed, isSpent, parseEntryName } from './entry-name.ts'
import { failingDisk, PowerCut, type UkiMachine, ukiMachine } from './testing.ts'
import type { Written } from './written.ts'

// The power fails at every single change to the disk, once or twice; what was not synced is lost, or has come through. A
// fresh driver goes on from what it finds, as the machine in policy would have it.

class Rebooted extends Error {}

type Phase = 'Staging' | 'Activating' | 'Confirming' | 'RollingBack' | 'Done'
type Story = {
  readonly name: string
  readonly machine: () => Promise<{
    readonly machine: UkiMachine
    readonly next: TestImage
    readonly before: TestImage
  }>
  readonly end: 'confirmed' | 'rolled back'
}

const newer: Story = {
  name: 'an upgrade',
  end: 'confirmed',
  async machine() {
    const machine = ukiMachine(testFolder(), '1')
    machine.boot()
    return { machine, next: machine.image('2'), before: machine.factory }
  },
}
const stories: readonly Story[] = [
  newer,
  { ...newer, name: 'a rollback', end: 'rolled back' },
  {
    name: 'a return to an older version',
    end: 'confirmed',
    async machine() {
      const machine = ukiMachine(testFolder(), '2')
      machine.boot()
      return { machine, next: machine.image('1'), before: machine.factory }
    },
  },
  {
    name: 'a return to the older version that is still there',
    end: 'confirmed',
    async machine() {
      const machine = ukiMachine(testFolder(), '1')
      machine.boot()
      const next = machine.image('2')
      const driver = machine.driver()
      await driver.stage(next.target, next.file)
      await driver.activate(next.target)
      await driver.confirm(next.target)
      return { machine, next: machine.factory, before: next }
    },
  },
  {
    name: 'a rollback of an older version',
    end: 'rolled back',
    async machine() {
      const machine = ukiMachine(testFolder(), '10')
      machine.boot()
      return { machine, next: machine.image('9'), before: machine.factory }
    },
  },
]

/** Whether what was not synced is lost, by the number of the cut, from 1. */
type Loses = (cut: number) => boolean

/** Plays a story with a power cut at these changes, one a life. Returns how many changes the first life made. */
async function play(story: Story, cuts: readonly number[], loses: Loses): Promise<number> {
  const { machine, next, before } = await story.machine()
  const whole = new Set([next.target.imageSha256, before.target.imageSha256])
  let phase: Phase = 'Staging'
  let written: Written | undefined
  let disk = failingDisk(realDisk, cuts[0] ?? Number.POSITIVE_INFINITY)
  const first = disk
  let cut = 0
  for (let life = 1; phase !== 'Done'; life += 1) {
    expect(life, `lives, at phase ${phase} with ${machine.files().join(' ')}`).toBeLessThan(12)
    const driver = machine.driver({
      disk,
      written: {
        load: () => written,
        save(value) {
          disk.count()
          written = value
        },
      },
      reboot: async () => {
        disk.count()
        throw new Rebooted()
      },
    })
    try {
      phase = await goOn(driver, phase)
    } catch (error) {
      if (error instanceof Error && (error instanceof PowerCut || error.cause instanceof PowerCut)) {
        cut += 1
        if (loses(cut)) disk.lose()
        disk = failingDisk(realDisk, cuts[cut] ?? Number.POSITIVE_INFINITY)
      } else if (!(error instanceof Rebooted)) throw error
      expectBootable(machine, whole, next.target.imageSha256)
      machine.boot()
    }
  }
  // The second life may end before so many changes.
  expect(cut > 0).toBe(cuts.length > 0)
  const names = machine.files().flatMap((file) => parseEntryName(file) ?? [])
  const facts = await machine.driver({ written: { load: () => written, save() {} } }).status()
  if (story.end === 'confirmed') {
    expect(facts).toMatchObject({ imageSha256: next.target.imageSha256 })
    expect(names.filter(isConfirmed)).toHaveLength(2)
    expect(names).toHaveLength(2)
  } else {
    expect(facts).toMatchObject({ imageSha256: before.target.imageSha256, fellBackFrom: next.target.imageSha256 })
    // Set aside still, if the power failed before it had its name back: it gets it with the next staging.
    expect(names.filter(isConfirmed)).toHaveLength(1)
    expect(names.filter(isSpent)).toHaveLength(1)
  }
  return first.changes()

  async function goOn(driver: Driver, from: Phase): Promise<Phase> {
    const { target, file } = next
    phase = from
    const { imageSha256, fellBackFrom } = await driver.status()
    if (phase === 'Activating' && imageSha256 === target.imageSha256)
      phase = story.end === 'confirmed' ? 'Confirming' : 'RollingBack'
    if (phase === 'RollingBack' && imageSha256 !== target.imageSha256) return 'Done'
    expect(fellBackFrom).not.toBe(target.imageSha256)
    if (phase === 'Staging') {
      await driver.preflight(target)
      await driver.stage(target, file)
      phase = 'Activating'
    }
    if (phase === 'Activating') await driver.activate(target)
    if (phase === 'RollingBack') await driver.rollback(target)
    if (phase === 'Confirming') await driver.confirm(target)
    return 'Done'
  }
}

/** A confirmed image that is whole, and at most one on trial, whole as well. */
function expectBootable({ linux, files }: UkiMachine, whole: ReadonlySet<string>, target: string): void {
  const entries = files().flatMap((file) => {
    const name = parseEntryName(file)
    return name
      ? [
          {
            ...name,
            sha256: createHash('sha256')
              .update(readFileSync(join(linux, file)))
              .digest('hex'),
          },
        ]
      : []
  })
  const shown = entries.map(({ file }) => file).join(' ')
  expect(entries.filter((one) => isConfirmed(one) && whole.has(one.sha256)).length, shown).toBeGreaterThan(0)
  const armed = entries.filter((one) => isArmed(one))
  expect(armed.length, shown).toBeLessThanOrEqual(1)
  for (const { sha256 } of armed) expect(sha256, shown).toBe(target)
}

describe.each(stories)('$name', (story) => {
  test.each<[string, Loses, 'once' | 'everywhere']>([
    ['lost', () => true, 'once'],
    ['kept', () => false, 'once'],
    ['kept at first and lost then', (cut) => cut > 1, 'everywhere'],
  ])('comes to its end wherever the power fails, with what was not synced %s', async (_, loses, again) => {
    const changes = await play(story, [], loses)
    expect(changes).toBeGreaterThan(4)
    const all = Array.from({ length: changes }, (_, index) => index + 1)
    // And again in the life after.
    const plays = all.flatMap((at) => [[at], ...(again === 'once' ? [2] : all).map((then) => [at, then])])
    // Each has a machine of its own, and waits for the disk most of its time.
    while (plays.length > 0) await Promise.all(plays.splice(0, 16).map((cuts) => play(story, cuts, loses)))
  })
})
