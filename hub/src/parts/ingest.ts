import type { Refusal } from '@skerry/api'
import type { Signer } from '@skerry/trust'
import type { Logger } from 'pino'
import { pause } from '../pause.ts'
import { highestStreamSeq } from '../store/desired-states.ts'
import type { Store } from '../store/store.ts'
import {
  ensureStreams,
  type HubConnection,
  makeAcknowledger,
  nodeDirectory,
  runHeartbeats,
  runIngest,
} from '../transport/index.ts'
import type { Wakes } from './hints.ts'

export type IngestOptions = {
  readonly store: Store
  readonly hub: HubConnection
  readonly signer: Signer
  readonly wakes: Wakes
  readonly now: () => number
  readonly log: Logger
  readonly signal: AbortSignal
  readonly onRefused: (document: string, refusal: Refusal) => void
  readonly onCommitted: (count: number) => void
}

const RETRY_MS = 500

/** Takes in what sites say, reports and heartbeats, until the signal. Rejects when one of the two ends before; the other ends with it. */
export async function takeIn({ signer, wakes, now, onCommitted, signal, ...rest }: IngestOptions): Promise<void> {
  const failed = new AbortController()
  const shared = { ...rest, signal: AbortSignal.any([signal, failed.signal]) }
  const directory = nodeDirectory(shared.store)
  const forget = wakes.on(['identity'], directory.forget)
  const acknowledger = makeAcknowledger({ store: shared.store, nc: shared.hub.nc, signer, now })
  const parts = { ...shared, directory, acknowledger, now }
  const both = [whenStreamsExist(shared).then(() => runIngest({ ...parts, onCommitted })), runHeartbeats(parts)]
  try {
    await Promise.all(both)
  } finally {
    failed.abort()
    await Promise.allSettled(both)
    forget()
  }
}

async function whenStreamsExist({ hub, store, signal, log }: Pick<IngestOptions, 'hub' | 'store' | 'signal' | 'log'>) {
  while (!signal.aborted) {
    try {
      await ensureStreams(hub.nc, (await highestStreamSeq(store.sql)) + 1)
      return
    } catch (error) {
      log.warn({ err: error }, 'the streams cannot be had yet')
      await pause(RETRY_MS, signal)
    }
  }
}
