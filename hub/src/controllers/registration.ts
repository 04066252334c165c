import type { Condition, ObjectOf, PublicJwk, RegistrationState } from '@skerry/api'
import { type Signer, signDocument, verifySelfSigned } from '@skerry/trust'
import { recordEvent } from '../store/events.ts'
import { type Lease, writeFenced } from '../store/leases.ts'
import {
  listIdentities,
  listRevocations,
  loadIdentity,
  loadRequest,
  type NodeIdentity,
  revokeKey,
  routingTokenOf,
  saveIdentity,
  setIdentityState,
} from '../store/registrations.ts'
import { createObject, getObject, listObjects, saveStatus, updateObject } from '../store/resources.ts'
import type { Store, Tx } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import { setCondition } from './conditions.ts'
import type { Controller } from './run.ts'

// Turns decisions into identities and credentials, and takes them back. Level-triggered: from the rows alone it can tell
// what each registration should be, so a hub killed between any two steps only delays it.

const CREDENTIAL_MS = 90 * 86_400_000

export type RegistrationOptions = {
  readonly mint: (credential: {
    cluster: string
    node: string
    routingToken: string
    natsKey: string
    expiresAt: Date
  }) => string
  readonly newRoutingToken: () => string
  readonly acceptanceSigner: Signer
  /** Tells NATS who is revoked; throws while NATS is away, and is asked again. */
  readonly pushRevocations: (revocations: ReadonlyMap<string, number>) => Promise<void>
}

type Registration = ObjectOf<'Registration'>

export function registrationController(options: RegistrationOptions): Controller {
  let pushed = ''
  return {
    name: 'registration',
    async reconcile({ store, lease, now }) {
      const clusters = new Map(
        (await listObjects(store.sql, 'ManagedCluster')).map((cluster) => [cluster.metadata.name, cluster]),
      )
      const registrations = await listObjects(store.sql, 'Registration')
      for (const registration of registrations) await settle(store, lease, registration, clusters, options, now())
      await dropDeleted(store, lease, registrations)
      for (const cluster of clusters.values())
        await writeFenced(store, lease, (tx) => saveClusterStatus(tx, cluster, registrations, now()))
      const revocations = await listRevocations(store.sql)
      const fingerprint = JSON.stringify([...revocations])
      if (fingerprint !== pushed) {
        await options.pushRevocations(revocations)
        pushed = fingerprint
      }
      return {}
    },
  }
}

async function settle(
  store: Store,
  lease: Lease,
  registration: Registration,
  clusters: ReadonlyMap<string, ObjectOf<'ManagedCluster'>>,
  options: RegistrationOptions,
  nowMs: number,
): Promise<void> {
  const { namespace: name = '' } = registration.metadata
  const cluster = clusters.get(name)
  await decideByRule(store, lease, registration, cluster, nowMs)
  await writeFenced(store, lease, async (tx) => {
    const current = await getObject(tx, 'Registration', name, registration.metadata.name)
    if (!current) return
    const accepted = (await getObject(tx, 'ManagedCluster', '', name))?.spec.hubAcceptsClient === true
    const identity = await loadIdentity(tx, name, current.metadata.name)
    const wanted = stateOf(current, accepted, identity)
    if (
      wanted.state === 'Accepted' &&
      (identity?.state !== 'Accepted' || identity.requestId !== current.spec.keysDigest)
    )
      await accept(tx, current, identity, options, nowMs)
    if (wanted.state !== 'Accepted' && identity?.state === 'Accepted') await end(tx, identity, wanted.state)
    const saved = await loadIdentity(tx, name, current.metadata.name)
    const status = {
      ...wanted,
      ...(saved
        ? { incarnation: saved.incarnation, credentialExpiresAt: saved.credentialExpiresAt.toISOString() }
        : {}),
    }
    const changed = await saveStatus(tx, 'Registration', name, current.metadata.name, status)
    if (changed && current.status?.state !== wanted.state) {
      const type =
        wanted.state === 'Accepted' || wanted.state === 'Pending' ? ('Normal' as const) : ('Warning' as const)
      await recordEvent(tx, {
        type,
        reason: `Registration${wanted.state}`,
        message: wanted.message,
        component: 'registration',
        regarding: { kind: 'Registration', namespace: name, name: current.metadata.name },
      })
    }
  })
}

