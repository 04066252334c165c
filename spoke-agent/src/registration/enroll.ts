import {
  parse,
  Refusal,
  RegistrationAnswer,
  RegistrationChallenge,
  type RegistrationRequest,
  type SiteBundle,
} from '@skerry/api'
import { nodeIdOf } from '@skerry/policy'
import {
  keyRing,
  parseStrictJson,
  signDocument,
  type Trust,
  thumbprint,
  transcriptDigest,
  verifyDocument,
  writeSecret,
} from '@skerry/trust'
import type { Logger } from 'pino'
import { reasonOf } from '../reason.ts'
import type { Database } from '../store/database.ts'
import type { Hardware } from '../tpm/index.ts'
import { pause } from '../waits.ts'
import { type Asked, believeAcceptance, type Enrollment, isSameLife, loadEnrollment } from './enrollment.ts'
import { endLife } from './former.ts'
import { type Answer, ask } from './http.ts'
import { credsFile, forgetEntrySeed, openEntrySeed } from './keys.ts'
import { publicUserKey } from './nkey.ts'
import { openNodeKey } from './node-key.ts'
import { forgetWord, keepRefusal, keepWord } from './standing.ts'
import { type TpmEntry, tpmEntry } from './tpm-entry.ts'

// The three calls by which a node comes to belong, comes back, and renews its credential. Killed between any two, it
// begins again with the same keys and meets the same row at the hub.

export type EnrollOptions = {
  readonly dataDir: string
  readonly database: Database
  readonly bundle: SiteBundle
  readonly trust: Pick<Trust, 'hub' | 'refresh' | 'versions'>
  /** Where the hub may be now: hub.json can have changed it since the last look. */
  readonly hubUrls: () => readonly string[]
  readonly facts: {
    readonly nodeName: string
    readonly hardwareId: string
    readonly claims: Readonly<Record<string, string>>
    readonly cluster?: string
    readonly agentVersion: string
  }
  /** Its TPM; undefined where it has none, or shall not use it. */
  readonly hardware: Hardware | undefined
  readonly log: Logger
  readonly now: () => number
  /** The longest pause between two tries; a minute unless it is said. */
  readonly slowestMs?: number
  readonly signal: AbortSignal
}

/** What the hub said yes to. Nothing of it is kept before `keep()`. */
export type Entry = {
  readonly enrollment: Enrollment
  /** It goes on with the life that is kept: only the credential is new. */
  readonly sameLife: boolean
  /** Keeps credential and enrollment. Statements of another life must not be written any more. */
  keep(): void
}

const SLOWEST_MS = 60_000
const FIRST_MS = 1_000
/** Exchanges of one entry that are remembered; after more, with no end, the entry is begun anew. */
const EXCHANGES_KEPT = 32
const FIRST_POLL_MS = 200
const LAST_POLL_MS = 15_000

/** Asks until the hub accepts, with longer and longer pauses; a denial is asked about again, slowly, for ever. */
export async function enroll(options: EnrollOptions): Promise<Entry> {
  const { log, signal, dataDir, slowestMs = SLOWEST_MS } = options
  for (let attempt = 0; ; attempt += 1) {
    signal.throwIfAborted()
    let waitMs = Math.min(FIRST_MS * 2 ** Math.min(attempt, 10), slowestMs)
    let decided = false
    try {
      return await tryOnce(options)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof NotYet) {
        if (error.refusedAs !== undefined) await keepRefusal(options, error.refusedAs, error.message)
        if (error.field === 'natsKey') forgetEntrySeed(dataDir)
        // What a person must decide is not asked about often; a key that is not taken is simply replaced.
        else decided = error.decided
        if (decided) waitMs = slowestMs
        if (error.retryAfterMs !== undefined) waitMs = Math.min(error.retryAfterMs, slowestMs)
      }
      log.warn({ reason: reasonOf(error), decided }, 'registration waits and tries again')
    }
    await pause(waitMs * (0.5 + Math.random() / 2), signal)
  }
}

/** The hub did not say yes. */
class NotYet extends Error {
  /** It said no, and only a person changes that. */
  readonly decided: boolean
  readonly retryAfterMs: number | undefined
  /** The member of the request that is at fault. */
  readonly field: string | undefined
  /** The code of a decided refusal that came before there was a registration to tell of. */
  readonly refusedAs: string | undefined
  constructor(
    message: string,
    more: { decided?: boolean; retryAfterMs?: number | undefined; field?: string; refusedAs?: string } = {},
  ) {
    super(message)
    this.refusedAs = more.refusedAs
    this.decided = more.decided ?? false
    this.retryAfterMs = more.retryAfterMs
    this.field = more.field
  }
}

