import { setImmediate } from 'node:timers/promises'
import { AckPolicy, type Consumer, type JsMsg, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Refusal, STREAM_REPORTS } from '@skerry/api'
import type { Logger } from 'pino'
import { pause } from '../pause.ts'
import type { Store } from '../store/store.ts'
import type { Acknowledger } from './acknowledger.ts'
import { commitReports } from './commit.ts'
import type { HubConnection } from './connection.ts'
import { makeInbox } from './inbox.ts'
import { makeRefuser, type Refuser } from './refusals.ts'
import { type Directory, type Report, readReport, type StoredMessage } from './reports.ts'

/** Messages in one transaction, at most; a message is up to 100 statements. */
const MESSAGES_PER_COMMIT = 64
/** While one worker waits for its commit, the other verifies. A third would overtake: a node's batches come in order. */
const WORKERS = 2
/** Verified at once: the signature of one batch beside the statements of another. */
const GROUPS_AT_ONCE = 2
const GROUP_BYTES = 64 * 1024
const WAITING = 2 * MESSAGES_PER_COMMIT
/** Half of what the server holds for one connection (max_pending) before it cuts that connection off. */
const BYTES_ON_THE_WAY = 2_000_000
const TRY_AGAIN_MS = 500
/** So often a batch above a gap may come before it is refused. */
const GAP_DELIVERIES = 4

export type IngestOptions = {
  readonly store: Store
  readonly hub: HubConnection
  readonly directory: Directory
  readonly acknowledger: Acknowledger
  readonly log: Logger
  readonly onRefused: (document: string, refusal: Refusal) => void
  readonly onCommitted: (statements: number) => void
  readonly now: () => number
  readonly signal: AbortSignal
}

/** Takes reports in until the signal: verify, append, commit, and only then acknowledge. Shared by all hubs. */
export async function runIngest(options: IngestOptions): Promise<void> {
  const { hub, log, signal } = options
  const inbox = makeInbox<JsMsg>(WAITING)
  const refuser = makeRefuser(options)
  signal.addEventListener('abort', inbox.close, { once: true })
  const turn = makeTurn()
  const workers = Array.from({ length: WORKERS }, async () => {
    while (!signal.aborted) {
      const done = await turn()
      await takeIn(await inbox.take(MESSAGES_PER_COMMIT), done, refuser, options)
    }
  })
  while (!signal.aborted) {
    try {
      await receive(await durableOf(hub), inbox.put, signal)
    } catch (error) {
      // NATS is away or its store is gone. The publisher makes the streams anew; agents send again what was in them.
      if (!signal.aborted) log.warn({ err: error }, 'ingest waits for its stream and tries again')
    }
    await pause(TRY_AGAIN_MS, signal)
  }
  await Promise.all(workers)
}

async function durableOf(hub: HubConnection): Promise<Consumer> {
  const jsm = await jetstreamManager(hub.nc, { timeout: 5_000 })
  await jsm.consumers.add(STREAM_REPORTS, {
    durable_name: 'ingest',
    ack_policy: AckPolicy.Explicit,
    ack_wait: 30e9,
    max_ack_pending: 20_000,
  })
  return jetstream(hub.nc).consumers.get(STREAM_REPORTS, 'ingest')
}

// Ends when the consumer is gone; a reconnect to the same stream goes on by itself.
async function receive(consumer: Consumer, put: (message: JsMsg) => Promise<void>, signal: AbortSignal): Promise<void> {
  const messages = await consumer.consume({
    max_bytes: BYTES_ON_THE_WAY,
    expires: 5_000,
    abort_on_missing_resource: true,
  })
  const stop = () => messages.stop()
  signal.addEventListener('abort', stop, { once: true })
  // The signal may have come while NATS was asked; nobody tells a late listener, and this would be heard for ever.
  if (signal.aborted) stop()
  try {
    for await (const message of messages) await put(message)
  } finally {
    signal.removeEventListener('abort', stop)
    await messages.close().catch(() => undefined)
  }
}

async function takeIn(
  messages: readonly JsMsg[],
  verified: () => void,
  refuser: Refuser,
  options: IngestOptions,
): Promise<void> {
  const { store, acknowledger, onCommitted, log, signal } = options
  const open = new Set(messages)
  try {
    const read = await readAll(messages, options.directory)
    verified()
    const refused: [JsMsg, Refusal][] = []
    const reports = new Map<Report, JsMsg>()
    for (const [place, message] of messages.entries()) {
      const found = read[place]
      if (found instanceof Refusal) refused.push([message, found])
      else if (found) reports.set(found, message)
    }
    if (reports.size > 0) {
      const { marks, appended, refusals, unfit } = await commitReports(store, [...reports.keys()])
      for (const [report, message] of reports) {
        const refusal = unfit.get(report)
        // What is missing may be in the hands of another hub, which has not committed it yet.
        if (refusal?.code === 'ChainGap' && message.info.deliveryCount < GAP_DELIVERIES)
          answer(message, () => message.nak(TRY_AGAIN_MS))
        else if (refusal) refused.push([message, refusal])
        else answer(message, () => message.ack())
      }
      onCommitted(appended)
      for (const statement of refusals) await refuser.tellOfSite(statement)
      await Promise.all(
        marks.map(({ sender, watermark, moved }) => acknowledger.acknowledge(sender, watermark, !moved)),
      )
    }
    for (const [message, refusal] of refused) {
      await refuser.refuse('report', message.subject, refusal)
      answer(message, () => message.term(refusal.code))
    }
  } catch (error) {
    // Postgres is away, or another writer was in the way. What was not answered comes again soon, not after ack_wait.
    if (!signal.aborted) log.warn({ err: error, messages: open.size }, 'reports could not be taken in and come again')
    for (const message of open) message.nak(TRY_AGAIN_MS)
    verified()
    await pause(TRY_AGAIN_MS, signal)
  }

  function answer(message: JsMsg, act: () => void): void {
    open.delete(message)
    act()
  }
}

// One worker verifies at a time, so that the other one's commit runs beside it instead of after it. Resolves with what
// ends the turn; calling it again does nothing.
function makeTurn(): () => Promise<() => void> {
  let last = Promise.resolve()
  return async () => {
    const before = last
    const mine = Promise.withResolvers<void>()
    last = mine.promise
    await before
    return mine.resolve
  }
}

// A full batch takes milliseconds. Between two of them the process comes to what else is due, such as the other worker's commit.
async function readAll(messages: readonly JsMsg[], directory: Directory): Promise<(Report | Refusal)[]> {
  const read: (Report | Refusal)[] = []
  const groups = inGroups(messages)
  const readers = Array.from({ length: GROUPS_AT_ONCE }, async () => {
    for (const group of groups) {
      await Promise.all(
        group.map(async ([place, message]) => {
          read[place] = await readOrRefusal(message, directory)
        }),
      )
      await setImmediate()
    }
  })
  await Promise.all(readers)
  return read
}

/** Messages with their places: one full batch by itself, small ones together. */
function* inGroups(messages: readonly JsMsg[]): Generator<[number, JsMsg][]> {
  let group: [number, JsMsg][] = []
  let bytes = 0
  for (const [place, message] of messages.entries()) {
    if (group.length > 0 && bytes + message.data.length > GROUP_BYTES) {
      yield group
      group = []
      bytes = 0
    }
    group.push([place, message])
    bytes += message.data.length
  }
  if (group.length > 0) yield group
}

async function readOrRefusal(message: StoredMessage, directory: Directory): Promise<Report | Refusal> {
  try {
    return await readReport(message, directory)
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
}
