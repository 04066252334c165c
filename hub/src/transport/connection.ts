import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node'
import type { Logger } from 'pino'
import { type NatsKeys, ownCreds, type Revocations, sitesAccount } from './layout.ts'

export type HubConnection = {
  readonly nc: NatsConnection
  /** undefined when connected, otherwise what is wrong. */
  fault(): string | undefined
  /** Called at once and after every reconnect. */
  onConnected(listener: () => void): void
  /** Pushes the SITES account with these revocations: whoever is in them is cut off at once. */
  pushSites(revocations: Revocations): Promise<void>
  close(): Promise<void>
}

/** Connects the hub in its two accounts, for ever: a server that is away is a fault to report, never an end. */
export async function connectHub({
  url,
  caPem,
  keys,
  log,
  name,
}: {
  url: string
  /** Of the server's certificate, for a `tls:` url. */
  caPem: string
  keys: NatsKeys
  log: Logger
  name: string
}): Promise<HubConnection> {
  const options = (creds: string) => ({
    servers: url,
    name,
    ...(url.startsWith('tls:') ? { tls: { ca: caPem } } : {}),
    authenticator: credsAuthenticator(Buffer.from(creds)),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    reconnectJitter: 300,
    ignoreAuthErrorAbort: true,
    waitOnFirstConnect: true,
  })
  const nc = await connect(options(ownCreds(keys.hub, 'hub')))
  const system = await connect(options(ownCreds(keys.system, 'hub-keeper')))
  const listeners = new Set<() => void>()
  let up = true
  void (async () => {
    for await (const status of nc.status()) {
      if (status.type === 'disconnect') {
        up = false
        log.warn('nats is away')
      }
      if (status.type === 'reconnect') {
        up = true
        log.info('nats is back')
        for (const listener of listeners) listener()
      }
    }
  })()
  return {
    nc,
    fault: () => (up && !nc.isClosed() ? undefined : 'no connection to NATS'),
    onConnected(listener) {
      listeners.add(listener)
      listener()
    },
    async pushSites(revocations) {
      const answer = await system.request('$SYS.REQ.CLAIMS.UPDATE', sitesAccount(keys, revocations), { timeout: 5_000 })
      const { error } = answer.json<{ error?: { description?: string } }>()
      if (error) throw new Error(`the NATS server refused the account: ${error.description ?? 'no reason given'}`)
    },
    async close() {
      await Promise.allSettled([nc.close(), system.close()])
    },
  }
}
