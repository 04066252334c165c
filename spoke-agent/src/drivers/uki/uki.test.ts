import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { authenticodeDigest, encodeSignatureLists, signedImageOf } from '@skerry/measured-boot'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import type { Driver } from '../driver.ts'
import { driverContract } from '../test-contract.ts'
import type { TestImage } from '../testing.ts'
import { realDisk } from './disk.ts'
import { FAULTS } from './faults.ts'
import type { UkiOptions } from './index.ts'
import { healthBy, rebootBy } from './reboot.ts'
import { GUID, targetOf, type UkiMachine, ukiMachine } from './testing.ts'

driverContract('uki', () => {
  const machine = ukiMachine(testFolder())
  return { open: () => machine.on(), image: machine.image, factory: machine.factory }
})

/** A machine that runs version `factory`, and its driver. */
async function running(factory = '1', more: Partial<UkiOptions> = {}) {
  const machine = ukiMachine(testFolder(), factory)
  return { machine, driver: await machine.on(more) }
}
const arm = async (driver: Driver, { target, file }: TestImage) => {
  await driver.preflight(target)
  await driver.stage(target, file)
  await driver.activate(target)
}
const fault = (reason: keyof typeof FAULTS) => expect.objectContaining({ reason, of: FAULTS[reason][0] })

