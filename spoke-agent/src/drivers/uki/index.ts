import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BootFacts, Glimpse, Target } from '@skerry/policy'
import { type Driver, DriverFault, type SlotView } from '../driver.ts'
import { type Booted, bootedOf, runningImage } from './booted.ts'
import { type Disk, realDisk } from './disk.ts'
import { efiVars, requireEfiVars } from './efivars.ts'
import { type Entry, openEntries } from './entries.ts'
import {
  armedName,
  asideName,
  confirmedName,
  isArmed,
  isConfirmed,
  isPart,
  isSpent,
  partName,
  spentName,
  unfitName,
} from './entry-name.ts'
import { espFault, fault } from './faults.ts'
import { goodImage, requireEnrolledSigner } from './image.ts'
import { armedText, requireCountingLoader, startedName, startedOnTrial } from './loader.ts'
import { findEsp } from './mounts.ts'
import { compareVersions } from './version-order.ts'
import type { Written, WrittenStore } from './written.ts'

// UKIs on the ESP, started and counted by systemd-boot. All state is in the file names there and in what really booted;
// every verb looks anew, because between two of them there may have been any number of boots. What each step leaves when
// the power fails stands in DESIGN.md.

export type UkiOptions = {
  /** `/`, or a folder that looks like it. */
  readonly root: string
  /** Where the ESP is mounted; by default the first usual place that has a VFAT. */
  readonly esp: string | undefined
  /** Where downloads go. */
  readonly dataDir: string
  /** Boots that an image may try to be confirmed in. */
  readonly tries: number
  readonly written: WrittenStore
  readonly reboot: () => Promise<void>
  readonly healthy: () => Promise<boolean>
  readonly disk?: Disk
}

/** Free bytes to leave on each disk beyond the image. */
const ESP_RESERVE_BYTES = 1024 ** 2
const DATA_RESERVE_BYTES = 16 * 1024 ** 2

type Look = {
  readonly bootId: string
  readonly readOnly: boolean
  readonly esp: string
  readonly folder: string
  readonly entries: readonly Entry[]
  readonly parts: readonly { readonly file: string; readonly size: number }[]
  readonly booted: ReturnType<typeof bootedOf>
  readonly written: Written | undefined
}

