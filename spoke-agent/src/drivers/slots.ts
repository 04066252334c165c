import { createHash, randomUUID } from 'node:crypto'
import {
  closeSync,
  copyFileSync,
  createReadStream,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import type { BootFacts, Glimpse } from '@skerry/policy'
import { writeSecret } from '@skerry/trust'
import type { Logger } from 'pino'
import { type Driver, DriverFault, diskFault, type SlotView } from './driver.ts'
import { powerOn, type Running } from './slots-program.ts'

// Two folders and a child process: for a machine without firmware to steer. A boot is the start of a slot's program. What
// it proves and what not stands in DESIGN.md.

type Slot = 'a' | 'b'
type BootFile = {
  /** The slot that boots when nothing is armed. */
  active: Slot
  /** The slot on trial, and how many boots it has left. */
  armed?: { slot: Slot; imageSha256: string; triesLeft: number }
  /** The image whose tries were spent, or that was rolled back. */
  fellBackFrom?: string
  bootId: string
  booted: Slot
}

/** Boots a slot on trial may have. More than one, because a power cut while it proves itself is no fault of the image. */
const TRIES = 3
/** A program that ends sooner than this, again and again, is started again with growing pauses. */
const STEADY_MS = 10_000
const AGAIN_MS = 500
const LONGEST_AGAIN_MS = 60_000
/** Free bytes to leave on the disk beyond the image. */
const RESERVE_BYTES = 16 * 1024 ** 2

/** The pause before the next boot, after so many in a row that ended early. */
export function againAfterMs(quickEnds: number): number {
  return Math.min(AGAIN_MS * 2 ** Math.max(0, quickEnds - 1), LONGEST_AGAIN_MS)
}

export type SlotsOptions = {
  readonly dir: string
  /** Installed into slot a when there is no slot yet. */
  readonly factoryImage: string | undefined
  readonly log: Logger
}

/** Powers the machine on and gives its driver. Needs a factory image the first time. */
export async function openSlots({ dir, factoryImage, log }: SlotsOptions): Promise<Driver> {
  const bootFile = join(dir, 'boot.json')
  const programOf = (slot: Slot) => join(dir, slot, 'program.mjs')
  const other = (slot: Slot): Slot => (slot === 'a' ? 'b' : 'a')
  const load = () => JSON.parse(readFileSync(bootFile, 'utf8')) as BootFile
  const save = (boot: BootFile) => writeSecret(bootFile, JSON.stringify(boot))
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  if (!existsSync(bootFile)) {
    if (!factoryImage) throw new Error('this machine has no image yet: name one with --factory-image FILE')
    if (!existsSync(factoryImage))
      throw new Error(`there is no image ${factoryImage}: name one with --factory-image FILE`)
    install(factoryImage, programOf('a'))
    save({ active: 'a', bootId: 'never', booted: 'a' })
  }

  let running: Running | undefined
  /** What the slot held when it booted: a program is read once, at its start. */
  let bootedSha256 = ''
  let glimpsed: Glimpse = { bootId: 'never' }
  let closed = false
  /** Boots in a row of a slot that is not on trial, each of which ended early. */
  let quickEnds = 0
  let booting: Promise<void> | undefined
  const held = new Map<Slot, { readonly stamp: string; readonly sha256: string }>()

  // The firmware's half: count the try down first, then boot; when none is left, the other slot.
  async function boot(): Promise<void> {
    running?.off()
    const { armed, ...rest } = load()
    const trial = armed && armed.triesLeft > 0 ? { ...armed, triesLeft: armed.triesLeft - 1 } : undefined
    const slot = trial?.slot ?? rest.active
    const bootId = randomUUID()
    // A slot that cannot be read boots nothing: that is its fault, and costs it a try.
    const sha256 = await digestOf(programOf(slot)).catch(() => '')
    bootedSha256 = sha256
    glimpsed = { bootId, onTrial: trial !== undefined }
    save({
      ...rest,
      bootId,
      booted: slot,
      ...(trial ? { armed: trial } : {}),
      ...(armed && !trial ? { fellBackFrom: armed.imageSha256 } : {}),
    })
    if (closed) return
    log.info({ slot, bootId, imageSha256: sha256, triesLeft: trial?.triesLeft }, 'slot boots')
    const mine = powerOn(programOf(slot))
    const sinceMs = performance.now()
    running = mine
    void mine.ended.then((how) => {
      // The program went away by itself: the watchdog boots again, a little later.
      if (closed || running !== mine) return
      quickEnds = trial || performance.now() - sinceMs > STEADY_MS ? 0 : quickEnds + 1
      const againMs = againAfterMs(quickEnds)
      log.warn({ slot, bootId, how, againMs }, 'the program of the slot ended and is started again')
      setTimeout(() => {
        if (closed || running !== mine) return
        reboot().catch((error: unknown) => log.error({ err: error }, 'the slot could not be booted again'))
      }, againMs)
    })
    await mine.started
  }

  /** The digest of what lies in a slot, read anew when that changed; undefined where nothing does. */
  async function heldIn(slot: Slot): Promise<string | undefined> {
    const { ino, size, mtimeMs } = statSync(programOf(slot), { throwIfNoEntry: false }) ?? {}
    if (ino === undefined) return undefined
    const stamp = `${ino}/${size}/${mtimeMs}`
    const known = held.get(slot)
    const sha256 = known?.stamp === stamp ? known.sha256 : await digestOf(programOf(slot))
    held.set(slot, { stamp, sha256 })
    return sha256
  }

  function reboot(): Promise<void> {
    booting = (booting ?? Promise.resolve()).catch(() => undefined).then(() => (closed ? undefined : boot()))
    return booting
  }

  await reboot()
  return {
    name: 'slots',
    measuresBoot: false,
    async status(): Promise<BootFacts> {
      const { booted, bootId, fellBackFrom } = load()
      return {
        bootId,
        slot: booted,
        imageSha256: bootedSha256,
        healthy: (await running?.healthy(bootedSha256)) ?? false,
        ...(fellBackFrom ? { fellBackFrom } : {}),
      }
    },
    glimpse: async () => glimpsed,
    async slots() {
      const seen: SlotView[] = []
      for (const slot of ['a', 'b'] as const) {
        const imageSha256 = await heldIn(slot)
        if (imageSha256 !== undefined) seen.push({ slot, imageSha256, ...standingOf(load(), slot, imageSha256) })
      }
      return seen
    },
    async preflight(target) {
      const { bavail, bsize } = statfsSync(dir)
      // Twice: the download and the slot.
      const needed = target.imageLength * 2 + RESERVE_BYTES
      if (bavail * bsize < needed)
        throw new DriverFault(
          'surroundings',
          'NoSpace',
          `${needed} bytes are needed for the image and ${bavail * bsize} are free`,
        )
    },
    async stage(target, file) {
      const { armed, booted, active } = load()
      if (armed)
        throw new DriverFault('surroundings', 'SlotArmed', 'a slot is on trial; the other one must not be written now')
      if (booted !== active)
        throw new DriverFault('surroundings', 'BootPending', 'the slot that runs is not the one that was confirmed')
      const program = programOf(other(booted))
      try {
        install(file, program)
      } catch (cause) {
        throw diskFault(cause)
      }
      if ((await digestOf(program)) !== target.imageSha256)
        throw new DriverFault('surroundings', 'ImageMismatch', 'what was written does not read back as the image')
    },
    async activate(target) {
      const now = load()
      if (now.fellBackFrom === target.imageSha256 || now.armed?.imageSha256 === target.imageSha256)
        return now.armed?.imageSha256 === target.imageSha256 && now.booted !== now.armed.slot ? reboot() : undefined
      if (now.armed) throw new DriverFault('surroundings', 'SlotArmed', 'a slot is on trial with another image')
      const slot = other(now.booted)
      if (!existsSync(programOf(slot)) || (await digestOf(programOf(slot))) !== target.imageSha256)
        throw new DriverFault('image', 'ImageMismatch', 'the staged slot no longer holds the image')
      const { fellBackFrom: _, ...rest } = now
      save({ ...rest, armed: { slot, imageSha256: target.imageSha256, triesLeft: TRIES } })
      await reboot()
    },
    async confirm(target) {
      const { armed, ...rest } = load()
      // Confirmed already, or on trial and running; anything else boots something that nobody vouched for.
      if (!armed && rest.booted === rest.active && bootedSha256 === target.imageSha256) return
      if (armed?.imageSha256 !== target.imageSha256 || rest.booted !== armed.slot)
        throw new DriverFault('surroundings', 'NotBooted', 'the image to confirm is not the one that runs')
      save({ ...rest, active: armed.slot })
    },
    async rollback(target) {
      const { armed, ...rest } = load()
      if (armed?.imageSha256 === target.imageSha256) save({ ...rest, fellBackFrom: target.imageSha256 })
      // A slot that never booted is disarmed, and nobody has to wait for a boot.
      if (rest.booted !== rest.active) await reboot()
    },
    leave: reboot,
    async close() {
      closed = true
      running?.off()
      // A boot that was under way must not outlive this.
      await booting?.catch(() => undefined)
      running?.off()
      await running?.ended
    },
  }
}

function standingOf({ active, armed, booted, fellBackFrom }: BootFile, slot: Slot, imageSha256: string) {
  const runs = { booted: slot === booted }
  if (slot === armed?.slot) return { ...runs, state: 'armed', triesLeft: armed.triesLeft } as const
  if (slot === active) return { ...runs, state: 'confirmed' } as const
  return { ...runs, state: imageSha256 === fellBackFrom ? 'spent' : 'idle' } as const
}

// Beside, synced, renamed: a slot holds a whole program or the one before.
function install(from: string, program: string): void {
  mkdirSync(join(program, '..'), { recursive: true, mode: 0o700 })
  const beside = `${program}.new`
  try {
    copyFileSync(from, beside)
    const file = openSync(beside, 'r')
    fsyncSync(file)
    closeSync(file)
    renameSync(beside, program)
    const folder = openSync(join(program, '..'), 'r')
    fsyncSync(folder)
    closeSync(folder)
  } catch (error) {
    rmSync(beside, { force: true })
    throw error
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
