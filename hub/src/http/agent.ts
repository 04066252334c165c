import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  CLUSTER_SET_LABEL,
  JOIN_TOKEN_PATTERN,
  LABEL_PATTERN,
  Refusal,
  type RegistrationAnswer,
  type RegistrationChallenge,
  type RegistrationRequest,
} from '@skerry/api'
import { judgeToken, nodeIdOf } from '@skerry/policy'
import { sha256Hex, thumbprint, transcriptDigest, verifyDocument, verifyKey, verifySelfSigned } from '@skerry/trust'
import type { FastifyInstance } from 'fastify'
import { recordAudit } from '../store/audit.ts'
import { recordEvent } from '../store/events.ts'
import { identityByKey, loadIdentity, loadRequest, markProven, saveRequest, tokenUses } from '../store/registrations.ts'
import { createObject, getObject, saveStatus, updateObject } from '../store/resources.ts'
import { type Store, type Tx, write } from '../store/store.ts'
import { StatusError } from './status-error.ts'

// The three calls by which a node asks to belong. Every step may be repeated: one row, keyed by the digest of the keys.
// Nothing but that bounded, expiring row is written before the proof.

export type AgentDoor = {
  readonly store: Store
  readonly now: () => number
  readonly onRefused: (document: string, refusal: Refusal) => void
}

const CHALLENGE_MS = 10 * 60_000
const MAX_OPEN = 20_000
/** A source may ask so often a minute; more is answered with a time to come back. */
const RATE_PER_MINUTE = 600
const LABEL = new RegExp(LABEL_PATTERN)
const TOKEN = new RegExp(JOIN_TOKEN_PATTERN)

export function agentRoutes(app: FastifyInstance, door: AgentDoor): void {
  const limit = rateLimit(door.now)
  app.register(async (agent) => {
    agent.removeAllContentTypeParsers()
    agent.addContentTypeParser('*', { parseAs: 'string', bodyLimit: 98_304 }, async (_: unknown, body: string) => body)
    const config = { access: 'open' } as const
    agent.post('/agent/v1/registrations', { config }, async (request, reply) => {
      limit(request.ip)
      reply.code(201).type('application/json')
      return refusing(door, 'RegistrationRequest', () => challenge(door, String(request.body ?? '')))
    })
    agent.post<{ Params: { id: string } }>('/agent/v1/registrations/:id/proof', { config }, async (request) => {
      limit(request.ip)
      return refusing(door, 'RegistrationProof', () =>
        prove(door, request.params.id, String(request.body ?? ''), request.ip, request.id),
      )
    })
    agent.get<{ Params: { id: string } }>('/agent/v1/registrations/:id', { config }, async (request) =>
      answer(door, request.params.id),
    )
  })
}

async function refusing<T>({ onRefused }: AgentDoor, document: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (error instanceof Refusal) onRefused(document, error)
    throw error
  }
}

// Cheap checks first: the token is known by name and its hash is right before any signature is verified.
async function challenge({ store, now }: AgentDoor, text: string): Promise<string> {
  const tokenText = peekToken(text)
  const token = tokenText === undefined ? undefined : await findToken(store, tokenText)
  const { payload: request } = await verifySelfSigned(text)
  const id = keysDigest(request)
  const known = await identityByKey(store.sql, thumbprint(request.nodeKey))
  const cluster = known?.cluster ?? request.cluster ?? token?.spec.cluster ?? nodeIdOf(request.nodeName)
  const node = known?.node ?? nodeIdOf(request.nodeName)
  if (!LABEL.test(cluster)) throw new Refusal('InvalidField', `"${cluster}" is no cluster id`, { field: 'cluster' })
  if (request.class !== 'software-key')
    throw new Refusal(
      'TokenOutOfScope',
      'this hub cannot challenge a TPM; register with class software-key where a join token admits it',
      { field: 'class' },
    )
  if (known) refuseUnlessWelcome(known.state)
  else if (!token) throw new Refusal('TokenUnknown', 'a node that is not known yet needs a join token')
  else {
    await judge(store.sql, token, request, cluster, id, now())
    const other = await loadIdentity(store.sql, cluster, node)
    if (other) throw new Refusal('NodeTaken', `node ${node} of cluster ${cluster} belongs to another key`)
  }
  const expiresAt = new Date(now() + CHALLENGE_MS)
  const body: RegistrationChallenge = {
    kind: 'RegistrationChallenge',
    id,
    nonce: randomBytes(32).toString('hex'),
    expiresAt: expiresAt.toISOString(),
  }
  const answer = JSON.stringify(body)
  const row = {
    id,
    request: text,
    challenge: answer,
    transcript: transcriptDigest(text, answer),
    cluster,
    node,
    tokenName: token?.name ?? null,
    expiresAt,
  }
  const stored = await store.sql.begin((tx) => saveRequest(tx, row, MAX_OPEN))
  if (!stored)
    throw new StatusError(429, 'too many registrations are open', { retryAfterSeconds: 30, code: 'TooManyRequests' })
  return answer
}

