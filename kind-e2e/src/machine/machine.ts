import type { ChildProcess } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { until } from '@skerry/supervise'
import type { CachedDisk, Settled } from './cached-disk.ts'
import { type Console, openConsole } from './console.ts'
import { command, FIRMWARE, type Firmware, startMachineTpm, startQemu } from './qemu.ts'

// One UEFI machine: a mainboard of QEMU, firmware of OVMF, a TPM of swtpm, two disks, and a network card behind which
// 10.0.2.2 is this computer's loopback.

export type MachineOptions = {
  readonly name: string
  /** For its firmware's variables and its console's log. */
  readonly dir: string
  /** Its TPM's memory, as swtpm_setup leaves it; what is empty becomes a TPM without certificates. */
  readonly tpmDir: string
  readonly espDisk: string
  readonly dataDisk: string
  /** The same two disks behind caches that lose with the power what was not flushed. */
  readonly cached?: CachedDisks
  readonly firmware?: Firmware
}

export type CachedDisks = { readonly esp: CachedDisk; readonly data: CachedDisk }

export type Machine = Pick<Console, 'line' | 'boots' | 'present'> & {
  readonly name: string
  /** Everything that its console ever said. */
  readonly consoleLog: string
  start(): Promise<void>
  /** Takes the power away: SIGKILL to QEMU. What the caches of its disks held unflushed is told, where they have any. */
  cut(): Promise<{ readonly esp: Settled; readonly data: Settled } | undefined>
  /** Presses the power button and waits until the machine is off. */
  turnOff(deadlineMs: number): Promise<void>
  /** The n-th boot whose userland came up, of all since this machine was made. */
  boot(n: number, deadlineMs?: number): Promise<ReturnType<Console['boots']>[number]>
  close(): Promise<void>
}

/** From its power to its userland: twenty seconds where nobody else computes. */
const BOOT_MS = 300_000

/** A machine that is off. */
export function openMachine(options: MachineOptions): Machine {
  const { name, firmware = 'open', cached } = options
  const [dir, tpmDir] = [resolve(options.dir), resolve(options.tpmDir)]
  for (const folder of [dir, tpmDir]) mkdirSync(folder, { recursive: true, mode: 0o700 })
  const variables = join(dir, 'vars.fd')
  if (!existsSync(variables)) copyFileSync(FIRMWARE[firmware].variables, variables)
  const consoleLog = join(dir, 'serial.log')
  const said = openConsole(name, consoleLog)
  // A socket's path may hold 107 bytes, so they lie in a short folder of their own.
  const sockets = mkdtempSync(join(tmpdir(), 'skerry-vm-'))
  const [tpm, monitor] = [join(sockets, 'tpm'), join(sockets, 'monitor')]
  let running: { qemu: ChildProcess; over: Promise<void> } | undefined

  return {
    name,
    consoleLog,
    line: said.line,
    boots: said.boots,
    present: said.present,

    async start() {
      if (running) throw new Error(`${name} is on already`)
      for (const socket of [tpm, monitor]) rmSync(socket, { force: true })
      const emulator = startMachineTpm(tpmDir, tpm, join(dir, 'swtpm.log'))
      await until(() => existsSync(tpm), `the TPM of ${name} answering`, 30_000)
      const disks = cached
        ? [cached.esp, cached.data].map(({ url }) => ({ file: url, cache: 'writeback' as const }))
        : [options.espDisk, options.dataDisk].map((file) => ({ file: resolve(file), cache: 'unsafe' as const }))
      const qemu = startQemu({ name, firmware, variables, disks, tpm, monitor })
      said.powerOn()
      for (const output of [qemu.stdout, qemu.stderr])
        if (output) createInterface({ input: output }).on('line', said.hear)
      // It ends with its machine, but not where that ended in the midst of a command: then its answer finds nobody, and
      // swtpm 0.7 goes on waiting for another machine.
      const off = ended(qemu).then(() => void emulator.kill('SIGTERM'))
      const over = Promise.all([off, ended(emulator)]).then(() => {
        running = undefined
        said.powerOff()
      })
      running = { qemu, over }
    },

    async cut() {
      running?.qemu.kill('SIGKILL')
      await running?.over
      return cached && { esp: cached.esp.fail(), data: cached.data.fail() }
    },

    async turnOff(deadlineMs) {
      if (!running) return
      await command(monitor, 'system_powerdown')
      await until(() => running === undefined, `${name} turning off by its power button`, deadlineMs)
    },

    async boot(n, deadlineMs = BOOT_MS) {
      return said.boots()[n - 1] ?? said.line(() => said.boots()[n - 1], `boot ${n}`, deadlineMs)
    },

    async close() {
      running?.qemu.kill('SIGKILL')
      await running?.over
      await said.close()
      rmSync(sockets, { recursive: true, force: true })
    },
  }
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('close', () => resolve())
    child.once('error', () => resolve())
  })
}