describe('before anything is touched it is known that', () => {
  const mount = (rest: string) => (machine: UkiMachine) => machine.mounted(rest)
  test.each<[keyof typeof FAULTS, string, (machine: UkiMachine) => void]>([
    ['EspMissing', 'nothing is mounted where an ESP usually is', mount('')],
    ['EspNotVfat', 'another file system is mounted there', mount('31 22 254:1 / /efi rw - ext4 /dev/vda1 rw')],
    ['EspMissing', 'the ESP has no EFI/Linux', (machine) => rmSync(machine.linux, { recursive: true })],
    ['EspMissing', 'a /boot is mounted that is none', mount('31 22 254:1 / /boot rw - ext4 /dev/vda1 rw')],
    ['EspReadOnly', 'it is mounted read-only', mount('31 22 254:1 / /efi ro,relatime - vfat /dev/vda1 rw')],
    ['EspReadOnly', 'the kernel has made it read-only', mount('31 22 254:1 / /efi rw - vfat /dev/vda1 ro,fmask=0077')],
    ['EfiVarsMissing', 'the kernel has no efivarfs', (machine) => rmSync(machine.path('sys'), { recursive: true })],
    [
      'EfiVarsMissing',
      'efivarfs is not mounted',
      (machine) => {
        rmSync(machine.path('sys/firmware/efi/efivars'), { recursive: true })
        mkdirSync(machine.path('sys/firmware/efi/efivars'))
      },
    ],
    ['LoaderMissing', 'nobody counts tries', (machine) => machine.clearVariable(GUID.loader, 'LoaderInfo')],
    [
      'LoaderMissing',
      'another loader started this machine',
      (machine) => machine.setVariable(GUID.loader, 'LoaderInfo', 'rEFInd 0.14'),
    ],
    [
      'LoaderDefaultSet',
      'loader.conf names an entry',
      (machine) => writeFileSync(machine.path('efi/loader/loader.conf'), '#default x\ntimeout 0\n default\tedge_1*\n'),
    ],
    [
      'LoaderDefaultSet',
      'a variable names an entry',
      (machine) => machine.setVariable(GUID.loader, 'LoaderEntryDefault', 'edge_1.efi'),
    ],
    [
      'LoaderDefaultSet',
      'a variable names the entry of the next boot',
      (machine) => machine.setVariable(GUID.loader, 'LoaderEntryOneShot', 'edge_1.efi'),
    ],
    [
      'CounterPending',
      'what runs is on trial',
      (machine) => {
        renameSync(join(machine.linux, 'edge_1.efi'), join(machine.linux, 'edge_1+3.efi'))
        machine.boot()
      },
    ],
    [
      'SlotArmed',
      'an entry of somebody else is armed',
      (machine) => copyFileSync(machine.image('7').file, join(machine.linux, 'other+1-2.efi')),
    ],
    [
      'SlotArmed',
      'an entry of the other kind is armed',
      (machine) => {
        mkdirSync(machine.path('efi/loader/entries'))
        writeFileSync(machine.path('efi/loader/entries/debian+3.conf'), 'linux /vmlinuz\n')
      },
    ],
    [
      'BootedImageUnknown',
      'the file that booted is gone',
      (machine) => renameSync(join(machine.linux, 'edge_1.efi'), machine.path('away')),
    ],
  ])('%s: %s', async (reason, _, arrange) => {
    const { machine, driver } = await running()
    const next = machine.image('2')
    arrange(machine)
    const before = existsSync(machine.linux) ? machine.files() : []
    await expect(driver.preflight(next.target)).rejects.toThrow(fault(reason))
    await expect(driver.stage(next.target, next.file)).rejects.toThrow(fault(reason))
    await expect(driver.activate(next.target)).rejects.toThrow(fault(reason))
    expect(existsSync(machine.linux) ? machine.files() : []).toEqual(before)
  })

  test('NoSpace: the ESP is full; what would be removed counts as free', async () => {
    const { machine } = await running()
    const next = machine.image('2')
    const free = (bytes: number) =>
      machine.driver({ disk: { ...realDisk, freeBytes: async (dir) => (dir.endsWith('efi') ? bytes : 2 ** 40) } })
    const needed = next.target.imageLength + 1024 ** 2
    await expect(free(needed - 1).preflight(next.target)).rejects.toThrow(fault('NoSpace'))
    await free(needed).preflight(next.target)
    writeFileSync(join(machine.linux, 'edge_0.efi'), 'xxx')
    writeFileSync(join(machine.linux, 'edge_0.part'), 'xx')
    await expect(free(needed - 6).preflight(next.target)).rejects.toThrow(fault('NoSpace'))
    await free(needed - 5).preflight(next.target)
  })

  test('NoSpace: there is no room for the download', async () => {
    const { machine } = await running()
    const disk = { ...realDisk, freeBytes: async (dir: string) => (dir.endsWith('data') ? 1000 : 2 ** 40) }
    await expect(machine.driver({ disk }).preflight(machine.image('2').target)).rejects.toThrow(fault('NoSpace'))
  })

  test('EspMissing and EspNotVfat: an ESP that is named is that one or none', async () => {
    const { machine, driver } = await running()
    const { target } = machine.image('2')
    await driver.preflight(target)
    await machine.driver({ esp: '/efi/' }).preflight(target)
    await expect(machine.driver({ esp: '/boot' }).preflight(target)).rejects.toThrow(fault('EspMissing'))
    machine.mounted('31 22 254:1 / /efi rw - vfat /dev/vda1 rw\n32 22 254:2 / /boot rw - ext4 /dev/vda2 rw')
    await expect(machine.driver({ esp: '/boot' }).preflight(target)).rejects.toThrow(fault('EspNotVfat'))
  })

  test.each(['1.0+7', '2.AB', '3 4', '5.aside', '6'.repeat(130)])('NameUnfit: version %s', async (version) => {
    const { machine, driver } = await running()
    const { target } = machine.image('2')
    await expect(driver.preflight({ ...target, version })).rejects.toThrow(fault('NameUnfit'))
  })

  test.each(['1', '01'])('SameVersion: other bytes of version 1, called %s', async (version) => {
    const { machine, driver } = await running()
    const { target } = machine.image('2')
    await expect(driver.preflight({ ...target, version })).rejects.toThrow(fault('SameVersion'))
  })
})

