import { randomBytes } from 'node:crypto'
import { Refusal, type RegistrationChallenge, type RegistrationRequest } from '@skerry/api'
import { destinationOf, namedTpm } from '@skerry/policy'
import { sha256Hex, thumbprint, transcriptDigest, verifySelfSigned } from '@skerry/trust'
import { loadExchange, saveOpenExchange } from '../../store/exchanges.ts'
import type { Profiles } from '../../store/profiles.ts'
import type { Store } from '../../store/store.ts'
import { StatusError } from '../status-error.ts'
import { admitEntry, claimsOf, findToken, knownNodes, loadSurroundings } from './entry.ts'
import { askTpm } from './hardware.ts'

/** How long a challenge may be answered. */
const CHALLENGE_MS = 10 * 60_000
/** Open exchanges of all tokens together, so that no flood fills the database. */
const MAX_OPEN = 20_000
/** Open exchanges of a token beyond its uses: one that was stolen blocks at most itself. */
const SPARE_OPEN = 32
/** Open exchanges of a node whose key a record holds: it never competes with strangers. */
const MAX_OPEN_OF_NODE = 8
/** Of them those that came with its TPM's public keys and a node key of their own, which anybody can make. */
const MAX_OPEN_OF_TPM = 4

/** The first call: a request, and the exact text of the challenge that answers it. Throws a Refusal, or StatusError 429. */
export async function ask(store: Store, profiles: Profiles, text: string, nowMs: number): Promise<string> {
  const claims = claimsOf(text)
  const known = (await knownNodes(store.sql, [claims])).get(claims.thumbprint)
  if (!known && claims.token === undefined)
    throw new Refusal('TokenUnknown', 'no record holds this node key or its TPM: a join token is needed')
  const token = known || claims.token === undefined ? undefined : await findToken(store.sql, claims.token)

  const { payload: request } = await verifySelfSigned(text)
  const tpm = namedTpm(request)
  const { cluster, node } = destinationOf(request, known, token)
  const surroundings = await loadSurroundings(store.sql, [{ cluster, node, natsKey: request.natsKey, tpm }], nowMs)
  const uses = token?.status?.uses ?? 0
  const there = admitEntry({ request, cluster, node, known, tpm, token, uses }, surroundings, nowMs)

  const id = keysDigest(request)
  const before = await loadExchange(store.sql, id)
  // Proven already, to the letter: the answer was lost, and the exchange stands.
  if (before?.provenAt && before.transcript === transcriptDigest(text, before.challenge)) return before.challenge

  const asked =
    tpm &&
    askTpm(request, tpm, await profiles(request.hardwareId), known ? there.registration?.spec.tpm : undefined, nowMs)
  const expiresAt = new Date(nowMs + CHALLENGE_MS)
  const challenge: RegistrationChallenge = {
    kind: 'RegistrationChallenge',
    id,
    nonce: randomBytes(32).toString('hex'),
    ...(asked ? { tpm: asked.challenge } : {}),
    expiresAt: expiresAt.toISOString(),
  }
  const answer = JSON.stringify(challenge)
  const exchange = {
    id,
    request: withoutToken(request),
    challenge: answer,
    transcript: transcriptDigest(text, answer),
    cluster,
    node,
    tokenName: token?.metadata.name ?? null,
    tpm: asked ? JSON.stringify(asked.kept) : null,
  }
  const holdsKey = there.registration?.spec.nodeKeyThumbprint === claims.thumbprint
  const bounds = {
    all: MAX_OPEN,
    token: (token?.spec.maxUses ?? 0) + SPARE_OPEN,
    node: holdsKey ? MAX_OPEN_OF_NODE : MAX_OPEN_OF_TPM,
  }
  const stored = await saveOpenExchange(store.sql, exchange, { expiresAt, nowMs, bounds })
  if (!stored)
    throw new StatusError(429, 'too many registrations are open', { retryAfterSeconds: 30, code: 'TooManyRequests' })
  return answer
}

// The signature is verified and the text is in the transcript: what is read again is what the request says, and that
// never is the token's secret. Whoever reads the database must not join with it.
function withoutToken({ token: _, ...request }: RegistrationRequest): string {
  return JSON.stringify(request)
}

/** Digest of every public key in a request: what makes a repeated request the same one. */
function keysDigest({ nodeKey, natsKey, ek, ak }: RegistrationRequest): string {
  return sha256Hex(JSON.stringify([thumbprint(nodeKey), natsKey, ek ?? '', ak ?? '']))
}