// A token of acceptance Automatic is the rule. It opens the door once: a later denial sticks.
async function decideByRule(
  store: Store,
  lease: Lease,
  registration: Registration,
  cluster: ObjectOf<'ManagedCluster'> | undefined,
  nowMs: number,
): Promise<void> {
  const { decision, joinToken } = registration.spec
  if (decision || !joinToken || !cluster) return
  await writeFenced(store, lease, async (tx) => {
    const token = await getObject(tx, 'JoinToken', '', joinToken)
    const current = await getObject(tx, 'Registration', cluster.metadata.name, registration.metadata.name)
    if (token?.spec.acceptance !== 'Automatic' || !current || current.spec.decision) return
    const by = `JoinToken/${joinToken}`
    await updateObject(tx, 'Registration', {
      metadata: current.metadata,
      spec: { ...current.spec, decision: { state: 'Accepted', by, at: new Date(nowMs).toISOString() } },
    })
    const first = await getObject(tx, 'ManagedCluster', '', cluster.metadata.name)
    if (first && first.spec.hubAcceptsClient !== true && first.metadata.generation === 1) {
      await updateObject(tx, 'ManagedCluster', {
        metadata: first.metadata,
        spec: { ...first.spec, hubAcceptsClient: true },
      })
    }
  })
}

function stateOf(
  { spec }: Registration,
  clusterAccepted: boolean,
  identity: NodeIdentity | undefined,
): { state: RegistrationState; reason: string; message: string } {
  if (identity?.state === 'Suspended')
    return {
      state: 'Suspended',
      reason: 'ForkedChain',
      message: 'suspended: two machines spoke as this node; a person decides',
    }
  const { decision } = spec
  if (decision?.state === 'Revoked')
    return { state: 'Revoked', reason: 'Revoked', message: `revoked by ${decision.by}` }
  if (decision?.state === 'Denied') return { state: 'Denied', reason: 'Denied', message: `denied by ${decision.by}` }
  if (decision?.state === 'Accepted' && clusterAccepted)
    return { state: 'Accepted', reason: 'Accepted', message: `accepted by ${decision.by}` }
  if (decision?.state === 'Accepted')
    return {
      state: 'Denied',
      reason: 'HubClusterAdminDenied',
      message: 'the hub does not accept this cluster (spec.hubAcceptsClient)',
    }
  return { state: 'Pending', reason: 'AwaitingDecision', message: 'a rule or a person decides' }
}

