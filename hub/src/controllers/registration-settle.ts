import { isDeepStrictEqual } from 'node:util'
import type { ObjectOf, RegistrationStatus } from '@skerry/api'
import { credentialDue, decideByRule, ruleMayAccept, type Standing, standingOf } from '@skerry/policy'
import { type AuditEntry, recordAudits } from '../store/audit.ts'
import { recordEvents } from '../store/events.ts'
import {
  type IdentityRow,
  identitiesByKey,
  listIdentities,
  loadIdentities,
  type NodeIdentity,
  recordedIdentity,
  setIdentityState,
} from '../store/identities.ts'
import { revokeKey } from '../store/nats-keys.ts'
import { deleteObject, getObjects, listObjectsIn, saveStatuses, updateObjects } from '../store/resources.ts'
import type { Tx } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import { type MintOptions, mintCredentials } from './registration-mint.ts'

export type RegistrationOptions = MintOptions & {
  /** Tells NATS who is revoked; throws while NATS is away, and is asked again. */
  readonly pushRevocations: (revocations: ReadonlyMap<string, number>) => Promise<void>
  /** Calls the listener whenever a NATS server may have forgotten what it was told: at once, and after each reconnect. */
  readonly onConnected: (listener: () => void) => void
}

type Registration = ObjectOf<'Registration'>

/** OCM's mark of a cluster that a rule has accepted once: it does so never again. */
const ACCEPTED_BY_RULE = 'open-cluster-management.io/automatically-accepted-on'

/** Everything a standing depends on, as it was when it was read; whoever writes reads again. */
export type RegistrationRows = {
  readonly registrations: readonly ObjectOf<'Registration'>[]
  readonly clusters: ReadonlyMap<string, ObjectOf<'ManagedCluster'>>
  readonly automaticTokens: ReadonlySet<string>
  /** By `cluster/node`. */
  readonly identities: ReadonlyMap<string, IdentityRow>
}

/** Whether the rows already say of a registration what they should. */
export function isSettled(
  { metadata, spec, status }: Registration,
  { clusters, automaticTokens, identities }: RegistrationRows,
): boolean {
  const { namespace = '', name } = metadata
  const cluster = clusters.get(namespace)
  if (!cluster) return false
  const byRule = spec.joinToken !== undefined && automaticTokens.has(spec.joinToken) && ruleMayAccept(spec.tpm)
  if (!spec.decision && byRule) return false
  const row = identities.get(`${namespace}/${name}`)
  const record = row && recordedIdentity(row)
  const clusterAccepted = cluster.spec.hubAcceptsClient === true
  // Whose key this is elsewhere is asked in the transaction; a registration that was told so is in its status.
  const keyHeldBy = undefined
  const standing = standingOf({ spec, clusterAccepted, identity: record, keyHeldBy })
  return credentialDue(standing, spec, record) === 'keep' && isDeepStrictEqual(status, statusOf(standing, status, row))
}

/** The rows that settling looks at, as they are in its transaction. */
type Facts = {
  readonly tokens: ReadonlyMap<string, ObjectOf<'JoinToken'>>
  /** By cluster. */
  readonly neighbours: ReadonlyMap<string, readonly Registration[]>
  /** By `cluster/node`. */
  readonly identities: ReadonlyMap<string, NodeIdentity>
  readonly clustersWithRecord: ReadonlySet<string>
  /** By thumbprint. */
  readonly holders: ReadonlyMap<string, IdentityRow>
}

/** What settling has found for one registration. */
type Settling = {
  readonly registration: Registration
  readonly before: NodeIdentity | undefined
  standing: Standing
  readonly due: ReturnType<typeof credentialDue>
}

/**
 * Makes registrations what their rows say they should be: a rule's decision, a credential, a status. No two of them may
 * share a cluster, a key or a NATS key. Reads all, judges each in memory, and writes all.
 */
