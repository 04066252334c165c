import { createHash, timingSafeEqual } from 'node:crypto'
import {
  CLUSTER_SET_LABEL,
  JOIN_TOKEN_PATTERN,
  LABEL_PATTERN,
  type ObjectOf,
  PublicJwk,
  parse,
  Refusal,
  type RegistrationRequest,
} from '@skerry/api'
import {
  destinationOf,
  type EntryFacts,
  judgeEntry,
  namedTpm,
  sharesKey,
  standingOf,
  type TpmIdentity,
} from '@skerry/policy'
import { parseStrictJson, thumbprint } from '@skerry/trust'
import {
  type IdentityRow,
  identitiesAt,
  identitiesByKey,
  listIdentities,
  recordedIdentity,
  type TpmHolder,
  tpmHolders,
} from '../../store/identities.ts'
import { type KeyClaim, natsKeyFaults, nthKeyEnded } from '../../store/nats-keys.ts'
import { getObject, getObjects, listObjectsIn } from '../../store/resources.ts'
import type { Reader } from '../../store/store.ts'
import { StatusError } from '../status-error.ts'

// What the hub knows about a request to belong, read the same way before the challenge and again at the proof.

export type Token = ObjectOf<'JoinToken'>

const TOKEN = new RegExp(JOIN_TOKEN_PATTERN)
const LABEL = new RegExp(LABEL_PATTERN)
/** The largest request document; what is larger is not even read for its token. */
const MAX_PAYLOAD = 65_536
/** Keys that a node may end in so long: NATS holds every one of them until its credential would have ended. */
const MAX_ENDED = 6
const ENDED_MS = 60 * 60_000

/** What a request claims of itself: its keys, a token's text, and a name where it could be one. */
export type Claims = {
  readonly nodeName: string | undefined
  readonly token: string | undefined
  readonly thumbprint: string
  readonly tpm: TpmIdentity | undefined
}

/** What a request claims of itself, read before any signature is verified, so that a stranger costs no public-key work. */
export function claimsOf(text: string): Claims {
  const [, part = ''] = text.split('.')
  const payload = parseStrictJson(Buffer.from(part, 'base64url'), { maxBytes: MAX_PAYLOAD })
  if (typeof payload !== 'object' || payload === null) throw new Refusal('MalformedJws', 'not a registration request')
  const members = new Map(Object.entries(payload))
  const word = (name: string) => {
    const value: unknown = members.get(name)
    return typeof value === 'string' ? value : undefined
  }
  const [ek, ak, name] = [word('ek'), word('ak'), word('nodeName')]
  return {
    nodeName: name !== undefined && LABEL.test(name) ? name : undefined,
    token: word('token'),
    thumbprint: thumbprint(parse(PublicJwk, members.get('nodeKey'), 'nodeKey')),
    tpm:
      word('class') === 'tpm' && ek !== undefined && ak !== undefined ? namedTpm({ class: 'tpm', ek, ak }) : undefined,
  }
}

/** What a node shows of itself: its key, and its TPM where it has one. */
export type Shown = Pick<Claims, 'thumbprint' | 'tpm'>

/**
 * The records that keys prove, by the node key's thumbprint: that of the node key, else that of exactly this TPM. A node
 * that left, or whose Registration or cluster was deleted, is nobody again.
 */
export async function knownNodes(
  tx: Reader,
  all: readonly Shown[],
): Promise<Map<string, NonNullable<EntryFacts['known']>>> {
  const tpms = all.flatMap(({ tpm }) => tpm ?? [])
  const [byKey, holders] = await Promise.all([
    identitiesByKey(
      tx,
      all.map((one) => one.thumbprint),
    ),
    tpmHolders(tx, tpms),
  ])
  const atPlaces = await identitiesAt(tx, holders)
  const records = new Map<string, IdentityRow>()
  for (const { thumbprint, tpm } of all) {
    const holder = tpm && holders.find((one) => isSameTpm(one, tpm))
    const own = byKey.get(thumbprint)
    const record = own && own.state !== 'Left' ? own : holder && atPlaces.get(`${holder.cluster}/${holder.node}`)
    if (record && record.state !== 'Left') records.set(thumbprint, record)
  }
  const places = [...records.values()]
  const [registrations, clusters] = await Promise.all([
    getObjects(
      tx,
      'Registration',
      places.map(({ cluster, node }) => ({ namespace: cluster, name: node })),
    ),
    getClusters(
      tx,
      places.map(({ cluster }) => cluster),
    ),
  ])
  const known = new Map<string, NonNullable<EntryFacts['known']>>()
  for (const [thumbprint, record] of records) {
    const { cluster, node, nodeKeyThumbprint } = record
    const registration = registrations.get(`${cluster}/${node}`)
    const managed = clusters.get(cluster)
    if (!registration || !managed) continue
    // A disk that was wiped comes with another key; the TPM is what says who it is.
    if (registration.spec.nodeKeyThumbprint !== nodeKeyThumbprint && !registration.spec.tpm) continue
    const clusterAccepted = managed.spec.hubAcceptsClient === true
    const identity = recordedIdentity(record)
    const standing = standingOf({ ...registration, clusterAccepted, identity, keyHeldBy: undefined })
    known.set(thumbprint, { cluster, node, standing, tpm: registration.spec.tpm })
  }
  return known
}

