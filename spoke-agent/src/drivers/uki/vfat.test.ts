import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Driver } from '../driver.ts'
import { driverContract } from '../test-contract.ts'
import { type Disk, realDisk } from './disk.ts'
import { type UkiMachine, ukiMachine } from './testing.ts'

// The driver on an ESP that is one: a FAT made by mkfs.vfat, mounted where the kernel has VFAT and the test runs as root,
// and everywhere else read and written by mtools. Of FAT come the names (no case, a plus, a long name beside each short
// one), the clusters and what "full" means; of the kernel come fsync, O_DIRECT and EROFS.

const lacksFat = ['mkfs.vfat', 'mcopy', 'mren'].some((tool) => spawnSync(tool, ['--help']).error !== undefined)
const mounts = !lacksFat && process.getuid?.() === 0 && mountsVfat()

function makeFat(dir: string, mib: number): string {
  const file = join(dir, 'esp.img')
  writeFileSync(file, '')
  truncateSync(file, mib * 1024 ** 2)
  execFileSync('mkfs.vfat', [file], { stdio: 'ignore' })
  return file
}

function mountsVfat(): boolean {
  const dir = testFolder()
  const point = join(dir, 'esp')
  spawnSync('mkdir', [point])
  const { status } = spawnSync('mount', ['-o', 'loop', makeFat(dir, 4), point])
  if (status === 0) execFileSync('umount', [point])
  return status === 0
}

/** A FAT without a kernel that knows it, as the driver's disk below a folder. */
function fatDisk(image: string, at: string): Disk & { readonly names: () => string[]; readonly folder: string } {
  const folder = '/EFI/Linux'
  const isThere = (path: string) => path === at || path.startsWith(`${at}/`)
  const there = (path: string) => `::${path.slice(at.length)}`
  const run = (tool: string, ...args: readonly string[]): Buffer => {
    const env = { ...process.env, MTOOLS_SKIP_CHECK: '1' }
    const { status, stdout, stderr } = spawnSync(tool, ['-i', image, ...args], { env, maxBuffer: 64 * 1024 ** 2 })
    if (status === 0 && !/disk full/i.test(String(stderr))) return stdout
    const code = /disk full/i.test(String(stderr)) ? 'ENOSPC' : /not found/i.test(String(stderr)) ? 'ENOENT' : 'EIO'
    throw Object.assign(new Error(`${tool} ${args.join(' ')}: ${stderr}`), { code })
  }
  const names = () =>
    String(run('mdir', '-b', '-a', `::${folder}`))
      .split('\n')
      .flatMap((line) => line.split('/').at(-1) || [])
      .sort()
  const read = (path: string) => new Uint8Array(run('mcopy', '-n', there(path), '-'))
  const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
  run('mmd', '::/EFI', `::${folder}`)
  return {
    folder: join(at, folder),
    names,
    list: async (dir) =>
      names().map((name) => {
        const bytes = read(join(dir, name))
        return { name, size: bytes.length, stamp: digest(bytes) }
      }),
    read: async (path) => (isThere(path) ? read(path) : realDisk.read(path)),
    async write(path, bytes) {
      const beside = join(testFolder(), 'bytes')
      writeFileSync(beside, bytes)
      run('mcopy', '-D', 'o', beside, there(path))
    },
    sync: async () => {},
    rename: async (from, to) => void run('mren', there(from), there(to)),
    remove: async (path) => void run('mdel', there(path)),
    digest: async (path) => digest(read(path)),
    async freeBytes(path) {
      if (!isThere(path)) return realDisk.freeBytes(path)
      const free = /([\d ]+) bytes free/.exec(String(run('mdir', '::/')))?.[1]?.replaceAll(' ', '')
      return Number(free)
    },
  }
}

/** A machine whose ESP lies in a FAT; its firmware is the model, which finds the files where they were mounted. */
function fatMachine(mib = 8) {
  const dir = testFolder()
  const machine = ukiMachine(join(dir, 'machine'))
  const disk = fatDisk(makeFat(dir, mib), machine.path('efi'))
  const path = (name: string) => join(machine.linux, name)
  async function push(): Promise<void> {
    const [wanted, held] = [readdirSync(machine.linux), disk.names()]
    for (const name of held) if (!wanted.includes(name)) await disk.remove(path(name))
    for (const name of wanted) if (!held.includes(name)) await disk.write(path(name), readFileSync(path(name)))
  }
  async function pull(): Promise<void> {
    for (const name of readdirSync(machine.linux)) rmSync(path(name))
    for (const name of disk.names()) writeFileSync(path(name), await disk.read(path(name)))
  }
  const firmware = async () => {
    await pull()
    machine.boot()
    await push()
  }
  let filled: Promise<void> | undefined
  async function on(over: Partial<Disk> = {}): Promise<Driver> {
    filled ??= push()
    await filled
    await pull()
    const driver = await machine.on({ disk: { ...disk, ...over }, reboot: firmware })
    await push()
    return driver
  }
  return { machine, disk, path, on, push, pull }
}