describe('staging', () => {
  test('leaves what runs, the image under a name that no firmware sees, and what is of others', async () => {
    const { machine, driver } = await running('3')
    for (const name of ['edge_1.efi', 'edge_2+0-3.efi', 'other_1.efi', 'edge_9.part'])
      writeFileSync(join(machine.linux, name), name)
    copyFileSync(machine.image('2').file, join(machine.linux, 'mine.efi'))
    const next = machine.image('4')
    await driver.stage(next.target, next.file)
    expect(machine.files()).toEqual(['edge_3.efi', 'edge_4.part', 'other_1.efi'])
    expect(readFileSync(join(machine.linux, 'edge_4.part'))).toEqual(readFileSync(next.file))
  })

  test('writes what is there in half anew, and what is there whole not again', async () => {
    const { machine } = await running()
    const next = machine.image('2')
    const writes: string[] = []
    const disk = {
      ...realDisk,
      write: async (path: string, bytes: Uint8Array) => {
        writes.push(path)
        await realDisk.write(path, bytes)
      },
    }
    const driver = machine.driver({ disk })
    writeFileSync(join(machine.linux, 'edge_2.part'), readFileSync(next.file).subarray(0, 700))
    await driver.stage(next.target, next.file)
    await driver.stage(next.target, next.file)
    expect(writes).toHaveLength(1)
  })

  test('takes a version that is confirmed and still there, and writes nothing', async () => {
    const { machine, driver } = await running()
    const next = machine.image('2')
    await arm(driver, next)
    await driver.confirm(next.target)
    const disk = { ...realDisk, write: () => Promise.reject(new Error('nothing is to be written')) }
    const { target, file } = machine.factory
    await machine.driver({ disk }).stage(target, file)
    expect(machine.files()).toEqual(['edge_1.part', 'edge_2.efi'])
  })

  test('of what runs is nothing to do', async () => {
    const { machine, driver } = await running()
    await driver.stage(machine.factory.target, machine.factory.file)
    expect(machine.files()).toEqual(['edge_1.efi'])
  })

  const osRelease = (id: string, version: string) => `IMAGE_ID=${id}\nIMAGE_VERSION=${version}\n`
  test.each<[keyof typeof FAULTS, string, string | Uint8Array]>([
    ['NotUki', 'is no PE at all', new Uint8Array(900).fill(7)],
    ['NotUki', 'has no IMAGE_VERSION', 'ID=edge\nIMAGE_ID=edge\nVERSION_ID=2\n'],
    ['OtherFamily', 'has another IMAGE_ID', osRelease('ledge', '2')],
    ['VersionMismatch', 'has another version in it', osRelease('edge', '3')],
  ])('refuses with %s an image that %s, and touches nothing', async (reason, _, content) => {
    const { machine, driver } = await running()
    writeFileSync(join(machine.linux, 'edge_0.efi'), 'an old one')
    const file = machine.path('download')
    if (typeof content === 'string') copyFileSync(machine.image('2', 'healthy', content).file, file)
    else writeFileSync(file, content)
    await expect(driver.stage(targetOf(readFileSync(file), '2'), file)).rejects.toThrow(fault(reason))
    expect(machine.files()).toEqual(['edge_0.efi', 'edge_1.efi'])
  })

  test('refuses a download of another length before it is read', async () => {
    const { machine } = await running()
    const { target, file } = machine.image('2')
    writeFileSync(file, readFileSync(file).subarray(1))
    const disk = {
      ...realDisk,
      read: (path: string) => (path === file ? Promise.reject(new Error('it was read')) : realDisk.read(path)),
    }
    await expect(machine.driver({ disk }).stage(target, file)).rejects.toThrow(fault('ImageMismatch'))
  })

  test.each<[string, string, Partial<typeof realDisk>]>([
    ['BytesDiffer', 'gives other bytes back', { digest: async () => '0'.repeat(64) }],
    [
      'EspReadOnly',
      'turns read-only',
      { write: () => Promise.reject(Object.assign(new Error('EROFS'), { code: 'EROFS' })) },
    ],
    [
      'NoSpace',
      'is full after all',
      { write: () => Promise.reject(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })) },
    ],
    ['DiskFault', 'fails', { sync: () => Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' })) }],
  ])('says %s when the disk %s', async (reason, _, broken) => {
    const { machine } = await running()
    const { target, file } = machine.image('2')
    const driver = machine.driver({ disk: { ...realDisk, ...broken } })
    await expect(driver.stage(target, file)).rejects.toThrow(expect.objectContaining({ of: 'surroundings', reason }))
    expect(machine.ordered().map((entry) => entry.file)).toEqual(['edge_1.efi'])
  })
})

