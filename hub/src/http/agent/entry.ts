import { createHash, timingSafeEqual } from 'node:crypto'
import {
  CLUSTER_SET_LABEL,
  JOIN_TOKEN_PATTERN,
  type ObjectOf,
  PublicJwk,
  parse,
  Refusal,
  type RegistrationRequest,
} from '@skerry/api'
import { destinationOf, type EntryFacts, judgeEntry, standingOf } from '@skerry/policy'
import { parseStrictJson, thumbprint } from '@skerry/trust'
import { identityByKey, loadIdentity, natsKeyFault, recordedIdentity } from '../../store/registrations.ts'
import { getObject, listObjects } from '../../store/resources.ts'
import type { Reader } from '../../store/store.ts'

// What the hub knows about a request to belong, read the same way before the challenge and again at the proof.

export type Token = ObjectOf<'JoinToken'>
type Known = EntryFacts['known']

const TOKEN = new RegExp(JOIN_TOKEN_PATTERN)
/** The largest request document; what is larger is not even read for its token. */
const MAX_PAYLOAD = 65_536

/** What a request claims of itself, read before any signature is verified, so that a stranger costs no public-key work. */
export function claimsOf(text: string): { token: string | undefined; thumbprint: string } {
  const [, part = ''] = text.split('.')
  const payload = parseStrictJson(Buffer.from(part, 'base64url'), { maxBytes: MAX_PAYLOAD })
  if (typeof payload !== 'object' || payload === null) throw new Refusal('MalformedJws', 'not a registration request')
  const members = new Map(Object.entries(payload))
  const token = members.get('token')
  return {
    token: typeof token === 'string' ? token : undefined,
    thumbprint: thumbprint(parse(PublicJwk, members.get('nodeKey'), 'nodeKey')),
  }
}

/** The record a node key proves. A node that left, or whose Registration or cluster was deleted, is nobody again. */
export async function knownNode(tx: Reader, nodeKeyThumbprint: string): Promise<Known> {
  const record = await identityByKey(tx, nodeKeyThumbprint)
  if (!record || record.state === 'Left') return undefined
  const { cluster, node } = record
  const [registration, managed] = await Promise.all([
    getObject(tx, 'Registration', cluster, node),
    getObject(tx, 'ManagedCluster', '', cluster),
  ])
  if (registration?.spec.nodeKeyThumbprint !== nodeKeyThumbprint || !managed) return undefined
  const clusterAccepted = managed.spec.hubAcceptsClient === true
  const identity = recordedIdentity(record)
  return { cluster, node, standing: standingOf({ ...registration, clusterAccepted, identity, keyHeldBy: undefined }) }
}

/** The join token of `id.secret`. Refusal TokenUnknown, in the same words and after the same work whichever half was wrong. */
export async function findToken(tx: Reader, text: string): Promise<Token> {
  const [name = '', secret = ''] = text.split('.')
  const token = TOKEN.test(text) ? await getObject(tx, 'JoinToken', '', name) : undefined
  const given = createHash('sha256').update(secret).digest()
  const right = timingSafeEqual(given, Buffer.from(token?.spec.secretSha256 ?? '0'.repeat(64), 'hex'))
  if (!token || !right) throw new Refusal('TokenUnknown', 'no such join token, or a wrong secret')
  return token
}

/** How the uses of a token are known and spent where several enter together, and where the exchange said they go. */
export type Spending = {
  readonly usesOf: (token: Token) => number
  /** In the same turn as the judgement: no other comes in between. */
  readonly onUse: (token: Token, uses: number) => void
  readonly at: { readonly cluster: string; readonly node: string }
}

/** Where a request leads, judged, and whether that cluster exists; throws the Refusal. */
export async function admitEntry(
  tx: Reader,
  request: RegistrationRequest,
  known: Known,
  token: Token | undefined,
  nowMs: number,
  spending?: Spending,
): Promise<{ cluster: string; node: string; managed: boolean }> {
  const destination = destinationOf(request, known, token)
  const { cluster, node } = destination
  if (spending && (cluster !== spending.at.cluster || node !== spending.at.node))
    throw new Refusal('ChallengeExpired', 'these keys lead elsewhere now; start again')
  const mine = thumbprint(request.nodeKey)
  const [registrations, record, managed, keyFault] = await Promise.all([
    listObjects(tx, 'Registration', { namespace: cluster }),
    loadIdentity(tx, cluster, node),
    getObject(tx, 'ManagedCluster', '', cluster),
    natsKeyFault(tx, request.natsKey, destination),
  ])
  const registration = registrations.find(({ metadata }) => metadata.name === node)
  const uses = token ? (spending?.usesOf(token) ?? token.status?.uses ?? 0) : 0
  const alreadyCounted =
    registration?.spec.nodeKeyThumbprint === mine && registration.spec.joinToken === token?.metadata.name
  const facts: EntryFacts = {
    cluster,
    node,
    known,
    // A name is free again once its Registration was deleted and its record left.
    heldByOther:
      (registration !== undefined && registration.spec.nodeKeyThumbprint !== mine) ||
      (record !== undefined && record.state !== 'Left' && record.nodeKeyThumbprint !== mine),
    natsKeyFault: keyFault,
    standing: managed && {
      accepted: managed.spec.hubAcceptsClient === true,
      clusterSet: managed.metadata.labels?.[CLUSTER_SET_LABEL] ?? 'default',
      otherNodes: registrations.filter(({ metadata }) => metadata.name !== node).length,
    },
    token: token && { name: token.metadata.name, spec: token.spec, uses, alreadyCounted },
  }
  const refusal = judgeEntry(request, facts, nowMs)
  if (refusal) throw refusal
  if (token && !alreadyCounted) spending?.onUse(token, uses)
  return { ...destination, managed: managed !== undefined }
}
