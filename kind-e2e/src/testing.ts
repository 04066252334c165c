import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { type Ceremony, ENTRIES, type HubProcess, introduction, openCeremony, startHub } from '@skerry/demo'
import { toOptions } from '@skerry/supervise'
import { testDatabase } from '@skerry/supervise/testing'
import postgres from 'postgres'
import { inject } from 'vitest'

// What tests of real processes stand on: a hub's database and folder, from which it may be started again and again.

export type Ground = {
  /** Starts the hub that lives here. */
  serve(...args: readonly string[]): Promise<HubProcess>
  /** The people who sign for it; once it has been started. */
  ceremony(): Ceremony
  /** Reads its database, past it. */
  query<T extends object>(text: string, values: string[]): Promise<T[]>
  drop(): Promise<void>
}

export async function hubGround(dir: string): Promise<Ground> {
  const { connection, drop } = await testDatabase()
  const { host, username, password, database } = connection
  const env = {
    DATABASE_URL: `postgres://${username}:${encodeURIComponent(password)}@${encodeURIComponent(dirname(host))}/${database}`,
    PATH: `${dirname(inject('natsServer'))}:${process.env['PATH']}`,
  }
  const dataDir = join(dir, 'hub')
  return {
    serve: (...args) => startHub({ dataDir, args: ['--port', '0', ...args], logFile: join(dir, 'hub.log'), env }),
    ceremony: () => openCeremony(join(dir, 'signers'), introduction(dataDir, []), Date.now()),
    async query<T extends object>(text: string, values: string[]) {
      const sql = postgres(toOptions(connection, { max: 1 }))
      try {
        return (await sql.unsafe(text, values)) as unknown as T[]
      } finally {
        await sql.end()
      }
    },
    drop,
  }
}

/** What `skerry-agent status` prints of a data folder; undefined while there is nothing to print. */
export function siteStatus<View>(data: string): View | undefined {
  try {
    const args = [ENTRIES.agent, 'status', '--data', data]
    return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', stdio: 'pipe' })) as View
  } catch {
    return undefined
  }
}