export function openUki(options: UkiOptions): Driver {
  const { root, dataDir, tries, written: store, reboot, healthy, disk = realDisk } = options
  const variables = join(root, '/sys/firmware/efi/efivars')
  const vars = efiVars(variables)
  const readEntries = openEntries(disk)

  const readBootId = () => readFileSync(join(root, '/proc/sys/kernel/random/boot_id'), 'utf8').trim()

  async function lookAtEsp() {
    const bootId = readBootId()
    const { path: esp, readOnly } = findEsp(root, options.esp)
    try {
      return { bootId, esp, readOnly, ...(await readEntries(esp, bootId)) }
    } catch (cause) {
      throw espFault(cause)
    }
  }

  async function look(): Promise<Look> {
    const seen = await lookAtEsp()
    try {
      const booted = bootedOf(seen.entries, runningImage(root), startedName(vars))
      return { ...seen, booted, written: store.load() }
    } catch (cause) {
      throw espFault(cause)
    }
  }

  /** What booted, as far as it can be told for sure. */
  function bootedIn(entries: readonly Entry[]): Booted | undefined {
    try {
      requireEfiVars(variables)
      return bootedOf(entries, runningImage(root), startedName(vars))
    } catch (error) {
      if (error instanceof DriverFault) return undefined
      throw error
    }
  }

  // It lasts before anything else is done; a name that is right already may be so in memory alone. The file first: Linux
  // gives a FAT's new name neither length nor place before the file is synced, and what lies there until then is empty.
  async function rename({ folder }: Look, from: string, to: string): Promise<void> {
    // On FAT they are one name however they are written: a firmware may have written it in capitals.
    const same = from.toLowerCase() === to.toLowerCase()
    if (!same) await disk.rename(join(folder, from), join(folder, to))
    await disk.sync(join(folder, same ? from : to))
    await disk.sync(folder)
  }
  async function remove({ folder }: Look, files: readonly { readonly file: string }[]): Promise<void> {
    if (files.length === 0) return
    for (const { file } of files) await disk.remove(join(folder, file))
    await disk.sync(folder)
  }
  const slotOf = ({ booted }: Look, target: Target) => `${booted.image.id}_${target.version}`

  /** What has to be true before a slot is written or armed. Touches nothing. */
  function requireReady(seen: Look, target: Target): void {
    const { booted, entries, written, bootId, readOnly, esp } = seen
    if (readOnly) throw fault('EspReadOnly', `${esp} is mounted read-only`)
    requireCountingLoader(esp, vars)
    const slot = slotOf(seen, target)
    const unfit = unfitName(slot)
    if (unfit !== undefined) throw fault('NameUnfit', unfit)
    if (!isConfirmed(booted)) throw fault('CounterPending', `${booted.file} runs, on trial`)
    const armed = entries.find((entry) => isArmed(entry))?.file ?? armedText(esp)
    if (armed) throw fault('SlotArmed', `${armed} is armed`)
    if (written?.bootId === bootId && written.imageSha256 !== target.imageSha256)
      throw fault('SlotWritten', `${written.slot} was armed since this machine booted`)
    const same = compareVersions(target.version, booted.image.version) === 0
    if ((same || slot === booted.slot) && booted.sha256 !== target.imageSha256)
      throw fault(
        'SameVersion',
        `${target.version} would stand beside ${booted.file}, which runs, with other bytes in it`,
      )
  }

  /** Entries of this family that neither run nor are the target's, and halves of writes. */
  function leftovers(seen: Look, target: Target): { readonly file: string; readonly size: number }[] {
    const { booted, entries, parts } = seen
    const slot = slotOf(seen, target)
    const family = `${booted.image.id}_`
    const ours = ({ slot: one, image }: Entry) => image?.id === booted.image.id || one.startsWith(family)
    return [
      ...entries.filter((entry) => ours(entry) && entry.file !== booted.file && entry.sha256 !== target.imageSha256),
      ...parts.filter(({ file }) => (isPart(file) ? file !== partName(slot) : file.startsWith(family))),
    ]
  }

  async function requireSpace(seen: Look, target: Target): Promise<void> {
    const { esp, entries, parts } = seen
    const there = [...parts.filter(({ file }) => file === partName(slotOf(seen, target)))]
    const held = entries.some(({ sha256 }) => sha256 === target.imageSha256)
    const freed = [...leftovers(seen, target), ...there].reduce((sum, { size }) => sum + size, 0)
    for (const [folder, needed, free] of [
      [esp, held ? 0 : target.imageLength + ESP_RESERVE_BYTES, (await disk.freeBytes(esp)) + freed],
      [dataDir, target.imageLength + DATA_RESERVE_BYTES, await disk.freeBytes(dataDir)],
    ] as const)
      if (free < needed)
        throw fault('NoSpace', `${needed} bytes are needed on ${folder} and ${free} are or can be free`)
  }

  /** Whether this very image was tried under its name, and is not to be tried again. */
  const wasTried = (entry: Entry, { written }: Look, target: Target) =>
    isSpent(entry) && (entry.sha256 === target.imageSha256 || armedAs(entry, written) === target.imageSha256)

  return {
    name: 'uki',
    measuresBoot: true,
    async status(): Promise<BootFacts> {
      // Without them nobody says what was started, and no image after this one could be tried.
      requireEfiVars(variables)
      const { bootId, booted, entries, written } = await look()
      const spent = entries.filter((entry) => isSpent(entry) && entry.file !== booted.file)
      const last = spent.find((entry) => armedAs(entry, written)) ?? spent.toSorted(newestFirst)[0]
      return {
        bootId,
        slot: booted.slot,
        imageSha256: booted.sha256,
        healthy: await healthy(),
        ...(last ? { fellBackFrom: armedAs(last, written) ?? last.sha256 } : {}),
      }
    },
    async glimpse(): Promise<Glimpse> {
      const onTrial = startedOnTrial(vars)
      return { bootId: readBootId(), ...(onTrial === undefined ? {} : { onTrial }) }
    },
    async slots(): Promise<SlotView[]> {
      const { entries, parts } = await lookAtEsp()
      const booted = bootedIn(entries)
      const staged = parts.filter(({ file }) => isPart(file)).map(({ file }) => file.slice(0, -partName('').length))
      const family = booted && `${booted.image.id}_`
      const views = [
        ...entries.map((entry) => viewOf(entry, booted)),
        ...staged.map((slot): SlotView => {
          const version = family !== undefined && slot.startsWith(family) ? slot.slice(family.length) : undefined
          return { slot, ...(version === undefined ? {} : { version }), booted: false, state: 'idle' }
        }),
      ]
      return views.toSorted((a, b) => (a.slot < b.slot ? -1 : 1))
    },
    async preflight(target) {
      requireEfiVars(variables)
      const seen = await look()
      requireReady(seen, target)
      requireEnrolledSigner(target, vars)
      await requireSpace(seen, target)
    },
    async stage(target, file) {
      requireEfiVars(variables)
      const seen = await look()
      if (seen.booted.sha256 === target.imageSha256) return
      requireReady(seen, target)
      const bytes = await goodImage(disk, file, target, seen.booted, vars)
      await requireSpace(seen, target)
      const { folder, entries, booted } = seen
      const part = partName(slotOf(seen, target))
      const path = join(folder, part)
      try {
        // What had to stand behind an older version is first again: that one is not on trial any more.
        if (booted.aside) await rename(seen, booted.file, confirmedName(booted.slot))
        await remove(seen, leftovers(seen, target))
        const [held, ...more] = entries.filter((one) => one.file !== booted.file && one.sha256 === target.imageSha256)
        await remove(seen, more)
        if (held) await rename(seen, held.file, part)
        if ((await digestOr(disk, path)) !== target.imageSha256) {
          // Under a new name: of one that stood there the old place and length were seen to last, though all was synced.
          if (seen.parts.some(({ file }) => file === part)) await disk.remove(path)
          await disk.write(path, bytes)
        }
        // Also what was there: an agent that ended after it wrote may not have come to this.
        await disk.sync(path)
        await disk.sync(folder)
        if ((await disk.digest(path)) !== target.imageSha256)
          throw fault('BytesDiffer', `${path} does not read back as it was written`)
      } catch (cause) {
        throw espFault(cause)
      }
    },
    async activate(target) {
      const seen = await look()
      const { booted, entries, folder, bootId } = seen
      if (booted.sha256 === target.imageSha256) return
      const slot = slotOf(seen, target)
      const mine = entries.filter((entry) => entry.slot === slot)
      if (mine.some((entry) => wasTried(entry, seen, target))) return
      const armed = mine.find((entry) => isArmed(entry) && entry.sha256 === target.imageSha256)
      if (armed) {
        try {
          if (!seen.readOnly) await rename(seen, armed.file, armed.file)
        } catch (cause) {
          throw espFault(cause)
        }
        return reboot()
      }
      requireEfiVars(variables)
      requireReady(seen, target)
      const part = partName(slot)
      try {
        const staged = await digestOr(disk, join(folder, part))
        if (staged !== target.imageSha256)
          throw fault('NotStaged', staged === undefined ? `there is no ${part}` : `${part} has other bytes in it`)
        // systemd-boot starts the newer of two versions: an older one comes first only if the newer has no tries left.
        const older = compareVersions(target.version, booted.image.version) < 0
        if (older) await rename(seen, booted.file, asideName(booted.slot))
        store.save({ manifestSha256: target.manifestSha256, imageSha256: target.imageSha256, bootId, slot })
        await rename(seen, part, armedName(slot, tries))
      } catch (cause) {
        throw espFault(cause)
      }
      await reboot()
    },
    async confirm(target) {
      const seen = await look()
      const { booted } = seen
      if (booted.sha256 !== target.imageSha256)
        throw fault('NotBooted', `${booted.file} runs, which is not ${target.version}`)
      if (seen.readOnly) throw fault('EspReadOnly', `${seen.esp} is mounted read-only`)
      try {
        await rename(seen, booted.file, confirmedName(booted.slot))
      } catch (cause) {
        throw espFault(cause)
      }
    },
    async rollback(target) {
      const seen = await look()
      const { booted, entries, parts } = seen
      const slot = slotOf(seen, target)
      // Under its name there may be other bytes: what is on trial there goes too, what was confirmed there does not.
      const isTarget = (entry: Entry) =>
        entry.sha256 === target.imageSha256 ||
        armedAs(entry, seen.written) === target.imageSha256 ||
        (entry.slot === slot && !isConfirmed(entry))
      const good = entries.filter(
        (entry) => isConfirmed(entry) && !isTarget(entry) && entry.image?.id === booted.image.id,
      )
      if (isTarget(booted) && good.length === 0)
        throw fault('NoFallback', `there is no confirmed image beside ${booted.file}`)
      const mine = entries.filter((entry) => isTarget(entry))
      const part = parts.filter(({ file }) => file === partName(slot))
      // The firmware can still write, and counts: each boot is one try less, until it falls back.
      if (seen.readOnly && isTarget(booted) && booted.left !== undefined) return reboot()
      if (seen.readOnly && mine.length + part.length > 0) throw fault('EspReadOnly', `${seen.esp} is mounted read-only`)
      try {
        await remove(seen, part)
        for (const entry of mine) await rename(seen, entry.file, isSpent(entry) ? entry.file : spentName(entry))
        // What was set aside for the target's trial is first again, unless another has been confirmed before it since.
        const first = good.every((entry) => entry.aside) ? good : []
        for (const entry of first) await rename(seen, entry.file, confirmedName(entry.slot))
      } catch (cause) {
        throw espFault(cause)
      }
      // A slot that never booted is disarmed, and nobody has to wait for a boot.
      if (isTarget(booted)) await reboot()
    },
    leave: reboot,
    async close() {},
  }
}

function viewOf(entry: Entry, running: Booted | undefined): SlotView {
  const { slot, image, sha256: imageSha256, left } = entry
  const booted = running && entry.file === running.file
  const seen = {
    ...{ slot, imageSha256 },
    ...(image ? { version: image.version } : {}),
    ...(booted === undefined ? {} : { booted }),
  }
  if (left === undefined || isConfirmed(entry)) return { ...seen, state: 'confirmed' }
  // In its last try it has none left, and is not spent yet.
  if (isArmed(entry) || booted) return { ...seen, state: 'armed', triesLeft: left }
  return booted === undefined ? seen : { ...seen, state: 'spent' }
}

/** The image that was armed in this entry's slot: bytes may have suffered since. */
function armedAs({ slot }: Entry, written: Written | undefined): string | undefined {
  return written?.slot === slot ? written.imageSha256 : undefined
}

function newestFirst(a: Entry, b: Entry): number {
  return compareVersions(b.image?.version ?? '', a.image?.version ?? '')
}

async function digestOr(disk: Disk, path: string): Promise<string | undefined> {
  try {
    return await disk.digest(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
