import {
  type Ack,
  comparePositions,
  type DesiredState,
  type NodeStatus,
  STATEMENTS_PER_BATCH,
  type Statement,
  subjects,
} from '@skerry/api'
import { repeatPauseMs } from '@skerry/policy'
import { type Signer, sha256Hex, signDocument, type VerifyKey, verifyDocument } from '@skerry/trust'
import { openWire, type Wire } from './wire.ts'

// One site's protocol with the product's own documents: signs what goes up, chains and keeps it until the hub has it,
// verifies what comes down and knows the newest order. What becomes of an order is its owner's: a benchmark answers, a
// story has a node carry it out.

export type Credential = {
  readonly cluster: string
  readonly signer: Signer
  readonly jwt: string
  readonly signNonce: (nonce: string) => string
  readonly routingToken: string
  readonly transcript: string
  /** Digest of the hub's acceptance: the marker until the hub has given one. */
  readonly acceptance: string
}

/** What a statement says; the site adds who, when and after what. */
export type Said = Pick<Statement, 'kind' | 'body'>
/** Where a statement stands in the chain: what evidence answers. */
type Place = Pick<Statement, 'seq' | 'prev' | 'marker'>
/** What a node tells of itself beside its statements. */
export type Told = Pick<NodeStatus, 'phase' | 'reason' | 'message' | 'booted' | 'slot' | 'bootId' | 'failed' | 'holds'>

export type Site = {
  readonly name: string
  /** The newest order, verified. */
  holds(): DesiredState | undefined
  isConnected(): boolean
  /** Connects, subscribes, and takes what it shall be: resolves when it holds that, verified, or was told that there is nothing. What was said meanwhile leaves first. */
  join(port: number, ca?: string): Promise<void>
  /** Says that it is here, signed, in the way that is not stored. */
  beat(): Promise<void>
  /** The newest status, while it is connected. */
  introduce(): Promise<void>
  /** Says something for ever: now, or once it is connected again. Returns its number. */
  say(make: Said | ((place: Place) => Said)): number
  /** Digests of all that it said, by number. */
  outbox(): ReadonlyMap<number, string>
  leave(): void
}

export type SiteOptions = {
  readonly credential: Credential
  readonly desiredKeys: ReadonlyMap<string, VerifyKey>
  readonly status: () => Told
  readonly onNotified?: () => void
  /** NATS promises nothing for a core message: what was not answered is repeated, with an agent's own pauses. */
  readonly onRepeated?: (what: 'asked' | 'sent') => void
  /** An order that is newer than any before: what is done at once is done before the site has joined. */
  readonly onOrder: (order: DesiredState, digest: string, site: Site) => Promise<void>
  /** Statements up to this number have left. */
  readonly onSent?: (upTo: number) => void
  /** The connection ended without being asked to. */
  readonly onLost: (reason: string) => void
  readonly onFault: (reason: string) => void
}

/** So long an agent waits for an answer before it begins to wait for the time to ask again. */
const ANSWER_MS = 2_000
export const AGENT_VERSION = 'simulated'

