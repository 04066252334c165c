import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { homedir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Exit, endOrphan, exitText, type Say, startChild, until } from './child.ts'
import { freePort } from './ports.ts'

/** What a hub is tested against. Which older ones will do says `isRecent`. */
export const NATS_VERSION = '2.15.2'

/**
 * How far Go lets the server's heap grow before it collects, in percent of what lives: a third of its default. Ten thousand idle
 * connections are a heap that hardly changes, so collecting it sooner costs little and a third of it less stays resident.
 * An operator's own GOGC or GOMEMLIMIT stands.
 */
const GOGC = '35'

export type NatsSource =
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'binary'; readonly path: string }

/** `NATS_URL`, else a recent nats-server on PATH, else one built once by `go install` into the user's cache, else an error that lists the ways. A build under way ends with the signal. */
export async function findNatsServer(env: NodeJS.ProcessEnv, say: Say, signal?: AbortSignal): Promise<NatsSource> {
  if (env['NATS_URL']) return { kind: 'url', url: env['NATS_URL'] }
  const onPath = (env['PATH'] ?? '')
    .split(delimiter)
    .map((dir) => join(dir, 'nats-server'))
    .find((path) => existsSync(path) && isRecent(versionOf(path)))
  if (onPath) return { kind: 'binary', path: onPath }
  const cache = join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'skerry', 'nats-server', NATS_VERSION)
  const built = join(cache, 'nats-server')
  if (!existsSync(built)) await build(cache, env, say, signal)
  return { kind: 'binary', path: built }
}

/** Without an advisory that was known when this was written: 2.12 from 2.12.15, 2.14 from 2.14.5, and everything from 2.15 on. */
export function isRecent(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number)
  if (major !== 2) return major > 2
  if (minor === 12) return patch >= 15
  if (minor === 14) return patch >= 5
  return minor >= 15
}

function versionOf(path: string): string {
  const asked = spawnSync(path, ['--version'], { encoding: 'utf8', timeout: 5_000 })
  return /v(\d+\.\d+\.\d+)/.exec(asked.stdout ?? '')?.[1] ?? '0.0.0'
}

async function build(cache: string, env: NodeJS.ProcessEnv, say: Say, signal: AbortSignal | undefined): Promise<void> {
  const ways = `Put nats-server ${NATS_VERSION} or newer on the PATH, install Go 1.21 or newer, or set NATS_URL to a server set up with "skerry-hub nats-config".`
  if (spawnSync('go', ['version'], { env, stdio: 'ignore' }).status !== 0)
    throw new Error(`there is no nats-server and no Go to build one. ${ways}`)
  say(`building nats-server ${NATS_VERSION} once, into ${cache} (one to three minutes) …`)
  mkdirSync(join(cache, '..'), { recursive: true })
  // Built beside and renamed: two starts at once, or a broken one, never leave half a program.
  const beside = mkdtempSync(`${cache}.`)
  try {
    await promisify(execFile)('go', ['install', `github.com/nats-io/nats-server/v2@v${NATS_VERSION}`], {
      env: { ...env, GOBIN: beside },
      ...(signal ? { signal } : {}),
    })
    mkdirSync(cache, { recursive: true })
    renameSync(join(beside, 'nats-server'), join(cache, 'nats-server'))
  } catch (cause) {
    signal?.throwIfAborted()
    throw new Error(`nats-server could not be built: is there a network? ${ways}`, { cause })
  } finally {
    rmSync(beside, { recursive: true, force: true })
  }
}

export type NatsServer = {
  readonly url: string
  readonly port: number
  readonly pid: number
  readonly exited: Promise<Exit>
  stop(): Promise<void>
}

/** Ends a nats-server that an earlier run, killed, left behind in `dir`: its port is free again then. */
export async function endEarlierNatsServer(folder: string, say: Say): Promise<void> {
  const dir = resolve(folder)
  const pidFile = join(dir, 'nats.pid')
  if (existsSync(pidFile))
    await endOrphan(Number(readFileSync(pidFile, 'utf8')), join(dir, 'nats.conf'), 'SIGTERM', say)
}

/**
 * Starts a nats-server on `host` (127.0.0.1 unless said) with `config` (accounts, limits, JetStream: everything but addresses and files) and
 * its files in `dir`. Takes `port` when it is free, otherwise another. Resolves when it answers.
 */
export async function startNatsServer({
  binary,
  config,
  dir: folder,
  host = '127.0.0.1',
  port: preferred,
  say,
}: {
  binary: string
  config: string
  dir: string
  host?: string
  port?: number
  say: Say
}): Promise<NatsServer> {
  const dir = resolve(folder)
  const file = join(dir, 'nats.conf')
  const pidFile = join(dir, 'nats.pid')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  await endEarlierNatsServer(dir, say)
  const port = await freePort(preferred)
  if (preferred && port !== preferred) say(`port ${preferred} is taken; nats-server listens on ${port}`)
  writeFileSync(
    file,
    `listen: "${host.includes(':') ? `[${host}]` : host}:${port}"\npid_file: "${pidFile}"\nlogfile: "${join(dir, 'nats.log')}"\n${config}`,
    { mode: 0o600 },
  )
  rmSync(pidFile, { force: true })
  const server = startChild(binary, ['-c', file], { env: { GOGC, ...process.env } })
  let ended: Exit | undefined
  void server.exited.then((exit) => {
    ended = exit
  })
  await until(
    async () => {
      if (ended !== undefined)
        throw new Error(
          `nats-server ended at once, ${exitText(ended)}: ${server.tail()}${lastOf(join(dir, 'nats.log'))}`,
        )
      // The one that answers must be the one we started: its pid file comes before it listens.
      return existsSync(pidFile) && Number(readFileSync(pidFile, 'utf8')) === server.pid && greets(port)
    },
    'nats-server answering',
    30_000,
  )
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    pid: server.pid,
    exited: server.exited,
    stop: () => server.stop('SIGTERM', 10_000),
  }
}

function greets(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1')
    socket.setTimeout(500, () => socket.destroy())
    socket.once('data', (data) => {
      done(data.toString().startsWith('INFO '))
      socket.destroy()
    })
    socket.once('error', () => done(false))
    socket.once('close', () => done(false))
  })
}

function lastOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8').slice(-1500) : ''
}
