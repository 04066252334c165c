import { join } from 'node:path'
import type { Cause } from '@skerry/api'
import { REMOVAL_GUARD } from '@skerry/policy'
import { type Connection, createDatabase, until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import pino from 'pino'
import { onTestFinished } from 'vitest'
import { type HubKeys, openKeys } from '../keys/keys.ts'
import { apiRoutes } from '../parts/api.ts'
import { watchChanges } from '../store/changes.ts'
import { migrateStore, openStore, type Store } from '../store/store.ts'
import { migratedDatabase } from '../store/testing.ts'
import { ensureToken } from '../store/tokens.ts'
import { openBlobs } from '../store/trust.ts'
import { type Check, makeMetrics } from './health.ts'
import type { WatchPace } from './kubernetes/watch.ts'
import { buildServer, type Routes } from './server.ts'

// The hub's API on a real database, without the rest of the hub.

/** An answer's JSON as tests read it: an object of any kind, a list, or a Status. */
export type Shown = {
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly uid: string
    readonly resourceVersion: string
    readonly generation: number
    readonly labels?: Record<string, string>
    readonly annotations?: Record<string, string>
    readonly continue?: string
    readonly remainingItemCount?: number
  }
  readonly items: readonly Shown[]
  readonly spec: Readonly<Record<string, unknown>>
  readonly status?: unknown
  readonly message: string
  readonly reason: string
  readonly details: { readonly causes?: readonly Cause[]; readonly retryAfterSeconds?: number }
  readonly token: string
}
type Answer = { readonly code: number; readonly body: Shown; readonly text: string; readonly headers: Headers }
type Headers = LightMyRequestResponse['headers']

export type TestApi = {
  readonly app: FastifyInstance
  readonly store: Store
  readonly keys: HubKeys
  readonly admin: string
  readonly viewer: string
  readonly blobDir: string
  ask(method: string, path: string, options?: AskOptions): Promise<Answer>
}
type AskOptions = {
  readonly body?: unknown
  readonly type?: string
  readonly token?: string | undefined
  readonly headers?: Readonly<Record<string, string>>
}

const ADMIN = 'admin-token-of-a-test'
export const VIEWER = 'viewer-token-of-a-test'

/** An API whose database and server go with the test. */
export async function testApi(
  options: {
    pace?: Partial<WatchPace>
    now?: () => number
    connection?: Connection
    natsFault?: () => string | undefined
    checks?: readonly Check[]
    /** Sees every route that is added. */
    watchRoutes?: Routes
    more?: readonly Routes[]
    bodyMs?: number
    headersMs?: number
    answerMs?: number
  } = {},
): Promise<TestApi> {
  const connection = options.connection ? await databaseOn(options.connection) : await databaseOfTest()
  const store = openStore(connection)
  const changes = await watchChanges(store)
  await ensureToken(store.sql, ADMIN, 'admin', 'platform-admin')
  await ensureToken(store.sql, VIEWER, 'viewer', 'viewer')
  const dir = testFolder()
  const now = options.now ?? (() => Date.now())
  const keys = openKeys(join(dir, 'keys'))
  const metrics = makeMetrics()
  const app = buildServer({
    store,
    metrics,
    log: pino({ level: 'silent' }),
    tls: undefined,
    ...(options.bodyMs ? { bodyMs: options.bodyMs } : {}),
    ...(options.headersMs ? { headersMs: options.headersMs } : {}),
    ...(options.answerMs ? { answerMs: options.answerMs } : {}),
    routes: [
      options.watchRoutes ?? (() => undefined),
      ...apiRoutes({
        config: {
          reachability: { lateMs: 90_000, offlineMs: 300_000, staleMs: 1_000_000 },
          removalGuard: REMOVAL_GUARD,
        },
        store,
        hub: {
          fault: options.natsFault ?? (() => undefined),
          answers: async () => undefined,
          revocationsFault: () => undefined,
        },
        checks: options.checks ?? [],
        keys,
        changes,
        door: {
          store,
          blobs: openBlobs(join(dir, 'blobs')),
          sealer: { snapshot: keys.snapshot, timestamp: keys.timestamp, now },
        },
        now,
        metrics,
        pace: { bookmarkMs: 30_000, stalledMs: 30_000, ...options.pace },
        onRefused: (document, { code }) => metrics.refusals.inc({ document, code }),
      }),
      ...(options.more ?? []),
    ],
  })
  await app.ready()
  onTestFinished(async () => {
    await app.close()
    await changes.stop().catch(() => undefined)
    await store.close()
  })
  return {
    app,
    store,
    keys,
    admin: ADMIN,
    viewer: VIEWER,
    blobDir: join(dir, 'blobs'),
    async ask(method, path, { body, type = 'application/json', token = ADMIN, headers = {} } = {}) {
      const payload =
        body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
      const answer = await app.inject({
        method: method as 'GET',
        url: path,
        headers: {
          ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
          ...(payload === undefined ? {} : { 'content-type': type }),
          ...headers,
        },
        ...(payload === undefined ? {} : { payload }),
      })
      const json = String(answer.headers['content-type'] ?? '').includes('json') && answer.body !== ''
      const shown: unknown = json ? JSON.parse(answer.body) : {}
      return { code: answer.statusCode, body: shown as Shown, text: answer.body, headers: answer.headers }
    },
  }
}

/** What /readyz answers, once no part of a busy machine was later than a part may be. */
export async function readiness({ ask }: Pick<TestApi, 'ask'>, query = ''): Promise<Answer> {
  let answer = await ask('GET', `/readyz${query}`, { token: '' })
  const isInTime = async () => {
    if (!answer.text.includes('no answer within')) return true
    answer = await ask('GET', `/readyz${query}`, { token: '' })
    return false
  }
  await until(isInTime, 'every part answering in its time', 60_000)
  return answer
}

async function databaseOn(server: Connection): Promise<Connection> {
  const connection = await createDatabase(server, 'api')
  await migrateStore(connection)
  return connection
}

async function databaseOfTest(): Promise<Connection> {
  const database = await migratedDatabase()
  onTestFinished(() => database.drop())
  return database.connection
}
