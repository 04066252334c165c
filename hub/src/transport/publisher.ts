import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { comparePositions, STREAM_DESIRED, subjects, TIMELINE_AHEAD_MS, wildcards } from '@skerry/api'
import { counted } from '@skerry/policy'
import { type Signer, sha256Hex, signBytes } from '@skerry/trust'
import type { Logger } from 'pino'
import {
  countPublished,
  desiredToPublish,
  highestStreamSeq,
  type Publication,
  recordSent,
  savePublications,
  type ToPublish,
} from '../store/desired-states.ts'
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
  readonly now: () => number
  readonly onPublished: (count: number) => void
}

/** Messages on their way at a time. */
const AT_ONCE = 1_000
/** Messages asked for at a time when the stream is compared. */
const PAGE = 1_000
const TIMEOUT_MS = 5_000

/** Signs and sends what no stream is known to hold. Publishing twice is harmless; publishing without the row cannot be. */
export async function publishNew(options: PublisherOptions): Promise<void> {
  const { store, now, log } = options
  const due = (await desiredToPublish(store.sql, 'unpublished')).filter((state) => {
    const fault = faultOf(state, now())
    if (fault !== undefined) {
      const { cluster, position } = state
      log.error(
        { cluster, position },
        `not signed: ${fault}; find out who wrote this row of desired_state, and delete it`,
      )
    }
    return fault === undefined
  })
  const answers: Answer[] = []
  let onTheirWay: Promise<Answer[]> = Promise.resolve([])
  for (let from = 0; from < due.length; from += AT_ONCE) {
    const texts = await Promise.all(
      due.slice(from, from + AT_ONCE).map(async ({ cluster, position, payload, routingToken, jws }) => ({
        cluster,
        position,
        subject: subjects.desired(cluster, routingToken),
        jws: jws ?? (await signBytes('DesiredState', payload, options.signer, cluster)),
      })),
    )
    // Signed and kept while those before are on their way.
    const kept = await keep(options, texts)
    const before = await onTheirWay
    answers.push(...before)
    onTheirWay = Promise.resolve([])
    // A server that hangs takes its whole deadline for each: the rest waits for the next look, and an end is not held up.
    if (before.some(({ status }) => status === 'rejected')) break
    onTheirWay = send(options, kept)
  }
  answers.push(...(await onTheirWay))
  await recordAnswers(options, answers)
}

/**
 * Compares the stream with Postgres and sends again what the stream lacks: after a lost store, after a server that came
 * back empty, after a message that never left. Returns how many were missing.
 */
export async function refill(options: PublisherOptions): Promise<number> {
  const { store, hub, log } = options
  await ensureStreams(hub.nc, (await highestStreamSeq(store.sql)) + 1)
  const held = await heldTexts(hub)
  const missing: Publication[] = []
  for (const { cluster, position, routingToken, jws } of await desiredToPublish(store.sql, 'all')) {
    const subject = subjects.desired(cluster, routingToken)
    if (jws !== undefined && held.get(subject) !== sha256Hex(jws)) missing.push({ cluster, position, subject, jws })
  }
  for (let from = 0; from < missing.length; from += AT_ONCE)
    await recordAnswers(options, await send(options, await keep(options, missing.slice(from, from + AT_ONCE))))
  if (missing.length > 0)
    log.warn({ missing: missing.length }, 'desired states were missing from NATS and were sent again')
  return missing.length
}

/** Whether the stream holds as many messages as were sent, at least as far as was recorded: a quick look between two comparisons. */
export async function looksWhole({ store, hub }: Pick<PublisherOptions, 'store' | 'hub'>): Promise<boolean> {
  const jsm = await jetstreamManager(hub.nc, { timeout: TIMEOUT_MS })
  const { state } = await jsm.streams.info(STREAM_DESIRED)
  return state.last_seq >= (await highestStreamSeq(store.sql)) && state.messages >= (await countPublished(store.sql))
}

// A site never goes back from a position that it took: one that no honest history reaches would make it deaf to every
// later one. The signed payload is what the site reads, so it has to say what its row says.
function faultOf({ cluster, position, document }: ToPublish, nowMs: number): string | undefined {
  if (document.cluster !== cluster || comparePositions(document, position) !== 0)
    return 'the payload names another cluster or position than its row'
  if (position.timeline * 1000 > nowMs + TIMELINE_AHEAD_MS)
    return "the timeline lies more than a day ahead of this hub's clock"
  return undefined
}

// Subject → digest of the text that the stream holds.
async function heldTexts({ nc }: HubConnection): Promise<Map<string, string>> {
  const jsm = await jetstreamManager(nc, { timeout: TIMEOUT_MS })
  const held = new Map<string, string>()
  for (let seq = 1; ; ) {
    let last = 0
    try {
      const batch = await jsm.direct.getBatch(STREAM_DESIRED, { seq, batch: PAGE, next_by_subj: wildcards.desired })
      for await (const message of batch) {
        held.set(message.subject, sha256Hex(message.data))
        last = message.seq
      }
    } catch (error) {
      // 404: nothing from this sequence on.
      if (!(error instanceof Error && 'code' in error && error.code === 404)) throw error
    }
    if (last === 0) return held
    seq = last + 1
  }
}

// The signed texts are on disk before they leave: what was sent once is what is sent for ever.
function keep({ store, lease }: PublisherOptions, texts: readonly Publication[]): Promise<Publication[]> {
  return writeFenced(store, lease, (tx) => savePublications(tx, texts))
}

type Answer = PromiseSettledResult<Publication & { readonly streamSeq: number }>

// Never rejects. No message id: a repeat is harmless here, and within the window of ids a stream that was purged would
// answer that it has what it has not.
function send({ hub }: PublisherOptions, kept: readonly Publication[]): Promise<Answer[]> {
  const js = jetstream(hub.nc, { timeout: TIMEOUT_MS })
  return Promise.allSettled(
    kept.map(async (text) => ({ ...text, streamSeq: (await js.publish(text.subject, text.jws)).seq })),
  )
}

// What was sent and not yet recorded is sent again after a death here, which is harmless.
async function recordAnswers(
  { store, lease, onPublished }: PublisherOptions,
  answers: readonly Answer[],
): Promise<void> {
  const sent = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
  if (sent.length > 0) await writeFenced(store, lease, (tx) => recordSent(tx, sent))
  onPublished(sent.length)
  const failed = answers.find((answer) => answer.status === 'rejected')
  if (failed)
    throw new Error(
      `NATS did not take ${answers.length - sent.length} of ${counted(answers.length, 'desired state')}`,
      {
        cause: failed.reason,
      },
    )
}
