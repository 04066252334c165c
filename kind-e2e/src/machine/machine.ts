import { type ChildProcess, spawn } from 'node:child_process'
import { copyFileSync, createWriteStream, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { until } from '@skerry/supervise'

// One UEFI machine: a mainboard of QEMU, firmware of OVMF, a TPM of swtpm, two disks and a network card behind which
// 10.0.2.2 is this computer's loopback. It is emulated whatever the processor: where virtualization is nested, /dev/kvm
// opens and then the firmware dies.

/** How the firmware is set up: without Secure Boot, or with keys that its first start enrols. */
export type Firmware = 'open' | 'secure-boot'

export type MachineOptions = {
  readonly name: string
  /** Its firmware's variables, its serial log. */
  readonly dir: string
  /** Its TPM's memory, as swtpm_setup leaves it; an empty folder is a TPM without certificates. */
  readonly tpmDir: string
  readonly espDisk: string
  readonly dataDisk: string
  readonly firmware?: Firmware
}

/** What the init says of each boot on the console. */
export type MachineBoot = {
  readonly bootId: string
  readonly image: string
  readonly version: string
  /** The file that the boot loader chose, by its name at that moment. */
  readonly entry: string
  readonly upS: number
}

export type Machine = {
  readonly name: string
  /** Everything the console ever said. */
  readonly serialLog: string
  start(): Promise<void>
  /** Takes the power away: SIGKILL to QEMU. */
  cut(): Promise<void>
  /** Presses the power button and waits until the machine is off. */
  turnOff(deadlineMs?: number): Promise<void>
  /** Resolves when it is off by itself. */
  off(): Promise<void>
  /** The first line of the console that `pick` makes something of, from now on; an error that names `what` otherwise. */
  line<T>(pick: (line: string) => T | undefined, what: string, deadlineMs: number): Promise<T>
  /** The next boot whose userland came up. */
  nextBoot(deadlineMs?: number): Promise<MachineBoot>
  /** All boots so far whose userland came up. */
  boots(): readonly MachineBoot[]
  close(): Promise<void>
}

const FIRMWARE: Record<Firmware, { code: string; variables: string; args: readonly string[] }> = {
  open: {
    code: '/usr/share/OVMF/OVMF_CODE.fd',
    variables: '/usr/share/OVMF/OVMF_VARS.fd',
    args: ['-machine', 'q35,accel=tcg,smm=off'],
  },
  'secure-boot': {
    code: '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd',
    variables: '/usr/share/OVMF/OVMF_VARS_4M.fd',
    args: [
      ...['-machine', 'q35,accel=tcg,smm=on', '-cpu', 'max'],
      ...['-global', 'driver=cfi.pflash01,property=secure,value=on', '-global', 'ICH9-LPC.disable_s3=1'],
    ],
  },
}
const MEMORY_MIB = 1024
const BOOT_MS = 180_000

/** A machine that is off. */
export function openMachine(options: MachineOptions): Machine {
  const { name, firmware = 'open' } = options
  const dir = resolve(options.dir)
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const serialLog = join(dir, 'serial.log')
  const variables = join(dir, 'vars.fd')
  if (!existsSync(variables)) copyFileSync(FIRMWARE[firmware].variables, variables)
  // A socket's path may hold 107 bytes.
  const sockets = mkdtempSync(join(tmpdir(), 'skerry-vm-'))
  const monitor = join(sockets, 'qmp')
  const boots: MachineBoot[] = []
  const listeners = new Set<(line: string) => void>()
  let running: { qemu: ChildProcess; tpm: ChildProcess; over: Promise<void> } | undefined

  const hear = (line: string) => {
    const boot = bootOf(line)
    if (boot) boots.push(boot)
    for (const listener of listeners) listener(line)
  }

  const machine: Machine = {
    name,
    serialLog,
    boots: () => boots,
    async start() {
      if (running) throw new Error(`${name} is on already`)
      const tpmSocket = join(sockets, 'tpm')
      const tpm = startTpm(resolve(options.tpmDir), tpmSocket, join(dir, 'swtpm.log'))
      await until(() => existsSync(tpmSocket), `the TPM of ${name} answering`, 20_000)
      rmSync(monitor, { force: true })
      const qemu = spawnOwn('qemu-system-x86_64', [
        ...qemuArguments({ ...options, firmware, variables, tpmSocket }),
        ...['-chardev', `socket,id=qmp,path=${monitor},server=on,wait=off`, '-mon', 'chardev=qmp,mode=control'],
      ])
      const log = createWriteStream(serialLog, { flags: 'a', mode: 0o600 })
      const said: string[] = []
      qemu.stderr?.on('data', (text: Buffer) => said.push(text.toString('utf8')))
      if (qemu.stdout)
        createInterface({ input: qemu.stdout }).on('line', (line) => {
          log.write(`${line}\n`)
          hear(line)
        })
      const over = Promise.all([ended(qemu), ended(tpm)]).then(() => {
        log.end()
        running = undefined
        if (said.length > 0) hear(`qemu: ${said.join('')}`)
      })
      running = { qemu, tpm, over }
    },
    async cut() {
      running?.qemu.kill('SIGKILL')
      await running?.over
    },
    async turnOff(deadlineMs = 60_000) {
      const { over } = running ?? {}
      if (!over) return
      await command(monitor, 'system_powerdown')
      let isOff = false
      void over.then(() => {
        isOff = true
      })
      await until(() => isOff, `${name} turning off by its power button`, deadlineMs)
    },
    async off() {
      await running?.over
    },
    line(pick, what, deadlineMs) {
      return new Promise((resolve, reject) => {
        const finish = (act: () => void) => {
          listeners.delete(listen)
          clearTimeout(timer)
          act()
        }
        const last: string[] = []
        const listen = (line: string) => {
          last.push(line)
          if (last.length > 20) last.shift()
          const found = pick(line)
          if (found !== undefined) finish(() => resolve(found))
        }
        const fail = (how: string) =>
          finish(() =>
            reject(new Error(`${name}: ${what} ${how}; the console is in ${serialLog}:\n${last.join('\n')}`)),
          )
        const timer = setTimeout(() => fail(`did not come within ${deadlineMs / 1000} s`), deadlineMs)
        listeners.add(listen)
        void running?.over.then(() => fail('did not come before it was off'))
      })
    },
    nextBoot: (deadlineMs = BOOT_MS) => machine.line(bootOf, 'a boot', deadlineMs),
    async close() {
      await machine.cut()
      rmSync(sockets, { recursive: true, force: true })
    },
  }
  return machine
}

function qemuArguments(
  machine: MachineOptions & { firmware: Firmware; variables: string; tpmSocket: string },
): string[] {
  const { code, args } = FIRMWARE[machine.firmware]
  const drive = (id: string, file: string, more = '') => [
    ...['-drive', `if=none,id=${id},format=raw,file=${resolve(file)},cache=unsafe`],
    ...['-device', `virtio-blk-pci,drive=${id}${more}`],
  ]
  return [
    ...['-name', machine.name, ...args, '-m', String(MEMORY_MIB), '-smp', '1'],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${code}`],
    ...['-drive', `if=pflash,format=raw,unit=1,file=${machine.variables}`],
    ...['-chardev', `socket,id=tpm,path=${machine.tpmSocket}`],
    ...['-tpmdev', 'emulator,id=tpm0,chardev=tpm', '-device', 'tpm-tis,tpmdev=tpm0'],
    ...drive('esp', machine.espDisk, ',bootindex=0'),
    ...drive('data', machine.dataDisk),
    ...['-device', 'virtio-rng-pci', '-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,romfile='],
    ...['-chardev', 'stdio,id=serial,signal=off', '-serial', 'chardev:serial'],
  ]
}

function startTpm(stateDir: string, socket: string, log: string): ChildProcess {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 })
  rmSync(socket, { force: true })
  const state = ['--tpmstate', `dir=${stateDir}`, '--ctrl', `type=unixio,path=${socket}`]
  // Ends with QEMU: its power comes from there.
  return spawnOwn('swtpm', ['socket', '--tpm2', ...state, '--terminate', '--log', `file=${log},level=1`])
}

/** A program that the kernel ends when we are killed: a machine must not outlive its story. */
function spawnOwn(file: string, args: readonly string[]): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', file, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => child.once('close', () => resolve()))
}

/** One command to QEMU's monitor. */
function command(socket: string, execute: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const line = connect(socket, () => {
      line.write(`${JSON.stringify({ execute: 'qmp_capabilities' })}\n${JSON.stringify({ execute })}\n`)
    })
    let answers = 0
    createInterface({ input: line }).on('line', (text) => {
      if (text.includes('"error"')) reject(new Error(`QEMU refused ${execute}: ${text}`))
      if (text.includes('"return"') && ++answers === 2) {
        line.end()
        resolve()
      }
    })
    line.once('error', reject)
  })
}

function bootOf(line: string): MachineBoot | undefined {
  if (!line.startsWith('{"machine":"boot"')) return undefined
  const { bootId, image, version, entry, upS } = JSON.parse(line) as MachineBoot
  return { bootId, image, version, entry, upS }
}