function mountedMachine(): { machine: UkiMachine; image: string } {
  const dir = testFolder()
  const [root, image] = [join(dir, 'machine'), makeFat(dir, 64)]
  execFileSync('mkdir', ['-p', join(root, 'efi')])
  execFileSync('mount', ['-o', 'loop', image, join(root, 'efi')])
  onTestFinished(() => void execFileSync('umount', [join(root, 'efi')]))
  return { machine: ukiMachine(root), image }
}

describe.skipIf(!mounts)('(needs root and a kernel with VFAT)', () => {
  driverContract('uki, on a mounted VFAT,', () => {
    const { machine } = mountedMachine()
    return { open: () => machine.on(), image: machine.image, factory: machine.factory }
  })

  test('an ESP that turned read-only is said to be, whatever the list of mounts said', async () => {
    const { machine } = mountedMachine()
    const driver = await machine.on()
    const { target, file } = machine.image('2')
    execFileSync('mount', ['-o', 'remount,ro', machine.path('efi')])
    await expect(driver.stage(target, file)).rejects.toMatchObject({ reason: 'EspReadOnly' })
  })
})

describe.skipIf(lacksFat)('(needs dosfstools and mtools)', () => {
  driverContract('uki, in a FAT,', () => {
    const { machine, on } = fatMachine()
    return { open: () => on(), image: machine.image, factory: machine.factory }
  })

  test('what lies there after an upgrade and a return is a whole FAT, with the names that were meant', async () => {
    const { machine, disk, on } = fatMachine()
    const driver = await on()
    const next = machine.image('2.10-rc1')
    await driver.preflight(next.target)
    await driver.stage(next.target, next.file)
    expect(disk.names()).toEqual(['edge_1.efi', 'edge_2.10-rc1.part'])
    await driver.activate(next.target)
    expect(disk.names()).toEqual(['edge_1.efi', 'edge_2.10-rc1+2-1.efi'])
    await driver.confirm(next.target)
    await driver.stage(machine.factory.target, machine.factory.file)
    await driver.activate(machine.factory.target)
    expect(disk.names()).toEqual(['edge_1+2-1.efi', 'edge_2.10-rc1.aside+0.efi'])
    await driver.rollback(machine.factory.target)
    expect(disk.names()).toEqual(['edge_1+0-1.efi', 'edge_2.10-rc1.efi'])
    expect(await driver.status()).toMatchObject({ slot: 'edge_2.10-rc1', imageSha256: next.target.imageSha256 })
  })

  test('NoSpace: a full one is known before anything is touched; and one that fills up meanwhile leaves what runs', async () => {
    const { machine, disk, path, on } = fatMachine(4)
    const driver = await on()
    const { target, file } = machine.image('2')
    const free = await disk.freeBytes(machine.path('efi'))
    // All but the reserve that is asked for beyond the image.
    await disk.write(path('filling'), new Uint8Array(free - 1024 ** 2))
    const before = disk.names()
    await expect(driver.preflight(target)).rejects.toMatchObject({ of: 'surroundings', reason: 'NoSpace' })
    await expect(driver.stage(target, file)).rejects.toMatchObject({ of: 'surroundings', reason: 'NoSpace' })
    expect(disk.names()).toEqual(before)
    await disk.write(path('last'), new Uint8Array(await disk.freeBytes(machine.path('efi'))))
    const late = await on({ freeBytes: async () => 2 ** 40 })
    await expect(late.stage(target, file)).rejects.toMatchObject({ of: 'surroundings', reason: 'NoSpace' })
    await disk.remove(path('filling'))
    await late.stage(target, file)
    expect(disk.names()).toContain('edge_2.part')
    expect(await late.status()).toMatchObject({ slot: 'edge_1', imageSha256: machine.factory.target.imageSha256 })
  })
})