async function prove(
  { store, now }: AgentDoor,
  id: string,
  text: string,
  sourceIp: string,
  requestId: string,
): Promise<RegistrationAnswer> {
  const open = await loadRequest(store.sql, id)
  if (!open || open.expiresAt.getTime() < now())
    throw new Refusal('ChallengeExpired', 'there is no open challenge for these keys; start again')
  const { payload: request } = await verifySelfSigned(open.request)
  const key = verifyKey(request.nodeKey)
  const { payload: proof } = await verifyDocument('RegistrationProof', text, new Map([[key.thumbprint, key]]))
  const { nonce } = JSON.parse(open.challenge) as RegistrationChallenge
  if (proof.id !== id || proof.nonce !== nonce || proof.transcript !== open.transcript)
    throw new Refusal('ProofMismatch', 'the proof does not cover this request and challenge')
  await write(store, async (tx) => {
    const known = await identityByKey(tx, key.thumbprint)
    if (known) refuseUnlessWelcome(known.state)
    else {
      const token = open.tokenName === null ? undefined : await getObject(tx, 'JoinToken', '', open.tokenName)
      if (!token) throw new Refusal('TokenUnknown', 'the join token is gone')
      await judge(tx, { name: token.metadata.name, spec: token.spec }, request, open.cluster, id, now())
      if (await loadIdentity(tx, open.cluster, open.node))
        throw new Refusal('NodeTaken', `node ${open.node} of cluster ${open.cluster} belongs to another key`)
    }
    await markProven(tx, id)
    if (open.tokenName !== null) {
      const { uses } = await tokenUses(tx, open.tokenName, id)
      await saveStatus(tx, 'JoinToken', '', open.tokenName, { uses, lastUsedAt: new Date(now()).toISOString() })
    }
    await enter(tx, request, open, { id, thumbprint: key.thumbprint, sourceIp, requestId })
  })
  return answer({ store, now, onRefused: () => {} }, id)
}

// The Registration, and for the first node its ManagedCluster, come to be here and nowhere else.
async function enter(
  tx: Tx,
  request: RegistrationRequest,
  open: { cluster: string; node: string; tokenName: string | null; transcript: string },
  by: { id: string; thumbprint: string; sourceIp: string; requestId: string },
): Promise<void> {
  const { cluster, node } = open
  if (!(await getObject(tx, 'ManagedCluster', '', cluster))) {
    const token = open.tokenName === null ? undefined : await getObject(tx, 'JoinToken', '', open.tokenName)
    await createObject(tx, 'ManagedCluster', {
      metadata: { name: cluster, labels: { [CLUSTER_SET_LABEL]: token?.spec.clusterSet ?? 'default' } },
      spec: { hubAcceptsClient: false },
    })
  }
  const before = await getObject(tx, 'Registration', cluster, node)
  const spec = {
    nodeName: request.nodeName,
    class: request.class,
    keysDigest: by.id,
    nodeKeyThumbprint: by.thumbprint,
    natsKey: request.natsKey,
    fingerprint: fingerprintOf(open.transcript),
    ...(open.tokenName
      ? { joinToken: open.tokenName }
      : before?.spec.joinToken
        ? { joinToken: before.spec.joinToken }
        : {}),
    hardwareId: request.hardwareId,
    claims: request.claims,
    // The same key with a new credential is the same node: who decided about it stays decided. Another key is not.
    ...(before?.spec.nodeKeyThumbprint === by.thumbprint && before.spec.decision
      ? { decision: before.spec.decision }
      : {}),
  }
  if (before) await updateObject(tx, 'Registration', { metadata: before.metadata, spec })
  else
    await createObject(tx, 'Registration', {
      metadata: { name: node, namespace: cluster },
      spec,
      status: { state: 'Pending', reason: 'AwaitingDecision', message: 'a rule or a person decides' },
    })
  await recordAudit(tx, {
    actor: `node-key/${by.thumbprint}`,
    sourceIp: by.sourceIp,
    verb: 'register',
    kind: 'Registration',
    namespace: cluster,
    name: node,
    before: before?.spec,
    after: spec,
    requestId: by.requestId,
  })
  if (!before)
    await recordEvent(tx, {
      type: 'Normal',
      reason: 'RegistrationReceived',
      message: `node ${node} asks to belong, class ${request.class}, fingerprint ${spec.fingerprint}`,
      component: 'registration',
      regarding: { kind: 'Registration', namespace: cluster, name: node },
    })
}

