import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

// A machine's two disks as files: the EFI system partition with its boot loader and images, and the one that holds what
// the agent knows. Made and read by mtools and e2fsprogs, which need neither root nor a mount.

const MIB = 1024 ** 2
/** Where the partition begins on its disk. */
const START_MIB = 1
/** What a GPT keeps at the end. */
const END_MIB = 1
const IMAGES = '/EFI/Linux'

/** No `default`: a pattern there starts an image whose tries are used up. The editor would change what is measured. */
const LOADER_CONF = 'timeout 0\neditor no\n'
/** Without Secure Boot, a firmware whose boot loader cannot load an image ends in its shell: this leads out of it again. */
const SHELL_SCRIPT = 'reset -c\r\n'

export type EspOptions = {
  readonly bootLoader: Uint8Array
  /** The images, by file name: `edge-os_1.efi`, or `edge-os_2+3.efi` for one on trial. */
  readonly images: Readonly<Record<string, Uint8Array>>
  /** Lines of loader.conf beside ours. */
  readonly loaderConf?: string
  /** More files, by absolute path: keys to enrol. */
  readonly more?: Readonly<Record<string, Uint8Array>>
  readonly sizeMib?: number
}

/** Makes a disk with one partition, an EFI system partition, into this file. */
export function makeEspDisk(file: string, options: EspOptions): void {
  const { bootLoader, images, loaderConf = '', more = {}, sizeMib = 256 } = options
  emptyFile(file, sizeMib)
  const partition = `start=${(START_MIB * MIB) / 512}, size=${((sizeMib - START_MIB - END_MIB) * MIB) / 512}, type=U, name=ESP`
  execFileSync('sfdisk', ['-q', file], { input: `label: gpt\n${partition}\n`, env: withSbin() })
  const blocks = String((sizeMib - START_MIB - END_MIB) * 1024)
  const offset = String((START_MIB * MIB) / 512)
  execFileSync('mkfs.vfat', ['-F', '32', '-n', 'ESP', '--offset', offset, file, blocks], {
    env: withSbin(),
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const files = {
    '/EFI/BOOT/BOOTX64.EFI': bootLoader,
    '/startup.nsh': new TextEncoder().encode(SHELL_SCRIPT),
    '/loader/loader.conf': new TextEncoder().encode(LOADER_CONF + loaderConf),
    ...Object.fromEntries(Object.entries(images).map(([name, data]) => [`${IMAGES}/${name}`, data])),
    ...more,
  }
  const folders = new Set([IMAGES, ...Object.keys(files).map(dirname)].flatMap(ancestors))
  mtool('mmd', file, [...folders].toSorted().map(inside))
  for (const [path, data] of Object.entries(files)) writeEsp(file, path, data)
}

/** Puts a file onto the partition of a machine that is off. */
export function writeEsp(disk: string, path: string, data: Uint8Array): void {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-esp-'))
  try {
    writeFileSync(join(dir, 'file'), data)
    mtool('mcopy', disk, ['-o', join(dir, 'file'), inside(path)])
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** A file of the partition. */
export function readEsp(disk: string, path: string): Uint8Array {
  return mtool('mcopy', disk, [inside(path), '-'])
}

/** The names in a folder of the partition, its images unless said. */
export function listEsp(disk: string, folder = IMAGES): string[] {
  const listed = mtool('mdir', disk, ['-b', inside(folder)]).toString('utf8')
  return listed
    .split('\n')
    .flatMap((line) => line.trim().replace(/\/$/, '').split('/').at(-1) || [])
    .toSorted()
}

/** Makes the agent's disk with everything that lies in `from` on it. */
export function makeDataDisk(file: string, from: string, sizeMib = 512): void {
  emptyFile(file, sizeMib)
  execFileSync('mkfs.ext4', ['-q', '-F', '-L', 'data', '-E', 'root_owner=0:0', '-d', from, file], {
    env: withSbin(),
    stdio: ['ignore', 'ignore', 'pipe'],
  })
}

/** A folder of the agent's disk, copied into `into`. The machine is off: what the last journal held is not seen otherwise. */
export function copyFromDataDisk(disk: string, folder: string, into: string): void {
  execFileSync('debugfs', ['-R', `rdump ${folder} ${into}`, disk], {
    env: withSbin(),
    stdio: ['ignore', 'ignore', 'pipe'],
  })
}

function emptyFile(file: string, sizeMib: number): void {
  rmSync(file, { force: true })
  writeFileSync(file, '', { mode: 0o600 })
  truncateSync(file, sizeMib * MIB)
}

function mtool(name: 'mmd' | 'mcopy' | 'mdir', disk: string, args: readonly string[]): Buffer {
  return execFileSync(name, ['-i', `${disk}@@${START_MIB}M`, ...args], {
    maxBuffer: 1024 * MIB,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

const inside = (path: string) => `::${path}`
const ancestors = (folder: string): string[] => (folder === '/' ? [] : [...ancestors(dirname(folder)), folder])
/** They lie where an ordinary user's PATH does not look. */
const withSbin = () => ({ ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` })