// Every name comes from the record, never from the request.
async function accept(
  tx: Tx,
  { metadata, spec }: Registration,
  before: NodeIdentity | undefined,
  options: RegistrationOptions,
  nowMs: number,
): Promise<void> {
  const open = await loadRequest(tx, spec.keysDigest)
  if (!open?.provenAt) throw new Error(`the request of ${metadata.namespace}/${metadata.name} is gone`)
  const { payload: request } = await verifySelfSigned(open.request)
  const { namespace: cluster = '', name: node } = metadata
  const routingToken = await routingTokenOf(tx, cluster, options.newRoutingToken)
  const sameLife = before?.nodeKeyThumbprint === spec.nodeKeyThumbprint
  if (before && before.natsKey !== spec.natsKey) await revokeKey(tx, before)
  const incarnation = sameLife ? before.incarnation : (before?.incarnation ?? 0) + 1
  const [issuedAt, expiresAt, decidedAt] = [
    new Date(nowMs),
    new Date(nowMs + CREDENTIAL_MS),
    spec.decision?.at ?? new Date(nowMs).toISOString(),
  ]
  const decidedBy = spec.decision?.by ?? 'unknown'
  const acceptance = {
    kind: 'Acceptance' as const,
    cluster,
    node,
    incarnation,
    class: spec.class,
    nodeKeyThumbprint: spec.nodeKeyThumbprint,
    natsKey: spec.natsKey,
    routingToken,
    decidedBy,
    decidedAt,
  }
  await saveIdentity(tx, {
    cluster,
    node,
    state: 'Accepted',
    class: spec.class,
    nodeKey: request.nodeKey as PublicJwk,
    nodeKeyThumbprint: spec.nodeKeyThumbprint,
    natsKey: spec.natsKey,
    incarnation,
    requestId: spec.keysDigest,
    // The chain of a life begins at the exchange that began it, however often the credential is renewed.
    transcript: sameLife ? before.transcript : open.transcript,
    acceptance: await signDocument('Acceptance', acceptance, options.acceptanceSigner, `${cluster}/${node}`),
    natsJwt: options.mint({ cluster, node, routingToken, natsKey: spec.natsKey, expiresAt }),
    credentialIssuedAt: issuedAt,
    credentialExpiresAt: expiresAt,
    decidedBy,
    decidedAt: new Date(decidedAt),
  })
  if (!(await getObject(tx, 'EdgeNode', cluster, node)))
    await createObject(tx, 'EdgeNode', {
      metadata: { name: node, namespace: cluster },
      status: { class: spec.class, reachability: 'NeverSeen' },
    })
  await wake(tx, 'identity')
}

async function end(tx: Tx, identity: NodeIdentity, state: RegistrationState): Promise<void> {
  await revokeKey(tx, identity)
  await setIdentityState(tx, identity.cluster, identity.node, state)
  await wake(tx, 'identity')
}

async function dropDeleted(store: Store, lease: Lease, registrations: readonly Registration[]): Promise<void> {
  const known = new Set(registrations.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`))
  for (const identity of await listIdentities(store.sql)) {
    if (known.has(`${identity.cluster}/${identity.node}`) || identity.state === 'Left') continue
    await writeFenced(store, lease, (tx) => end(tx, identity, 'Left'))
  }
}

async function saveClusterStatus(
  tx: Tx,
  cluster: ObjectOf<'ManagedCluster'>,
  registrations: readonly Registration[],
  nowMs: number,
): Promise<void> {
  const { name } = cluster.metadata
  const current = await getObject(tx, 'ManagedCluster', '', name)
  if (!current) return
  const nodes = registrations.filter(({ metadata }) => metadata.namespace === name)
  const identities = await tx<
    { n: number }[]
  >`select count(*)::int as n from node_identity where cluster = ${name} and state = 'Accepted'`
  const accepted = current.spec.hubAcceptsClient === true
  const joined = (identities[0]?.n ?? 0) > 0
  let conditions: Condition[] = current.status?.conditions ?? []
  conditions = setCondition(
    conditions,
    {
      type: 'HubAcceptedManagedCluster',
      status: accepted ? 'True' : 'False',
      reason: accepted ? 'HubClusterAdminAccepted' : 'HubClusterAdminDenied',
      message: accepted ? 'the hub accepts this cluster' : 'the hub does not accept this cluster',
    },
    nowMs,
  )
  conditions = setCondition(
    conditions,
    {
      type: 'ManagedClusterJoined',
      status: joined ? 'True' : 'False',
      reason: joined ? 'ManagedClusterJoined' : 'NoNodeAccepted',
      message: joined ? 'a node of this cluster is registered' : 'no node of this cluster is registered',
    },
    nowMs,
  )
  const claims = nodes.flatMap(({ spec }) => Object.entries(spec.claims)).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const clusterClaims = [...new Map(claims)].map(([claim, value]) => ({ name: claim, value }))
  await saveStatus(tx, 'ManagedCluster', '', name, {
    ...current.status,
    conditions,
    ...(clusterClaims.length > 0 ? { clusterClaims } : {}),
  })
}
