import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Malformed, parseUki } from '@skerry/measured-boot'
import type { Disk } from './disk.ts'
import { type EntryName, isPart, parseEntryName } from './entry-name.ts'
import { fault } from './faults.ts'

/** What a UKI says it is: IMAGE_ID and IMAGE_VERSION of its .osrel. */
export type ImageName = { readonly id: string; readonly version: string }

/** An entry and what is in it. `image` is undefined where it cannot be read as a UKI that names itself. */
export type Entry = EntryName & {
  readonly sha256: string
  readonly size: number
  readonly image: ImageName | undefined
}

/** A file that no firmware sees: by its name, or because it is empty, which systemd-boot passes over. */
type Part = { readonly file: string; readonly size: number }

export type Entries = { readonly folder: string; readonly entries: readonly Entry[]; readonly parts: readonly Part[] }

/** Reads EFI/Linux. A file is read once in a boot, as long as its size and times stay what they are. */
export function openEntries(disk: Disk): (esp: string, bootId: string) => Promise<Entries> {
  let known = new Map<string, Pick<Entry, 'sha256' | 'image'>>()
  return async (esp, bootId) => {
    const folder = join(esp, 'EFI', 'Linux')
    if (!existsSync(folder)) throw fault('EspMissing', `${esp} has no folder EFI/Linux`)
    const files = await disk.list(folder)
    const seen = new Map<string, Pick<Entry, 'sha256' | 'image'>>()
    const entries: Entry[] = []
    for (const { name, size, stamp } of files) {
      const entry = parseEntryName(name)
      if (!entry || size === 0) continue
      // Not by the file's name: its counter changes, the slot and the bytes do not.
      const key = `${entry.slot}/${stamp}/${bootId}`
      const content = known.get(key) ?? contentOf(await disk.read(join(folder, name)))
      seen.set(key, content)
      entries.push({ ...entry, size, ...content })
    }
    known = seen
    return {
      folder,
      entries,
      parts: files
        .filter(({ name, size }) => isPart(name) || (size === 0 && parseEntryName(name) !== undefined))
        .map(({ name, size }) => ({ file: name, size })),
    }
  }
}

function contentOf(bytes: Uint8Array): Pick<Entry, 'sha256' | 'image'> {
  return { sha256: createHash('sha256').update(bytes).digest('hex'), image: imageNameIn(bytes) }
}

/** undefined for what is no UKI, or has no IMAGE_ID and IMAGE_VERSION. */
export function imageNameIn(bytes: Uint8Array): ImageName | undefined {
  try {
    const { osRelease } = parseUki(bytes)
    const [id, version] = [osRelease.get('IMAGE_ID'), osRelease.get('IMAGE_VERSION')]
    return id && version ? { id, version } : undefined
  } catch (error) {
    if (error instanceof Malformed) return undefined
    throw error
  }
}