export async function settle(tx: Tx, due: readonly Registration[], options: MintOptions, nowMs: number): Promise<void> {
  const places = due.map(({ metadata: { namespace = '', name } }) => ({ namespace, name }))
  const [registrations, clusters] = await Promise.all([
    getObjects(tx, 'Registration', places),
    getObjects(
      tx,
      'ManagedCluster',
      places.map(({ namespace }) => ({ namespace: '', name: namespace })),
    ),
  ])
  const found: { registration: Registration; cluster: ObjectOf<'ManagedCluster'> }[] = []
  for (const registration of registrations.values()) {
    const { namespace = '', name } = registration.metadata
    const cluster = clusters.get(`/${namespace}`)
    if (cluster) found.push({ registration, cluster })
    // What belongs to a deleted cluster goes with it; the record then leaves.
    else await deleteObject(tx, 'Registration', namespace, name)
  }
  if (found.length === 0) return
  const facts = await loadFacts(
    tx,
    found.map(({ registration }) => registration),
  )
  const ruled = await applyRules(tx, found, facts, nowMs)
  const all = ruled.map(({ registration, clusterAccepted }): Settling => {
    const { namespace: cluster = '', name: node } = registration.metadata
    const before = facts.identities.get(`${cluster}/${node}`)
    const record = before && recordedIdentity(before)
    const holder = facts.holders.get(registration.spec.nodeKeyThumbprint)
    const elsewhere = holder && holder.state !== 'Left' && (holder.cluster !== cluster || holder.node !== node)
    const keyHeldBy = elsewhere ? `${holder.cluster}/${holder.node}` : undefined
    const standing = standingOf({ spec: registration.spec, clusterAccepted, identity: record, keyHeldBy })
    return { registration, before, standing, due: credentialDue(standing, registration.spec, record) }
  })
  const toMint = all.filter((one) => one.due === 'mint')
  const waits = await mintCredentials(tx, toMint, options, nowMs)
  for (const [index, one] of toMint.entries()) {
    const wait = waits[index]
    if (wait) one.standing = { state: 'Pending', reason: wait.reason, message: wait.message }
  }
  for (const { before, standing, due } of all) {
    if (!before) continue
    if (due === 'end') await end(tx, before, standing, nowMs)
    // One that left is at home nowhere until a new credential is made for it.
    if (due === 'keep' && before.state !== 'Left' && before.state !== standing.state && standing.state !== 'Suspended')
      await setIdentityState(tx, before, standing.state)
  }
  await tell(tx, all)
}

async function loadFacts(tx: Tx, registrations: readonly Registration[]): Promise<Facts> {
  const clusters = registrations.map(({ metadata }) => metadata.namespace ?? '')
  const [tokens, neighbours, identities, holders] = await Promise.all([
    getObjects(
      tx,
      'JoinToken',
      registrations.flatMap(({ spec: { joinToken } }) =>
        joinToken === undefined ? [] : [{ namespace: '', name: joinToken }],
      ),
    ),
    listObjectsIn(tx, 'Registration', clusters),
    loadIdentities(tx, clusters),
    identitiesByKey(
      tx,
      registrations.map(({ spec }) => spec.nodeKeyThumbprint),
    ),
  ])
  return {
    tokens,
    neighbours: Map.groupBy(neighbours, ({ metadata }) => metadata.namespace ?? ''),
    identities,
    clustersWithRecord: new Set([...identities.values()].map(({ cluster }) => cluster)),
    holders,
  }
}

type Ruled = { readonly registration: Registration; readonly clusterAccepted: boolean }