describe('with Secure Boot on', () => {
  const owner = '11111111-2222-3333-4444-555555555555'
  const lists = (...images: readonly TestImage[]) =>
    encodeSignatureLists([
      {
        kind: 'sha256',
        entries: images.map(({ file }) => ({ owner, data: authenticodeDigest(readFileSync(file), 'sha256') })),
      },
    ])
  /** As a manifest says it. */
  function signedOf(file: string): NonNullable<TestImage['target']['signed']> {
    const { sha256, signatures } = signedImageOf(readFileSync(file))
    return {
      authenticodeSha256: Buffer.from(sha256).toString('hex'),
      signers: signatures.flatMap(({ signer }) => signer?.sha256 ?? []),
      certificates: signatures.flatMap(({ certificates }) =>
        certificates.map(({ der }) => Buffer.from(der).toString('base64')),
      ),
    }
  }
  async function secure() {
    const found = await running()
    found.machine.setVariable(GUID.global, 'SecureBoot', Uint8Array.of(1))
    writeFileSync(join(found.machine.linux, 'edge_0.efi'), 'an old one')
    return found
  }
  const refused = async (machine: UkiMachine, driver: Driver, { target, file }: TestImage) => {
    // By what its manifest says, before there are bytes; and by the bytes, whatever a manifest says.
    await expect(driver.preflight({ ...target, signed: signedOf(file) })).rejects.toThrow(fault('SignerNotEnrolled'))
    await driver.preflight(target)
    await expect(driver.stage(target, file)).rejects.toThrow(fault('SignerNotEnrolled'))
    // Nothing was touched, what would have made room included.
    expect(machine.files()).toEqual(['edge_0.efi', 'edge_1.efi'])
  }

  test('an image that nobody enrolled is refused before the ESP is touched; one that db names is staged', async () => {
    const { machine, driver } = await secure()
    const [next, other] = [machine.image('2'), machine.image('3')]
    await refused(machine, driver, next)
    machine.setSignatures('db', lists(other))
    await refused(machine, driver, next)
    machine.setSignatures('db', lists(other, next))
    await driver.preflight({ ...next.target, signed: signedOf(next.file) })
    await driver.stage(next.target, next.file)
    expect(machine.files()).toEqual(['edge_1.efi', 'edge_2.part'])
  })

  test('dbx counts before db', async () => {
    const { machine, driver } = await secure()
    const next = machine.image('2')
    machine.setSignatures('db', lists(next))
    machine.setSignatures('dbx', lists(next))
    await refused(machine, driver, next)
  })

  test('a db that cannot be read vouches for nobody', async () => {
    const { machine, driver } = await secure()
    machine.setSignatures('db', new Uint8Array(40).fill(9))
    await refused(machine, driver, machine.image('2'))
  })

  const tools = ['openssl', 'sbsign'].every((tool) =>
    (process.env['PATH'] ?? '').split(':').some((dir) => existsSync(join(dir, tool))),
  )
  test.skipIf(!tools)('an image is staged that a key in db has signed, and none that another has', async () => {
    const { machine, driver } = await secure()
    const dir = testFolder()
    const run = (tool: string, ...args: string[]) => execFileSync(tool, args, { cwd: dir, stdio: 'pipe' })
    const signed = (key: string): TestImage => {
      run(
        'openssl',
        ...`req -new -x509 -newkey rsa:2048 -nodes -sha256 -days 30 -subj /CN=${key} -keyout ${key}.key -out ${key}.pem`.split(
          ' ',
        ),
      )
      run('openssl', ...`x509 -in ${key}.pem -outform DER -out ${key}.der`.split(' '))
      const file = join(dir, `${key}.efi`)
      run('sbsign', '--key', `${key}.key`, '--cert', `${key}.pem`, '--output', file, machine.image('2').file)
      return { file, target: targetOf(readFileSync(file), '2') }
    }
    const [ours, theirs] = [signed('ours'), signed('theirs')]
    machine.setSignatures(
      'db',
      encodeSignatureLists([{ kind: 'x509', entries: [{ owner, data: readFileSync(join(dir, 'ours.der')) }] }]),
    )
    await refused(machine, driver, theirs)
    await expect(driver.preflight({ ...theirs.target, signed: signedOf(theirs.file) })).rejects.toThrow(
      "no signer of the image leads to a certificate in db: 2 is signed by CN=theirs, and db holds CN=ours; sign it with a key that is in this machine's db, or enroll its key first",
    )
    await driver.preflight({ ...ours.target, signed: signedOf(ours.file) })
    await driver.stage(ours.target, ours.file)
    expect(machine.files()).toEqual(['edge_1.efi', 'edge_2.part'])
  })

  test('with Secure Boot off nobody is asked who signed an image', async () => {
    const { machine, driver } = await secure()
    machine.setVariable(GUID.global, 'SecureBoot', Uint8Array.of(0))
    const { target, file } = machine.image('2')
    await driver.preflight({ ...target, signed: signedOf(file) })
  })
})

