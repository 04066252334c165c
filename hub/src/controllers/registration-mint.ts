import type { ObjectOf } from '@skerry/api'
import { AWAITING_PROOF, lifeOf } from '@skerry/policy'
import { type Signer, signDocument, verifySelfSigned } from '@skerry/trust'
import {
  deleteExchange,
  loadExchange,
  type NodeIdentity,
  natsKeyFault,
  revokeKey,
  routingTokenOf,
  saveIdentity,
} from '../store/registrations.ts'
import { createObject, getObject } from '../store/resources.ts'
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

export type Minted =
  | { readonly kind: 'minted' }
  | { readonly kind: 'wait'; readonly reason: string; readonly message: string }

/**
 * Numbers the life, mints the credential, signs the acceptance and writes the record, all in the caller's transaction:
 * a hub killed anywhere here has done nothing. Every name comes from the record, never from the request.
 */
export async function mintCredential(
  tx: Tx,
  { metadata, spec }: ObjectOf<'Registration'>,
  before: NodeIdentity | undefined,
  options: MintOptions,
  nowMs: number,
): Promise<Minted> {
  const { namespace: cluster = '', name: node } = metadata
  const { decision, natsKey, nodeKeyThumbprint } = spec
  const exchange = await loadExchange(tx, spec.keysDigest)
  if (!exchange?.provenAt || !decision)
    return { kind: 'wait', reason: AWAITING_PROOF, message: 'accepted; the node has to prove its keys again' }
  // The door refuses a key that was ended; one that was ended since gets nothing either.
  if ((await natsKeyFault(tx, natsKey, { cluster, node })) !== undefined)
    return { kind: 'wait', reason: AWAITING_PROOF, message: 'accepted; the node has to come with a new NATS key' }

  const { payload: request } = await verifySelfSigned(exchange.request)
  const life = lifeOf(before && { ...before, left: before.state === 'Left' }, {
    incarnation: request.incarnation,
    nodeKeyThumbprint,
  })
  if (before && before.natsKey !== natsKey) await revokeKey(tx, before, nowMs)
  if (before && before.requestId !== exchange.id) await deleteExchange(tx, before.requestId)
  const routingToken = await routingTokenOf(tx, cluster, options.newRoutingToken)
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
  await saveIdentity(tx, {
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
    acceptance,
    natsJwt: options.mint({ cluster, node, routingToken, natsKey, expiresAt }),
    credentialIssuedAt: new Date(nowMs),
    credentialExpiresAt: expiresAt,
    decidedBy: decision.by,
    decidedAt: new Date(decision.at),
  })
  if (!(await getObject(tx, 'EdgeNode', cluster, node)))
    await createObject(tx, 'EdgeNode', {
      metadata: { name: node, namespace: cluster },
      status: { class: spec.class, reachability: 'NeverSeen' },
    })
  await wake(tx, 'identity')
  return { kind: 'minted' }
}