// A token of acceptance Automatic is the rule. Its decision is written like a person's, with its own name under it.
async function applyRules(
  tx: Tx,
  found: readonly { registration: Registration; cluster: ObjectOf<'ManagedCluster'> }[],
  facts: Facts,
  nowMs: number,
): Promise<Ruled[]> {
  const at = new Date(nowMs).toISOString()
  const decided: Registration[] = []
  const accepted: ObjectOf<'ManagedCluster'>[] = []
  const audits: AuditEntry[] = []
  const ruled = found.map(({ registration, cluster }): Ruled => {
    const asIs = { registration, clusterAccepted: cluster.spec.hubAcceptsClient === true }
    const { decision, joinToken, tpm } = registration.spec
    if (decision !== undefined || joinToken === undefined) return asIs
    const rule = decideByRule({
      acceptance: facts.tokens.get(`/${joinToken}`)?.spec.acceptance,
      tpm,
      decided: false,
      clusterDecided: asIs.clusterAccepted || wasDecided(cluster, facts),
    })
    if (!rule.acceptNode) return asIs
    const by = `JoinToken/${joinToken}`
    const audit = { actor: by, sourceIp: '', verb: 'accept', requestId: `rule/${registration.metadata.uid}` }
    const { namespace = '', name } = registration.metadata
    const spec = { ...registration.spec, decision: { state: 'Accepted' as const, by, at } }
    const now = { ...registration, spec }
    decided.push(now)
    audits.push({ ...audit, kind: 'Registration', namespace, name, before: registration.spec, after: spec })
    if (!rule.acceptCluster) return { ...asIs, registration: now }
    const annotations = { ...cluster.metadata.annotations, [ACCEPTED_BY_RULE]: at }
    const after = { ...cluster.spec, hubAcceptsClient: true }
    accepted.push({ ...cluster, metadata: { ...cluster.metadata, annotations }, spec: after })
    audits.push({ ...audit, kind: 'ManagedCluster', namespace: '', name: namespace, before: cluster.spec, after })
    return { registration: now, clusterAccepted: true }
  })
  await updateObjects(tx, 'Registration', decided)
  await updateObjects(tx, 'ManagedCluster', accepted)
  await recordAudits(tx, audits)
  return ruled
}

// Anybody's decision about any of its nodes, ever, is a decision about the cluster.
function wasDecided({ metadata }: ObjectOf<'ManagedCluster'>, { neighbours, clustersWithRecord }: Facts): boolean {
  if (metadata.annotations?.[ACCEPTED_BY_RULE] !== undefined) return true
  if (neighbours.get(metadata.name)?.some(({ spec }) => spec.decision !== undefined)) return true
  return clustersWithRecord.has(metadata.name)
}

async function end(tx: Tx, identity: NodeIdentity, standing: Standing, nowMs: number): Promise<void> {
  await revokeKey(tx, identity, nowMs)
  await setIdentityState(tx, identity, standing.state)
  await wake(tx, 'identity')
}

async function tell(tx: Tx, all: readonly Settling[]): Promise<void> {
  const rows = await listIdentities(
    tx,
    all.map(({ registration }) => registration.metadata.namespace ?? ''),
  )
  const identities = new Map(rows.map((row) => [`${row.cluster}/${row.node}`, row]))
  const told = all.map(({ registration: { metadata, status }, standing }) => {
    const { namespace = '', name } = metadata
    return { namespace, name, status: statusOf(standing, status, identities.get(`${namespace}/${name}`)) }
  })
  await saveStatuses(tx, 'Registration', told)
  await recordEvents(
    tx,
    all
      .filter(({ registration, standing }) => registration.status?.state !== standing.state)
      .map(({ registration: { metadata }, standing }) => ({
        type: standing.state === 'Accepted' || standing.state === 'Pending' ? 'Normal' : 'Warning',
        reason: `Registration${standing.state}`,
        message: standing.message,
        component: 'registration',
        regarding: { kind: 'Registration', namespace: metadata.namespace ?? '', name: metadata.name },
      })),
  )
}

function statusOf(
  standing: Standing,
  before: RegistrationStatus | undefined,
  row: IdentityRow | undefined,
): RegistrationStatus {
  return {
    ...before,
    ...standing,
    ...(row ? { incarnation: row.incarnation, credentialExpiresAt: row.credentialExpiresAt.toISOString() } : {}),
  }
}
