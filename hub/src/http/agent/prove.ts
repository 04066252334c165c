import { CLUSTER_SET_LABEL, parse, Refusal, RegistrationChallenge, type RegistrationRequest } from '@skerry/api'
import { fingerprintOf } from '@skerry/policy'
import { type VerifyKey, verifyDocument, verifyKey, verifySelfSigned } from '@skerry/trust'
import { recordAudit } from '../../store/audit.ts'
import { recordEvent } from '../../store/events.ts'
import { deleteExchange, type Exchange, loadExchange, markProven } from '../../store/registrations.ts'
import { createObject, getObject, saveStatus, updateObject } from '../../store/resources.ts'
import { type Store, type Tx, write } from '../../store/store.ts'
import { admitEntry, knownNode, type Token } from './entry.ts'

type Caller = { readonly sourceIp: string; readonly requestId: string }

/**
 * The second call: the node key signs over the exchange. Then, in one transaction, the token's use is counted and the
 * Registration comes to be, with the ManagedCluster when it is the first node. Throws a Refusal.
 */
export async function prove(store: Store, id: string, text: string, caller: Caller, nowMs: number): Promise<void> {
  const exchange = await loadExchange(store.sql, id)
  if (!exchange) throw gone()
  const challenge = parse(RegistrationChallenge, JSON.parse(exchange.challenge), 'challenge')
  if (!exchange.provenAt && Date.parse(challenge.expiresAt) <= nowMs) throw gone()
  const { payload: request } = await verifySelfSigned(exchange.request)
  const key = verifyKey(request.nodeKey)
  const { payload: proof } = await verifyDocument('RegistrationProof', text, new Map([[key.thumbprint, key]]))
  if (proof.id !== id || proof.nonce !== challenge.nonce || proof.transcript !== exchange.transcript)
    throw new Refusal('ProofMismatch', 'the proof does not cover this request and challenge')
  // The same proof again: its answer was lost.
  if (exchange.provenAt) return

  await write(store, async (tx) => {
    const known = await knownNode(tx, key.thumbprint)
    const token =
      known || exchange.tokenName === null ? undefined : await getObject(tx, 'JoinToken', '', exchange.tokenName)
    const { cluster, node } = await admitEntry(tx, request, known, token, nowMs)
    if (cluster !== exchange.cluster || node !== exchange.node) throw gone()
    if (!(await markProven(tx, id, exchange.transcript, nowMs))) throw gone()
    await enter(tx, { exchange, request, key, token, caller, nowMs })
  })
}

type Entering = {
  readonly exchange: Exchange
  readonly request: RegistrationRequest
  readonly key: VerifyKey
  readonly token: Token | undefined
  readonly caller: Caller
  readonly nowMs: number
}

async function enter(tx: Tx, { exchange, request, key, token, caller, nowMs }: Entering): Promise<void> {
  const { cluster, node, id } = exchange
  const at = { namespace: cluster, name: node }
  const before = await getObject(tx, 'Registration', cluster, node)
  const sameKey = before?.spec.nodeKeyThumbprint === key.thumbprint ? before.spec : undefined
  if (token && sameKey?.joinToken !== token.metadata.name) await countUse(tx, token, nowMs)
  // One exchange a node: what these keys replace is not asked for again.
  if (before && before.spec.keysDigest !== id) await deleteExchange(tx, before.spec.keysDigest)
  if (!(await getObject(tx, 'ManagedCluster', '', cluster))) {
    const labels = { [CLUSTER_SET_LABEL]: token?.spec.clusterSet ?? 'default' }
    await createObject(tx, 'ManagedCluster', { metadata: { name: cluster, labels }, spec: { hubAcceptsClient: false } })
  }
  const joinToken = token?.metadata.name ?? sameKey?.joinToken
  const spec = {
    nodeName: request.nodeName,
    class: request.class,
    keysDigest: id,
    nodeKeyThumbprint: key.thumbprint,
    natsKey: request.natsKey,
    fingerprint: fingerprintOf(exchange.transcript),
    ...(joinToken === undefined ? {} : { joinToken }),
    hardwareId: request.hardwareId,
    claims: request.claims,
    // The same key with a new credential is the same node: who decided about it stays decided.
    ...(sameKey?.decision ? { decision: sameKey.decision } : {}),
    ...(sameKey?.rotatedAt === undefined ? {} : { rotatedAt: sameKey.rotatedAt }),
  }
  if (before) await updateObject(tx, 'Registration', { metadata: before.metadata, spec })
  else await createObject(tx, 'Registration', { metadata: at, spec, status: WAITING })
  await recordAudit(tx, {
    ...caller,
    ...at,
    actor: `node-key/${key.thumbprint}`,
    verb: 'register',
    kind: 'Registration',
    before: before?.spec,
    after: spec,
  })
  if (before) return
  await recordEvent(tx, {
    type: 'Normal',
    reason: 'RegistrationReceived',
    message: `node ${node} asks to belong, class ${request.class}, fingerprint ${spec.fingerprint}`,
    component: 'registration',
    regarding: { kind: 'Registration', ...at },
  })
}

const WAITING = { state: 'Pending', reason: 'AwaitingDecision', message: 'a rule or a person decides' } as const

async function countUse(tx: Tx, { metadata, status }: Token, nowMs: number): Promise<void> {
  const uses = (status?.uses ?? 0) + 1
  await saveStatus(tx, 'JoinToken', '', metadata.name, { uses, lastUsedAt: new Date(nowMs).toISOString() })
}

function gone(): Refusal {
  return new Refusal('ChallengeExpired', 'there is no open challenge for these keys; start again')
}
