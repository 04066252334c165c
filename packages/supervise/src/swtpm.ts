import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Child, type Exit, exitText, startChild, until } from './child.ts'

// swtpm: a TPM 2.0 in software, with endorsement key certificates from a CA that is made with it. What it proves is that
// commands and structures are right; it keeps no secret from whoever runs it.

/** The programs, by absolute path. `setpriv` (Linux) lets the kernel end swtpm when we are killed. */
export type TpmPrograms = {
  readonly swtpm: string
  readonly setup: string
  readonly localCa: string
  readonly setpriv: string | undefined
}

/** The programs on the PATH, or the sentence that says which are missing and how they are installed. */
export function findTpmPrograms(env: NodeJS.ProcessEnv = process.env): TpmPrograms | { readonly missing: string } {
  const find = (name: string) =>
    (env['PATH'] ?? '')
      .split(delimiter)
      .filter((dir) => dir !== '')
      .map((dir) => resolve(dir, name))
      .find((path) => existsSync(path))
  const [swtpm, setup, localCa] = [find('swtpm'), find('swtpm_setup'), find('swtpm_localca')]
  if (swtpm && setup && localCa) return { swtpm, setup, localCa, setpriv: find('setpriv') }
  const lacking = Object.entries({ swtpm, swtpm_setup: setup, swtpm_localca: localCa }).flatMap(([name, path]) =>
    path ? [] : [name],
  )
  return {
    missing: `there is no TPM emulator on this machine (${lacking.join(', ')} not on the PATH): apt-get install swtpm swtpm-tools`,
  }
}

function requirePrograms(): TpmPrograms {
  const found = findTpmPrograms()
  if ('missing' in found) throw new Error(found.missing)
  return found
}

/** A CA for endorsement key certificates: its folder, and its certificates once a TPM was made with it. */
type TpmCa = { readonly dir: string; readonly root: string; readonly issuer: string }

/** A TPM's identity and memory on disk. Copying `stateDir` makes a clone. */
export type TpmState = {
  readonly stateDir: string
  /** PEM certificates: who signed the endorsement key certificates, and who signed that. */
  readonly ca: TpmCa
}

/**
 * Makes a TPM in `dir`: endorsement keys RSA-2048 (0x81010001) and ECC P-384 (0x81010016) with certificates in NV, and
 * these PCR banks alone. `caDir` names the folder of a CA that other TPMs share; it is made when there is none.
 */
export async function manufactureTpm(options: {
  dir: string
  caDir?: string
  banks?: readonly ('sha256' | 'sha384')[]
  /** What the certificates' subject says, letters and digits. */
  name?: string
}): Promise<TpmState> {
  const programs = requirePrograms()
  // Absolute everywhere: swtpm reads its files from another folder than the one we stand in.
  const dir = resolve(options.dir)
  const caDir = resolve(options.caDir ?? join(dir, 'ca'))
  const stateDir = join(dir, 'state')
  const file = (name: string, lines: readonly string[]) => {
    writeFileSync(join(dir, name), `${lines.join('\n')}\n`, { mode: 0o600 })
    return join(dir, name)
  }
  for (const folder of [dir, caDir, stateDir]) mkdirSync(folder, { recursive: true, mode: 0o700 })
  const banks = (options.banks ?? ['sha256']).join(',')
  const caConfig = file('localca.conf', [
    `statedir = ${caDir}`,
    `signingkey = ${join(caDir, 'signkey.pem')}`,
    `issuercert = ${join(caDir, 'issuercert.pem')}`,
    `certserial = ${join(caDir, 'certserial')}`,
  ])
  const caOptions = file('localca.options', [
    '--platform-manufacturer Skerry',
    '--platform-version 1',
    '--platform-model Emulated',
  ])
  const config = file('setup.conf', [
    `create_certs_tool = ${programs.localCa}`,
    `create_certs_tool_config = ${caConfig}`,
    `create_certs_tool_options = ${caOptions}`,
    `active_pcr_banks = ${banks}`,
  ])
  try {
    await promisify(execFile)(
      programs.setup,
      [
        '--tpm2',
        ...['--tpmstate', stateDir],
        ...['--tpm', `${programs.swtpm} socket`],
        ...['--config', config],
        ...['--pcr-banks', banks],
        ...['--vmid', options.name ?? 'emulated'],
        '--create-ek-cert',
        '--create-platform-cert',
        '--lock-nvram',
        '--overwrite',
      ],
      { timeout: 180_000, killSignal: 'SIGKILL' },
    )
  } catch (cause) {
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).slice(-1500) : ''
    throw new Error(`swtpm_setup made no TPM in ${dir}: ${said}`, { cause })
  }
  const pem = (name: string) => readFileSync(join(caDir, name), 'utf8')
  return {
    stateDir,
    ca: { dir: caDir, root: pem('swtpm-localca-rootca-cert.pem'), issuer: pem('issuercert.pem') },
  }
}

