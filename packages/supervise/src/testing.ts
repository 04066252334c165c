import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { inject, onTestFinished } from 'vitest'
import { until } from './child.ts'
import { forgetPostgres } from './homes.ts'
import { type NatsServer, startNatsServer } from './nats-server.ts'
import { isFree } from './ports.ts'
import { type Connection, toOptions } from './postgres.ts'
import { findTpmPrograms, manufactureTpm, startTpm, type Tpm, type TpmState } from './swtpm.ts'

// What tests share: one PostgreSQL and one nats-server program, provided by scripts/test-environment.ts.

declare module 'vitest' {
  interface ProvidedContext {
    postgres: Connection
    natsServer: string
    /** Removed when the whole run ends. */
    runFolder: string
  }
}

let made = 0

export type TestDatabase = { readonly connection: Connection; drop(): Promise<void> }

/** A database of its own, dropped by `drop()`: empty, or a copy of what `databaseToCopy` made. */
export async function testDatabase(copyOf = 'template1'): Promise<TestDatabase> {
  const admin = inject('postgres')
  made += 1
  const name = `test_${process.pid}_${made}_${Math.floor(performance.timeOrigin) % 1_000_000}`
  const sql = postgres(toOptions(admin, { max: 1, onnotice: () => {} }))
  await sql`create database ${sql(name)} template ${sql(copyOf)}`
  return {
    connection: { ...admin, database: name },
    async drop() {
      await sql`drop database if exists ${sql(name)} with (force)`
      await sql.end({ timeout: 5 })
    },
  }
}

/**
 * Makes a database that tests take copies of, once in the whole run: whoever asks first fills it, the others wait for it.
 * `fill` leaves no connection open, because PostgreSQL copies none that is in use. Returns its name.
 */
export async function databaseToCopy(name: string, fill: (connection: Connection) => Promise<void>): Promise<string> {
  const admin = inject('postgres')
  const sql = postgres(toOptions(admin, { max: 1, onnotice: () => {} }))
  try {
    // Held until this connection ends.
    await sql`select pg_advisory_lock(hashtext(${name}))`
    const [known] = await sql`select 1 from pg_database where datname = ${name}`
    if (known) return name
    // Renamed when it is whole: one that could not be filled is no one's to copy.
    const beside = `${name}_new`
    await sql`drop database if exists ${sql(beside)} with (force)`
    await sql`create database ${sql(beside)}`
    await fill({ ...admin, database: beside })
    await sql`alter database ${sql(beside)} rename to ${sql(name)}`
    return name
  } finally {
    await sql.end({ timeout: 5 })
  }
}

/** A nats-server with this configuration; the caller stops it. */
export async function testNatsServer(
  config: string,
  options: { dir?: string; port?: number } = {},
): Promise<NatsServer> {
  return startNatsServer({
    binary: inject('natsServer'),
    config,
    dir: options.dir ?? testFolder(),
    ...(options.port ? { port: options.port } : {}),
    say: () => {},
  })
}

/** The same where one listened before: whoever was connected looks for it there. Who took the port meanwhile is waited for. */
export async function testNatsServerAgain(config: string, { dir, port }: { dir: string; port: number }) {
  await until(() => isFree(port), `port ${port}, where the server was, being free again`, 60_000)
  const server = await testNatsServer(config, { dir, port })
  if (server.port === port) return server
  await server.stop()
  throw new Error(`somebody took port ${port} while nats-server was started on it again`)
}

/** Whether this machine has no TPM emulator: `describe.skipIf(lacksTpm)`. */
export const lacksTpm = 'missing' in findTpmPrograms()

export type TestTpm = Tpm & TpmState

let sharedCa: string | undefined

/**
 * A TPM of its own that ends with the test (or with the file, when made in beforeAll). All of one test file have one CA,
 * which is quicker; `ca: 'own'` makes another. `copyOf` makes a second holder of another TPM's identity, as it lies on the disk.
 */
export async function testTpm(
  options: { banks?: readonly ('sha256' | 'sha384')[]; name?: string; ca?: 'shared' | 'own'; copyOf?: TpmState } = {},
): Promise<TestTpm> {
  const { copyOf, ca, ...more } = options
  const dir = testFolder()
  const state = copyOf ? copyState(copyOf, dir) : await manufactureTpm({ dir, caDir: caFolder(ca, dir), ...more })
  const tpm = await startTpm(state)
  try {
    onTestFinished(() => tpm.stop())
  } catch {
    // Outside a test: every child ends with this process.
  }
  return { ...state, ...tpm }
}

function caFolder(ca: 'shared' | 'own' | undefined, dir: string): string {
  if (ca === 'own') return join(dir, 'ca')
  sharedCa ??= mkdtempSync(join(inject('runFolder'), 'ca-'))
  return sharedCa
}

function copyState(original: TpmState, dir: string): TpmState {
  const stateDir = join(dir, 'state')
  cpSync(original.stateDir, stateDir, { recursive: true })
  return { ...original, stateDir }
}

/** An empty folder that goes with the test, or with the whole run when it is made outside of one (beforeAll). */
export function testFolder(): string {
  let dir = ''
  try {
    onTestFinished(() => removeFolder(dir))
  } catch {
    return mkdtempSync(join(inject('runFolder'), 'skerry-test-'))
  }
  dir = mkdtempSync(join(tmpdir(), 'skerry-test-'))
  return dir
}

/** A folder with what PostgreSQL keeps outside for it, or for a folder right inside. */
export function removeFolder(dir: string): void {
  if (!existsSync(dir)) return
  for (const place of [dir, ...readdirSync(dir).map((name) => join(dir, name))]) forgetPostgres(place)
  rmSync(dir, { recursive: true, force: true })
}

/**
 * Stops a process without ending it: its connections stay open and nothing answers. Resolves with what lets it go on, once
 * none of its threads runs: one that does at that moment may still answer. A process that has ended is left alone.
 */
export async function hang(pid: number): Promise<() => void> {
  send(pid, 'SIGSTOP')
  await until(() => stands(pid), `every thread of process ${pid} being stopped`, 30_000)
  return () => send(pid, 'SIGCONT')
}

/** The processes that this one started and that have not ended. */
export function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
}

function stands(pid: number): boolean {
  const tasks = `/proc/${pid}/task`
  // It has ended, or nobody can say here.
  if (!existsSync(tasks)) return true
  try {
    return readdirSync(tasks).every((task) => /^State:\s+[TZ]/m.test(readFileSync(join(tasks, task, 'status'), 'utf8')))
  } catch {
    // A thread ended while it was looked at.
    return false
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}