async function tryOnce(options: EnrollOptions): Promise<Entry> {
  const { dataDir, database, bundle, facts, log, signal, trust, hubUrls } = options
  const nodeKey = await openNodeKey(dataDir, options.hardware)
  const natsSeed = openEntrySeed(dataDir)
  await lookForNews(options)
  const before = loadEnrollment(database)
  // A node that kept its memory goes on in the same life; one that lost it, or its key, begins the next.
  const life = before?.nodeKeyThumbprint === nodeKey.thumbprint ? before : undefined
  const tpm = await tpmOf(options, life)
  const request: RegistrationRequest = {
    kind: 'RegistrationRequest',
    ...(bundle.token ? { token: bundle.token } : {}),
    ...(facts.cluster ? { cluster: facts.cluster } : {}),
    nodeName: facts.nodeName,
    class: tpm ? 'tpm' : 'software-key',
    ...tpm?.members,
    nodeKey: nodeKey.jwk,
    natsKey: publicUserKey(natsSeed),
    hardwareId: facts.hardwareId,
    claims: { ...facts.claims },
    acceptHub: bundle.acceptHub,
    agentVersion: facts.agentVersion,
    ...(life ? { incarnation: life.incarnation } : {}),
  }
  const caPem = [bundle.caPem, trust.hub().caPem].filter(Boolean).join('\n')
  const call = (method: 'GET' | 'POST', path: string, body?: string) =>
    ask(hubUrls(), caPem, method, `/agent/v1/registrations${path}`, body, signal)

  const text = await signDocument('RegistrationRequest', request, nodeKey)
  const asked = await call('POST', '', text)
  const challenge = parse(RegistrationChallenge, json(asked, 201), 'challenge')
  const transcript = transcriptDigest(text, asked.body)
  // Kept before it is proven: killed here, the next try meets the acceptance of this exchange.
  const exchanges = [...(database.load<string[]>('exchanges') ?? []), transcript].slice(-EXCHANGES_KEPT)
  database.save('exchanges', exchanges)
  const answered = await tpm?.answer(challenge, transcript)
  const certified = answered && (await nodeKey.certify?.(transcript))
  const proof = await signDocument(
    'RegistrationProof',
    {
      ...{ kind: 'RegistrationProof', id: challenge.id, nonce: challenge.nonce, transcript },
      ...(answered ? { tpm: { ...answered.tpm, ...(certified ? { nodeKey: certified } : {}) } } : {}),
    },
    nodeKey,
  )
  let answer = parse(RegistrationAnswer, json(await call('POST', `/${challenge.id}/proof`, proof), 200), 'answer')
  log.info(
    { fingerprint: answer.fingerprint, state: answer.state, class: request.class },
    'the hub has this registration',
  )
  const told = () => {
    const { state, reason, message, fingerprint } = answer
    keepWord(database, { state, reason, message, fingerprint })
  }
  told()
  for (let polls = 0; answer.state !== 'Accepted' || !answer.acceptance || !answer.natsJwt; polls += 1) {
    const { state, reason, message, fingerprint } = answer
    if (state !== 'Pending' && state !== 'Accepted')
      throw new NotYet(`the hub says ${state}: ${message} (fingerprint ${fingerprint})`, { decided: true })
    if (reason === 'AwaitingProof') throw new NotYet(message)
    await pause(Math.min(FIRST_POLL_MS * 2 ** Math.min(polls, 8), LAST_POLL_MS) * (0.5 + Math.random() / 2), signal)
    answer = parse(RegistrationAnswer, json(await call('GET', `/${challenge.id}`), 200), 'answer')
    told()
  }
  if (answer.id !== challenge.id) throw new NotYet('the hub answered about another registration')
  return judge(
    options,
    answer.acceptance,
    answer.natsJwt,
    natsSeed,
    {
      nodeKeyThumbprint: nodeKey.thumbprint,
      natsKey: request.natsKey,
      class: request.class,
      ekSha256: tpm?.ekSha256,
      akName: tpm?.akName,
      node: nodeIdOf(request.nodeName),
      cluster: life ? life.cluster : request.cluster,
      transcripts: life ? [life.transcript, ...exchanges] : exchanges,
      incarnation: life ? life.incarnation : 1,
    },
    { registrationId: challenge.id, ...(answered ? { bank: answered.bank } : {}) },
  )
}

// What it registered as it stays: a TPM that was switched on since, or went, is another identity.
async function tpmOf({ hardware }: EnrollOptions, life: Enrollment | undefined): Promise<TpmEntry | undefined> {
  if (life?.class === 'software-key') return undefined
  if (hardware) return tpmEntry(hardware, life?.ekSha256)
  if (life?.class === 'tpm')
    throw new NotYet(
      'this node is registered with a TPM, and there is none: switch it on in the firmware, or say with --tpm where it is',
      { decided: true, refusedAs: 'NoTpm' },
    )
  return undefined
}

