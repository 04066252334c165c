import type { NatsConnection } from '@nats-io/transport-node'
import { subjects } from '@skerry/api'
import { type Signer, sha256Hex, signDocument } from '@skerry/trust'
import { keyOf } from '../store/heads.ts'
import { type Store, write } from '../store/store.ts'
import type { KnownNode } from './reports.ts'

// Tells a node what Postgres has committed, with the newest epoch marker. A lost ack is sent again at the node's next
// word; an ack for the same watermark goes out at most once a second.

const MARKER_MS = 60_000
const REPEAT_MS = 1_000
const REMEMBERED = 100_000

export function makeAcknowledger({
  store,
  nc,
  signer,
  now,
}: {
  store: Store
  nc: NatsConnection
  signer: Signer
  now: () => number
}) {
  const sent = new Map<string, { incarnation: number; watermark: number; atMs: number }>()
  let marker: { jws: string; atMs: number } | undefined
  let making: Promise<string> | undefined

  function newestMarker(): Promise<string> | string {
    if (marker && now() - marker.atMs < MARKER_MS) return marker.jws
    making ??= makeMarker().finally(() => {
      making = undefined
    })
    return making
  }

  // Other hubs make markers too: the newest row counts, whoever wrote it.
  async function makeMarker(): Promise<string> {
    const jws = await write(store, async (tx) => {
      const [last] = await tx<
        { number: string; at: Date; jws: string }[]
      >`select number, at, jws from epoch_marker order by number desc limit 1`
      if (last && now() - last.at.getTime() < MARKER_MS) return last.jws
      const number = Number(last?.number ?? 0) + 1
      const made = await signDocument(
        'EpochMarker',
        { kind: 'EpochMarker', number, time: new Date(now()).toISOString() },
        signer,
      )
      await tx`insert into epoch_marker (number, at, jws, digest) values (${number}, ${new Date(now())}, ${made}, ${sha256Hex(made)})`
      return made
    })
    marker = { jws, atMs: now() }
    return jws
  }

  return {
    /** Acknowledges `watermark` to a node; `again` repeats one that did not move. */
    async acknowledge(
      { cluster, node, incarnation, routingToken }: KnownNode,
      watermark: number,
      again: boolean,
    ): Promise<void> {
      const key = keyOf({ cluster, node })
      const last = sent.get(key)
      const same = last?.incarnation === incarnation && last.watermark === watermark
      if (same && (!again || now() - last.atMs < REPEAT_MS)) return
      if (sent.size > REMEMBERED) sent.clear()
      const mine = { incarnation, watermark, atMs: now() }
      sent.set(key, mine)
      const ack = { kind: 'Ack' as const, cluster, node, incarnation, watermark, marker: await newestMarker() }
      const text = await signDocument('Ack', ack, signer, `${cluster}/${node}`)
      // A later one overtook this while it was signed, and says more.
      const newest = sent.get(key)
      if (newest && newest !== mine && newest.incarnation === incarnation && newest.watermark >= watermark) return
      nc.publish(subjects.ack(cluster, node, routingToken), text)
    },
  }
}
export type Acknowledger = ReturnType<typeof makeAcknowledger>
