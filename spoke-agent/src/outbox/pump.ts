import { type NodeStatus, Refusal } from '@skerry/api'
import { type DocumentSigner, keysInForce, sha256Hex, signDocument, type Trust, verifyDocument } from '@skerry/trust'
import type { Logger } from 'pino'
import { reasonOf } from '../reason.ts'
import type { Enrollment } from '../registration/enrollment.ts'
import type { Clock } from '../store/clock.ts'
import type { Courier } from '../transport/courier.ts'
import { makeBell } from '../waits.ts'
import type { Outbox } from './outbox.ts'

// Sends what waits: newest status first, then statements oldest first, again and again until the hub's committed
// watermark says that it has them.

export type PumpOptions = {
  readonly courier: Courier
  readonly outbox: Outbox
  readonly enrollment: Enrollment
  readonly signer: DocumentSigner
  readonly trust: Pick<Trust, 'hub'>
  /** What this node would say of itself now. */
  readonly status: () => Omit<NodeStatus, 'counter'>
  /** The number of the next status that leaves: one that was never given before, also over a restart. */
  readonly nextCounter: () => number
  readonly heartbeatMs: number
  /** How long what the stream took and the hub has not acknowledged waits to be sent once more, sent again so many times already. */
  readonly repeatAfterMs: (times: number) => number
  readonly clock: Clock
  readonly log: Logger
  readonly signal: AbortSignal
}

const STATUS_MS = 60_000
const WARN_MS = 60_000
/** Acks that wait to be judged; more than these are dropped. */
const ACKS_QUEUED = 64

export type Pump = {
  readonly done: Promise<void>
  /** Something changed, or the connection is back. */
  poke(): void
  /** Takes an ack from the courier; resolves when it was judged, one after another. */
  onAck(jws: string): Promise<void>
}

export function startPump(options: PumpOptions): Pump {
  const { courier, outbox, enrollment, signer, trust, log, signal } = options
  const { cluster, node, incarnation } = enrollment
  const bell = makeBell()
  let sentSeq = -1
  let repeated = 0
  let repeatAtMs = 0
  let statusKey = ''
  let statusAtMs = 0
  let beatAtMs = Number.NEGATIVE_INFINITY
  let judged = Promise.resolve()
  let queued = 0
  const warnedAtMs = new Map<string, number>()
  outbox.onAppend(bell.ring)

  const done = (async () => {
    while (!signal.aborted) {
      const taken = !courier.connected || (await round())
      await bell.wait(taken ? Math.min(options.heartbeatMs, 1_000) : 500 + Math.random() * 500, signal)
    }
  })()

  // Each report by itself: one that is not taken is sent again, and keeps no other one back.
  async function round(): Promise<boolean> {
    let allTaken = true
    for (const [what, send] of [
      ['status', sendStatus],
      ['statements', sendStatements],
      ['heartbeat', sendHeartbeat],
    ] as const)
      try {
        await send(performance.now())
      } catch (error) {
        if (signal.aborted) return false
        allTaken = false
        say(what, { what, reason: reasonOf(error) }, 'a report was not taken and is sent again')
      }
    return allTaken
  }

  async function sendStatus(nowMs: number): Promise<void> {
    const status = options.status()
    const { at: _, seq: __, digest: ___, ...rest } = status
    const key = JSON.stringify(rest)
    if (key === statusKey && nowMs - statusAtMs <= STATUS_MS) return
    await courier.publishStatus(await signDocument('NodeStatus', { ...status, counter: options.nextCounter() }, signer))
    statusKey = key
    statusAtMs = nowMs
  }

  async function sendStatements(nowMs: number): Promise<void> {
    const { seq } = outbox.newest()
    const statements = outbox.pending()
    const again = sentSeq === seq
    if (statements.length === 0 || (again && nowMs < repeatAtMs)) return
    sentSeq = -1
    // First what lets the watermark come up to the oldest.
    const closing = outbox.closing()
    if (closing !== undefined) await sendBatch([closing])
    await sendBatch(statements)
    sentSeq = seq
    repeated = again ? repeated + 1 : 0
    repeatAtMs = nowMs + options.repeatAfterMs(repeated)
  }

  async function sendBatch(statements: readonly string[]): Promise<void> {
    const batch = { cluster, node, incarnation, statements: [...statements] }
    await courier.publishStatements(await signDocument('StatementBatch', { kind: 'StatementBatch', ...batch }, signer))
  }

  async function sendHeartbeat(nowMs: number): Promise<void> {
    if (nowMs - beatAtMs < options.heartbeatMs) return
    const beat = { kind: 'Heartbeat', cluster, node, incarnation, ...outbox.newest() } as const
    courier.publishHeartbeat(await signDocument('Heartbeat', beat, signer))
    beatAtMs = nowMs
  }

  // One line a minute of each kind: what goes on for days, or whoever holds the subject, must not fill the log.
  function say(kind: string, fields: object, sentence: string): void {
    const nowMs = performance.now()
    const level = nowMs - (warnedAtMs.get(kind) ?? Number.NEGATIVE_INFINITY) > WARN_MS ? 'warn' : 'debug'
    if (level === 'warn') warnedAtMs.set(kind, nowMs)
    log[level](fields, sentence)
  }

  return {
    done,
    poke() {
      statusKey = ''
      sentSeq = -1
      beatAtMs = Number.NEGATIVE_INFINITY
      bell.ring()
    },
    onAck(jws) {
      // The hub says it again with the next heartbeat.
      if (queued >= ACKS_QUEUED) return judged
      queued += 1
      judged = judged
        .then(() => take(jws))
        .catch((error: unknown) => {
          if (error instanceof Refusal)
            say('ack', { code: error.code, reason: error.message }, 'an acknowledgement was not believed')
          else log.error({ err: error }, 'an acknowledgement could not be judged')
        })
        .finally(() => {
          queued -= 1
        })
      return judged
    },
  }

  // Whatever arrives on the subject, only the hub's key says what may be forgotten.
  async function take(jws: string): Promise<void> {
    const listed = trust.hub().keys.ack
    const keys = keysInForce(listed, options.clock.now())
    const { payload } = await verifyDocument('Ack', jws, keys, { aud: `${cluster}/${node}` })
    if (payload.incarnation !== incarnation) return
    const { seq } = outbox.newest()
    if (payload.watermark > seq)
      throw new Refusal(
        'ForkedChain',
        `statement ${payload.watermark} is acknowledged and the newest of this node is ${seq}: another speaks with its key, or its data were put back`,
      )
    const marker = await verifyDocument('EpochMarker', payload.marker, keys)
    const before = outbox.length()
    const said = { by: marker.thumbprint, atMs: Date.parse(marker.payload.time) }
    outbox.acknowledged(payload.watermark, { digest: sha256Hex(payload.marker), keys: listed, ...said })
    options.clock.heard({ role: 'ack', ...said })
    if (outbox.length() > 0) {
      if (outbox.length() !== before) sentSeq = -1
      bell.ring()
    }
  }
}
