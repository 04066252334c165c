import { readFileSync } from 'node:fs'
import { connect, credsAuthenticator, type NatsConnection, RequestError } from '@nats-io/transport-node'
import { subjects } from '@skerry/api'
import type { Logger } from 'pino'
import type { Enrollment } from '../registration/enrollment.ts'
import { pause } from '../store/pause.ts'

// The site's end of the courier. It carries texts and judges nothing: what arrives is verified by whoever asked.

export type Courier = {
  readonly connected: boolean
  /** The newest desired state's text; undefined when none is assigned or nobody answers. */
  getDesired(): Promise<string | undefined>
  /** Resolves when the stream has stored it; throws when it has not. */
  publishStatements(jws: string): Promise<void>
  publishStatus(jws: string): Promise<void>
  publishHeartbeat(jws: string): void
  close(): Promise<void>
}

export type CourierOptions = {
  readonly enrollment: Enrollment
  readonly credsPath: string
  readonly servers: () => readonly string[]
  readonly caPem?: string
  readonly log: Logger
  /** A hint to look, and nothing else. */
  readonly onDesiredHint: () => void
  readonly onAck: (jws: string) => void
  readonly onConnected: () => void
  /** The server does not take this credential, given as the text of its file: revoked, rotated or expired. */
  readonly onRefused: (creds: string) => void
  readonly signal: AbortSignal
}

const FIRST_WAIT_MS = 1_000
const LAST_WAIT_MS = 300_000
const PUBLISH_TIMEOUT_MS = 2_000

/** Keeps a connection until the signal, with freshly read credentials at every attempt and full jitter between them. */
export function openCourier(options: CourierOptions): Courier {
  const { enrollment, signal, log } = options
  const { cluster, node, routingToken: t } = enrollment
  let nc: NatsConnection | undefined
  let creds = ''
  const loop = keepConnected()

  async function keepConnected(): Promise<void> {
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        const opened = await dial()
        attempt = 0
        nc = opened
        log.info({ server: opened.getServer() }, 'courier connected')
        options.onConnected()
        const why = await opened.closed()
        nc = undefined
        if (!signal.aborted) log.warn({ reason: why instanceof Error ? why.message : 'closed' }, 'courier disconnected')
        if (why instanceof Error && /auth|revoked|expired/i.test(why.message)) options.onRefused(creds)
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error)
        if (!signal.aborted) log.debug({ reason }, 'courier cannot connect')
        if (/authorization|authentication|revoked|expired/i.test(reason)) options.onRefused(creds)
      }
      if (signal.aborted) return
      await pause(Math.random() * Math.min(FIRST_WAIT_MS * 2 ** Math.min(attempt, 9), LAST_WAIT_MS), signal).catch(
        () => undefined,
      )
    }
  }

  async function dial(): Promise<NatsConnection> {
    creds = readFileSync(options.credsPath, 'utf8')
    const opened = await connect({
      servers: [...options.servers()],
      name: `${cluster}/${node}`,
      authenticator: credsAuthenticator(Buffer.from(creds)),
      inboxPrefix: subjects.inbox(cluster, node, t),
      // Reconnecting is ours: with credentials and addresses read anew, which the client's own loop does not do.
      reconnect: false,
      timeout: 5_000,
      pingInterval: 20_000,
      maxPingOut: 2,
      ...(options.caPem && options.servers().some((url) => url.startsWith('tls:'))
        ? { tls: { ca: options.caPem } }
        : {}),
    })
    // Subscribed before anything is asked for: a change in between is not missed.
    opened.subscribe(subjects.notify(cluster, t), { callback: () => options.onDesiredHint() })
    opened.subscribe(subjects.ack(cluster, node, t), {
      callback: (error, message) => {
        if (error === null) options.onAck(message.string())
      },
    })
    await opened.flush()
    return opened
  }

  function open(): NatsConnection {
    if (!nc) throw new Error('the courier is not connected')
    return nc
  }

  // A PubAck is the server's word that the stream holds it. The outbox waits for the hub's signed one.
  async function publish(subject: string, text: string): Promise<void> {
    const answer = await open().request(subject, text, { timeout: PUBLISH_TIMEOUT_MS })
    const { error } = answer.json<{ error?: { description?: string } }>()
    if (error) throw new Error(error.description ?? 'the stream refused the report')
  }

  return {
    get connected() {
      return nc !== undefined
    },
    async getDesired() {
      try {
        const answer = await open().request(subjects.getDesired(cluster, t), '', { timeout: PUBLISH_TIMEOUT_MS })
        return answer.data.length === 0 ? undefined : answer.string()
      } catch (error) {
        if (error instanceof RequestError) return undefined
        throw error
      }
    },
    publishStatements: (jws) => publish(subjects.report(cluster, node, 'statements'), jws),
    publishStatus: (jws) => publish(subjects.report(cluster, node, 'status'), jws),
    publishHeartbeat(jws) {
      open().publish(subjects.heartbeat(cluster, node), jws)
    },
    async close() {
      await nc?.close().catch(() => undefined)
      await loop.catch(() => undefined)
    },
  }
}
