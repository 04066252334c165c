import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Entry, ImageName } from './entries.ts'
import { parseEntryName } from './entry-name.ts'
import { fault } from './faults.ts'

const OS_RELEASE = ['/etc/initrd-release', '/etc/os-release', '/usr/lib/os-release']

/** An entry that booted: it names itself, or nobody could have told that it did. */
export type Booted = Entry & { readonly image: ImageName }

/**
 * The file that booted, by what runs and by what was started: both have to agree, and one file alone has to fit. Fault
 * BootedImageUnknown: the digest of an image that booted is not guessed.
 */
export function bootedOf(
  entries: readonly Entry[],
  running: ImageName | undefined,
  startedName: string | undefined,
): Booted {
  if (!running) throw fault('BootedImageUnknown', `no IMAGE_ID and IMAGE_VERSION in ${OS_RELEASE.join(', ')}`)
  const name = `${running.id} ${running.version}`
  const fitting = entries.flatMap((entry) =>
    entry.image?.id === running.id && entry.image.version === running.version ? [{ ...entry, image: entry.image }] : [],
  )
  if (fitting.length === 0) throw fault('BootedImageUnknown', `${name} runs, and no file in EFI/Linux is it`)
  const startedSlot =
    startedName === undefined ? undefined : (parseEntryName(startedName)?.slot ?? startedName.toLowerCase())
  const started = startedSlot === undefined ? fitting : fitting.filter(({ slot }) => slot === startedSlot)
  const [booted, another] = started
  if (!booted) throw fault('BootedImageUnknown', `${name} runs, and ${startedName} was started, which is not that`)
  if (another) {
    // A FAT's rename may last in half. To take one of the names away would take the file of both.
    const same = another.sha256 === booted.sha256
    const how = same ? ', byte for byte: check the ESP with fsck.vfat before it is mounted' : ''
    throw fault('BootedImageUnknown', `${name} runs, and both ${booted.file} and ${another.file} are it${how}`)
  }
  return booted
}

/** What runs, in its own words: the first of its release files that says so. */
export function runningImage(root: string): ImageName | undefined {
  for (const path of OS_RELEASE.map((one) => join(root, one))) {
    if (!existsSync(path)) continue
    const text = readFileSync(path, 'utf8')
    const [id, version] = [valueIn(text, 'IMAGE_ID'), valueIn(text, 'IMAGE_VERSION')]
    if (id && version) return { id, version }
  }
  return undefined
}

// os-release(5), as far as these two values go: neither may have a character in it that would have to be escaped.
function valueIn(text: string, key: string): string | undefined {
  const line = text.split('\n').findLast((one) => one.startsWith(`${key}=`))
  return line
    ?.slice(key.length + 1)
    .trim()
    .replace(/^(["'])(.*)\1$/, '$2')
}
