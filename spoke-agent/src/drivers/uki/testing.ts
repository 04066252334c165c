import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { assembleUki, parseUki } from '@skerry/measured-boot'
import type { Driver } from '../driver.ts'
import { type Behaviour, gatesOf, type TestImage } from '../testing.ts'
import type { Disk } from './disk.ts'
import { parseEntryName } from './entry-name.ts'
import { openUki, type UkiOptions } from './index.ts'
import { compareVersions } from './version-order.ts'
import { openWritten } from './written.ts'

// A machine for tests, in a folder that looks like its root. Its firmware is a model of systemd-boot 252; what systemd-boot
// itself makes of the same names was looked at once and stands in DESIGN.md.

export const GUID = { loader: '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f', global: '8be4df61-93ca-11d2-aa0d-00e098032b8c' }
const SECURITY = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'

/** What a boot of an image hides from its agent. */
export type Dark = 'nothing' | 'the ESP' | 'an ESP that is VFAT' | 'a writable ESP' | 'its own name' | 'UEFI variables'
const VFAT = '31 22 254:1 / /efi rw,relatime shared:3 - vfat /dev/vda1 rw,fmask=0077,errors=remount-ro'

export type UkiMachine = ReturnType<typeof ukiMachine>

/** A machine that came with version `factory`, confirmed, and is off. */
export function ukiMachine(root: string, factoryVersion = '1') {
  const path = (...names: string[]) => join(root, ...names)
  const linux = path('efi', 'EFI', 'Linux')
  const efivars = path('sys/firmware/efi/efivars')
  for (const folder of [linux, efivars, path('efi/loader'), path('proc/sys/kernel/random'), path('proc/self')])
    mkdirSync(folder, { recursive: true })
  for (const folder of [path('etc'), path('data'), path('images')]) mkdirSync(folder, { recursive: true })
  let behaviour: Behaviour = 'healthy'
  let off = true
  /** Versions whose boots hide something. */
  const dark = new Map<string, Dark>()
  let boots = 0
  let hidden: Dark | undefined

  const image = (version: string, kind: Behaviour = 'healthy', osRelease?: string): TestImage =>
    ukiImage(path('images'), version, kind, osRelease)
  const files = () => readdirSync(linux).sort()

  // Four bytes of attributes, UTF-16LE, NUL.
  function setVariable(owner: string, name: string, value: string | Uint8Array): void {
    const data = typeof value === 'string' ? Buffer.from(`${value}\0`, 'utf16le') : value
    writeFileSync(join(efivars, `${name}-${owner}`), Buffer.concat([Buffer.from([6, 0, 0, 0]), data]))
  }

  /** The entries in systemd-boot's order. */
  function ordered() {
    const entries = files().flatMap((file) => {
      const name = parseEntryName(file)
      // It looks for the sections of a UKI, and an empty file has none.
      if (!name || statSync(join(linux, file)).size === 0) return []
      const { osRelease, commandLine } = parseUki(readFileSync(join(linux, file)))
      const [id, version] = [osRelease.get('IMAGE_ID') ?? '', osRelease.get('IMAGE_VERSION') ?? '']
      return [{ ...name, id, version, behaviour: commandLine?.text as Behaviour }]
    })
    return entries.sort(
      (a, b) =>
        Number(a.left === 0) - Number(b.left === 0) ||
        (a.id < b.id ? -1 : a.id > b.id ? 1 : 0) ||
        compareVersions(b.version, a.version) ||
        compareVersions(b.file, a.file),
    )
  }

  /** One boot: the count first, then the variables, then the image; and again when what booted ends at once. */
  function boot(): void {
    boots += 1
    if (hidden?.includes('ESP')) mounted(VFAT)
    if (hidden === 'UEFI variables') renameSync(path('hidden'), efivars)
    const [entry] = ordered()
    if (!entry) throw new Error('the firmware has nothing to boot')
    rmSync(join(efivars, `LoaderBootCountPath-${GUID.loader}`), { force: true })
    if (entry.left !== undefined) {
      const base = entry.file.slice(0, entry.file.lastIndexOf('+'))
      const counted = `${base}+${Math.max(entry.left - 1, 0)}-${entry.done + 1}.efi`
      renameSync(join(linux, entry.file), join(linux, counted))
      setVariable(GUID.loader, 'LoaderBootCountPath', `\\EFI\\Linux\\${counted}`)
    }
    setVariable(GUID.loader, 'LoaderEntrySelected', entry.file)
    setVariable(GUID.loader, 'LoaderInfo', 'systemd-boot 252.39-1~deb12u2')
    writeFileSync(path('proc/sys/kernel/random/boot_id'), `${randomUUID()}\n`)
    writeFileSync(path('etc/os-release'), `IMAGE_ID=${entry.id}\nIMAGE_VERSION="${entry.version}"\n`)
    behaviour = entry.behaviour
    hidden = dark.get(entry.version)
    if (hidden === 'the ESP') mounted('')
    else if (hidden === 'an ESP that is VFAT') mounted(VFAT.replace('vfat', 'ext4'))
    else if (hidden === 'a writable ESP') mounted(VFAT.replace('rw,rel', 'ro,rel'))
    else if (hidden === 'its own name') writeFileSync(path('etc/os-release'), 'IMAGE_ID=edge\nIMAGE_VERSION=0.9\n')
    else if (hidden === 'UEFI variables') renameSync(efivars, path('hidden'))
    if (behaviour === 'dies') boot()
  }

  const factory = image(factoryVersion)
  writeFileSync(join(linux, `edge_${factoryVersion}.efi`), readFileSync(factory.file))
  setVariable(GUID.global, 'SecureBoot', Uint8Array.of(0))
  const mounted = (line: string) =>
    writeFileSync(path('proc/self/mountinfo'), `22 1 0:1 / / rw - rootfs rootfs rw\n${line}\n`)
  mounted(VFAT)

  const open = (more: Partial<UkiOptions> = {}): Driver =>
    openUki({
      root,
      esp: undefined,
      dataDir: path('data'),
      tries: 3,
      written: openWritten(path('data/uki')),
      reboot: async () => boot(),
      healthy: async () => behaviour === 'healthy',
      ...more,
    })

  return {
    path,
    linux,
    factory,
    image,
    files,
    ordered,
    boot,
    boots: () => boots,
    hide: (version: string, what: Dark) => void dark.set(version, what),
    mounted,
    setVariable,
    setSignatures: (name: 'db' | 'dbx', lists: Uint8Array) => setVariable(SECURITY, name, lists),
    clearVariable: (owner: string, name: string) => rmSync(join(efivars, `${name}-${owner}`), { force: true }),
    driver: open,
    /** Powers it on, as far as it was off. */
    async on(more: Partial<UkiOptions> = {}): Promise<Driver> {
      if (off || existsSync(path('etc/os-release'))) boot()
      off = false
      return open(more)
    },
  }
}

