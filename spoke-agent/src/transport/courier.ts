import { readFileSync } from 'node:fs'
import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node'
import { subjects } from '@skerry/api'
import type { Logger } from 'pino'
import { reasonOf } from '../reason.ts'
import type { Enrollment } from '../registration/enrollment.ts'
import { pause } from '../waits.ts'

// The site's end of the courier. It carries texts and judges nothing: what arrives is verified by whoever asked.

/** What a look at the desired state found. Nothing of it is verified. */
type Looked =
  | { readonly found: 'desired'; readonly jws: string }
  /** The stream says that nothing is assigned. */
  | { readonly found: 'none' }
  /** Not connected, no stream, or no answer in time: a later look may find it, and a hint will come by itself. */
  | { readonly found: 'nobody'; readonly reason: string }

export type Courier = {
  readonly connected: boolean
  getDesired(): Promise<Looked>
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
  /** Pauses between attempts grow up to this, with full jitter. */
  readonly longestPauseMs: number
  /** How long a look that nobody answered waits to be repeated, repeated so many times already. */
  readonly repeatAfterMs: (times: number) => number
  /** The CA of the servers' certificates, for `tls:` addresses. */
  readonly caPem: () => string | undefined
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
/** A connection that lived for so long was a good one: the next pause is short again. */
const GOOD_AFTER_MS = 10_000
const PUBLISH_TIMEOUT_MS = 2_000
const HINT_MS = 1_000
/** The answer of a direct get when the stream has no message of that subject. */
const NOT_FOUND = 404

/** Keeps a connection until the signal, with freshly read credentials at every attempt and full jitter between them. */
export function openCourier(options: CourierOptions): Courier {
  const { enrollment, log } = options
  const { cluster, node, routingToken: t } = enrollment
  const closing = new AbortController()
  const signal = AbortSignal.any([options.signal, closing.signal])
  const hint = atMostEvery(HINT_MS, options.onDesiredHint, signal)
  let nc: NatsConnection | undefined
  let creds = ''
  let unanswered = 0
  let repeats = false
  const loop = keepConnected()

  async function keepConnected(): Promise<void> {
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      const dialedAt = performance.now()
      try {
        nc = await dial()
        log.info({ server: nc.getServer() }, 'courier connected')
        const why = await lifeOf(nc)
        if (!signal.aborted) log.warn({ reason: why?.message ?? 'closed' }, 'courier disconnected')
        if (why && isRefusal(why)) options.onRefused(creds)
      } catch (error) {
        if (!signal.aborted) log.debug({ reason: reasonOf(error) }, 'courier cannot connect')
        if (isRefusal(error)) options.onRefused(creds)
      }
      nc = undefined
      if (signal.aborted) return
      if (performance.now() - dialedAt > GOOD_AFTER_MS) attempt = 0
      await pause(
        Math.random() * Math.min(FIRST_WAIT_MS * 2 ** Math.min(attempt, 9), options.longestPauseMs),
        signal,
      ).catch(() => undefined)
    }
  }

  // Until the connection ends, or we do.
  async function lifeOf(opened: NatsConnection): Promise<Error | undefined> {
    const end = () => void opened.close().catch(() => undefined)
    signal.addEventListener('abort', end, { once: true })
    try {
      if (signal.aborted) end()
      else options.onConnected()
      return (await opened.closed()) ?? undefined
    } finally {
      signal.removeEventListener('abort', end)
    }
  }

  async function dial(): Promise<NatsConnection> {
    creds = readFileSync(options.credsPath, 'utf8')
    const servers = [...options.servers()]
    const ca = options.caPem()
    const opened = await connect({
      servers,
      name: `${cluster}/${node}`,
      authenticator: credsAuthenticator(Buffer.from(creds)),
      inboxPrefix: subjects.inbox(cluster, node, t),
      // Reconnecting is ours: with credentials and addresses read anew, which the client's own loop does not do.
      reconnect: false,
      timeout: 5_000,
      pingInterval: 20_000,
      maxPingOut: 2,
      ...(ca !== undefined && servers.some((url) => url.startsWith('tls:')) ? { tls: { ca } } : {}),
    })
    // Subscribed before anything is asked for: a change in between is not missed.
    opened.subscribe(subjects.notify(cluster, t), {
      callback: (error) => {
        if (error === null) hint()
      },
    })
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

  async function look(): Promise<Looked> {
    try {
      const answer = await open().request(subjects.getDesired(cluster, t), '', { timeout: PUBLISH_TIMEOUT_MS })
      if (answer.data.length > 0) return { found: 'desired', jws: answer.string() }
      if (answer.headers?.code === NOT_FOUND) return { found: 'none' }
      return { found: 'nobody', reason: `the stream answered ${answer.headers?.code ?? 'nothing'}` }
    } catch (error) {
      // No responders while the stream is being made anew, a timeout, a connection that ended: all mean later.
      return { found: 'nobody', reason: reasonOf(error) }
    }
  }

  // One repeat for all looks that were not answered since the last one.
  function repeatLater(): void {
    if (repeats) return
    repeats = true
    const repeat = () => {
      repeats = false
      hint()
    }
    void pause(options.repeatAfterMs(unanswered), signal).then(repeat, () => undefined)
    unanswered += 1
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
      const looked = await look()
      if (looked.found === 'nobody')
        log.debug({ reason: looked.reason }, 'nobody answers what this site shall be; it is asked again')
      if (looked.found !== 'nobody') unanswered = 0
      else if (nc) repeatLater()
      return looked
    },
    publishStatements: (jws) => publish(subjects.report(cluster, node, 'statements'), jws),
    publishStatus: (jws) => publish(subjects.report(cluster, node, 'status'), jws),
    publishHeartbeat(jws) {
      open().publish(subjects.heartbeat(cluster, node), jws)
    },
    async close() {
      closing.abort()
      await loop
    },
  }
}

/** `act` at once when it has been quiet, else once when the pause is over, however often it is asked for. */
function atMostEvery(ms: number, act: () => void, signal: AbortSignal): () => void {
  let lastAtMs = -ms
  let waiting = false
  const run = () => {
    waiting = false
    lastAtMs = performance.now()
    act()
  }
  return () => {
    if (waiting || signal.aborted) return
    const restMs = lastAtMs + ms - performance.now()
    if (restMs <= 0) return run()
    waiting = true
    void pause(restMs, signal).then(run, () => undefined)
  }
}

// The server's words: Authorization Violation, User Authentication Expired, User Authentication Revoked.
function isRefusal(error: unknown): boolean {
  return /authorization|authentication|revoked|expired/i.test(reasonOf(error))
}
