import { JetStreamApiError, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { STREAM_DESIRED, subjects } from '@skerry/api'
import { type Signer, sha256Hex, signBytes } from '@skerry/trust'
import type { Logger } from 'pino'
import { desiredToPublish, highestStreamSeq, savePublication, type ToPublish } from '../store/desired-states.ts'
import { type Lease, writeFenced } from '../store/leases.ts'
import type { Store } from '../store/store.ts'
import type { HubConnection } from './connection.ts'
import { ensureStreams } from './streams.ts'

export type PublisherOptions = {
  readonly store: Store
  readonly lease: Lease
  readonly hub: HubConnection
  readonly signer: Signer
  readonly log: Logger
  readonly onPublished: () => void
}

/** Signs and sends what the desired controller stored. Publishing twice is harmless; publishing without the row cannot be. */
export async function publishNew(options: PublisherOptions): Promise<void> {
  for (const desired of await desiredToPublish(options.store.sql, 'unpublished')) {
    const jws = await signBytes('DesiredState', desired.payload, options.signer, desired.cluster)
    await send(options, desired, jws)
  }
}

/**
 * Compares the stream with Postgres and sends again what the stream lacks: after a lost store, after a server that came
 * back empty, after a message that never left. Returns how many were missing.
 */
export async function refill(options: PublisherOptions): Promise<number> {
  const { store, hub, log } = options
  await ensureStreams(hub.nc, (await highestStreamSeq(store.sql)) + 1)
  const jsm = await jetstreamManager(hub.nc, { timeout: 5_000 })
  let missing = 0
  for (const desired of await desiredToPublish(store.sql, 'all')) {
    if (!desired.jws) continue
    const subject = subjects.desired(desired.cluster, desired.routingToken)
    const held = await jsm.direct.getMessage(STREAM_DESIRED, { last_by_subj: subject }).catch(() => null)
    if (held?.string() === desired.jws) continue
    missing += 1
    await send(options, desired, desired.jws)
  }
  if (missing > 0) log.warn({ missing }, 'desired states were missing from NATS and were sent again')
  return missing
}

async function send(
  { store, lease, hub, onPublished }: PublisherOptions,
  desired: ToPublish,
  jws: string,
): Promise<void> {
  const { cluster, position, routingToken } = desired
  const subject = subjects.desired(cluster, routingToken)
  // The signed text is on disk before it leaves: what was sent once is what is sent for ever.
  await writeFenced(store, lease, (tx) => savePublication(tx, cluster, position, subject, jws, 0))
  const js = jetstream(hub.nc, { timeout: 2_000 })
  // Not guessable, or one site could use up another's id: the window is one for the whole stream.
  const ack = await js.publish(subject, jws, { msgID: sha256Hex(jws) }).catch((error: unknown) => {
    if (error instanceof JetStreamApiError)
      throw new Error(`NATS refused the desired state of ${cluster}: ${error.message}`, { cause: error })
    throw error
  })
  await writeFenced(store, lease, (tx) => savePublication(tx, cluster, position, subject, jws, ack.seq))
  onPublished()
}
