import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  parse,
  Refusal,
  RegistrationAnswer,
  RegistrationChallenge,
  type RegistrationRequest,
  type SiteBundle,
} from '@skerry/api'
import {
  keysInForce,
  openKeyFile,
  parseStrictJson,
  type Signer,
  signDocument,
  type Trust,
  thumbprint,
  transcriptDigest,
  verifyDocument,
  writeSecret,
} from '@skerry/trust'
import type { Logger } from 'pino'
import type { Database } from '../store/database.ts'
import { pause } from '../store/pause.ts'
import { type Enrollment, loadEnrollment } from './enrollment.ts'
import { type Answer, ask } from './http.ts'
import { createUserKey, publicUserKey } from './nkey.ts'

// The three calls by which a node comes to belong, comes back, and renews its credential. Killed between any two, it
// begins again with the same keys and meets the same row at the hub.

export type NodeFacts = {
  readonly nodeName: string
  readonly hardwareId: string
  readonly claims: Readonly<Record<string, string>>
  readonly cluster?: string
  readonly agentVersion: string
}
export type EnrollOptions = {
  readonly dataDir: string
  readonly database: Database
  readonly bundle: SiteBundle
  readonly trust: Trust
  readonly facts: NodeFacts
  readonly log: Logger
  readonly now: () => number
  readonly signal: AbortSignal
}

const SLOWEST_MS = 60_000

/** The node's key for statements: a file, made once. */
export function openNodeKey(dataDir: string): Signer {
  return openKeyFile(join(dataDir, 'keys', 'node.pem'), 'ES256')
}

/** Asks until the hub accepts, with longer and longer pauses; a denial is asked about again, slowly, for ever. */
export async function enroll(options: EnrollOptions): Promise<Enrollment> {
  const { log, signal } = options
  for (let attempt = 0; ; attempt += 1) {
    signal.throwIfAborted()
    let waitMs = Math.min(1_000 * 2 ** Math.min(attempt, 6), SLOWEST_MS)
    try {
      return await tryOnce(options)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof NotYet) waitMs = error.retryAfterMs ?? (error.state === 'Pending' ? 1_000 : SLOWEST_MS)
      const reason = error instanceof Error ? error.message : String(error)
      log.warn({ reason }, 'registration waits and tries again')
    }
    await pause(waitMs * (0.5 + Math.random() / 2), signal)
  }
}

class NotYet extends Error {
  readonly state: string
  readonly retryAfterMs: number | undefined
  constructor(state: string, message: string, retryAfterMs?: number) {
    super(message)
    this.state = state
    this.retryAfterMs = retryAfterMs
  }
}

async function tryOnce(options: EnrollOptions): Promise<Enrollment> {
  const { dataDir, database, bundle, facts, log, now, signal, trust } = options
  const nodeKey = openNodeKey(dataDir)
  const natsSeed = openNatsSeed(dataDir)
  // The keys that may sign an acceptance are in hub.json, which offline keys signed.
  await trust.refresh(now(), signal)
  const life = loadEnrollment(database)
  const request: RegistrationRequest = {
    kind: 'RegistrationRequest',
    ...(bundle.token ? { token: bundle.token } : {}),
    ...(facts.cluster ? { cluster: facts.cluster } : {}),
    nodeName: facts.nodeName,
    class: 'software-key',
    nodeKey: nodeKey.jwk,
    natsKey: publicUserKey(natsSeed),
    hardwareId: facts.hardwareId,
    claims: { ...facts.claims },
    acceptHub: bundle.acceptHub,
    agentVersion: facts.agentVersion,
    // A node that kept its memory goes on in the same life; one that lost it begins the next.
    ...(life ? { incarnation: life.incarnation } : {}),
  }
  const hubs = {
    urls: [...new Set([...bundle.hubUrls, ...trust.hub().apiUrls])],
    caPem: [bundle.caPem, trust.hub().caPem].filter(Boolean).join('\n'),
  }
  const call = (method: 'GET' | 'POST', path: string, body?: string) =>
    ask(hubs.urls, hubs.caPem, method, `/agent/v1/registrations${path}`, body, signal)

  const text = await signDocument('RegistrationRequest', request, nodeKey)
  const asked = await call('POST', '', text)
  const challenge = parse(RegistrationChallenge, json(asked, 201), 'challenge')
  const transcript = transcriptDigest(text, asked.body)
  const proof = await signDocument(
    'RegistrationProof',
    { kind: 'RegistrationProof', id: challenge.id, nonce: challenge.nonce, transcript },
    nodeKey,
  )
  let answer = parse(RegistrationAnswer, json(await call('POST', `/${challenge.id}/proof`, proof), 200), 'answer')
  log.info({ fingerprint: answer.fingerprint, state: answer.state }, 'the hub has this registration')
  for (let polls = 0; answer.state !== 'Accepted' || !answer.acceptance || !answer.natsJwt; polls += 1) {
    if (answer.state !== 'Pending' && answer.state !== 'Accepted')
      throw new NotYet(
        answer.state,
        `the hub says ${answer.state}: ${answer.message} (fingerprint ${answer.fingerprint})`,
      )
    await pause(Math.min(200 * 2 ** Math.min(polls, 8), 15_000) * (0.5 + Math.random() / 2), signal)
    answer = parse(RegistrationAnswer, json(await call('GET', `/${challenge.id}`), 200), 'answer')
  }
  return adopt(options, answer.acceptance, answer.natsJwt, nodeKey, natsSeed)
}

