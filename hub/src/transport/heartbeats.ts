import { Refusal, wildcards } from '@skerry/api'
import type { Logger } from 'pino'
import { keyOf, lockHeads } from '../store/heads.ts'
import type { Store } from '../store/store.ts'
import type { Acknowledger } from './acknowledger.ts'
import type { HubConnection } from './connection.ts'
import { makeRefuser } from './refusals.ts'
import { type Directory, type KnownNode, readHeartbeat } from './reports.ts'

const WRITE_MS = 1_000
/** Read of one node between two writes. Its credential lets it speak under no other subject, so it drowns out itself alone. */
const MOST_READ = 8

export type HeartbeatOptions = {
  readonly store: Store
  readonly hub: HubConnection
  readonly directory: Directory
  readonly acknowledger: Acknowledger
  readonly log: Logger
  readonly onRefused: (document: string, refusal: Refusal) => void
  readonly now: () => number
  readonly signal: AbortSignal
}

/**
 * Hears heartbeats until the signal; rejects when NATS gives no more before. They are written once a second, all together, into one narrow column; a node whose
 * newest statement the hub does not have, or which may not know its watermark, is acknowledged anew.
 */
export async function runHeartbeats({
  store,
  hub,
  directory,
  acknowledger,
  log,
  onRefused,
  now,
  signal,
}: HeartbeatOptions): Promise<void> {
  const heard = new Map<string, KnownNode>()
  const read = new Map<string, number>()
  const subscription = hub.hearing.subscribe(wildcards.heartbeat, { queue: 'hub' })
  const stop = () => subscription.unsubscribe()
  signal.addEventListener('abort', stop, { once: true })
  const { refuse } = makeRefuser({ store, directory, log, onRefused, now })
  const unjudged = (error: unknown) => log.warn({ err: error }, 'a heartbeat could not be judged')
  const timer = setInterval(() => void flush(), WRITE_MS)

  async function flush(): Promise<void> {
    const nodes = [...heard.values()]
    heard.clear()
    read.clear()
    if (nodes.length === 0) return
    try {
      const heads = await store.sql.begin((tx) => lockHeads(tx, nodes))
      for (const node of nodes) {
        const head = heads.get(keyOf(node))
        if (head?.incarnation === node.incarnation) await acknowledger.acknowledge(node, head.watermark, true)
      }
    } catch (error) {
      log.warn({ err: error }, 'heartbeats could not be written; the next ones will be')
    }
  }

  try {
    for await (const message of subscription) {
      const times = read.get(message.subject) ?? 0
      if (times === MOST_READ) continue
      read.set(message.subject, times + 1)
      try {
        const { sender } = await readHeartbeat(message.string(), message.subject, directory)
        heard.set(keyOf(sender), sender)
      } catch (error) {
        if (error instanceof Refusal) await refuse('heartbeat', message.subject, error).catch(unjudged)
        else unjudged(error)
      }
    }
    if (!signal.aborted) throw new Error('the subscription to heartbeats ended')
  } finally {
    clearInterval(timer)
    signal.removeEventListener('abort', stop)
  }
}
