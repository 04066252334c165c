import {
  DiscardPolicy,
  JetStreamApiError,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { STREAM_DESIRED, STREAM_REPORTS, wildcards } from '@skerry/api'

const DAY_NS = 86_400 * 1e9

/** One message a cluster; republished without its body, so that a notification is a hint and nothing more. */
const DESIRED = {
  name: STREAM_DESIRED,
  subjects: [wildcards.desired],
  max_msgs_per_subject: 1,
  allow_direct: true,
  storage: StorageType.File,
  republish: { src: wildcards.desired, dest: 'notify.{{wildcard(1)}}.{{wildcard(2)}}', headers_only: true },
} as const

/** A work queue with a cap a subject: one bad site is refused, the others are not. */
const REPORTS = {
  name: STREAM_REPORTS,
  subjects: [wildcards.report],
  retention: RetentionPolicy.Workqueue,
  storage: StorageType.File,
  discard: DiscardPolicy.New,
  max_msgs_per_subject: 100,
  discard_new_per_subject: true,
  max_bytes: 1_073_741_824,
  max_msg_size: 262_144,
  max_age: 7 * DAY_NS,
  duplicate_window: 120 * 1e9,
} as const

/** Makes the streams that are missing, from sequence `firstSeq` on, and compares those that are there, field by field. */
export async function ensureStreams(nc: NatsConnection, firstSeq: number): Promise<void> {
  const jsm = await jetstreamManager(nc, { timeout: 5_000 })
  for (const config of [DESIRED, REPORTS]) {
    const found = await jsm.streams.info(config.name).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.code === 10059) return undefined
      throw error
    })
    const wanted: Partial<StreamConfig> & { name: string } = {
      ...config,
      subjects: [...config.subjects],
      first_seq: Math.max(1, firstSeq),
    }
    const stored = found?.config ?? (await jsm.streams.add(wanted)).config
    // An old server takes a configuration and silently leaves out what it does not know.
    for (const [field, value] of Object.entries(config)) {
      const got = (stored as unknown as Record<string, unknown>)[field]
      if (!same(value, got))
        throw new Error(
          `stream ${config.name}: ${field} is ${JSON.stringify(got)}, not ${JSON.stringify(value)}; this NATS server is too old or the stream was changed`,
        )
    }
  }
}

function same(wanted: unknown, got: unknown): boolean {
  if (typeof wanted !== 'object' || wanted === null) return wanted === got
  if (typeof got !== 'object' || got === null) return false
  return Object.entries(wanted).every(([member, value]) => same(value, Reflect.get(got, member)))
}
