import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import type { Say } from '@skerry/supervise'
import { howToGet, lackingTools, openTools, TOOLS } from '../../../scripts/tools.ts'
import { bundleAgent } from './agent-bundle.ts'

// What a machine is made of, found on this Debian or fetched once into the user's cache. What is in the cache stays as it
// is, so that images do not change under a story: delete the folder to take up Debian's newest kernel.

export type Parts = {
  readonly cacheDir: string
  readonly kernel: {
    /** As `uname -r` says it. */
    readonly release: string
    readonly image: string
    /** The folder with modules.dep. */
    readonly modules: string
  }
  readonly node: { readonly version: string; readonly file: string }
  /** Shared libraries of these programs: their place in the image, and the file here. */
  readonly libraries: ReadonlyMap<string, string>
  readonly busybox: string
  /** fsck.fat: it puts right what a power cut left of a FAT, which has no journal. */
  readonly fsck: string
  /** systemd-boot, and systemd-stub that a unified kernel image begins with. */
  readonly bootLoader: string
  readonly stub: string
  /** The agent of this tree, as one file. */
  readonly agent: Uint8Array
}

/** No machine can be made on this computer; the message says what to do about it. No fault of what was to be played. */
export class NoMachine extends Error {}

const META_PACKAGE = 'linux-image-cloud-amd64'
const BUSYBOX = '/bin/busybox'
const FSCK = '/usr/sbin/fsck.fat'
const EFI = '/usr/lib/systemd/boot/efi'
const STUB = join(EFI, 'linuxx64.efi.stub')
const BOOT_LOADER = join(EFI, 'systemd-bootx64.efi')

/** Why no machine can be made here, with what to do about it; undefined when one can. */
export function lackingForMachines(path = process.env['PATH']): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `machines are made on Linux on x64, and this is ${process.platform} on ${process.arch}: run the story on a Debian of that kind`
  const lacking = lackingTools(TOOLS.machine, path)
  return lacking.length === 0 ? undefined : `this computer lacks what makes a machine: ${howToGet(lacking)}`
}

/** Finds every part, installing tools where it may and fetching the kernel once. Throws NoMachine when that cannot be. */
export function findParts(say: Say, env: NodeJS.ProcessEnv = process.env): Parts {
  openTools('machine', say)
  const lacking = lackingForMachines(env['PATH'])
  if (lacking) throw new NoMachine(lacking)
  const cacheDir = join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'skerry', 'machine')
  mkdirSync(cacheDir, { recursive: true })
  const node = strippedNode(cacheDir)
  return {
    cacheDir,
    kernel: kernel(join(cacheDir, 'kernel'), say),
    node: { version: process.versions.node, file: node },
    libraries: new Map([node, BUSYBOX, FSCK].flatMap((program) => [...librariesOf(program)])),
    busybox: BUSYBOX,
    fsck: FSCK,
    bootLoader: BOOT_LOADER,
    stub: STUB,
    agent: bundleAgent(),
  }
}

function kernel(dir: string, say: Say): Parts['kernel'] {
  if (!existsSync(dir)) fetchKernel(dir, say)
  const [release] = readdirSync(join(dir, 'lib', 'modules'))
  const image = join(dir, 'boot', `vmlinuz-${release}`)
  if (release === undefined || !existsSync(image))
    throw new Error(`${dir} holds no whole kernel: delete it, and it is fetched again`)
  return { release, image, modules: join(dir, 'lib', 'modules', release) }
}

// Unpacked and never installed. The newest kernel's name changes with each of its releases, so the meta package says it.
function fetchKernel(dir: string, say: Say): void {
  const run = (file: string, args: string[], cwd?: string) =>
    execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...(cwd ? { cwd } : {}) })
  // Beside and renamed: an unpacking that is broken off leaves no half of a kernel.
  const beside = mkdtempSync(`${dir}.`)
  try {
    // A fresh container knows of no packages before it has asked.
    if (!kernelPackage()) run('apt-get', ['-q', 'update'])
    const name = kernelPackage()
    if (!name) throw new Error(`${META_PACKAGE} names no kernel`)
    say(`fetching ${name} once, into ${dir} …`)
    run('apt-get', ['download', name], beside)
    const [deb] = readdirSync(beside).filter((file) => file.endsWith('.deb'))
    if (!deb) throw new Error(`${name} was not downloaded`)
    run('dpkg-deb', ['-x', deb, '.'], beside)
    run('depmod', ['-b', beside, name.slice('linux-image-'.length)])
    rmSync(join(beside, deb))
    writeFileSync(join(beside, 'package'), `${deb}\n`)
    renameSync(beside, dir)
  } catch (cause) {
    throw new NoMachine(
      'the kernel of a machine could not be fetched from Debian: with a network that reaches its packages, run "apt-get update", and then the same again',
      { cause },
    )
  } finally {
    rmSync(beside, { recursive: true, force: true })
  }
}

function kernelPackage(): string | undefined {
  const asked = spawnSync('apt-cache', ['depends', META_PACKAGE], { encoding: 'utf8' })
  return /Depends: (linux-image-\S+)/.exec(asked.stdout)?.[1]
}

// Without symbols a fifth smaller, which every boot has to load and hash.
function strippedNode(cacheDir: string): string {
  const original = realpathSync(process.execPath)
  const id = createHash('sha256').update(readFileSync(original)).digest('hex').slice(0, 16)
  const file = join(cacheDir, `node-${process.versions.node}-${id}`)
  if (existsSync(file)) return file
  const beside = mkdtempSync(join(cacheDir, 'node.'))
  try {
    const copy = join(beside, basename(file))
    copyFileSync(original, copy)
    execFileSync('strip', [copy])
    chmodSync(copy, 0o755)
    renameSync(copy, file)
    return file
  } finally {
    rmSync(beside, { recursive: true, force: true })
  }
}

function librariesOf(program: string): ReadonlyMap<string, string> {
  // It fails for a program that is linked statically.
  const listed = spawnSync('ldd', [program], { encoding: 'utf8' }).stdout
  const paths = [...listed.matchAll(/(?:=> |^\s+)(\/\S+)/gm)].flatMap(([, path]) => path ?? [])
  return new Map(paths.map((path) => [path.slice(1), realpathSync(path)]))
}