test('an empty name is no entry: systemd-boot passes it over, and it is gone with the next staging', async () => {
  const { machine, driver } = await running('2')
  // What a check of the ESP leaves of one file under two names; and somebody else's.
  for (const name of ['edge_2+2-6.efi', 'edge_3+3.efi', 'other+1.efi']) writeFileSync(join(machine.linux, name), '')
  expect(await driver.status()).toMatchObject({ slot: 'edge_2', imageSha256: machine.factory.target.imageSha256 })
  const next = machine.image('3')
  await arm(driver, next)
  expect(machine.files()).toEqual(['edge_2.efi', 'edge_3+2-1.efi', 'other+1.efi'])
})

test('what was armed and emptied by a check is armed anew from what was staged', async () => {
  const { machine, driver } = await running('1')
  const next = machine.image('2')
  await arm(driver, next)
  const [armed = ''] = machine.files().filter((file) => file.startsWith('edge_2+'))
  // Both names were there when the power failed; the check came to the staged one first.
  copyFileSync(join(machine.linux, armed), join(machine.linux, 'edge_2.part'))
  writeFileSync(join(machine.linux, armed), '')
  await expect(machine.driver().status()).rejects.toThrow(fault('BootedImageUnknown'))
  machine.boot()
  const again = machine.driver()
  expect(await again.status()).toMatchObject({ slot: 'edge_1' })
  await again.activate(next.target)
  expect(await again.status()).toMatchObject({ slot: 'edge_2', imageSha256: next.target.imageSha256 })
})

test('one file under two names is told with what to do about it', async () => {
  const { machine, driver } = await running('2')
  copyFileSync(join(machine.linux, 'edge_2.efi'), join(machine.linux, 'edge_2+2-1.efi'))
  await expect(driver.preflight(machine.image('3').target)).rejects.toThrow(
    /both edge_2.* and edge_2.* are it, byte for byte: check the ESP with fsck\.vfat before it is mounted/,
  )
})

describe('what booted', () => {
  const { loader } = GUID
  test('is told by what runs, also where nobody says what was started', async () => {
    const { machine, driver } = await running()
    machine.clearVariable(loader, 'LoaderEntrySelected')
    copyFileSync(machine.image('2').file, join(machine.linux, 'edge_2.efi'))
    expect(await driver.status()).toMatchObject({ slot: 'edge_1', imageSha256: machine.factory.target.imageSha256 })
  })

  test('is not guessed where what runs is not what was started', async () => {
    const { machine, driver } = await running()
    copyFileSync(machine.image('2').file, join(machine.linux, 'edge_2.efi'))
    machine.setVariable(loader, 'LoaderEntrySelected', 'edge_2+3-0.efi')
    await expect(driver.status()).rejects.toThrow(fault('BootedImageUnknown'))
  })

  test('is not guessed where what runs does not say what it is', async () => {
    const { machine, driver } = await running()
    writeFileSync(machine.path('etc/os-release'), 'ID=debian\nVERSION_ID=12\n')
    await expect(driver.status()).rejects.toThrow(fault('BootedImageUnknown'))
  })

  test('is told apart by its name where two files are the version that runs', async () => {
    const { machine, driver } = await running()
    copyFileSync(machine.image('1', 'ill').file, join(machine.linux, 'copy.efi'))
    expect((await driver.status()).slot).toBe('edge_1')
    // As release 257 says it, without a counter; as 252 says it, in lower case.
    machine.setVariable(loader, 'LoaderEntrySelected', 'COPY+2-1.efi')
    expect((await driver.status()).slot).toBe('copy')
    machine.clearVariable(loader, 'LoaderEntrySelected')
    await expect(driver.status()).rejects.toThrow(fault('BootedImageUnknown'))
    machine.setVariable(loader, 'StubImageIdentifier', '\\EFI\\LINUX\\EDGE_1.EFI')
    expect((await driver.status()).slot).toBe('edge_1')
  })

  test('is a digest that stays while the file does, and follows when it changes', async () => {
    const { machine } = await running()
    let reads = 0
    const disk = {
      ...realDisk,
      read: (path: string) => {
        reads += 1
        return realDisk.read(path)
      },
    }
    const driver = machine.driver({ disk })
    const { imageSha256 } = await driver.status()
    await driver.status()
    expect(reads).toBe(1)
    machine.boot()
    await driver.status()
    expect(reads).toBe(2)
    copyFileSync(machine.image('1', 'ill').file, join(machine.linux, 'edge_1.efi'))
    expect((await driver.status()).imageSha256).not.toBe(imageSha256)
  })
})