/** A UKI that no machine would run, but whose sections are where they belong; its command line is how it behaves. */
function ukiImage(dir: string, version: string, behaviour: Behaviour, osRelease?: string): TestImage {
  const text = (value: string) => new TextEncoder().encode(value)
  const uki = assembleUki(stub(), [
    { name: '.osrel', data: text(osRelease ?? `ID=edge\nIMAGE_ID=edge\nIMAGE_VERSION=${version}\n`) },
    { name: '.cmdline', data: text(behaviour) },
    { name: '.linux', data: text(`the kernel of ${version}, ${behaviour}`.repeat(40)) },
  ])
  const file = join(dir, `uki-${version}-${behaviour}-${randomUUID()}.efi`)
  writeFileSync(file, uki)
  return { file, target: targetOf(uki, version, behaviour) }
}

export function targetOf(bytes: Uint8Array, version: string, behaviour: Behaviour = 'healthy'): TestImage['target'] {
  return {
    position: { timeline: 0, generation: 1 },
    manifestSha256: createHash('sha256').update(`manifest ${version}`).digest('hex'),
    imageSha256: createHash('sha256').update(bytes).digest('hex'),
    imageLength: bytes.length,
    version,
    releaseCounter: 1,
    gates: gatesOf(behaviour),
  }
}

