import { CLUSTER_SET_LABEL, parse, Refusal, RegistrationChallenge, type RegistrationRequest } from '@skerry/api'
import { fingerprintOf } from '@skerry/policy'
import { type VerifyKey, verifyDocument, verifyKey, verifySelfSigned } from '@skerry/trust'
import { recordAudit } from '../../store/audit.ts'
import { recordEvent } from '../../store/events.ts'
import { deleteExchange, type Exchange, loadExchange, markProven } from '../../store/registrations.ts'
import { createObject, getObject, saveStatus, updateObject } from '../../store/resources.ts'
import { type Store, type Tx, write } from '../../store/store.ts'
import { makeBatches, orUndo } from './batches.ts'
import { admitEntry, knownNode, type Token } from './entry.ts'

export type Caller = { readonly sourceIp: string; readonly requestId: string }

type Proven = {
  readonly exchange: Exchange
  readonly request: RegistrationRequest
  readonly key: VerifyKey
  readonly caller: Caller
  readonly nowMs: number
}

/**
 * The second call: the node key signs over the exchange. Then, in one transaction, the token's use is counted and the
 * Registration comes to be, with the ManagedCluster when it is the first node. Proofs that come together share that
 * transaction. The function throws a Refusal.
 */
export function proofs(store: Store) {
  const enterAll = makeBatches<Proven, undefined>({
    atOnce: 64,
    // Two nodes of one cluster look at each other's rows: one after the other.
    apart: ({ exchange }) => exchange.cluster,
    run: (batch) => write(store, (tx) => enterTogether(tx, batch)),
  })
  return async (id: string, text: string, caller: Caller, nowMs: number): Promise<void> => {
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
    await enterAll({ exchange, request, key, caller, nowMs })
  }
}

/** Token → its uses with those of this transaction: counted in memory, written once. */
type Tokens = Map<string, Promise<Token | undefined>>

async function enterTogether(tx: Tx, batch: readonly Proven[]): Promise<PromiseSettledResult<undefined>[]> {
  const tokens: Tokens = new Map()
  const used = new Map<string, { token: Token; uses: number; nowMs: number }>()
  const results = orUndo(await Promise.allSettled(batch.map((proven) => enter(tx, proven, tokens, used))))
  for (const { token, uses, nowMs } of used.values())
    await saveStatus(tx, 'JoinToken', '', token.metadata.name, { uses, lastUsedAt: new Date(nowMs).toISOString() })
  return results
}

async function enter(
  tx: Tx,
  { exchange, request, key, caller, nowMs }: Proven,
  tokens: Tokens,
  used: Map<string, { token: Token; uses: number; nowMs: number }>,
): Promise<undefined> {
  const { cluster, node, id, tokenName } = exchange
  const known = await knownNode(tx, key.thumbprint)
  const token = known || tokenName === null ? undefined : await once(tx, tokens, tokenName)
  // What was refused has written nothing.
  const before = await loadExchange(tx, id)
  if (before?.transcript !== exchange.transcript) throw gone()
  const destination = await admitEntry(tx, request, known, token, nowMs, {
    usesOf: ({ metadata, status }) => used.get(metadata.name)?.uses ?? status?.uses ?? 0,
    onUse: (spent, uses) => used.set(spent.metadata.name, { token: spent, uses: uses + 1, nowMs }),
    at: { cluster, node },
  })
  await markProven(tx, id, exchange.transcript, nowMs)
  await register(tx, { exchange, request, key, token, caller, cluster: destination.managed })
  return undefined
}

function once(tx: Tx, tokens: Tokens, name: string): Promise<Token | undefined> {
  const found = tokens.get(name) ?? getObject(tx, 'JoinToken', '', name)
  tokens.set(name, found)
  return found
}

type Registering = Pick<Proven, 'exchange' | 'request' | 'key' | 'caller'> & {
  readonly token: Token | undefined
  /** Whether the cluster exists. */
  readonly cluster: boolean
}

async function register(
  tx: Tx,
  { exchange, request, key, token, caller, cluster: exists }: Registering,
): Promise<void> {
  const { cluster, node, id } = exchange
  const at = { namespace: cluster, name: node }
  const before = await getObject(tx, 'Registration', cluster, node)
  const sameKey = before?.spec.nodeKeyThumbprint === key.thumbprint ? before.spec : undefined
  // One exchange a node: what these keys replace is not asked for again.
  if (before && before.spec.keysDigest !== id) await deleteExchange(tx, before.spec.keysDigest)
  if (!exists) {
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

function gone(): Refusal {
  return new Refusal('ChallengeExpired', 'there is no open challenge for these keys; start again')
}
