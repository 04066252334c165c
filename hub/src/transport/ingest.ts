import { AckPolicy, type ConsumerMessages, type JsMsg, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Refusal, STREAM_REPORTS } from '@skerry/api'
import type { Logger } from 'pino'
import { recordEvent } from '../store/events.ts'
import { advanceWatermarks, keyOf, saveNodeStatus } from '../store/heads.ts'
import { appendStatements, digestsOf, type NewStatement } from '../store/statements.ts'
import { type Store, type Tx, write } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import type { Acknowledger } from './acknowledger.ts'
import type { HubConnection } from './connection.ts'
import { type Directory, type KnownNode, readBatch, readStatus, senderOf } from './reports.ts'

const BATCH = 200
const WORKERS = 2

export type IngestOptions = {
  readonly store: Store
  readonly hub: HubConnection
  readonly directory: Directory
  readonly acknowledger: Acknowledger
  readonly log: Logger
  readonly onRefused: (document: string, refusal: Refusal) => void
  readonly onCommitted: (statements: number) => void
  readonly signal: AbortSignal
}

type Read = {
  readonly message: JsMsg
  readonly sender: KnownNode
  readonly statements: readonly NewStatement[]
  readonly status: Awaited<ReturnType<typeof readStatus>> | undefined
}

/** Takes reports in until the signal: verify, append, commit, and only then acknowledge. Shared by all hubs. */
export async function runIngest(options: IngestOptions): Promise<void> {
  await Promise.all(Array.from({ length: WORKERS }, () => work(options)))
}

async function work(options: IngestOptions): Promise<void> {
  const { hub, log, signal } = options
  while (!signal.aborted) {
    let fetched: ConsumerMessages | undefined
    try {
      const jsm = await jetstreamManager(hub.nc, { timeout: 5_000 })
      await jsm.consumers.add(STREAM_REPORTS, {
        durable_name: 'ingest',
        ack_policy: AckPolicy.Explicit,
        ack_wait: 30e9,
        max_ack_pending: 20_000,
      })
      const consumer = await jetstream(hub.nc).consumers.get(STREAM_REPORTS, 'ingest')
      while (!signal.aborted) {
        fetched = await consumer.fetch({ max_messages: BATCH, expires: 1_000 })
        const messages: JsMsg[] = []
        for await (const message of fetched) messages.push(message)
        if (messages.length > 0) await takeIn(messages, options)
      }
    } catch (error) {
      if (signal.aborted) return
      // NATS or Postgres is away. What was not acknowledged comes again.
      log.warn({ err: error }, 'ingest waits and tries again')
      await new Promise((resolve) => setTimeout(resolve, 500))
    } finally {
      await fetched?.close().catch(() => undefined)
    }
  }
}

async function takeIn(messages: readonly JsMsg[], options: IngestOptions): Promise<void> {
  const read: Read[] = []
  for (const message of messages) {
    try {
      read.push(await readMessage(message, options.directory))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      await refuse(message, error, options)
    }
  }
  if (read.length === 0) return
  try {
    await commit(read, options)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    if (read.length === 1 && read[0]) return refuse(read[0].message, error, options)
    // One of them does not fit what is stored: each by itself, so that it holds up nobody else.
    for (const one of read) {
      try {
        await commit([one], options)
      } catch (alone) {
        if (!(alone instanceof Refusal)) throw alone
        await refuse(one.message, alone, options)
      }
    }
  }
}

async function readMessage(message: JsMsg, directory: Directory): Promise<Read> {
  const { sender, kind } = await senderOf(message.subject, directory)
  const text = message.string()
  if (kind === 'status') return { message, sender, statements: [], status: await readStatus(text, sender) }
  return { message, sender, statements: await readBatch(text, sender), status: undefined }
}

async function commit(read: readonly Read[], { store, acknowledger, onCommitted }: IngestOptions): Promise<void> {
  const senders = new Map(read.map(({ sender }) => [keyOf(sender), sender]))
  const withStatements = read.filter(({ statements }) => statements.length > 0)
  const { marks, appended } = await store.sql.begin(async (tx) => {
    const rows = withStatements.flatMap(({ statements }) => statements)
    const fresh = await appendStatements(tx, rows)
    if (fresh.length < rows.length) await checkRepeats(tx, withStatements)
    await checkLinks(tx, withStatements, fresh)
    for (const { status } of read) if (status) await saveNodeStatus(tx, status)
    const advanced = await advanceWatermarks(tx, [
      ...new Map(withStatements.map(({ sender }) => [keyOf(sender), sender])).values(),
    ])
    await wake(tx, 'statement')
    return { marks: advanced, appended: fresh.length }
  })
  for (const { message } of read) message.ack()
  onCommitted(appended)
  for (const [key, watermark] of marks) {
    const sender = senders.get(key)
    if (sender) await acknowledger.acknowledge(sender, watermark, appended === 0)
  }
}

// A number that is here already must be the same statement. Another text under it means that two machines are one node.
async function checkRepeats(tx: Tx, read: readonly Read[]): Promise<void> {
  for (const { sender, statements } of read) {
    const stored = await digestsOf(
      tx,
      sender.cluster,
      sender.node,
      sender.incarnation,
      statements.map(({ seq }) => seq),
    )
    const fork = statements.find(({ seq, digest }) => stored.get(seq) !== digest)
    if (fork) throw new Refusal('ForkedChain', `${sender.cluster}/${sender.node} has two statements ${fork.seq}`)
  }
}

// A batch must follow from what is stored below it, where that is known. Within the batch this was checked.
async function checkLinks(
  tx: Tx,
  read: readonly Read[],
  fresh: readonly { cluster: string; node: string; seq: number }[],
): Promise<void> {
  if (fresh.length === 0) return
  for (const { sender, statements } of read) {
    const [first] = statements
    if (!first || first.seq === 1) continue
    const below = await digestsOf(tx, sender.cluster, sender.node, sender.incarnation, [first.seq - 1])
    const digest = below.get(first.seq - 1)
    const { prev } = JSON.parse(first.text) as { prev: string }
    if (digest !== undefined && digest !== prev)
      throw new Refusal(
        'BrokenChain',
        `statement ${first.seq} of ${sender.cluster}/${sender.node} does not follow from ${first.seq - 1}`,
      )
  }
}

// Refused for good: counted, shown as an event, and not asked for again. The previous state stays.
async function refuse(
  message: JsMsg,
  refusal: Refusal,
  { store, log, onRefused, directory }: IngestOptions,
): Promise<void> {
  const [, cluster = 'unknown', node = 'unknown'] = message.subject.split('.')
  onRefused('report', refusal)
  log.warn({ subject: message.subject, code: refusal.code, reason: refusal.message }, 'report refused')
  await write(store, async (tx) => {
    if (refusal.code === 'ForkedChain') {
      // The time is what ends it by: only a decision made after it (policy, standingOf).
      await tx`update node_identity set state = 'Suspended', decided_at = now() where cluster = ${cluster} and node = ${node} and state = 'Accepted'`
      await wake(tx, 'identity')
      directory.forget()
    }
    await recordEvent(tx, {
      type: 'Warning',
      reason: refusal.code,
      message: refusal.message.slice(0, 1_000),
      component: 'ingest',
      regarding: { kind: 'EdgeNode', namespace: cluster, name: node },
    })
  })
  message.term(refusal.code)
}
