import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { findNatsServer, keepRunning, type NatsServer, type Say, startNatsServer } from '@skerry/supervise'
import type { Logger } from 'pino'
import { listRevocations } from '../store/nats-keys.ts'
import type { Store } from '../store/store.ts'
import { connectHub, type HubConnection, type NatsKeys, serverConfig } from '../transport/index.ts'
import type { OnRestart } from './database.ts'
import type { Ends } from './ends.ts'

export type Broker = {
  readonly hub: HubConnection
  readonly url: string
  pids(): Readonly<Record<string, number>>
}

export type BrokerOptions = {
  readonly dir: string
  readonly host: string
  readonly port: number
  /** Certificate and key for a server that sites reach over a network; undefined on loopback. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined
  readonly caPem: string
  /** A server of somebody's own, set up by `skerry-hub nats-config`. */
  readonly natsUrl: string | undefined
  readonly store: Store
  readonly keys: NatsKeys
  readonly log: Logger
  readonly say: Say
  readonly onRestart: OnRestart
  /** Ends the start. */
  readonly signal: AbortSignal
}

/** A start that NATS has kept waiting for so long says so. */
const UNHEARD_MS = 3_000
const REMEDY = 'NATS_URL names the server, and "skerry-hub nats-config" prints how it must be set up'

/** A connection to `natsUrl`, or to a nats-server of the hub's own in `dir`. */
export async function openBroker(options: BrokerOptions, ends: Ends): Promise<Broker> {
  const { url, pids } = await serverOf(options, ends)
  const { keys, caPem, log, signal } = options
  signal.throwIfAborted()
  const connecting = connectHub({ url, caPem, keys, log, name: `skerry-hub-${randomUUID().slice(0, 8)}` })
  const ended = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  const timer = setTimeout(() => {
    const { host } = new URL(url)
    log.warn(`this hub waits for NATS at ${host}, which does not answer or does not know it; ${REMEDY}`)
  }, UNHEARD_MS)
  try {
    const hub = await Promise.race([connecting, ended])
    ends.push({ what: 'connection to NATS', end: () => hub.close(), withinMs: 5_000 })
    return { hub, url, pids }
  } catch (error) {
    // Should it come after all, nobody has a use for it.
    void connecting.then(
      (late) => late.close(),
      () => {},
    )
    throw error
  } finally {
    clearTimeout(timer)
  }
}

async function serverOf(
  { dir, host, port, tls, natsUrl, store, keys, log, say, onRestart, signal }: BrokerOptions,
  ends: Ends,
): Promise<{ url: string; pids: () => Record<string, number> }> {
  const source = await findNatsServer({ ...process.env, NATS_URL: natsUrl }, say, signal)
  if (source.kind === 'url') return { url: source.url, pids: () => ({}) }
  const folder = join(dir, 'nats')
  // A database that is away keeps no server from starting: the controller tells it once it is connected.
  const revoked = () =>
    listRevocations(store.sql).then(
      ({ told }) => told,
      () => new Map<string, number>(),
    )
  const start = async (): Promise<NatsServer> =>
    startNatsServer({
      binary: source.path,
      config: serverConfig(keys, await revoked(), folder, tls),
      dir: folder,
      host,
      port,
      say,
    })
  const own = await keepRunning(
    'nats-server',
    start,
    (sentence) => log.warn(sentence),
    ({ pid }) => onRestart('nats', pid),
  )
  ends.push({ what: 'nats-server', end: () => own.stop(), withinMs: 30_000 })
  // The hub itself comes from this machine, whatever address the server listens on for the sites.
  const url = tls ? `tls://localhost:${own.current().port}` : own.current().url
  return { url, pids: () => ({ nats: own.current().pid }) }
}