test('a second slot is not written before the reboot: not staged, not armed, whatever became of the first', async () => {
  let reboots = 0
  const { machine, driver } = await running('1', {
    reboot: async () => {
      reboots += 1
    },
  })
  const [first, second] = [machine.image('2'), machine.image('3')]
  await arm(driver, first)
  expect(machine.files()).toEqual(['edge_1.efi', 'edge_2+3.efi'])
  await expect(driver.stage(second.target, second.file)).rejects.toThrow(fault('SlotArmed'))
  // Armed already: only reboots.
  await driver.activate(first.target)
  expect(reboots).toBe(2)
  // The machine would not reboot. The first is given up, without a boot, and stays so.
  await driver.rollback(first.target)
  await driver.activate(first.target)
  expect([machine.files(), reboots]).toEqual([['edge_1.efi', 'edge_2+0-0.efi'], 2])
  for (const act of [() => driver.preflight(second.target), () => driver.stage(second.target, second.file)])
    await expect(act()).rejects.toThrow(fault('SlotWritten'))
  machine.boot()
  await driver.stage(second.target, second.file)
  expect(machine.files()).toEqual(['edge_1.efi', 'edge_3.part'])
})

test('what was staged and never armed gives way to a newer order', async () => {
  const { machine, driver } = await running()
  for (const version of ['2', '3']) {
    const { target, file } = machine.image(version)
    await driver.preflight(target)
    await driver.stage(target, file)
  }
  expect(machine.files()).toEqual(['edge_1.efi', 'edge_3.part'])
})

test('what is armed is recorded before it is, with its manifest, boot and slot', async () => {
  const saved: unknown[] = []
  const { machine, driver } = await running('1', {
    written: {
      load: () => undefined,
      save(written) {
        saved.push([written, machine.files()])
      },
    },
  })
  const { bootId } = await driver.status()
  const next = machine.image('2')
  await arm(driver, next)
  const { manifestSha256, imageSha256 } = next.target
  expect(saved).toEqual([[{ manifestSha256, imageSha256, bootId, slot: 'edge_2' }, ['edge_1.efi', 'edge_2.part']]])
})

test('a record that is no record says of no write', async () => {
  const { machine, driver } = await running()
  mkdirSync(machine.path('data/uki'))
  for (const text of ['', '{', 'null', '{"slot":"edge_2"}']) {
    writeFileSync(machine.path('data/uki/written.json'), text)
    await driver.preflight(machine.image('2').target)
  }
})

test('staged bytes that changed since are not armed', async () => {
  const { machine, driver } = await running()
  const { target, file } = machine.image('2')
  await driver.stage(target, file)
  const part = join(machine.linux, 'edge_2.part')
  const bytes = readFileSync(part)
  bytes[700] = (bytes[700] ?? 0) ^ 1
  writeFileSync(part, bytes)
  await expect(driver.activate(target)).rejects.toThrow(fault('NotStaged'))
  expect(machine.files()).toEqual(['edge_1.efi', 'edge_2.part'])
})

