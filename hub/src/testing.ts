import { dirname } from 'node:path'
import { REMOVAL_GUARD } from '@skerry/policy'
import type { Connection } from '@skerry/supervise'
import { testDatabase, testFolder } from '@skerry/supervise/testing'
import pino from 'pino'
import { inject, onTestFinished, vi } from 'vitest'
import { ROLES } from './config.ts'
import { type Hub, type HubConfig, startHub } from './index.ts'

// A whole hub for a test: a database of its own on the run's PostgreSQL, and a nats-server of its own.

/** The test server's socket in the form that libpq writes. */
export function urlOf({ host, username, password, database }: Connection): string {
  return `postgres://${username}:${encodeURIComponent(password)}@${encodeURIComponent(dirname(host))}/${database}`
}

/** A hub's configuration on a new folder and this database. */
export function configOn(connection: Connection, more: Partial<HubConfig> = {}): HubConfig {
  return {
    dataDir: testFolder(),
    roles: ROLES,
    host: '127.0.0.1',
    port: 0,
    httpPort: undefined,
    names: ['127.0.0.1', 'localhost'],
    databaseUrl: urlOf(connection),
    natsUrl: undefined,
    natsTls: false,
    reachability: { lateMs: 90_000, offlineMs: 300_000, staleMs: 1_209_600_000 },
    removalGuard: REMOVAL_GUARD,
    logLevel: 'info',
    ...more,
  }
}

/** The same on a database of its own, which goes with the test. */
export async function configure(more: Partial<HubConfig> = {}): Promise<HubConfig> {
  const database = await testDatabase()
  onTestFinished(() => database.drop())
  return configOn(database.connection, more)
}

/** Starts a hub; what it logs is in `lines`. */
export async function start(config: HubConfig): Promise<Hub & { lines: string[] }> {
  vi.stubEnv('PATH', `${dirname(inject('natsServer'))}:${process.env['PATH']}`)
  const lines: string[] = []
  const log = pino({ level: config.logLevel }, { write: (line: string) => void lines.push(line) })
  const hub = await startHub(config, log)
  onTestFinished(() => hub.stop())
  return { ...hub, lines }
}

/** Makes a pause before another try, which is half a second everywhere, last a day: what ends before has heard its signal. */
export function stretchPauses(): void {
  const { setTimeout } = globalThis
  const stretched = (act: (...given: unknown[]) => void, ms?: number, ...given: unknown[]) =>
    setTimeout(act, ms === 500 ? 86_400_000 : ms, ...given)
  vi.stubGlobal('setTimeout', Object.assign(stretched, setTimeout))
  onTestFinished(() => void vi.unstubAllGlobals())
}
