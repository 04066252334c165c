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
import { type EntryFacts, judgeEntry, standingOf } from '@skerry/policy'
import { parseStrictJson, thumbprint } from '@skerry/trust'
import {
  type IdentityRow,
  identitiesByKey,
  type KeyClaim,
  listIdentities,
  natsKeyFaults,
  nthKeyEnded,
  recordedIdentity,
} from '../../store/registrations.ts'
import { getObject, getObjects, listObjectsIn } from '../../store/resources.ts'
import type { Reader } from '../../store/store.ts'
import { StatusError } from '../status-error.ts'

// What the hub knows about a request to belong, read the same way before the challenge and again at the proof.

export type Token = ObjectOf<'JoinToken'>

const TOKEN = new RegExp(JOIN_TOKEN_PATTERN)
/** The largest request document; what is larger is not even read for its token. */
const MAX_PAYLOAD = 65_536
/** Keys that a node may end in so long: NATS holds every one of them until its credential would have ended. */
const MAX_ENDED = 6
const ENDED_MS = 60 * 60_000

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

/** The records that node keys prove, by thumbprint. A node that left, or whose Registration or cluster was deleted, is nobody again. */
export async function knownNodes(
  tx: Reader,
  thumbprints: readonly string[],
): Promise<Map<string, NonNullable<EntryFacts['known']>>> {
  const records = [...(await identitiesByKey(tx, thumbprints)).values()].filter(({ state }) => state !== 'Left')
  const [registrations, clusters] = await Promise.all([
    getObjects(
      tx,
      'Registration',
      records.map(({ cluster, node }) => ({ namespace: cluster, name: node })),
    ),
    getClusters(
      tx,
      records.map(({ cluster }) => cluster),
    ),
  ])
  const known = new Map<string, NonNullable<EntryFacts['known']>>()
  for (const record of records) {
    const { cluster, node, nodeKeyThumbprint } = record
    const registration = registrations.get(`${cluster}/${node}`)
    const managed = clusters.get(cluster)
    if (registration?.spec.nodeKeyThumbprint !== nodeKeyThumbprint || !managed) continue
    const clusterAccepted = managed.spec.hubAcceptsClient === true
    const identity = recordedIdentity(record)
    const standing = standingOf({ ...registration, clusterAccepted, identity, keyHeldBy: undefined })
    known.set(nodeKeyThumbprint, { cluster, node, standing })
  }
  return known
}

async function getClusters(tx: Reader, names: readonly string[]): Promise<Map<string, ObjectOf<'ManagedCluster'>>> {
  const found = await getObjects(
    tx,
    'ManagedCluster',
    names.map((name) => ({ namespace: '', name })),
  )
  return new Map([...found.values()].map((cluster) => [cluster.metadata.name, cluster]))
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

/** What the hub has where requests lead: every node of these clusters, and what is wrong with the NATS keys. */
export type Surroundings = {
  readonly clusters: ReadonlyMap<string, ObjectOf<'ManagedCluster'>>
  /** By cluster. */
  readonly registrations: ReadonlyMap<string, readonly ObjectOf<'Registration'>[]>
  /** By `cluster/node`, as the next. */
  readonly identities: ReadonlyMap<string, IdentityRow>
  readonly natsKeyFaults: ReadonlyMap<string, 'Ended' | 'HeldByOther'>
  /** Nodes that have ended as many keys as they may, and until when they have to wait. */
  readonly waitsUntilMs: ReadonlyMap<string, number>
}

export async function loadSurroundings(tx: Reader, claims: readonly KeyClaim[], nowMs: number): Promise<Surroundings> {
  const names = claims.map(({ cluster }) => cluster)
  const [clusters, registrations, identities, faults, ended] = await Promise.all([
    getClusters(tx, names),
    listObjectsIn(tx, 'Registration', names),
    listIdentities(tx, names),
    natsKeyFaults(tx, claims),
    nthKeyEnded(tx, claims, { nth: MAX_ENDED, sinceMs: nowMs - ENDED_MS }),
  ])
  return {
    clusters,
    registrations: Map.groupBy(registrations, ({ metadata }) => metadata.namespace ?? ''),
    identities: new Map(identities.map((row) => [`${row.cluster}/${row.node}`, row])),
    natsKeyFaults: faults,
    waitsUntilMs: new Map([...ended].map(([place, atMs]) => [place, atMs + ENDED_MS])),
  }
}

/** A request, where it leads, and with what. */
export type Entrant = {
  readonly request: RegistrationRequest
  readonly cluster: string
  readonly node: string
  readonly known: EntryFacts['known']
  readonly token: Token | undefined
  /** Of the token, with those of entrants before this one. */
  readonly uses: number
}

/** What is already there for an entrant. */
export type Admitted = {
  readonly cluster: ObjectOf<'ManagedCluster'> | undefined
  readonly registration: ObjectOf<'Registration'> | undefined
  /** Whether its entry is one more use of the token. */
  readonly spends: boolean
}

/** Judges an entrant; throws the Refusal, or StatusError 429 for a node that ends its keys too often. */
export function admitEntry(
  { request, cluster, node, known, token, uses }: Entrant,
  { clusters, registrations, identities, natsKeyFaults, waitsUntilMs }: Surroundings,
  nowMs: number,
): Admitted {
  const mine = thumbprint(request.nodeKey)
  const neighbours = registrations.get(cluster) ?? []
  const registration = neighbours.find(({ metadata }) => metadata.name === node)
  const record = identities.get(`${cluster}/${node}`)
  const managed = clusters.get(cluster)
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
    natsKeyFault: natsKeyFaults.get(`${cluster}/${node}`),
    standing: managed && {
      accepted: managed.spec.hubAcceptsClient === true,
      clusterSet: managed.metadata.labels?.[CLUSTER_SET_LABEL] ?? 'default',
      otherNodes: neighbours.filter(({ metadata }) => metadata.name !== node).length,
    },
    token: token && { name: token.metadata.name, spec: token.spec, uses, alreadyCounted },
  }
  const refusal = judgeEntry(request, facts, nowMs)
  if (refusal) throw refusal
  const waitsUntil = waitsUntilMs.get(`${cluster}/${node}`)
  // The key that it has, or that is being taken up, ends no other: a repeated call is answered as before.
  const comesAgain =
    record?.natsKey === request.natsKey ||
    (registration?.spec.nodeKeyThumbprint === mine && registration.spec.natsKey === request.natsKey)
  if (waitsUntil !== undefined && waitsUntil > nowMs && !comesAgain)
    throw new StatusError(
      429,
      `node ${cluster}/${node} has ended ${MAX_ENDED} NATS keys within an hour, one at each entry with a new key; it may come with another at ${new Date(waitsUntil).toISOString()}`,
      { retryAfterSeconds: Math.ceil((waitsUntil - nowMs) / 1000), code: 'TooManyRequests' },
    )
  return { cluster: managed, registration, spends: token !== undefined && !alreadyCounted }
}