test('confirming takes the counter off the file that runs, and off no other that a stale variable names', async () => {
  const { machine, driver } = await running()
  await arm(driver, machine.image('2'))
  expect(machine.files()).toEqual(['edge_1.efi', 'edge_2+2-1.efi'])
  // systemd-boot tried it, it did not start, and version 1 came up in the same power-on: the variable stays.
  const stale = readFileSync(machine.path(`sys/firmware/efi/efivars/LoaderBootCountPath-${GUID.loader}`))
  renameSync(join(machine.linux, 'edge_2+2-1.efi'), join(machine.linux, 'edge_2+0-3.efi'))
  machine.boot()
  writeFileSync(machine.path(`sys/firmware/efi/efivars/LoaderBootCountPath-${GUID.loader}`), stale)
  await driver.confirm(machine.factory.target)
  await expect(driver.confirm(machine.image('2').target)).rejects.toThrow(fault('NotBooted'))
  expect(machine.files()).toEqual(['edge_1.efi', 'edge_2+0-3.efi'])
})

test('what an agent left unsynced is synced by the next, though it looks done', async () => {
  const synced: string[] = []
  const disk = {
    ...realDisk,
    sync: async (path: string) => {
      synced.push(path.slice(path.lastIndexOf('/') + 1))
    },
  }
  const { machine, driver } = await running('1', { disk })
  const next = machine.image('2')
  writeFileSync(join(machine.linux, 'edge_2.part'), readFileSync(next.file))
  await driver.stage(next.target, next.file)
  expect(synced).toEqual(['edge_2.part', 'Linux'])
  await driver.confirm(machine.factory.target)
  expect(synced.splice(0)).toEqual(['edge_2.part', 'Linux', 'edge_1.efi', 'Linux'])
  renameSync(join(machine.linux, 'edge_2.part'), join(machine.linux, 'edge_2+3.efi'))
  await driver.activate(next.target)
  expect(synced).toEqual(['edge_2+3.efi', 'Linux'])
})

test('two versions stay: what runs and what ran before', async () => {
  const { machine, driver } = await running()
  for (const version of ['2', '3', '4']) {
    const next = machine.image(version)
    await arm(driver, next)
    await driver.confirm(next.target)
  }
  expect(machine.files()).toEqual(['edge_3.efi', 'edge_4.efi'])
})

test('what the machine fell back from is what was armed, also when its bytes are not what they were', async () => {
  const { machine, driver } = await running()
  const next = machine.image('2', 'dies')
  await arm(driver, next)
  expect(machine.files()).toEqual(['edge_1.efi', 'edge_2+0-3.efi'])
  writeFileSync(join(machine.linux, 'edge_2+0-3.efi'), 'what a broken FAT left of it')
  expect((await driver.status()).fellBackFrom).toBe(next.target.imageSha256)
  await driver.activate(next.target)
  expect((await driver.status()).slot).toBe('edge_1')
})

test('without a confirmed image beside it what runs is not rolled back', async () => {
  const { machine, driver } = await running()
  const next = machine.image('2')
  await arm(driver, next)
  rmSync(join(machine.linux, 'edge_1.efi'))
  copyFileSync(
    machine.image('8', 'healthy', 'IMAGE_ID=other\nIMAGE_VERSION=8\n').file,
    join(machine.linux, 'other.efi'),
  )
  await expect(driver.rollback(next.target)).rejects.toThrow(fault('NoFallback'))
  expect(machine.files()).toEqual(['edge_2+2-1.efi', 'other.efi'])
})

test('on an ESP that cannot be written what is on trial is left by booting, and what is armed is said to stay', async () => {
  const { machine, driver } = await running()
  const next = machine.image('2')
  await arm(driver, next)
  machine.mounted('31 22 254:1 / /efi rw - vfat /dev/vda1 ro')
  await expect(driver.confirm(next.target)).rejects.toThrow(fault('EspReadOnly'))
  for (const left of ['+1-2', '+0-3', '+0-3']) {
    await driver.rollback(next.target)
    expect(machine.files()).toEqual(['edge_1.efi', `edge_2${left}.efi`])
    if ((await driver.status()).slot === 'edge_1') break
  }
  expect((await driver.status()).fellBackFrom).toBe(next.target.imageSha256)
  renameSync(join(machine.linux, 'edge_2+0-3.efi'), join(machine.linux, 'edge_2+1-2.efi'))
  await expect(driver.rollback(next.target)).rejects.toThrow(fault('EspReadOnly'))
})

