import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import pino from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { againAfterMs, openSlots } from './slots.ts'
import { driverContract, type Machine } from './test-contract.ts'
import { testImage } from './testing.ts'

const log = pino({ level: 'silent' })

function makeMachine(): Machine & { dir: string } {
  const root = testFolder()
  const dir = join(root, 'slots')
  const factory = testImage(join(root, 'images'), '1')
  return {
    dir,
    factory,
    open: () => openSlots({ dir, factoryImage: factory.file, log }),
    image: (version, behaviour) => testImage(join(root, 'images'), version, behaviour),
  }
}

driverContract('slots', makeMachine)

test('a machine with no image asks for one, by the flag that names it', async () => {
  await expect(openSlots({ dir: join(testFolder(), 'slots'), factoryImage: undefined, log })).rejects.toThrow(
    /--factory-image/,
  )
})

test('power that fails between arming and booting: the next power-on tries the armed slot', async () => {
  const machine = makeMachine()
  const next = machine.image('2')
  const first = await machine.open()
  await first.stage(next.target, next.file)
  await first.close()
  const file = join(machine.dir, 'boot.json')
  const boot = JSON.parse(readFileSync(file, 'utf8')) as { active: string }
  const slot = boot.active === 'a' ? 'b' : 'a'
  writeFileSync(file, JSON.stringify({ ...boot, armed: { slot, imageSha256: next.target.imageSha256, triesLeft: 3 } }))
  const driver = await machine.open()
  onTestFinished(() => driver.close())
  expect((await driver.status()).imageSha256).toBe(next.target.imageSha256)
})

test('an armed slot that never booted is disarmed without a boot', async () => {
  const machine = makeMachine()
  const next = machine.image('2')
  const driver = await machine.open()
  onTestFinished(() => driver.close())
  await driver.stage(next.target, next.file)
  const file = join(machine.dir, 'boot.json')
  const boot = JSON.parse(readFileSync(file, 'utf8')) as { active: string; bootId: string }
  writeFileSync(
    file,
    JSON.stringify({ ...boot, armed: { slot: 'b', imageSha256: next.target.imageSha256, triesLeft: 3 } }),
  )
  await driver.rollback(next.target)
  expect(await driver.status()).toMatchObject({ bootId: boot.bootId, fellBackFrom: next.target.imageSha256 })
})

test('a confirmed image that ends at once is booted again after longer and longer pauses', async () => {
  const root = testFolder()
  const pauses: number[] = []
  const lines = {
    write(line: string) {
      const { againMs } = JSON.parse(line) as { againMs?: number }
      if (againMs !== undefined) pauses.push(againMs)
    },
  }
  const driver = await openSlots({
    dir: join(root, 'slots'),
    factoryImage: testImage(join(root, 'images'), '1', 'dies').file,
    log: pino({}, lines),
  })
  onTestFinished(() => driver.close())
  await until(() => pauses.length >= 4, 'four ends of the program', 30_000)
  expect(pauses.slice(0, 4)).toEqual([500, 1_000, 2_000, 4_000])
})

test('so long it waits before it boots again: twice as long each time, and a minute at the most', () => {
  expect([1, 2, 3, 7, 8, 9, 1_000].map(againAfterMs)).toEqual([500, 1_000, 2_000, 32_000, 60_000, 60_000, 60_000])
  // One on trial pays with its tries, and is not waited for.
  expect(againAfterMs(0)).toBe(500)
})

test.skipIf(!existsSync('/proc/self/cmdline'))(
  'the programs end with the agent, also when it is killed without a turn',
  async () => {
    const machine = makeMachine()
    const slots = JSON.stringify(fileURLToPath(new URL('./slots.ts', import.meta.url)))
    const script = `const { openSlots } = await import(${slots})
    await openSlots({ dir: ${JSON.stringify(machine.dir)}, factoryImage: ${JSON.stringify(machine.factory.file)}, log: { info() {}, warn() {} } })
    console.log('on'); setInterval(() => {}, 1000)`
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void parent.kill('SIGKILL'))
    let out = ''
    parent.stdout.on('data', (text) => {
      out += text
    })
    await until(() => out.includes('on'), 'the machine being on', 30_000)
    expect(programsOf(machine.dir)).toHaveLength(1)
    parent.kill('SIGKILL')
    await until(() => programsOf(machine.dir).length === 0, 'the end of the slot’s program', 30_000)
  },
)

// Command lines of the living processes that run a program of these slots.
function programsOf(dir: string): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      return line.includes(join(dir, 'a', 'program.mjs')) ? [line] : []
    } catch {
      return []
    }
  })
}
