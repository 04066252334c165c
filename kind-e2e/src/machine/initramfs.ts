import { createHash } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { constants, zstdCompressSync } from 'node:zlib'
import { cpio, type Entry } from './cpio.ts'
import type { Parts } from './parts.ts'

// The whole userland of a machine, as two archives one after the other, which Linux unpacks in that order: what all images
// of a kernel and a Node have in common, and what this image has of its own. The first is large and packed once.

export type Userland = {
  readonly id: string
  readonly version: string
  /** Whether its userspace ever calls itself well. */
  readonly healthy: boolean
  /** More programs, by their path in the image: what makes two images of one version differ. */
  readonly more?: Readonly<Record<string, string>>
}

/** Drivers of QEMU's devices and what the init mounts; what they need is found in modules.dep. */
const MODULES = [
  ...['virtio_pci', 'virtio_blk', 'virtio_net', 'virtio-rng'],
  ...['vfat', 'nls_cp437', 'nls_ascii', 'efivarfs'],
  ...['softdog', 'button', 'evdev'],
]
const FOLDERS = ['proc', 'sys', 'dev', 'run', 'tmp', 'efi', 'root', 'var/lib/skerry']
const LEVEL = 10

/** The initrd of an image, packed. The same parts and userland give the same bytes. */
export function initramfs(parts: Parts, userland: Userland): Uint8Array {
  return Buffer.concat([packedOnce(parts.cacheDir, cpio(common(parts))), pack(cpio(own(parts, userland)))])
}

function common(parts: Parts): Entry[] {
  const program = (path: string, file: string): Entry => ({
    path,
    kind: 'file',
    data: readFileSync(file),
    executable: true,
  })
  const modules = modulesOf(parts.kernel.modules)
  return [
    ...FOLDERS.map((path): Entry => ({ path, kind: 'folder' })),
    // Linux opens it for the init before any file system is mounted.
    { path: 'dev/console', kind: 'characterDevice', major: 5, minor: 1 },
    program('bin/busybox', parts.busybox),
    { path: 'bin/sh', kind: 'link', to: 'busybox' },
    program('bin/node', parts.node.file),
    program('bin/fsck.fat', parts.fsck),
    ...[...parts.libraries].map(([path, file]) => program(path, file)),
    ...modules.map(
      (file): Entry => ({ path: `lib/modules/${basename(file)}`, kind: 'file', data: readFileSync(file) }),
    ),
    text('lib/modules/order', modules.map((file) => `${basename(file)}\n`).join('')),
    text('etc/hosts', '127.0.0.1 localhost\n::1 localhost\n'),
    text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n'),
  ]
}

function own(parts: Parts, { id, version, healthy, more = {} }: Userland): Entry[] {
  const script = (path: string, body: string): Entry => ({ ...text(path, `#!/bin/sh\n${body}\n`), executable: true })
  return [
    { ...text('init', readFileSync(join(import.meta.dirname, 'init.sh'), 'utf8')), executable: true },
    ...['reboot', 'poweroff'].map((name) => script(`sbin/${name}`, ask(name))),
    // What else an image would run for its site answers here whether it is well.
    script('etc/skerry/healthy', healthy ? 'exit 0' : 'exit 1'),
    text('etc/os-release', osRelease({ id, version })),
    { path: 'skerry/agent.mjs', kind: 'file', data: parts.agent },
    ...Object.entries(more).map(([path, body]): Entry => ({ ...text(path, body), executable: true })),
  ]
}

// Renamed into its place, so that the init never reads half of it.
const ask = (what: string) => `echo ${what} >/run/skerry/wanted.$$ && mv /run/skerry/wanted.$$ /run/skerry/wanted`

/** os-release(5) of an image. */
export function osRelease({ id, version }: Pick<Userland, 'id' | 'version'>): string {
  const name = `PRETTY_NAME="${id} ${version}"`
  return `ID=${id}\nVERSION_ID=${version}\nIMAGE_ID=${id}\nIMAGE_VERSION=${version}\n${name}\n`
}

function text(path: string, body: string): Entry & { kind: 'file' } {
  return { path, kind: 'file', data: new TextEncoder().encode(body) }
}

/** The files of MODULES and of what they depend on, each after what it needs. */
function modulesOf(dir: string): string[] {
  const lines = readFileSync(join(dir, 'modules.dep'), 'utf8').split('\n')
  const needs = new Map(lines.map((line) => [line.split(':')[0] ?? '', line.split(':')[1]?.split(' ') ?? []]))
  const fileOf = (name: string) => {
    const file = [...needs.keys()].find((path) => basename(path).replaceAll('_', '-') === `${name}.ko`)
    if (!file) throw new Error(`this kernel has no module ${name}: ${dir}/modules.dep does not name it`)
    return file
  }
  // modules.dep names the nearest need first, and each of them has to be there before.
  const files = MODULES.map((name) => fileOf(name.replaceAll('_', '-'))).flatMap((file) => [
    ...(needs.get(file) ?? []).filter((need) => need !== '').toReversed(),
    file,
  ])
  return [...new Set(files)].map((file) => join(dir, file))
}

// One thread: with more, where a block ends is a matter of luck. Zeroes between archives are skipped by Linux.
function pack(archive: Uint8Array): Uint8Array {
  const packed = zstdCompressSync(archive, {
    params: { [constants.ZSTD_c_compressionLevel]: LEVEL },
  })
  return Buffer.concat([packed, new Uint8Array((4 - (packed.length % 4)) % 4)])
}

function packedOnce(cacheDir: string, archive: Uint8Array): Uint8Array {
  const digest = createHash('sha256').update(archive).digest('hex')
  const file = join(cacheDir, `packed-${LEVEL}-${process.versions.zstd}-${digest}`)
  if (!existsSync(file)) {
    writeFileSync(`${file}.${process.pid}`, pack(archive))
    renameSync(`${file}.${process.pid}`, file)
  }
  return readFileSync(file)
}