// The keys that may sign an acceptance are in hub.json, which offline keys signed. It is read whatever the time: a clock
// years ahead calls everything expired, one at 1970 nothing, and neither may keep a site away. What is installed is
// judged by its own rules. Once hub.json is trusted it stays in force, also when nothing can be fetched.
async function lookForNews({ trust, now, signal, log }: EnrollOptions): Promise<void> {
  const refresh = (nowMs: number) => trust.refresh(nowMs, signal)
  try {
    await refresh(now()).catch((error: unknown) => {
      if (error instanceof Refusal && error.code === 'MetadataExpired') return refresh(0)
      throw error
    })
  } catch (error) {
    signal.throwIfAborted()
    if (trust.versions().targets === 0) throw error
    log.info({ reason: reasonOf(error) }, 'registering with the hub description that is known')
  }
}

// What the hub signed is believed only as far as it answers what this node asked.
async function judge(
  { dataDir, database, trust, now }: EnrollOptions,
  acceptance: string,
  natsJwt: string,
  natsSeed: string,
  asked: Asked,
  kept: Pick<Enrollment, 'registrationId' | 'bank'>,
): Promise<Entry> {
  const listed = trust.hub().keys.acceptance
  const keys = keyRing(listed.map(({ jwk }) => jwk))
  const signed = await verifyDocument('Acceptance', acceptance, keys)
  // A clock at 1970 must keep nobody away: only the end of a key counts here, not its beginning.
  const { notAfter } = listed.find(({ jwk }) => thumbprint(jwk) === signed.thumbprint) ?? {}
  if (notAfter !== undefined && now() >= Date.parse(notAfter))
    // The hub keeps what it answered an exchange. Another NATS key is another exchange, signed with the key that serves.
    throw new NotYet(`the key that signed the acceptance may sign nothing since ${notAfter}`, { field: 'natsKey' })
  const payload = await believeAcceptance(acceptance, keys, asked).catch((error: unknown) => {
    // Of an exchange that is forgotten: another NATS key is another exchange, which the hub accepts anew.
    if (error instanceof Refusal && error.field === 'transcript') throw new NotYet(error.message, { field: 'natsKey' })
    throw error
  })
  const fresh: Enrollment = {
    cluster: payload.cluster,
    node: payload.node,
    incarnation: payload.incarnation,
    class: payload.class,
    routingToken: payload.routingToken,
    acceptance,
    transcript: payload.transcript,
    nodeKeyThumbprint: payload.nodeKeyThumbprint,
    natsKey: payload.natsKey,
    ...kept,
    ...(payload.ekSha256 === undefined ? {} : { ekSha256: payload.ekSha256 }),
    acceptedAt: new Date(now()).toISOString(),
    credentialLifeMs: lifeMsOf(natsJwt),
  }
  const before = loadEnrollment(database)
  const sameLife = before !== undefined && isSameLife(before, fresh)
  // The marker of a life is the acceptance that began it.
  const enrollment = sameLife ? { ...fresh, acceptance: before.acceptance } : fresh
  return {
    enrollment,
    sameLife,
    keep() {
      writeSecret(credsFile(dataDir), credsText(natsJwt, natsSeed))
      database.transact(() => {
        if (!sameLife) endLife(database, before?.transcript)
        // What one cluster was told binds no other.
        if (before && before.cluster !== fresh.cluster) database.forget('edge_site')
        database.save('enrollment', enrollment)
        forgetWord(database)
        database.forget('exchanges')
      })
      forgetEntrySeed(dataDir)
    },
  }
}

function json({ status, body, retryAfterMs }: Answer, expected: number): unknown {
  if (status === expected) return parseStrictJson(Buffer.from(body), { maxBytes: 1_048_576 })
  const { message, field, code } = statusOf(body)
  const decided = status === 403 || status === 409
  throw new NotYet(message ?? `the hub answered ${status}`, {
    ...{ decided, retryAfterMs },
    ...(field ? { field } : {}),
    // A NATS key is simply made anew; everything else waits for a person.
    ...(decided && field !== 'natsKey' ? { refusedAs: code ?? `Http${status}` } : {}),
  })
}

/** What a Status says, where the answer is one: a proxy on the way may answer anything. */
function statusOf(body: string): { message?: string; field?: string; code?: string } {
  try {
    const value = parseStrictJson(Buffer.from(body), { maxBytes: 65_536 }) as {
      message?: unknown
      details?: { code?: unknown; causes?: { field?: unknown }[] }
    } | null
    const field = value?.details?.causes?.[0]?.field
    return {
      ...(typeof value?.message === 'string' ? { message: value.message } : {}),
      ...(typeof field === 'string' ? { field } : {}),
      ...(typeof value?.details?.code === 'string' ? { code: value.details.code } : {}),
    }
  } catch {
    return {}
  }
}

function lifeMsOf(natsJwt: string): number {
  const claims = parseStrictJson(Buffer.from(natsJwt.split('.')[1] ?? '', 'base64url'), { maxBytes: 8_192 })
  const { exp, iat } = claims as { exp?: unknown; iat?: unknown }
  if (typeof exp !== 'number' || typeof iat !== 'number' || exp <= iat)
    throw new Refusal('InvalidField', 'the NATS credential has no life', { field: 'natsJwt' })
  return (exp - iat) * 1000
}

function credsText(jwt: string, seed: string): string {
  return `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`
}
