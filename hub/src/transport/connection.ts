import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node'
import type { Logger } from 'pino'
import { endCrowds } from './crowds.ts'
import { type NatsKeys, ownCreds, type Revocations, sitesAccount } from './layout.ts'

export type HubConnection = {
  readonly nc: NatsConnection
  /** For what sites send as often as they like. Whoever floods it has the server cut it off, and orders and reports go on. */
  readonly hearing: NatsConnection
  /** undefined when connected, otherwise what is wrong. */
  fault(): string | undefined
  /** What is wrong with `hearing`, once it has been away for longer than being cut off and connecting anew takes. */
  hearingFault(): string | undefined
  /** Resolves when the server has answered. A server that hangs keeps the connection and does not: the caller has a deadline. */
  answers(): Promise<undefined>
  /** The listener is called at once and after every reconnect, until the returned function is. */
  onConnected(listener: () => void): () => void
  /** Pushes the SITES account with these revocations: whoever is in them is cut off at once. */
  pushSites(revocations: Revocations): Promise<void>
  /** Why NATS was not told who is revoked, from a push that failed until one succeeds; undefined when it knows. */
  revocationsFault(): string | undefined
  /** Another hub pushes now: what became of this one's last push says nothing any more. */
  leaveSites(): void
  close(): Promise<void>
}

/** Whoever floods heartbeats has them cut off for less than a second, again and again: no reason to take a hub out of service. */
const CUT_OFF_MS = 10_000

/** Connects the hub in its two accounts, for ever: a server that is away is a fault to report, never an end. */
export async function connectHub({
  url,
  caPem,
  keys,
  log,
  name,
  clock = () => performance.now(),
}: {
  url: string
  /** Of the server's certificate, for a `tls:` url. */
  caPem: string
  keys: NatsKeys
  log: Logger
  name: string
  /** Milliseconds of a clock that nobody sets. */
  clock?: () => number
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
    // Two stacks for each of ten thousand messages, to be thrown away: what fails here names its subject.
    noAsyncTraces: true,
  })
  const nc = await connect(options(ownCreds(keys.hub, 'hub')))
  const hearing = await connect(options(ownCreds(keys.hub, 'hub-hearing')))
  const system = await connect(options(ownCreds(keys.system, 'hub-keeper')))
  endCrowds({ system, account: keys.sites.pub, log, now: clock })
  const push = async (revocations: Revocations): Promise<void> => {
    const answer = await system.request('$SYS.REQ.CLAIMS.UPDATE', sitesAccount(keys, revocations), { timeout: 5_000 })
    const { error } = answer.json<{ error?: { description?: string } }>()
    if (error) throw new Error(`the NATS server refused the account: ${error.description ?? 'no reason given'}`)
  }
  let notTold: string | undefined
  const listeners = new Set<() => void>()
  let deafSinceMs: number | undefined
  void (async () => {
    for await (const { type } of hearing.status()) {
      if (type === 'reconnect') deafSinceMs = undefined
      if (type !== 'disconnect') continue
      deafSinceMs ??= clock()
      log.warn('the connection for heartbeats ended and is made anew')
    }
  })()
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
    hearing,
    fault: () => (up && !nc.isClosed() ? undefined : 'no connection to NATS'),
    hearingFault() {
      const deafMs = deafSinceMs === undefined ? 0 : clock() - deafSinceMs
      const deaf = hearing.isClosed() || deafMs > CUT_OFF_MS
      return deaf ? 'no connection to NATS for heartbeats; sites that speak read as offline meanwhile' : undefined
    },
    answers: () => nc.flush().then(() => undefined),
    onConnected(listener) {
      listeners.add(listener)
      listener()
      return () => void listeners.delete(listener)
    },
    async pushSites(revocations) {
      try {
        await push(revocations)
        notTold = undefined
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error)
        notTold = `NATS was not told of ${revocations.size} revoked keys, and those revoked last still connect (${why}); it is tried again. If this stays, compare the server's configuration with what skerry-hub nats-config prints, max_payload above all, and restart nats-server`
        throw error
      }
    },
    revocationsFault: () => notTold,
    leaveSites() {
      notTold = undefined
    },
    async close() {
      await Promise.allSettled([nc.close(), hearing.close(), system.close()])
    },
  }
}
