import { parse, RegistrationAnswer, type SiteBundle } from '@skerry/api'
import { parseStrictJson, type Trust } from '@skerry/trust'
import type { Logger } from 'pino'
import { reasonOf } from '../reason.ts'
import type { Database } from '../store/database.ts'
import { pause } from '../waits.ts'
import { loadEnrollment } from './enrollment.ts'
import { ask } from './http.ts'

// The hub's last word to a node that it does not let speak, kept for the person at the site.

/** The state of its registration; `Refused` where the hub did not even say so much. */
export type HubWord = {
  readonly state: RegistrationAnswer['state'] | 'Refused'
  readonly reason: string
  readonly message: string
  readonly fingerprint?: string
}

export function keepWord(database: Pick<Database, 'load' | 'save'>, word: HubWord): void {
  if (JSON.stringify(word) !== JSON.stringify(database.load('registration'))) database.save('registration', word)
}

export function forgetWord(database: Pick<Database, 'forget'>): void {
  database.forget('registration')
}

type Asking = {
  readonly bundle: SiteBundle
  readonly hubUrls: () => readonly string[]
  readonly database: Database
  readonly trust: Pick<Trust, 'hub'>
  readonly log: Logger
  readonly signal: AbortSignal
}

/** Asks the hub, until the signal, what it says of this node whenever its statements are not taken in. */
export async function watchStanding(
  asking: Asking,
  { connected, oldest }: { connected: () => boolean; oldest: () => number | undefined },
  /** Statements that wait for so long, with a connection, ask why: a suspended node keeps its credential. */
  { unheardMs, againMs }: { unheardMs: number; againMs: number },
): Promise<void> {
  const { signal, log } = asking
  let waits: { seq: number; askAtMs: number } | undefined
  while (!signal.aborted) {
    const seq = connected() ? oldest() : undefined
    const nowMs = performance.now()
    if (seq === undefined) waits = undefined
    else if (waits?.seq !== seq) waits = { seq, askAtMs: nowMs + unheardMs }
    else if (nowMs >= waits.askAtMs) {
      waits = { seq, askAtMs: nowMs + againMs * (0.75 + Math.random() / 2) }
      await lookAtStanding(asking).catch((error: unknown) =>
        log.debug({ reason: reasonOf(error) }, 'nobody says why statements are not taken in'),
      )
    }
    await pause(Math.min(unheardMs / 5, 60_000), signal).catch(() => undefined)
  }
}

async function lookAtStanding(asking: Asking): Promise<void> {
  const { database, log } = asking
  const word = await askStanding(asking)
  if (word === undefined) return
  if (word.state === 'Accepted') return forgetWord(database)
  log.warn({ state: word.state, reason: word.reason, message: word.message }, 'the hub takes nothing of this node')
  keepWord(database, word)
}

/** A refused entry names no decision: where one was made about this node, its registration says which. */
export async function keepRefusal(asking: Asking, reason: string, message: string): Promise<void> {
  const word = reason === 'NotAllowed' ? await askStanding(asking).catch(() => undefined) : undefined
  asking.signal.throwIfAborted()
  const decided = word && DECIDED.has(word.state)
  keepWord(asking.database, decided ? word : { state: 'Refused', reason, message })
}

const DECIDED: ReadonlySet<HubWord['state']> = new Set(['Pending', 'Denied', 'Suspended', 'Revoked'])

/** Undefined for a node that has no registration to ask about. */
async function askStanding({ bundle, trust, hubUrls, database, signal }: Asking): Promise<HubWord | undefined> {
  const id = loadEnrollment(database)?.registrationId
  if (id === undefined) return undefined
  const caPem = [bundle.caPem, trust.hub().caPem].filter(Boolean).join('\n')
  const { status, body } = await ask(hubUrls(), caPem, 'GET', `/agent/v1/registrations/${id}`, undefined, signal)
  if (status === 404)
    return { state: 'Left', reason: 'NotRegistered', message: 'the hub knows no such registration any more' }
  if (status !== 200) throw new Error(`the hub answered ${status}`)
  const answer = parse(RegistrationAnswer, parseStrictJson(Buffer.from(body), { maxBytes: 65_536 }), 'answer')
  const { state, reason, message, fingerprint } = answer
  return { state, reason, message, fingerprint }
}

/** What the person at the site does next. */
export function nextStep({ state, reason, fingerprint }: HubWord): string {
  const accept = (what: string) => `whoever runs the hub types: skerry ${what}`
  switch (state) {
    case 'Challenged':
    case 'Pending':
      return fingerprint === undefined
        ? 'nothing: the hub decides'
        : `read the fingerprint to whoever runs the hub; when "skerry get registrations" shows the same one there, ${accept(`cluster accept <cluster> --fingerprint ${fingerprint}`)}`
    case 'Suspended':
      return `two machines spoke as this node: find the copy and switch it off; then ${accept('node accept <cluster>/<node>')}`
    case 'Accepted':
      return 'nothing'
    case 'Denied':
    case 'Left':
    case 'Revoked':
    case 'Refused':
      if (reason === 'NoTpm') return 'switch the TPM on in the firmware, or start the agent with --tpm <path>'
      if (reason.startsWith('Token'))
        return 'ask whoever runs the hub for another bundle (skerry join-token create), and start the agent with it (--bundle)'
      if (reason === 'ProfileUnknown' || reason === 'EkUntrusted')
        return 'read the message to whoever signs hardware profiles: once one that fits is published (skerry image sign, skerry image publish), this node is let in; it asks again by itself'
      // Nobody has decided about this node yet, so there is nothing that could be decided otherwise.
      if (state === 'Refused' && reason !== 'NotAllowed')
        return 'read the message to whoever runs the hub; this node asks again by itself'
      return `ask whoever runs the hub why; this node asks again by itself, and to let it in ${accept('node accept <cluster>/<node>')}`
    default: {
      const never: never = state
      return never
    }
  }
}