// What the hub signed is believed only as far as it names this node's own keys.
async function adopt(
  { dataDir, database, trust, now }: EnrollOptions,
  acceptance: string,
  natsJwt: string,
  nodeKey: Signer,
  natsSeed: string,
): Promise<Enrollment> {
  const keys = keysInForce(trust.hub().keys.acceptance, now())
  const { payload } = await verifyDocument('Acceptance', acceptance, keys)
  if (payload.nodeKeyThumbprint !== thumbprint(nodeKey.jwk) || payload.natsKey !== publicUserKey(natsSeed)) {
    throw new Refusal('WrongAudience', "the acceptance names other keys than this node's")
  }
  const before = loadEnrollment(database)
  const sameLife =
    before?.incarnation === payload.incarnation && before.cluster === payload.cluster && before.node === payload.node
  const enrollment: Enrollment = {
    cluster: payload.cluster,
    node: payload.node,
    incarnation: payload.incarnation,
    class: payload.class,
    routingToken: payload.routingToken,
    acceptance: sameLife ? before.acceptance : acceptance,
    transcript: payload.transcript,
    natsKey: payload.natsKey,
    acceptedAt: new Date(now()).toISOString(),
    credentialExpiresAt: expiryOf(natsJwt),
  }
  writeSecret(join(dataDir, 'nats.creds'), credsText(natsJwt, natsSeed))
  database.transact(() => {
    // Statements of a life that ended belong to no chain the hub still follows.
    if (before && !sameLife) database.sql.exec(`delete from statement; delete from kept where name = 'marker'`)
    database.save('enrollment', enrollment)
  })
  return enrollment
}

/** When to ask for a new credential: at a point between half and two thirds of its life that is this node's own. */
export function renewalAtMs({ acceptedAt, credentialExpiresAt, natsKey }: Enrollment): number {
  const [from, to] = [Date.parse(acceptedAt), Date.parse(credentialExpiresAt)]
  const own = createHash('sha256').update(`${natsKey}${acceptedAt}`).digest().readUInt32BE(0) / 2 ** 32
  return from + (to - from) * (1 / 2 + own / 6)
}

function openNatsSeed(dataDir: string): string {
  const file = join(dataDir, 'keys', 'nats.seed')
  if (!existsSync(file)) writeSecret(file, createUserKey())
  return readFileSync(file, 'utf8').trim()
}

function json({ status, body, retryAfterMs }: Answer, expected: number): unknown {
  const value = parseStrictJson(Buffer.from(body), { maxBytes: 1_048_576 })
  if (status === expected) return value
  const message =
    typeof value === 'object' && value !== null && 'message' in value
      ? String(value.message)
      : `the hub answered ${status}`
  throw new NotYet(
    status === 403 || status === 409 ? 'Refused' : 'Pending',
    message,
    retryAfterMs ?? (status === 403 || status === 409 ? SLOWEST_MS : undefined),
  )
}

function expiryOf(natsJwt: string): string {
  const { exp } = JSON.parse(Buffer.from(natsJwt.split('.')[1] ?? '', 'base64url').toString('utf8')) as { exp: number }
  return new Date(exp * 1000).toISOString()
}

function credsText(jwt: string, seed: string): string {
  return `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`
}
