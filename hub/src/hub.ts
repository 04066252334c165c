import { randomUUID } from 'node:crypto'
import { join, resolve } from 'node:path'
import type { HubIntroduction, Reachability, Refusal } from '@skerry/api'
import {
  createDatabase,
  endEarlierNatsServer,
  findNatsServer,
  holdFolder,
  keepRunning,
  type NatsServer,
  type Postgres,
  startNatsServer,
  startPostgres,
} from '@skerry/supervise'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { chooseAddresses, knownAddresses } from './addresses.ts'
import type { HubConfig } from './config.ts'
import { attestationController } from './controllers/attestation.ts'
import { clusterStatusController } from './controllers/cluster-status.ts'
import { desiredController } from './controllers/desired.ts'
import { placementController } from './controllers/placement.ts'
import { registrationController } from './controllers/registration.ts'
import { rolloutController } from './controllers/rollout.ts'
import { type Controller, type Hints, runController } from './controllers/run.ts'
import { agentRoutes } from './http/agent.ts'
import { ensureToken } from './http/auth.ts'
import { type Check, healthRoutes, makeMetrics } from './http/health.ts'
import { approvalRoutes } from './http/kubernetes/approval.ts'
import { discoveryRoutes } from './http/kubernetes/discovery.ts'
import { openApiRoutes } from './http/kubernetes/openapi.ts'
import { kubernetesRoutes } from './http/kubernetes/routes.ts'
import { reportRoutes } from './http/report.ts'
import { buildServer, plainListener } from './http/server.ts'
import { statementRoutes } from './http/statements.ts'
import { refreshOnline, type TufDoor, tufRoutes } from './http/tuf.ts'
import { openCertificates } from './keys/certificates.ts'
import { type HubKeys, openKeys } from './keys/keys.ts'
import { watchChanges } from './store/changes.ts'
import { pruneEvents } from './store/events.ts'
import { acquireLease, type Lease, writeFenced } from './store/leases.ts'
import { listRevocations } from './store/registrations.ts'
import { compactChanges, createObject, getObject } from './store/resources.ts'
import { migrateStore, openStore, type Store, write } from './store/store.ts'
import { openBlobs } from './store/trust.ts'
import { onWake, type Topic } from './store/wake.ts'
import {
  connectHub,
  ensureStreams,
  type HubConnection,
  makeAcknowledger,
  mintUser,
  newRoutingToken,
  nodeDirectory,
  publishNew,
  refill,
  runHeartbeats,
  runIngest,
  serverConfig,
} from './transport/index.ts'

// The hub put together. Each part takes what it uses; what starts here is ended here, in the other order.

export type Hub = {
  readonly apiUrl: string
  readonly natsUrl: string
  readonly adminToken: string
  readonly caPem: string
  readonly pids: Readonly<Record<string, number>>
  stop(): Promise<void>
}

const KEPT_VERSIONS = 100_000
const KEPT_EVENTS = 10_000
const HOUSEKEEPING_MS = 10 * 60_000

/** A part of the hub's own (`nats`, `postgres`) ended by itself and runs again under this process id. */
export type OnRestart = (part: string, pid: number) => void

