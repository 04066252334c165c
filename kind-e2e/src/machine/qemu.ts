import { type ChildProcess, spawn } from 'node:child_process'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'

// The two programs that a machine is made of, and what they are told.

/** How the firmware is set up: without Secure Boot, or so that its first start enrols the keys on the ESP. */
export type Firmware = 'open' | 'secure-boot'

/** Always emulated: where virtualization is nested, /dev/kvm opens, and then the firmware dies. */
export const FIRMWARE: Record<Firmware, { code: string; variables: string; args: readonly string[] }> = {
  // The smaller one starts three seconds sooner.
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
const MEMORY_MIB = 768

export type Mainboard = {
  readonly name: string
  readonly firmware: Firmware
  /** A file: the firmware's variables. */
  readonly variables: string
  /** In the order that the machine numbers them: a file or what else QEMU reads, and what becomes of a flush. */
  readonly disks: readonly { readonly file: string; readonly cache: 'unsafe' | 'writeback' }[]
  /** Sockets: of the TPM, and of QEMU's own monitor. */
  readonly tpm: string
  readonly monitor: string
}

/** Gives a machine its power. Its console is standard output. */
export function startQemu({ name, firmware, variables, disks, tpm, monitor }: Mainboard): ChildProcess {
  const { code, args } = FIRMWARE[firmware]
  return spawnOwn('qemu-system-x86_64', [
    ...['-name', name, ...args, '-m', String(MEMORY_MIB), '-smp', '1'],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${code}`],
    ...['-drive', `if=pflash,format=raw,unit=1,file=${variables}`],
    ...['-chardev', `socket,id=tpm,path=${tpm}`],
    ...['-tpmdev', 'emulator,id=tpm0,chardev=tpm', '-device', 'tpm-tis,tpmdev=tpm0'],
    ...disks.flatMap(({ file, cache }, n) => [
      ...['-drive', `if=none,id=disk${n},format=raw,file=${file},cache=${cache}`],
      // The firmware looks for a boot loader on the first alone.
      ...['-device', `virtio-blk-pci,drive=disk${n}${n === 0 ? ',bootindex=0' : ''}`],
    ]),
    ...['-device', 'virtio-rng-pci', '-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,romfile='],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=monitor,path=${monitor},server=on,wait=off`, '-mon', 'chardev=monitor,mode=control'],
  ])
}

/** A TPM whose power comes from QEMU: it ends when the machine does. `stateDir` is absolute. */
export function startMachineTpm(stateDir: string, socket: string, log: string): ChildProcess {
  const state = ['--tpmstate', `dir=${stateDir}`, '--ctrl', `type=unixio,path=${socket}`]
  return spawnOwn('swtpm', ['socket', '--tpm2', ...state, '--terminate', '--log', `file=${log},level=1`])
}

/** One command to QEMU's monitor, in its protocol QMP. */
export function command(monitor: string, execute: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const line = connect(monitor, () => {
      for (const each of ['qmp_capabilities', execute]) line.write(`${JSON.stringify({ execute: each })}\n`)
    })
    let done = 0
    createInterface({ input: line }).on('line', (text) => {
      if (text.startsWith('{"error"')) reject(new Error(`QEMU refused ${execute}: ${text}`))
      if (text.startsWith('{"return"')) done += 1
      if (done === 2) {
        line.end()
        resolve()
      }
    })
    line.once('error', reject)
  })
}

// The kernel ends it when we are killed: a machine must not outlive its story.
function spawnOwn(file: string, args: readonly string[]): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', file, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
}
