import { type Ack, comparePositions, type DesiredState, type NodeStatus, type Statement, subjects } from '@skerry/api'
import { repeatPauseMs } from '@skerry/policy'
import { type Signer, sha256Hex, signDocument, type VerifyKey, verifyDocument } from '@skerry/trust'
import type { Turns } from './turns.ts'
import { openWire, type Wire } from './wire.ts'

// One site's protocol with the product's own documents: signs what goes up, verifies what comes down, keeps the newest
// order. Nothing is staged or booted: this is the load of a fleet on its hub, not a fleet.

export type Credential = {
  readonly cluster: string
  readonly signer: Signer
  readonly jwt: string
  readonly signNonce: (nonce: string) => string
  readonly routingToken: string
  readonly transcript: string
}

export type Site = {
  readonly name: string
  /** What it holds, verified. */
  holds(): DesiredState | undefined
  /** Connects, subscribes, and takes what it shall be: resolves when it holds that, verified, or was told that there is nothing. */
  join(port: number): Promise<void>
  /** Says that it is here, signed, in the way that is not stored. */
  beat(): Promise<void>
  /** The newest status, and what boot it runs: what an agent tells when it comes. */
  introduce(): Promise<void>
  leave(): void
}

export type SiteOptions = {
  readonly credential: Credential
  readonly desiredKeys: ReadonlyMap<string, VerifyKey>
  readonly turns: Turns
  readonly onNotified: () => void
  /** NATS promises nothing for a core message: what was not answered is repeated, with an agent's own pauses. */
  readonly onRepeated: (what: 'asked' | 'sent') => void
  readonly onVerified: (site: Site) => void
  readonly onFault: (reason: string) => void
}

/** So long an agent waits for an answer before it begins to wait for the time to ask again. */
const ANSWER_MS = 2_000

export function openSite({
  credential,
  desiredKeys,
  turns,
  onNotified,
  onRepeated,
  onVerified,
  onFault,
}: SiteOptions): Site {
  const { cluster, signer, routingToken: t } = credential
  const node = cluster
  const id = { cluster, node, incarnation: 1 }
  const inbox = `${subjects.inbox(cluster, node, t)}.get`
  let wire: Wire | undefined
  let held: DesiredState | undefined
  let seq = 0
  let counter = 0
  let prev = credential.transcript
  let answered: (() => void) | undefined
  const asking = repeated(ask, 'asked')
  const saying = repeated(() => say(), 'sent')
  let unacknowledged = ''

  const site: Site = {
    name: cluster,
    holds: () => held,
    async join(port) {
      wire = await openWire({
        port,
        jwt: credential.jwt,
        sign: credential.signNonce,
        subscriptions: [inbox, subjects.notify(cluster, t), subjects.ack(cluster, node, t)],
        onMessage: (subject, status, payload) => {
          if (subject === subjects.ack(cluster, node, t)) acknowledge(payload)
          else if (subject === inbox) void take(status, payload).catch((error: unknown) => onFault(String(error)))
          else if (subject === subjects.notify(cluster, t)) {
            onNotified()
            ask()
          }
        },
        onFault,
      })
      const { promise, resolve } = Promise.withResolvers<void>()
      answered = resolve
      ask()
      await promise
    },
    async beat() {
      wire?.publish(
        subjects.heartbeat(cluster, node),
        undefined,
        await signDocument('Heartbeat', { kind: 'Heartbeat', ...id, seq }, signer),
      )
    },
    async introduce() {
      counter += 1
      const status: NodeStatus = {
        kind: 'NodeStatus',
        ...id,
        counter,
        seq,
        at: new Date().toISOString(),
        phase: 'Idle',
        reason: 'Idle',
        message: 'nothing to do',
        booted: { imageSha256: sha256Hex('factory') },
        slot: 'a',
        bootId: 'bench',
        driver: 'bench',
        tuf: { root: 1, timestamp: 1, snapshot: 1, targets: 1 },
        failed: [],
        agentVersion: 'bench',
      }
      wire?.publish(
        subjects.report(cluster, node, 'status'),
        undefined,
        await signDocument('NodeStatus', status, signer),
      )
    },
    leave() {
      asking.over()
      saying.over()
      wire?.close()
      wire = undefined
    },
  }

  function ask(): void {
    wire?.publish(subjects.getDesired(cluster, t), inbox, '')
    asking.waits(ANSWER_MS)
  }

  async function take(status: string | undefined, payload: Buffer): Promise<void> {
    asking.over()
    if (payload.length > 0 && status === undefined) {
      turns.verifies()
      const { payload: document, digest } = await verifyDocument(
        'DesiredState',
        payload.toString('utf8'),
        desiredKeys,
        { aud: cluster },
      )
      if (!held || comparePositions(document, held) > 0) {
        held = document
        onVerified(site)
        joined()
        await turns.toAnswer()
        await tell(document, digest)
      }
    }
    joined()
  }

  function joined(): void {
    answered?.()
    answered = undefined
  }

  async function tell({ timeline, generation }: DesiredState, digest: string): Promise<void> {
    seq += 1
    const statement: Statement = {
      kind: 'accepted',
      ...id,
      seq,
      prev,
      marker: sha256Hex('marker'),
      time: { wall: new Date().toISOString() },
      body: { timeline, generation, digest },
    }
    const text = JSON.stringify(statement)
    prev = sha256Hex(text)
    const batch = await signDocument('StatementBatch', { kind: 'StatementBatch', ...id, statements: [text] }, signer)
    unacknowledged = batch
    saying.over()
    say()
  }

  function say(): void {
    wire?.publish(subjects.report(cluster, node, 'statements'), undefined, unacknowledged)
    saying.waits(0)
  }

  // Which watermark it is, is read here and not verified: this is the hub's load, not a site's safety.
  function acknowledge(payload: Buffer): void {
    const [, body = ''] = payload.toString('latin1').split('.')
    const { watermark } = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as Ack
    if (watermark >= seq) saying.over()
  }

  // Does it again until it is over, after pauses that grow.
  function repeated(act: () => void, what: 'asked' | 'sent') {
    let times = 0
    let timer: NodeJS.Timeout | undefined
    const again = () => {
      times += 1
      onRepeated(what)
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