/** Starts a hub with the roles its configuration names. Resolves when it answers. */
export async function startHub(config: HubConfig, log: Logger, onRestart: OnRestart = () => {}): Promise<Hub> {
  const dir = resolve(config.dataDir)
  const say = (sentence: string) => log.info(sentence)
  const now = () => Date.now()
  const ends: (() => Promise<unknown>)[] = []
  const stop = async () => {
    for (const end of ends.splice(0).toReversed())
      await end().catch((error: unknown) => log.warn({ err: error }, 'a part did not end cleanly'))
  }
  const held = holdFolder(dir, 'a hub')
  ends.push(async () => held.release())
  try {
    const keys = openKeys(join(dir, 'keys'))
    const certificates = await openCertificates(join(dir, 'keys'), config.names)
    await endEarlierNatsServer(join(dir, 'nats'), say)
    const addresses = await chooseAddresses(dir, config.port, say)
    const over = new AbortController()

    const database = config.databaseUrl ?? (await ownPostgres(dir, ends, say, onRestart))
    const connection =
      typeof database === 'string' ? database : await createDatabase(database.current().connection, 'skerry')
    await migrateStore(connection)
    const store = openStore(connection)
    ends.push(() => store.close())
    await write(store, async (tx) => {
      for (const name of ['default', 'global']) {
        if (await getObject(tx, 'ManagedClusterSet', '', name)) continue
        const spec =
          name === 'global'
            ? { clusterSelector: { selectorType: 'LabelSelector', labelSelector: {} } }
            : { clusterSelector: { selectorType: 'ExclusiveClusterSetLabel' } }
        await createObject(tx, 'ManagedClusterSet', { metadata: { name }, spec })
      }
    })
    await ensureToken(store, keys.adminToken, 'admin', 'platform-admin')

    const nats = await ownNats(dir, store, keys, addresses.natsPort, ends, say, onRestart)
    const hub = await connectHub({
      url: nats.url,
      keys: keys.nats,
      log,
      name: `skerry-hub-${randomUUID().slice(0, 8)}`,
    })
    ends.push(() => hub.close())

    const metrics = makeMetrics()
    const onRefused = (document: string, refusal: Refusal) => metrics.refusals.inc({ document, code: refusal.code })
    const changes = await watchChanges(store)
    ends.push(() => changes.stop().catch(() => undefined))
    const door: TufDoor = {
      store,
      blobs: openBlobs(join(dir, 'blobs')),
      snapshot: keys.snapshot,
      timestamp: keys.timestamp,
      now,
    }

    let apiUrl = ''
    if (config.roles.includes('api')) {
      const app = buildServer({
        store,
        metrics,
        log,
        tls: { key: certificates.keyPem, cert: certificates.certPem },
        routes: [
          (app) => healthRoutes(app, { checks: checksOf(store, hub), metrics }),
          discoveryRoutes,
          openApiRoutes,
          (app) => kubernetesRoutes(app, { store, changes, now, continueSecret: keys.continueSecret }),
          (app) => approvalRoutes(app, { store, now }),
          (app) => reportRoutes(app, { store, now, reachability: config.reachability }),
          (app) => statementRoutes(app, store),
          (app) => agentRoutes(app, { store, now, onRefused }),
          (app) => tufRoutes(app, door),
        ],
      })
      apiUrl = await listen(app, config, addresses.apiPort, ends)
    }

    const wakes = await wakeups(store, ends)
    const loops: Promise<unknown>[] = []
    if (config.roles.includes('ingest')) {
      const directory = nodeDirectory(store)
      wakes.on(['identity'], directory.forget)
      const acknowledger = makeAcknowledger({ store, nc: hub.nc, signer: keys.ack, now })
      const shared = { store, hub, directory, acknowledger, log, onRefused, signal: over.signal }
      loops.push(
        whenStreamsExist(hub, store, over.signal, log).then(() =>
          runIngest({ ...shared, onCommitted: (count) => metrics.statements.inc(count) }),
        ),
      )
      loops.push(runHeartbeats(shared))
    }
    if (config.roles.includes('controllers')) {
      loops.push(
        runSingletons({
          store,
          hub,
          keys,
          config,
          door,
          log,
          now,
          signal: over.signal,
          changes,
          wakes,
          onPublished: () => metrics.publications.inc(),
          onReachability: (counts) => show(metrics, counts),
        }),
      )
    }
    ends.push(async () => {
      over.abort()
      await Promise.allSettled(loops)
    })
    return {
      apiUrl,
      natsUrl: nats.url,
      adminToken: keys.adminToken,
      caPem: certificates.caPem,
      pids: {
        hub: process.pid,
        ...nats.pids(),
        ...(typeof database === 'string' ? {} : { postgres: database.current().pid }),
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** What the offline signers must know of this hub: its public keys, CA and addresses. */
export async function introduce(config: HubConfig, log: Logger): Promise<HubIntroduction> {
  const dir = resolve(config.dataDir)
  const keys = openKeys(join(dir, 'keys'))
  const { caPem } = await openCertificates(join(dir, 'keys'), config.names)
  const addresses = knownAddresses(dir) ?? (await chooseAddresses(dir, config.port, (sentence) => log.info(sentence)))
  const key = (jwk: HubKeys['ack']['jwk']) => [{ jwk, notBefore: '1970-01-01T00:00:00Z' }]
  const host = config.names[0] ?? '127.0.0.1'
  return {
    kind: 'HubIntroduction',
    hub: {
      kind: 'HubDescription',
      keys: { desiredState: key(keys.desiredState.jwk), ack: key(keys.ack.jwk), acceptance: key(keys.acceptance.jwk) },
      caPem,
      apiUrls: [`https://${host}:${addresses.apiPort}`],
      natsUrls: [`nats://${host}:${addresses.natsPort}`],
    },
    tuf: { snapshot: keys.snapshot.jwk, timestamp: keys.timestamp.jwk },
  }
}

async function ownPostgres(
  dir: string,
  ends: (() => Promise<unknown>)[],
  say: (sentence: string) => void,
  onRestart: OnRestart,
): Promise<{ current(): Postgres }> {
  const kept = await keepRunning(
    'PostgreSQL',
    () => startPostgres({ dataDir: join(dir, 'pg'), durable: true, say }),
    say,
    ({ pid }) => onRestart('postgres', pid),
  )
  ends.push(() => kept.stop())
  return kept
}

async function ownNats(
  dir: string,
  store: Store,
  keys: HubKeys,
  port: number,
  ends: (() => Promise<unknown>)[],
  say: (sentence: string) => void,
  onRestart: OnRestart,
): Promise<{ url: string; pids: () => Record<string, number> }> {
  const source = findNatsServer(process.env, say)
  if (source.kind === 'url') return { url: source.url, pids: () => ({}) }
  const folder = join(dir, 'nats')
  const start = async (): Promise<NatsServer> =>
    startNatsServer({
      binary: source.path,
      config: serverConfig(keys.nats, await listRevocations(store.sql).catch(() => new Map()), folder),
      dir: folder,
      port,
      say,
    })
  const kept = await keepRunning('nats-server', start, say, ({ pid }) => onRestart('nats', pid))
  ends.push(() => kept.stop())
  return { url: kept.current().url, pids: () => ({ nats: kept.current().pid }) }
}

async function listen(
  app: FastifyInstance,
  { host, httpPort }: HubConfig,
  port: number,
  ends: (() => Promise<unknown>)[],
): Promise<string> {
  ends.push(() => app.close())
  await app.listen({ host, port })
  if (httpPort !== undefined) {
    const plain = await plainListener(app, httpPort)
    ends.push(() => new Promise((done) => plain.close(done)))
  }
  return `https://${host}:${port}`
}

function checksOf(store: Store, hub: HubConnection): Check[] {
  const asked = <T>(work: Promise<T>): Promise<T> =>
    Promise.race([
      work,
      new Promise<never>((_, reject) => setTimeout(() => reject(new Error('no answer within 2 s')), 2_000).unref()),
    ])
  return [
    { name: 'database', fault: async () => (await asked(store.sql`select 1`)) && undefined },
    { name: 'nats', fault: async () => hub.fault() },
  ]
}

type Wakes = { on(topics: readonly Topic[], listener: () => void): () => void }

async function wakeups(store: Store, ends: (() => Promise<unknown>)[]): Promise<Wakes> {
  const listeners = new Set<{ topics: readonly Topic[]; listener: () => void }>()
  const waking = await onWake(store.sql, (topic) => {
    for (const { topics, listener } of listeners) if (topics.includes(topic)) listener()
  })
  ends.push(() => waking.stop().catch(() => undefined))
  return {
    on(topics, listener) {
      const entry = { topics, listener }
      listeners.add(entry)
      return () => listeners.delete(entry)
    },
  }
}

type Singletons = {
  store: Store
  hub: HubConnection
  keys: HubKeys
  config: HubConfig
  door: TufDoor
  log: Logger
  now: () => number
  signal: AbortSignal
  changes: Hints
  wakes: Wakes
  onPublished: () => void
  onReachability: (counts: ReadonlyMap<Reachability, number>) => void
}

// Everything of which there may be one at a time, under one lease. A lease that is lost ends them all, and they wait for it again.
async function runSingletons(parts: Singletons): Promise<void> {
  const { store, log, signal } = parts
  while (!signal.aborted) {
    let lease: Lease | undefined
    try {
      lease = await acquireLease(store, 'controllers', signal)
      log.info({ term: lease.token }, 'this hub runs the controllers')
      const term = AbortSignal.any([signal, lease.lost])
      await Promise.all(
        controllersOf(parts, lease).map(({ controller, topics }) =>
          runController(
            controller,
            { store, lease: lease as Lease, now: parts.now, log, signal: term },
            hintsOf(parts, topics),
          ),
        ),
      )
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, 'the controllers wait for their lease')
      await new Promise((done) => setTimeout(done, 500))
    } finally {
      await lease?.release().catch(() => undefined)
    }
  }
}

function controllersOf(parts: Singletons, lease: Lease): { controller: Controller; topics: readonly Topic[] }[] {
  const { store, hub, keys, config, door, log, now, onPublished, onReachability } = parts
  const publisher = { store, lease, hub, signer: keys.desiredState, log, onPublished }
  let compared = false
  hub.onConnected(() => {
    compared = false
  })
  let refilledAt = 0
  return [
    {
      controller: registrationController({
        mint: (credential) => mintUser(keys.nats, credential),
        newRoutingToken,
        acceptanceSigner: keys.acceptance,
        pushRevocations: (revocations) => hub.pushSites(revocations),
        onConnected: hub.onConnected,
      }),
      topics: ['identity'],
    },
    { controller: placementController(), topics: [] },
    { controller: attestationController(), topics: ['statement'] },
    { controller: rolloutController(config.reachability), topics: ['statement', 'attestation', 'desired-state'] },
    { controller: desiredController(), topics: ['assignment'] },
    {
      controller: {
        name: 'publisher',
        async reconcile() {
          if (hub.fault() !== undefined) return { recheckAtMs: now() + 1_000 }
          // The stream is compared with the database after every reconnect, and now and then: a store deleted under a
          // running server is not noticed by anybody else.
          if (!compared || now() - refilledAt > 30_000) {
            await refill(publisher)
            compared = true
            refilledAt = now()
          }
          await publishNew(publisher)
          return {}
        },
      },
      topics: ['desired-state', 'identity'],
    },
    {
      controller: clusterStatusController(config.reachability, onReachability),
      topics: ['statement', 'attestation', 'identity'],
    },
    {
      controller: {
        name: 'housekeeping',
        async reconcile() {
          await refreshOnline(door)
          await writeFenced(store, lease, async (tx) => {
            await compactChanges(tx, KEPT_VERSIONS)
            await pruneEvents(tx, KEPT_EVENTS)
          })
          return { recheckAtMs: now() + HOUSEKEEPING_MS }
        },
      },
      topics: [],
    },
  ]
}

function hintsOf({ changes, wakes }: Singletons, topics: readonly Topic[]): Hints {
  return {
    subscribe(listener) {
      const ends = [changes.subscribe(listener), wakes.on(topics, listener)]
      return () => {
        for (const end of ends) end()
      }
    },
  }
}

async function whenStreamsExist(hub: HubConnection, store: Store, signal: AbortSignal, log: Logger): Promise<void> {
  const { highestStreamSeq } = await import('./store/desired-states.ts')
  while (!signal.aborted) {
    try {
      await ensureStreams(hub.nc, (await highestStreamSeq(store.sql)) + 1)
      return
    } catch (error) {
      log.warn({ err: error }, 'the streams cannot be had yet')
      await new Promise((done) => setTimeout(done, 500))
    }
  }
}

function show(metrics: ReturnType<typeof makeMetrics>, counts: ReadonlyMap<Reachability, number>): void {
  for (const [state, count] of counts) metrics.clusters.set({ reachability: state }, count)
}
