import { type Ack, comparePositions, type DesiredState, type NodeStatus, type Statement, subjects } from '@skerry/api'
import { type Signer, sha256Hex, signDocument, type VerifyKey, verifyDocument } from '@skerry/trust'
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
  /** What an agent does that waits: asks once more for what it shall be, sends once more what was not acknowledged. Says whether it did. */
  again(awaited: string): { readonly asked: boolean; readonly sent: boolean }
  leave(): void
}

export type SiteOptions = {
  readonly credential: Credential
  readonly desiredKeys: ReadonlyMap<string, VerifyKey>
  readonly onNotified: () => void
  readonly onVerified: (site: Site) => void
  readonly onFault: (reason: string) => void
}

/** An answer that has not come by then is asked for again. */
const ASK_AGAIN_MS = 5_000

export function openSite({ credential, desiredKeys, onNotified, onVerified, onFault }: SiteOptions): Site {
  const { cluster, signer, routingToken: t } = credential
  const node = cluster
  const id = { cluster, node, incarnation: 1 }
  const inbox = `${subjects.inbox(cluster, node, t)}.get`
  let wire: Wire | undefined
  let held: DesiredState | undefined
  let seq = 0
  let counter = 0
  let prev = credential.transcript
  let unacknowledged: string | undefined
  let answered: (() => void) | undefined

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
      const repeat = setInterval(ask, ASK_AGAIN_MS)
      await promise.finally(() => clearInterval(repeat))
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
    again(awaited) {
      const asked = held?.image?.rollout !== awaited
      const sent = unacknowledged !== undefined
      if (asked) ask()
      if (unacknowledged !== undefined) say(unacknowledged)
      return { asked, sent }
    },
    leave() {
      wire?.close()
      wire = undefined
    },
  }

  function ask(): void {
    wire?.publish(subjects.getDesired(cluster, t), inbox, '')
  }

  async function take(status: string | undefined, payload: Buffer): Promise<void> {
    if (payload.length > 0 && status === undefined) {
      const { payload: document, digest } = await verifyDocument(
        'DesiredState',
        payload.toString('utf8'),
        desiredKeys,
        { aud: cluster },
      )
      if (!held || comparePositions(document, held) > 0) {
        held = document
        onVerified(site)
        await tell(document, digest)
      }
    }
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
    say(batch)
  }

  function say(batch: string): void {
    wire?.publish(subjects.report(cluster, node, 'statements'), undefined, batch)
  }

  // Which watermark it is, is read here and not verified: this is the hub's load, not a site's safety.
  function acknowledge(payload: Buffer): void {
    const [, body = ''] = payload.toString('latin1').split('.')
    const { watermark } = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as Ack
    if (watermark >= seq) unacknowledged = undefined
  }

  return site
}