/** An EFI application of one section, with room in its headers. */
function stub(): Uint8Array {
  const [pe, headers, size] = [0x40, 0x400, 0x200]
  const file = new Uint8Array(headers + size)
  const view = new DataView(file.buffer)
  const optional = pe + 24
  const section = optional + 240
  for (const [at, value] of [
    [0, 0x5a4d],
    [pe + 4, 0x8664],
    [pe + 6, 1],
    [pe + 20, 240],
    [pe + 22, 0x206],
    [optional, 0x20b],
    [optional + 68, 10],
  ] as const)
    view.setUint16(at, value, true)
  for (const [at, value] of [
    [0x3c, pe],
    [pe, 0x4550],
    [optional + 16, 0x1000],
    [optional + 32, 0x200],
    [optional + 36, 0x200],
    [optional + 56, 0x2000],
    [optional + 60, headers],
    [optional + 108, 16],
    [section + 8, size],
    [section + 12, 0x1000],
    [section + 16, size],
    [section + 20, headers],
    [section + 36, 0x60000020],
  ] as const)
    view.setUint32(at, value, true)
  file.set(new TextEncoder().encode('.text'), section)
  return file
}

export class PowerCut extends Error {}

/** No file of this name is ever synced. */
const NOBODY = ''

/**
 * A disk whose power fails at the n-th thing that changes it. What was not synced may be lost or may have come through:
 * `lose()` takes it away, a file's bytes as well as a folder's names. Nothing is synced in truth. It is a FAT: a name holds
 * the length and the place of its file, and Linux writes a new name with neither, until the file itself is synced. Of a
 * name that was there at the start a new length may not last, whatever is synced (seen once; DESIGN.md says what we make of it).
 */
export function failingDisk(
  disk: Disk,
  failAt: number,
): Disk & { readonly changes: () => number; lose(): void; count(): void } {
  let changes = 0
  type Pending = { readonly of: string; readonly act: () => void; readonly left?: Pending }
  let undo: Pending[] = []
  const count = () => {
    changes += 1
    if (changes >= failAt) throw new PowerCut(`at change ${changes}`)
  }
  const folderOf = (file: string) => join(file, '..')
  /** Names that this power-on added. */
  const added = new Set<string>()
  return {
    ...disk,
    changes: () => changes,
    count,
    lose() {
      for (const { act } of undo.reverse()) act()
      undo = []
    },
    async write(file, bytes) {
      if (!existsSync(file)) {
        added.add(file)
        undo.push({ of: folderOf(file), act: () => rmSync(file, { force: true }) })
      }
      const cutShort = () => existsSync(file) && writeFileSync(file, bytes.subarray(0, bytes.length / 3))
      undo.push({ of: added.has(file) ? file : NOBODY, act: cutShort })
      if (changes + 1 === failAt) writeFileSync(file, bytes.subarray(0, bytes.length / 2))
      count()
      await disk.write(file, bytes)
    },
    async sync(file) {
      count()
      undo = undo.flatMap(({ of, act, left }) => {
        const still = left?.of === file ? undefined : left
        if (of === file) return still ?? []
        return still ? { of, act, left: still } : { of, act }
      })
    },
    async rename(from, to) {
      count()
      const left = { of: to, act: () => existsSync(to) && writeFileSync(to, '') }
      undo.push({ of: folderOf(from), act: () => renameSync(to, from), left })
      added.add(to)
      await disk.rename(from, to)
    },
    async remove(file) {
      count()
      const bytes = existsSync(file) ? readFileSync(file) : undefined
      if (bytes) undo.push({ of: folderOf(file), act: () => writeFileSync(file, bytes) })
      added.delete(file)
      await disk.remove(file)
    },
  }
}
