import { Refusal, wildcards } from '@skerry/api'
import type { Logger } from 'pino'
import { keyOf, listHeads, touchHeads } from '../store/heads.ts'
import type { Store } from '../store/store.ts'
import type { Acknowledger } from './acknowledger.ts'
import type { HubConnection } from './connection.ts'
import { type Directory, type KnownNode, readHeartbeat } from './reports.ts'

const WRITE_MS = 1_000

export type HeartbeatOptions = {
  readonly store: Store
  readonly hub: HubConnection
  readonly directory: Directory
  readonly acknowledger: Acknowledger
  readonly log: Logger
  readonly onRefused: (document: string, refusal: Refusal) => void
  readonly signal: AbortSignal
}

/**
 * Hears heartbeats until the signal. They are written once a second, all together, into one narrow column; a node whose
 * newest statement the hub does not have, or which may not know its watermark, is acknowledged anew.
 */
export async function runHeartbeats({
  store,
  hub,
  directory,
  acknowledger,
  log,
  onRefused,
  signal,
}: HeartbeatOptions): Promise<void> {
  const heard = new Map<string, KnownNode>()
  const subscription = hub.nc.subscribe(wildcards.heartbeat, { queue: 'hub' })
  const stop = () => subscription.unsubscribe()
  signal.addEventListener('abort', stop, { once: true })
  const timer = setInterval(() => void flush(), WRITE_MS)

  async function flush(): Promise<void> {
    const nodes = [...heard.values()]
    heard.clear()
    if (nodes.length === 0) return
    try {
      await store.sql.begin((tx) => touchHeads(tx, nodes))
      const marks = new Map((await listHeads(store.sql)).map((head) => [keyOf(head), head.watermark]))
      for (const node of nodes) await acknowledger.acknowledge(node, marks.get(keyOf(node)) ?? 0, true)
    } catch (error) {
      log.warn({ err: error }, 'heartbeats could not be written; the next ones will be')
    }
  }

  for await (const message of subscription) {
    try {
      const { sender } = await readHeartbeat(message.string(), message.subject, directory)
      heard.set(keyOf(sender), sender)
    } catch (error) {
      if (error instanceof Refusal) onRefused('heartbeat', error)
      else log.warn({ err: error }, 'a heartbeat could not be judged')
    }
  }
  clearInterval(timer)
}