async function answer({ store }: AgentDoor, id: string): Promise<RegistrationAnswer> {
  const open = await loadRequest(store.sql, id)
  if (!open) throw new StatusError(404, 'no such registration; start again', { code: 'ChallengeExpired' })
  const registration = await getObject(store.sql, 'Registration', open.cluster, open.node)
  const identity = await loadIdentity(store.sql, open.cluster, open.node)
  const state =
    !open.provenAt || registration?.spec.keysDigest !== id ? 'Challenged' : (registration.status?.state ?? 'Pending')
  const mine =
    state === 'Accepted' && identity?.requestId === id && identity.state === 'Accepted' ? identity : undefined
  return {
    kind: 'RegistrationAnswer',
    id,
    // Accepted is said with the acceptance in hand, or not yet.
    state: state === 'Accepted' && !mine ? 'Pending' : state,
    reason: registration?.status?.reason ?? 'AwaitingProof',
    message: registration?.status?.message ?? 'the challenge is not answered yet',
    fingerprint: fingerprintOf(open.transcript),
    ...(mine ? { acceptance: mine.acceptance, natsJwt: mine.natsJwt } : {}),
  }
}

async function judge(
  tx: Parameters<typeof tokenUses>[0],
  token: { name: string; spec: Parameters<typeof judgeToken>[2]['spec'] },
  request: RegistrationRequest,
  cluster: string,
  id: string,
  nowMs: number,
): Promise<void> {
  const counted = await tokenUses(tx, token.name, id)
  const clusterExists = (await getObject(tx, 'ManagedCluster', '', cluster)) !== undefined
  const refusal = judgeToken(request, cluster, { spec: token.spec, ...counted, clusterExists }, nowMs)
  if (refusal) throw refusal
}

async function findToken(
  store: Store,
  text: string,
): Promise<{ name: string; spec: Parameters<typeof judgeToken>[2]['spec'] }> {
  const [name = '', secret = ''] = text.split('.')
  const token = TOKEN.test(text) ? await getObject(store.sql, 'JoinToken', '', name) : undefined
  const given = createHash('sha256').update(secret).digest()
  // The same work and the same words whether the name or the secret was wrong.
  const right = timingSafeEqual(given, Buffer.from(token?.spec.secretSha256 ?? '0'.repeat(64), 'hex'))
  if (!token || !right) throw new Refusal('TokenUnknown', 'no such join token, or a wrong secret')
  return { name, spec: token.spec }
}

// Reads the token out of a request that nothing was verified of yet; the verified request is read anew afterwards.
function peekToken(text: string): string | undefined {
  try {
    const payload = JSON.parse(Buffer.from(text.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
      token?: unknown
    }
    return typeof payload.token === 'string' ? payload.token : undefined
  } catch (cause) {
    throw new Refusal('MalformedJws', 'not a registration request', { cause })
  }
}

function refuseUnlessWelcome(state: string): void {
  if (state === 'Suspended') throw new Refusal('NotAllowed', 'this node is suspended; a person decides')
}

/** Digest of every public key in a request: what makes a repeated request the same one. */
function keysDigest({ nodeKey, natsKey, ek, ak }: RegistrationRequest): string {
  return sha256Hex(JSON.stringify([thumbprint(nodeKey), natsKey, ek ?? '', ak ?? '']))
}

/** What two people read to each other: four groups of four. */
function fingerprintOf(transcript: string): string {
  return (transcript.slice(0, 16).match(/.{4}/g) ?? []).join('-')
}

function rateLimit(now: () => number): (source: string) => void {
  const counts = new Map<string, { count: number; untilMs: number }>()
  return (source) => {
    const nowMs = now()
    if (counts.size > 10_000) counts.clear()
    const entry = counts.get(source)
    if (!entry || entry.untilMs < nowMs) counts.set(source, { count: 1, untilMs: nowMs + 60_000 })
    else {
      entry.count += 1
      if (entry.count > RATE_PER_MINUTE)
        throw new StatusError(429, 'too many registrations from this address', {
          retryAfterSeconds: Math.ceil((entry.untilMs - nowMs) / 1000),
          code: 'TooManyRequests',
        })
    }
  }
}