function isSameTpm(one: TpmIdentity, other: TpmIdentity): boolean {
  return one.ekSha256 === other.ekSha256 && one.akName === other.akName
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
  /** Nodes that are registered with one of these TPMs, or with its EK or AK alone. */
  readonly tpmHolders: readonly TpmHolder[]
  /** Nodes that have ended as many keys as they may, and until when they have to wait. */
  readonly waitsUntilMs: ReadonlyMap<string, number>
}

export async function loadSurroundings(
  tx: Reader,
  claims: readonly (KeyClaim & { readonly tpm: TpmIdentity | undefined })[],
  nowMs: number,
): Promise<Surroundings> {
  const names = claims.map(({ cluster }) => cluster)
  const [clusters, registrations, identities, faults, ended, holders] = await Promise.all([
    getClusters(tx, names),
    listObjectsIn(tx, 'Registration', names),
    listIdentities(tx, names),
    natsKeyFaults(tx, claims),
    nthKeyEnded(tx, claims, { nth: MAX_ENDED, sinceMs: nowMs - ENDED_MS }),
    tpmHolders(
      tx,
      claims.flatMap(({ tpm }) => tpm ?? []),
    ),
  ])
  return {
    clusters,
    registrations: Map.groupBy(registrations, ({ metadata }) => metadata.namespace ?? ''),
    identities: new Map(identities.map((row) => [`${row.cluster}/${row.node}`, row])),
    natsKeyFaults: faults,
    tpmHolders: holders,
    waitsUntilMs: new Map([...ended].map(([place, atMs]) => [place, atMs + ENDED_MS])),
  }
}

/** A request, where it leads, and with what. */
export type Entrant = {
  readonly request: RegistrationRequest
  readonly cluster: string
  readonly node: string
  readonly known: EntryFacts['known']
  readonly tpm: TpmIdentity | undefined
  readonly token: Token | undefined
  /** Of the token, with those of entrants before this one. */
  readonly uses: number
}

/** A refusal that concerns two nodes: who holds the identity, and who asked with it. They may be one. */
export class TwoHolders extends Refusal {
  readonly places: readonly { readonly cluster: string; readonly node: string }[]
  constructor(refusal: Refusal, places: TwoHolders['places']) {
    super(refusal.code, refusal.message, { field: refusal.field })
    this.places = places.map(({ cluster, node }) => ({ cluster, node }))
  }
}

/** What is already there for an entrant. */
export type Admitted = {
  readonly cluster: ObjectOf<'ManagedCluster'> | undefined
  readonly registration: ObjectOf<'Registration'> | undefined
  /** Whether the registration there is the entrant's own: of its TPM, else of its node key. */
  readonly isOwn: boolean
  /** Whether its entry is one more use of the token. */
  readonly spends: boolean
}

/** Judges an entrant; throws the Refusal, or StatusError 429 for a node that ends its keys too often. */
export function admitEntry(
  { request, cluster, node, known, tpm, token, uses }: Entrant,
  { clusters, registrations, identities, natsKeyFaults, tpmHolders: holders, waitsUntilMs }: Surroundings,
  nowMs: number,
): Admitted {
  const mine = thumbprint(request.nodeKey)
  const neighbours = registrations.get(cluster) ?? []
  const registration = neighbours.find(({ metadata }) => metadata.name === node)
  const record = identities.get(`${cluster}/${node}`)
  const managed = clusters.get(cluster)
  const isOwn = registration !== undefined && isHolder(registration, mine, tpm)
  const alreadyCounted = isOwn && registration.spec.joinToken === token?.metadata.name
  const facts: EntryFacts = {
    cluster,
    node,
    known,
    tpm,
    tpmHeldBy: holders.find(
      (one) => tpm !== undefined && sharesKey(tpm, one) && !(one.cluster === cluster && one.node === node),
    ),
    // A name is free again once its Registration was deleted and its record left.
    heldByOther: registration
      ? !isOwn
      : record !== undefined && record.state !== 'Left' && record.nodeKeyThumbprint !== mine,
    natsKeyFault: natsKeyFaults.get(`${cluster}/${node}`),
    standing: managed && {
      accepted: managed.spec.hubAcceptsClient === true,
      clusterSet: managed.metadata.labels?.[CLUSTER_SET_LABEL] ?? 'default',
      otherNodes: neighbours.filter(({ metadata }) => metadata.name !== node).length,
    },
    token: token && { name: token.metadata.name, spec: token.spec, uses, alreadyCounted },
  }
  const refusal = judgeEntry(request, facts, nowMs)
  if (refusal?.code === 'IdentityChanged')
    throw new TwoHolders(refusal, [
      facts.tpmHeldBy ?? { cluster, node },
      known ? destinationOf(request, undefined, token) : { cluster, node },
    ])
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
  return { cluster: managed, registration, isOwn, spends: token !== undefined && !alreadyCounted }
}

// Registered with a TPM, the TPM is who it is, whatever the node key; else the node key is.
function isHolder({ spec }: ObjectOf<'Registration'>, mine: string, tpm: TpmIdentity | undefined): boolean {
  if (spec.tpm) return tpm !== undefined && isSameTpm(spec.tpm, tpm)
  return tpm === undefined && spec.nodeKeyThumbprint === mine
}
