import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { copyFromDataDisk, listEsp, makeDataDisk, makeEspDisk, readEsp, writeEsp } from './disk.ts'
import { lackingForMachines } from './parts.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

// Needs dosfstools, e2fsprogs, fdisk and mtools.
describe.skipIf(lackingForMachines() !== undefined)('the disks of a machine', () => {
  test('an EFI system partition holds what was given, where the firmware and the boot loader look', () => {
    const disk = join(testFolder(), 'esp.img')
    makeEspDisk(disk, {
      bootLoader: bytes('loader'),
      images: { 'edge-os_1.efi': bytes('one'), 'edge-os_2+3.efi': bytes('two') },
      loaderConf: 'secure-boot-enroll force\n',
      more: { '/loader/keys/auto/db.auth': bytes('key') },
      sizeMib: 64,
    })
    expect(listEsp(disk)).toEqual(['edge-os_1.efi', 'edge-os_2+3.efi'])
    expect(Buffer.from(readEsp(disk, '/EFI/Linux/edge-os_2+3.efi'))).toEqual(Buffer.from('two'))
    expect(Buffer.from(readEsp(disk, '/EFI/BOOT/BOOTX64.EFI'))).toEqual(Buffer.from('loader'))
    expect(Buffer.from(readEsp(disk, '/loader/keys/auto/db.auth'))).toEqual(Buffer.from('key'))
    // Where the boot loader gives up without Secure Boot, the firmware's shell begins, and has to end by itself.
    expect(Buffer.from(readEsp(disk, '/startup.nsh')).toString()).toBe('reset -c\r\n')
    const conf = Buffer.from(readEsp(disk, '/loader/loader.conf')).toString('utf8')
    expect(conf).toBe('timeout 0\neditor no\nsecure-boot-enroll force\n')
    expect(conf).not.toMatch(/^default/m)
    writeEsp(disk, '/EFI/Linux/edge-os_1.efi', bytes('another'))
    expect(Buffer.from(readEsp(disk, '/EFI/Linux/edge-os_1.efi'))).toEqual(Buffer.from('another'))
    const table = execFileSync('sfdisk', ['--json', disk], { env: { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' } })
    const type = /"type":\s*"([^"]+)"/.exec(table.toString('utf8'))?.[1]
    expect(type).toBe('C12A7328-F81F-11D2-BA4B-00A0C93EC93B')
  })

  test('the agent’s disk holds what was given, and only root reads a bundle', () => {
    const dir = testFolder()
    mkdirSync(join(dir, 'seed', 'agent'), { recursive: true })
    writeFileSync(join(dir, 'seed', 'bundle.json'), '{}', { mode: 0o600 })
    writeFileSync(join(dir, 'seed', 'agent', 'x'), 'y')
    makeDataDisk(join(dir, 'data.img'), join(dir, 'seed'), 16)
    mkdirSync(join(dir, 'out'))
    copyFromDataDisk(join(dir, 'data.img'), '/', join(dir, 'out'))
    expect(readFileSync(join(dir, 'out', 'agent', 'x'), 'utf8')).toBe('y')
    expect(statSync(join(dir, 'out', 'bundle.json')).mode & 0o777).toBe(0o600)
  })
})
