import type { ObjectOf } from '@skerry/api'
import { AWAITING_PROOF, lifeOf } from '@skerry/policy'
import { type Signer, signDocument } from '@skerry/trust'
import { deleteExchanges, type Exchange, loadExchanges, requestOf, tpmOf } from '../store/exchanges.ts'
import { type NewIdentity, type NodeIdentity, saveIdentities } from '../store/identities.ts'
import { lastLives } from '../store/lives.ts'
import { natsKeyFaults, revokeKey } from '../store/nats-keys.ts'
import { createObjects, getObjects } from '../store/resources.ts'
import { routingTokensOf } from '../store/routing-tokens.ts'
import type { Tx } from '../store/store.ts'
import { wake } from '../store/wake.ts'

const CREDENTIAL_MS = 90 * 86_400_000

export type MintOptions = {
  /** A NATS user JWT for exactly this node's subjects. */
  readonly mint: (credential: {
    cluster: string
    node: string
    routingToken: string
    natsKey: string
    expiresAt: Date
  }) => string
  readonly newRoutingToken: () => string
  readonly acceptanceSigner: Signer
}

/** A registration that is due a credential, and the record it had. */
export type ToMint = {
  readonly registration: ObjectOf<'Registration'>
  readonly before: NodeIdentity | undefined
}

export type Wait = { readonly reason: string; readonly message: string }

/**
 * Numbers each life, mints each credential, signs the acceptances and writes the records, all in the caller's transaction:
 * a hub killed anywhere here has done nothing. Every name comes from the record, never from the request. Returns for each,
 * in order, what it has to wait for; undefined when it was minted.
 */
export async function mintCredentials(
  tx: Tx,
  all: readonly ToMint[],
  options: MintOptions,
  nowMs: number,
): Promise<(Wait | undefined)[]> {
  if (all.length === 0) return []
  const places = all.map(({ registration: { metadata } }) => ({
    namespace: metadata.namespace ?? '',
    name: metadata.name,
  }))
  const [exchanges, faults, edgeNodes, lives] = await Promise.all([
    loadExchanges(
      tx,
      all.map(({ registration }) => registration.spec.keysDigest),
    ),
    natsKeyFaults(
      tx,
      all.map(({ registration: { metadata, spec } }) => ({
        cluster: metadata.namespace ?? '',
        node: metadata.name,
        natsKey: spec.natsKey,
      })),
    ),
    getObjects(tx, 'EdgeNode', places),
    lastLives(
      tx,
      places.map(({ namespace, name }) => ({ cluster: namespace, node: name })),
    ),
  ])
  const ready: Ready[] = []
  const waits = all.map(({ registration, before }): Wait | undefined => {
    const { metadata, spec } = registration
    const { namespace: cluster = '', name: node } = metadata
    const exchange = exchanges.get(spec.keysDigest)
    if (!exchange?.provenAt || !spec.decision)
      return { reason: AWAITING_PROOF, message: 'accepted; the node has to prove its keys again' }
    // The door refuses a key that was ended; one that was ended since gets nothing either.
    if (faults.has(`${cluster}/${node}`))
      return { reason: AWAITING_PROOF, message: 'accepted; the node has to come with a new NATS key' }
    const lastLife = lives.get(`${cluster}/${node}`) ?? 0
    ready.push({ cluster, node, spec, decision: spec.decision, exchange, before, lastLife })
    return undefined
  })
  const routingTokens = await routingTokensOf(
    tx,
    ready.map(({ cluster }) => cluster),
    options.newRoutingToken,
  )
  // Verified and signed beside one another, and all of them ended before the transaction may.
  const made = await Promise.allSettled(ready.map((one) => identityOf(one, routingTokens, options, nowMs)))
  const identities = made.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
  const ended: string[] = []
  for (const { before, spec, exchange } of ready) {
    if (before && before.natsKey !== spec.natsKey) await revokeKey(tx, before, nowMs)
    if (before && before.requestId !== exchange.id) ended.push(before.requestId)
  }
  await deleteExchanges(tx, ended)
  await saveIdentities(tx, identities)
  await createObjects(
    tx,
    'EdgeNode',
    ready
      .filter(({ cluster, node }) => !edgeNodes.has(`${cluster}/${node}`))
      .map(({ cluster, node, spec }) => ({
        metadata: { name: node, namespace: cluster },
        status: { class: spec.class, reachability: 'NeverSeen' },
      })),
  )
  if (ready.length > 0) await wake(tx, 'identity')
  return waits
}

type Ready = {
  readonly cluster: string
  readonly node: string
  readonly spec: ObjectOf<'Registration'>['spec']
  readonly decision: NonNullable<ObjectOf<'Registration'>['spec']['decision']>
  readonly exchange: Exchange
  readonly before: NodeIdentity | undefined
  readonly lastLife: number
}

async function identityOf(
  { cluster, node, spec, decision, exchange, before, lastLife }: Ready,
  routingTokens: ReadonlyMap<string, string>,
  options: MintOptions,
  nowMs: number,
): Promise<NewIdentity> {
  const { natsKey, nodeKeyThumbprint } = spec
  const routingToken = routingTokens.get(cluster)
  if (routingToken === undefined) throw new Error(`the routing token of ${cluster} was not stored`)
  const request = requestOf(exchange)
  const life = lifeOf(before && { ...before, left: before.state === 'Left' }, lastLife, {
    incarnation: request.incarnation,
    nodeKeyThumbprint,
  })
  const expiresAt = new Date(nowMs + CREDENTIAL_MS)
  // The chain of a life begins at the exchange that began it, however often the credential is renewed.
  const transcript = life.continues && before ? before.transcript : exchange.transcript
  const acceptance = await signDocument(
    'Acceptance',
    {
      kind: 'Acceptance',
      cluster,
      node,
      incarnation: life.incarnation,
      class: spec.class,
      ...(spec.tpm ? { ekSha256: spec.tpm.ekSha256, akName: spec.tpm.akName } : {}),
      nodeKeyThumbprint,
      natsKey,
      routingToken,
      transcript,
      decidedBy: decision.by,
      decidedAt: decision.at,
    },
    options.acceptanceSigner,
    `${cluster}/${node}`,
  )
  return {
    cluster,
    node,
    state: 'Accepted',
    class: spec.class,
    nodeKey: request.nodeKey,
    nodeKeyThumbprint,
    natsKey,
    incarnation: life.incarnation,
    requestId: exchange.id,
    transcript,
    ...(life.continues ? {} : { proof: exchange.proof ?? undefined }),
    akName: spec.tpm?.akName,
    firmware: tpmOf(exchange)?.firstBoot?.firmware,
    acceptance,
    natsJwt: options.mint({ cluster, node, routingToken, natsKey, expiresAt }),
    credentialIssuedAt: new Date(nowMs),
    credentialExpiresAt: expiresAt,
    decidedBy: decision.by,
    decidedAt: new Date(decision.at),
  }
}