export function openSite({
  credential,
  desiredKeys,
  status,
  onNotified,
  onRepeated,
  onOrder,
  onSent,
  onLost,
  onFault,
}: SiteOptions): Site {
  const { cluster, signer, routingToken: t } = credential
  const node = cluster
  const id = { cluster, node, incarnation: 1 }
  const inbox = `${subjects.inbox(cluster, node, t)}.get`
  let wire: Wire | undefined
  let held: DesiredState | undefined
  let counter = 0
  let prev = credential.transcript
  let marker = credential.acceptance
  let answered: ((error?: Error) => void) | undefined
  const digests = new Map<number, string>()
  let waiting: { readonly seq: number; readonly text: string }[] = []
  let sentUpTo = 0
  let leaving = Promise.resolve()
  /** Each connection has a number: one that was left while it was being opened is none. */
  let joins = 0
  const asking = repeated(ask, 'asked')
  const saying = repeated(send, 'sent')

  const site: Site = {
    name: cluster,
    holds: () => held,
    isConnected: () => wire !== undefined,
    async join(port, ca) {
      joins += 1
      const mine = joins
      const opened = await openWire({
        ...{ port, ca, jwt: credential.jwt, sign: credential.signNonce },
        subscriptions: [inbox, subjects.notify(cluster, t), subjects.ack(cluster, node, t)],
        onMessage: (subject, code, payload) => {
          if (subject === subjects.ack(cluster, node, t)) acknowledge(payload)
          else if (subject === inbox) void take(code, payload).catch((error: unknown) => onFault(String(error)))
          else if (subject === subjects.notify(cluster, t)) {
            onNotified?.()
            ask()
          }
        },
        onFault: (reason) => {
          site.leave()
          onLost(reason)
        },
      })
      if (mine !== joins) {
        opened.close()
        throw new Error('the site left')
      }
      wire = opened
      if (waiting.length > 0) send()
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      answered = (error) => (error ? reject(error) : resolve())
      ask()
      await promise
    },
    async beat() {
      const beat = await signDocument('Heartbeat', { kind: 'Heartbeat', ...id, seq: digests.size }, signer)
      wire?.publish(subjects.heartbeat(cluster, node), undefined, beat)
    },
    async introduce() {
      if (!wire) return
      counter += 1
      const text = await signDocument(
        'NodeStatus',
        {
          kind: 'NodeStatus',
          ...id,
          counter,
          seq: digests.size,
          at: new Date().toISOString(),
          ...status(),
          driver: AGENT_VERSION,
          tuf: { root: 1, timestamp: 1, snapshot: 1, targets: 1 },
          agentVersion: AGENT_VERSION,
        },
        signer,
      )
      wire?.publish(subjects.report(cluster, node, 'status'), undefined, text)
    },
    say(make) {
      const place = { seq: digests.size + 1, prev, marker }
      const said = typeof make === 'function' ? make(place) : make
      const text = JSON.stringify({ ...id, ...place, time: { wall: new Date().toISOString() }, ...said })
      prev = sha256Hex(text)
      digests.set(place.seq, prev)
      waiting.push({ seq: place.seq, text })
      saying.over()
      send()
      return place.seq
    },
    outbox: () => digests,
    leave() {
      joins += 1
      asking.over()
      saying.over()
      answered?.(new Error('the site left'))
      answered = undefined
      wire?.close()
      wire = undefined
    },
  }

  function ask(): void {
    wire?.publish(subjects.getDesired(cluster, t), inbox, '')
    asking.waits(ANSWER_MS)
  }

  async function take(code: string | undefined, payload: Buffer): Promise<void> {
    asking.over()
    if (payload.length > 0 && code === undefined) {
      const { payload: order, digest } = await verifyDocument('DesiredState', payload.toString('utf8'), desiredKeys, {
        aud: cluster,
      })
      if (!held || comparePositions(order, held) > 0) {
        held = order
        const done = onOrder(order, digest, site)
        joined()
        await done
      }
    }
    joined()
  }

  function joined(): void {
    answered?.()
    answered = undefined
  }

  // One batch after another, or an older one could overtake a newer one.
  function send(): void {
    leaving = leaving.then(sendBatch).catch((error: unknown) => onFault(String(error)))
  }

  async function sendBatch(): Promise<void> {
    const batch = waiting.slice(0, STATEMENTS_PER_BATCH)
    const last = batch.at(-1)
    if (!wire || !last) return
    const statements = batch.map(({ text }) => text)
    const text = await signDocument('StatementBatch', { kind: 'StatementBatch', ...id, statements }, signer)
    if (!wire) return
    wire.publish(subjects.report(cluster, node, 'statements'), undefined, text)
    sentUpTo = last.seq
    onSent?.(last.seq)
    saying.waits(0)
  }

  // Which watermark it is, is read here and not verified: what is acted out is the hub's load, not a site's safety.
  function acknowledge(payload: Buffer): void {
    const [, body = ''] = payload.toString('latin1').split('.')
    const ack = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as Ack
    marker = sha256Hex(ack.marker)
    waiting = waiting.filter(({ seq }) => seq > ack.watermark)
    if (waiting.length === 0) saying.over()
    else if (sentUpTo <= ack.watermark) send()
  }

  // Does it again until it is over, after pauses that grow.
  function repeated(act: () => void, what: 'asked' | 'sent') {
    let times = 0
    let timer: NodeJS.Timeout | undefined
    const again = () => {
      times += 1
      onRepeated?.(what)
      act()
    }
    return {
      waits(ms: number): void {
        clearTimeout(timer)
        timer = setTimeout(again, ms + repeatPauseMs(times, Math.random()))
      },
      over(): void {
        clearTimeout(timer)
        times = 0
      },
    }
  }

  return site
}