/** A TPM with power, started and ready for commands. It serves one connection at a time; the next one waits. */
export type Tpm = {
  /** A unix socket that takes TPM commands as they are: one written, one response read. */
  readonly socketPath: string
  /** swtpm's own socket beside it, for what a mainboard does. tpm2-tools expect it under this name. */
  readonly controlPath: string
  /** What tpm2-tools take as TPM2TOOLS_TCTI to speak to it. */
  readonly tcti: string
  pid(): number
  /** Takes the power away with no TPM2_Shutdown, and gives it again: what only lived in memory is gone, connections are. */
  powerCycle(): Promise<void>
  stop(): Promise<void>
}

/** Gives a TPM its power: started up with TPM2_Startup(CLEAR). Ends with us, also when we are killed (Linux). */
export async function startTpm({ stateDir }: { stateDir: string }): Promise<Tpm> {
  const programs = requirePrograms()
  // A socket's path may hold 107 bytes, so it lies in a short folder of its own.
  const dir = mkdtempSync(join(tmpdir(), 'skerry-tpm-'))
  const socketPath = join(dir, 's.sock')
  const controlPath = `${socketPath}.ctrl`
  const powerOn = async (): Promise<Child> => {
    for (const path of [socketPath, controlPath]) rmSync(path, { force: true })
    const args = [
      'socket',
      '--tpm2',
      ...['--tpmstate', `dir=${resolve(stateDir)}`],
      ...['--server', `type=unixio,path=${socketPath},mode=0600`],
      ...['--ctrl', `type=unixio,path=${controlPath},mode=0600`],
      ...['--flags', 'not-need-init,startup-clear'],
    ]
    const child = programs.setpriv
      ? startChild(programs.setpriv, ['--pdeathsig', 'TERM', programs.swtpm, ...args])
      : startChild(programs.swtpm, args)
    let ended: Exit | undefined
    void child.exited.then((exit) => {
      ended = exit
    })
    try {
      await until(
        async () => {
          if (ended !== undefined) throw new Error(`swtpm ended at once, ${exitText(ended)}: ${child.tail()}`)
          return existsSync(socketPath) && (await answers(socketPath))
        },
        'the emulated TPM answering',
        60_000,
      )
      return child
    } catch (error) {
      await child.stop('SIGKILL', 0)
      throw error
    }
  }
  const powerOff = (child: Child) => child.stop('SIGTERM', 5_000)
  const forget = () => rmSync(dir, { recursive: true, force: true })
  let running: Child
  try {
    running = await powerOn()
  } catch (error) {
    forget()
    throw error
  }
  return {
    socketPath,
    controlPath,
    tcti: `swtpm:path=${socketPath}`,
    pid: () => running.pid,
    async powerCycle() {
      await powerOff(running)
      running = await powerOn()
    },
    async stop() {
      await powerOff(running)
      forget()
    },
  }
}

// TPM2_GetRandom of 8 bytes: a TPM in failure mode answers it with an error, so a good answer means that it works.
const ASK = Buffer.from('80010000000c0000017b0008', 'hex')

function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path, () => socket.write(ASK))
    let said = Buffer.alloc(0)
    socket.setTimeout(5_000, () => socket.destroy())
    socket.on('data', (data) => {
      said = Buffer.concat([said, data])
      if (said.length >= 10) socket.end()
    })
    socket.once('error', () => done(false))
    socket.once('close', () => done(said.length >= 10 && said.readUInt32BE(6) === 0))
  })
}
