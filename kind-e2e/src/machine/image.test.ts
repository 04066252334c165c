import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { bundleAgent } from './agent-bundle.ts'
import { initramfs, type Userland } from './initramfs.ts'
import { lackingForMachines, type Parts } from './parts.ts'
import { buildUki } from './uki.ts'

const STUB = '/usr/lib/systemd/boot/efi/linuxx64.efi.stub'
const HEALTHY: Userland = { id: 'edge-os', version: '1', healthy: true }

/** Parts of a few bytes, in place of a kernel and a Node that take half a minute to pack. */
function smallParts(): Parts {
  const dir = testFolder()
  const file = (name: string, body = name) => {
    writeFileSync(join(dir, name), body)
    return join(dir, name)
  }
  const names = ['virtio_pci', 'virtio_blk', 'virtio_net', 'virtio-rng', 'vfat', 'nls_cp437', 'nls_ascii', 'efivarfs']
  const modules = [...names, 'softdog', 'button', 'evdev', 'fat', 'net_failover', 'failover']
  mkdirSync(join(dir, 'modules'))
  for (const name of modules) file(`modules/${name}.ko`, name)
  const needs: Record<string, string> = { vfat: ' fat.ko', virtio_net: ' net_failover.ko failover.ko' }
  file('modules/modules.dep', modules.map((name) => `${name}.ko:${needs[name] ?? ''}\n`).join(''))
  return {
    cacheDir: dir,
    kernel: { release: '1', image: file('vmlinuz'), modules: join(dir, 'modules') },
    node: { version: '24', file: file('node') },
    libraries: new Map([['lib/libc.so.6', file('libc')]]),
    busybox: file('busybox'),
    fsck: file('fsck.fat'),
    bootLoader: file('loader'),
    stub: STUB,
    agent: new TextEncoder().encode('agent'),
  }
}

/** The archives of an initrd, one after the other. */
function unpacked(initrd: Uint8Array): string {
  const magic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])
  const bytes = Buffer.from(initrd)
  const second = bytes.indexOf(magic, 4)
  expect(second % 4).toBe(0)
  return [bytes.subarray(0, second), bytes.subarray(second)]
    .map((packed) => zstdDecompressSync(packed.subarray(0, packed.findLastIndex((byte) => byte !== 0) + 1)))
    .map((archive) => archive.toString('latin1'))
    .join('')
}

describe('an image', () => {
  test('has the same initrd when it is built twice, in different folders', () => {
    expect(Buffer.compare(initramfs(smallParts(), HEALTHY), initramfs(smallParts(), HEALTHY))).toBe(0)
  })

  test.each<[string, Userland]>([
    ['of another version', { ...HEALTHY, version: '2' }],
    ['that is never well', { ...HEALTHY, healthy: false }],
    ['with one more file', { ...HEALTHY, more: { 'etc/more': 'x' } }],
  ])('%s has another initrd', (_, other) => {
    const parts = smallParts()
    expect(Buffer.compare(initramfs(parts, HEALTHY), initramfs(parts, other))).not.toBe(0)
  })

  test('loads a module after those that it needs', () => {
    const archive = unpacked(initramfs(smallParts(), HEALTHY))
    const order = ['failover.ko', 'net_failover.ko', 'virtio_net.ko', 'fat.ko', 'vfat.ko'].map((name) => `\n${name}\n`)
    const places = order.map((name) => archive.indexOf(name.slice(1), archive.indexOf('virtio_blk.ko\n')))
    expect(places).not.toContain(-1)
    expect(places).toEqual(places.toSorted((a, b) => a - b))
  })

  test('names what its kernel lacks', () => {
    const parts = smallParts()
    writeFileSync(join(parts.kernel.modules, 'modules.dep'), 'virtio_pci.ko:\n')
    expect(() => initramfs(parts, HEALTHY)).toThrow('this kernel has no module virtio-blk')
  })

  test.skipIf(!existsSync(STUB))('has the same bytes when it is built twice (needs systemd-boot-efi)', () => {
    const [one, two] = [buildUki(smallParts(), HEALTHY), buildUki(smallParts(), HEALTHY)]
    expect(Buffer.compare(one, two)).toBe(0)
    const text = Buffer.from(one).toString('latin1')
    expect(text).toContain('IMAGE_ID=edge-os\nIMAGE_VERSION=1\n')
    expect(text).toContain('panic=1')
  })

  test('has an init that a shell can read', () => {
    execFileSync('sh', ['-n', join(import.meta.dirname, 'init.sh')])
  })
})

test('the agent of an image runs from that one file', () => {
  const file = join(testFolder(), 'agent.mjs')
  writeFileSync(file, bundleAgent())
  const help = execFileSync(process.execPath, [file, '--help'], { cwd: '/', encoding: 'utf8' })
  expect(help).toContain('Usage: skerry-agent')
})

test('where a machine cannot be made, the sentence names the packages', () => {
  const said = lackingForMachines('/nowhere')
  expect(said).toMatch(/apt-get install .*qemu-system-x86|run the story on a Debian of that kind/)
})
