import { isDeepStrictEqual } from 'node:util'
import type { ObjectOf, RegistrationStatus } from '@skerry/api'
import { credentialDue, decideByRule, type Standing, standingOf } from '@skerry/policy'
import { recordAudit } from '../store/audit.ts'
import { recordEvent } from '../store/events.ts'
import {
  type IdentityRow,
  identityByKey,
  listIdentities,
  loadIdentity,
  recordedIdentity,
  revokeKey,
  setIdentityState,
} from '../store/registrations.ts'
import { deleteObject, getObject, listObjects, saveStatus, updateObject } from '../store/resources.ts'
import type { Tx } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import type { RegistrationRows } from './registration.ts'
import { type MintOptions, mintCredential } from './registration-mint.ts'

export type RegistrationOptions = MintOptions & {
  /** Tells NATS who is revoked; throws while NATS is away, and is asked again. */
  readonly pushRevocations: (revocations: ReadonlyMap<string, number>) => Promise<void>
  /** Calls the listener whenever a NATS server may have forgotten what it was told: at once, and after each reconnect. */
  readonly onConnected: (listener: () => void) => void
}

type Registration = ObjectOf<'Registration'>
type Place = { readonly cluster: string; readonly node: string }

/** OCM's mark of a cluster that a rule has accepted once: it does so never again. */
const ACCEPTED_BY_RULE = 'open-cluster-management.io/automatically-accepted-on'

/** Whether the rows already say of a registration what they should. */
export function isSettled(
  { metadata, spec, status }: Registration,
  { clusters, automaticTokens, identities }: RegistrationRows,
): boolean {
  const { namespace = '', name } = metadata
  const cluster = clusters.get(namespace)
  if (!cluster) return false
  if (!spec.decision && spec.joinToken !== undefined && automaticTokens.has(spec.joinToken)) return false
  const row = identities.get(`${namespace}/${name}`)
  const record = row && recordedIdentity(row)
  const clusterAccepted = cluster.spec.hubAcceptsClient === true
  // Whose key this is elsewhere is asked in the transaction; a registration that was told so is in its status.
  const keyHeldBy = undefined
  const standing = standingOf({ spec, clusterAccepted, identity: record, keyHeldBy })
  return credentialDue(standing, spec, record) === 'keep' && isDeepStrictEqual(status, statusOf(standing, status, row))
}

/** Makes one registration what its rows say it should be: a rule's decision, its credential, its status. */
export async function settle(tx: Tx, at: Place, options: MintOptions, nowMs: number): Promise<void> {
  const found = await getObject(tx, 'Registration', at.cluster, at.node)
  if (!found) return
  const cluster = await getObject(tx, 'ManagedCluster', '', at.cluster)
  if (!cluster) {
    // What belongs to a deleted cluster goes with it; the record then leaves.
    await deleteObject(tx, 'Registration', at.cluster, at.node)
    return
  }
  const { registration, clusterAccepted } = await applyRule(tx, found, cluster, nowMs)
  const before = await loadIdentity(tx, at.cluster, at.node)
  const record = before && recordedIdentity(before)
  const holder = await identityByKey(tx, registration.spec.nodeKeyThumbprint)
  const elsewhere = holder && holder.state !== 'Left' && (holder.cluster !== at.cluster || holder.node !== at.node)
  const keyHeldBy = elsewhere ? `${holder.cluster}/${holder.node}` : undefined
  let standing = standingOf({ spec: registration.spec, clusterAccepted, identity: record, keyHeldBy })
  switch (credentialDue(standing, registration.spec, record)) {
    case 'mint': {
      const minted = await mintCredential(tx, registration, before, options, nowMs)
      if (minted.kind === 'wait') standing = { state: 'Pending', reason: minted.reason, message: minted.message }
      break
    }
    case 'end':
      if (before) await end(tx, before, standing, nowMs)
      break
    case 'keep':
      // One that left is at home nowhere until a new credential is made for it.
      if (before && before.state !== 'Left' && before.state !== standing.state && standing.state !== 'Suspended')
        await setIdentityState(tx, before, standing.state)
      break
  }
  await tell(tx, registration, standing)
}

// A token of acceptance Automatic is the rule. Its decision is written like a person's, with its own name under it.
async function applyRule(
  tx: Tx,
  registration: Registration,
  cluster: ObjectOf<'ManagedCluster'>,
  nowMs: number,
): Promise<{ registration: Registration; clusterAccepted: boolean }> {
  const asIs = { registration, clusterAccepted: cluster.spec.hubAcceptsClient === true }
  const { decision, joinToken } = registration.spec
  if (decision !== undefined || joinToken === undefined) return asIs
  const token = await getObject(tx, 'JoinToken', '', joinToken)
  const rule = decideByRule({
    acceptance: token?.spec.acceptance,
    decided: false,
    clusterDecided: asIs.clusterAccepted || (await wasDecided(tx, cluster)),
  })
  if (!rule.acceptNode) return asIs
  const by = `JoinToken/${joinToken}`
  const at = new Date(nowMs).toISOString()
  const audit = { actor: by, sourceIp: '', verb: 'approve', requestId: `rule/${registration.metadata.uid}` }
  const { metadata } = registration
  const spec = { ...registration.spec, decision: { state: 'Accepted' as const, by, at } }
  const decided = await updateObject(tx, 'Registration', { metadata, spec })
  const { namespace = '', name } = metadata
  await recordAudit(tx, { ...audit, kind: 'Registration', namespace, name, before: registration.spec, after: spec })
  if (rule.acceptCluster) {
    const marked = { ...cluster.metadata, annotations: { ...cluster.metadata.annotations, [ACCEPTED_BY_RULE]: at } }
    const accepted = { ...cluster.spec, hubAcceptsClient: true }
    await updateObject(tx, 'ManagedCluster', { metadata: marked, spec: accepted })
    await recordAudit(tx, {
      ...audit,
      kind: 'ManagedCluster',
      namespace: '',
      name: namespace,
      before: cluster.spec,
      after: accepted,
    })
  }
  return { registration: decided ?? registration, clusterAccepted: asIs.clusterAccepted || rule.acceptCluster }
}

// Anybody's decision about any of its nodes, ever, is a decision about the cluster.
async function wasDecided(tx: Tx, { metadata }: ObjectOf<'ManagedCluster'>): Promise<boolean> {
  if (metadata.annotations?.[ACCEPTED_BY_RULE] !== undefined) return true
  const registrations = await listObjects(tx, 'Registration', { namespace: metadata.name })
  if (registrations.some(({ spec }) => spec.decision !== undefined)) return true
  return (await listIdentities(tx, metadata.name)).length > 0
}

async function end(tx: Tx, identity: IdentityRow, standing: Standing, nowMs: number): Promise<void> {
  await revokeKey(tx, identity, nowMs)
  await setIdentityState(tx, identity, standing.state)
  await wake(tx, 'identity')
}

async function tell(tx: Tx, { metadata, status }: Registration, standing: Standing): Promise<void> {
  const { namespace = '', name } = metadata
  const row = await loadIdentity(tx, namespace, name)
  const changed = await saveStatus(tx, 'Registration', namespace, name, statusOf(standing, status, row))
  if (!changed || status?.state === standing.state) return
  const good = standing.state === 'Accepted' || standing.state === 'Pending'
  await recordEvent(tx, {
    type: good ? 'Normal' : 'Warning',
    reason: `Registration${standing.state}`,
    message: standing.message,
    component: 'registration',
    regarding: { kind: 'Registration', namespace, name },
  })
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