test('rolling back an image that has the name of what runs and other bytes leaves what runs', async () => {
  const { machine, driver } = await running()
  await driver.rollback(machine.image('1', 'ill').target)
  expect(machine.files()).toEqual(['edge_1.efi'])
})

describe('an older version', () => {
  test('is tried before the newer one that runs, which is there when its tries are spent', async () => {
    const { machine, driver } = await running('10')
    const old = machine.image('9', 'dies')
    await arm(driver, old)
    expect(machine.files()).toEqual(['edge_10.aside+0-1.efi', 'edge_9+0-3.efi'])
    expect(await driver.status()).toMatchObject({
      slot: 'edge_10',
      imageSha256: machine.factory.target.imageSha256,
      fellBackFrom: old.target.imageSha256,
    })
    machine.boot()
    expect((await driver.status()).slot).toBe('edge_10')
    // It has its name back with the next staging.
    const next = machine.image('11')
    await arm(driver, next)
    expect(machine.files()).toEqual(['edge_10.efi', 'edge_11+2-1.efi'])
  })

  test('that is confirmed boots from then on, and the newer one stays behind it', async () => {
    const { machine, driver } = await running('10')
    const old = machine.image('9')
    await arm(driver, old)
    await driver.confirm(old.target)
    expect(machine.files()).toEqual(['edge_10.aside+0.efi', 'edge_9.efi'])
    machine.boot()
    expect(await driver.status()).toMatchObject({ slot: 'edge_9', imageSha256: old.target.imageSha256 })
    expect((await driver.status()).fellBackFrom).toBeUndefined()
    const next = machine.image('10.1')
    await arm(driver, next)
    expect(machine.files()).toEqual(['edge_10.1+2-1.efi', 'edge_9.efi'])
  })

  test('that was confirmed stays first when something newer is given up', async () => {
    const { machine, driver } = await running('10')
    const old = machine.image('9')
    await arm(driver, old)
    await driver.confirm(old.target)
    await driver.rollback(machine.image('11').target)
    expect(machine.files()).toEqual(['edge_10.aside+0.efi', 'edge_9.efi'])
    // And is left for the newer one when it is rolled back after all.
    await driver.rollback(old.target)
    expect(machine.files()).toEqual(['edge_10.efi', 'edge_9+0-0.efi'])
    expect((await driver.status()).slot).toBe('edge_10')
  })

  test('that is rolled back gives the newer one its name again', async () => {
    const { machine, driver } = await running('10')
    const old = machine.image('9', 'ill')
    await arm(driver, old)
    await driver.rollback(old.target)
    expect(machine.files()).toEqual(['edge_10.efi', 'edge_9+0-1.efi'])
    expect((await driver.status()).slot).toBe('edge_10')
  })
})

test('a machine that does not reboot says by which command', async () => {
  const { machine, driver } = await running('1', { reboot: rebootBy('/nowhere/reboot -f') })
  await expect(arm(driver, machine.image('2'))).rejects.toThrow(fault('RebootFailed'))
  await rebootBy('true')()
})

test('a health command says by its exit code whether the machine is well', async () => {
  expect(await healthBy('true')()).toBe(true)
  expect(await healthBy('false')()).toBe(false)
  expect(await healthBy('/nowhere/health')()).toBe(false)
})

test('every reason stands in DESIGN.md, with whether it may be right later, and no other does', () => {
  const design = readFileSync(new URL('../../../DESIGN.md', import.meta.url), 'utf8')
  const rows = [...design.matchAll(/^\| `([A-Z]\w+)`\s+\| (surroundings|image)\s+\|/gm)].map(([, name, of]) => [
    name,
    of,
  ])
  expect(rows).toEqual(Object.entries(FAULTS).map(([name, [of]]) => [name, of]))
})
