import { join, resolve } from 'node:path'
import type { Refusal } from '@skerry/api'
import { endEarlierNatsServer, holdFolder } from '@skerry/supervise'
import type { Logger } from 'pino'
import { chooseAddresses } from './addresses.ts'
import type { HubConfig } from './config.ts'
import { makeMetrics } from './http/health.ts'
import { WATCH_PACE } from './http/kubernetes/watch.ts'
import type { TufDoor } from './http/tuf.ts'
import { openCertificates } from './keys/certificates.ts'
import { openKeys } from './keys/keys.ts'
import { serveApi } from './parts/api.ts'
import { openBroker } from './parts/broker.ts'
import { type OnRestart, openDatabase } from './parts/database.ts'
import { type Ends, endAll } from './parts/ends.ts'
import { openWakes } from './parts/hints.ts'
import { takeIn } from './parts/ingest.ts'
import { makeLoops } from './parts/loops.ts'
import { runSingletons } from './parts/singletons.ts'
import type { Sealer } from './store/seal.ts'
import { ensureToken } from './store/tokens.ts'
import { openBlobs } from './store/trust.ts'

// The hub put together. Each part takes what it uses; what starts here is ended here, in the other order.

export type Hub = {
  /** Empty without the role api. */
  readonly apiUrl: string
  /** Plain HTTP on loopback, where that was asked for. */
  readonly plainUrl: string | undefined
  readonly natsUrl: string
  readonly adminToken: string
  readonly caPem: string
  readonly pids: Readonly<Record<string, number>>
  stop(): Promise<void>
}

export type HubOptions = {
  readonly onRestart?: OnRestart
  /** Aborted while the hub starts: what has started ends again, and the start rejects with the signal's reason. */
  readonly starting?: AbortSignal
}

/** Starts a hub with the roles its configuration names. Resolves when it answers. */
export async function startHub(
  config: HubConfig,
  log: Logger,
  { onRestart = () => {}, starting = new AbortController().signal }: HubOptions = {},
): Promise<Hub> {
  const dir = resolve(config.dataDir)
  const say = (sentence: string) => log.info(sentence)
  const warn = (sentence: string) => log.warn(sentence)
  const now = () => Date.now()
  const ends: Ends = []
  const stop = () => endAll(ends, (what, error) => log.warn({ err: error, what }, 'a part did not end cleanly'))
  const held = holdFolder(dir, 'a hub')
  ends.push({ what: 'data folder', end: async () => held.release(), withinMs: 1_000 })
  try {
    const keys = openKeys(join(dir, 'keys'))
    const certificates = await openCertificates(join(dir, 'keys'), config.names)
    await endEarlierNatsServer(join(dir, 'nats'), say)
    const addresses = await chooseAddresses(dir, config.port, say)

    const database = await openDatabase({ dir, databaseUrl: config.databaseUrl, say, warn, onRestart }, ends)
    const { store } = database
    starting.throwIfAborted()
    await ensureToken(store.sql, keys.adminToken, 'admin', 'platform-admin')
    const broker = await openBroker(
      {
        ...{ dir, host: config.host, port: addresses.natsPort, natsUrl: config.natsUrl, store },
        ...{ tls: config.natsTls ? certificates.files : undefined, caPem: certificates.caPem },
        keys: keys.nats,
        log,
        say,
        onRestart,
        signal: starting,
      },
      ends,
    )
    const { hub } = broker
    starting.throwIfAborted()

    const metrics = makeMetrics()
    const onRefused = (document: string, refusal: Refusal) => metrics.refusals.inc({ document, code: refusal.code })
    const wakes = await openWakes(store, ends)
    const sealer: Sealer = { snapshot: keys.snapshot, timestamp: keys.timestamp, now }
    const door: TufDoor = { store, blobs: openBlobs(join(dir, 'blobs')), sealer }

    const loops = makeLoops(log)
    const { signal } = loops
    let served: { apiUrl: string; plainUrl: string | undefined } = { apiUrl: '', plainUrl: undefined }
    if (config.roles.includes('api')) {
      const port = addresses.apiPort
      const { changes } = wakes
      served = await serveApi(
        {
          ...{ config, port, store, hub, keys, changes, door, now, certificates, metrics, log, onRefused },
          pace: WATCH_PACE,
          checks: [
            ...config.roles.filter((role) => role !== 'api').map(loops.check),
            ...(config.roles.includes('ingest') ? [{ name: 'heartbeats', fault: async () => hub.hearingFault() }] : []),
          ],
        },
        ends,
      )
    }

    if (config.roles.includes('ingest')) {
      const onCommitted = (count: number) => metrics.statements.inc(count)
      loops.run('ingest', () =>
        takeIn({ store, hub, signer: keys.ack, wakes, now, log, signal, onRefused, onCommitted }),
      )
    }
    if (config.roles.includes('controllers')) {
      const { reachability, removalGuard } = config
      const onPublished = (count: number) => metrics.publications.inc(count)
      loops.run('controllers', () =>
        runSingletons({
          ...{ store, hub, keys, reachability, removalGuard, sealer, log, now, signal, wakes, onPublished },
          onReachability: metrics.showReachability,
        }),
      )
    }
    // What they ask of a part that hangs fails when the connections end, which is next.
    ends.push({ what: () => `loops (${loops.still()})`, end: loops.end, withinMs: 5_000 })
    return {
      ...served,
      natsUrl: broker.url,
      adminToken: keys.adminToken,
      caPem: certificates.caPem,
      pids: { hub: process.pid, ...broker.pids(), ...database.pids() },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
