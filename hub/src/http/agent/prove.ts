import {
  CLUSTER_SET_LABEL,
  type ObjectOf,
  parse,
  Refusal,
  RegistrationChallenge,
  type RegistrationRequest,
} from '@skerry/api'
import { destinationOf, fingerprintOf } from '@skerry/policy'
import { type VerifyKey, verifyDocument, verifyKey } from '@skerry/trust'
import { recordAudits } from '../../store/audit.ts'
import { recordEvents } from '../../store/events.ts'
import {
  deleteExchanges,
  type Exchange,
  type ExchangeTpm,
  loadExchange,
  loadExchanges,
  markProven,
  requestOf,
  tpmOf,
} from '../../store/exchanges.ts'
import { suspendForked } from '../../store/heads.ts'
import { identitiesAt, type TpmHolder } from '../../store/identities.ts'
import { keysOfFormerLives } from '../../store/lives.ts'
import type { Profiles } from '../../store/profiles.ts'
import { createObjects, getObjects, saveStatuses, updateObjects } from '../../store/resources.ts'
import { type Store, type Tx, write } from '../../store/store.ts'
import { wake } from '../../store/wake.ts'
import type { Gate } from '../gate.ts'
import { StatusError } from '../status-error.ts'
import { coalesce } from './coalesce.ts'
import { type Admitted, admitEntry, knownNodes, loadSurroundings, type Token } from './entry.ts'
import { judgeTpmProof, tpmSpecOf } from './hardware.ts'

export type Caller = { readonly sourceIp: string; readonly requestId: string }

type Entering = {
  readonly exchange: Exchange
  readonly request: RegistrationRequest
  readonly key: VerifyKey
  readonly tpm: ExchangeTpm | undefined
  /** What the TPM showed. */
  readonly shown: ReturnType<typeof judgeTpmProof>
  /** The proof as it was signed. */
  readonly proof: string
  readonly caller: Caller
  readonly nowMs: number
}

/**
 * The second call: the node key signs over the exchange. Then, in one transaction, the token's use is counted and the
 * Registration comes to be, with the ManagedCluster when it is the first node. Proofs that come together share that
 * transaction; `line` bounds the queries outside of it. The function throws a Refusal, or StatusError 429.
 */
export function proofs(store: Store, profiles: Profiles, line: Gate) {
  const enterAll = coalesce<Entering, undefined>({
    atOnce: 256,
    // Two nodes of one cluster look at each other's rows: one after the other.
    apart: ({ exchange }) => exchange.cluster,
    run: (batch) => write(store, (tx) => enterTogether(tx, batch)),
  })
  return async (id: string, text: string, caller: Caller, nowMs: number): Promise<void> => {
    const exchange = await line(() => loadExchange(store.sql, id))
    if (!exchange) throw gone()
    const challenge = parse(RegistrationChallenge, JSON.parse(exchange.challenge), 'challenge')
    if (!exchange.provenAt && Date.parse(challenge.expiresAt) <= nowMs) throw gone()
    const request = requestOf(exchange)
    const key = verifyKey(request.nodeKey)
    const { payload: proof } = await verifyDocument('RegistrationProof', text, new Map([[key.thumbprint, key]]))
    if (proof.id !== id || proof.nonce !== challenge.nonce || proof.transcript !== exchange.transcript)
      throw new Refusal('ProofMismatch', 'the proof does not cover this request and challenge')
    // The same proof again: its answer was lost.
    if (exchange.provenAt) return
    const tpm = tpmOf(exchange)
    const shown = judgeTpmProof(exchange, tpm, request, proof, {
      profile: tpm && (await line(() => profiles(request.hardwareId))),
      record:
        tpm && (await line(() => identitiesAt(store.sql, [exchange]))).get(`${exchange.cluster}/${exchange.node}`),
    })
    await enterAll({ exchange, request, key, tpm, shown, proof: text, caller, nowMs })
  }
}

// Everything they need is read at once, each is judged in memory in the order of the batch, and what follows is written
// at once: a batch costs about as many statements as one node.
async function enterTogether(tx: Tx, batch: readonly Entering[]): Promise<PromiseSettledResult<undefined>[]> {
  const exchanges = batch.map(({ exchange }) => exchange)
  const [known, tokens, stored, surroundings, returned] = await Promise.all([
    knownNodes(
      tx,
      batch.map(({ key, tpm }) => ({ thumbprint: key.thumbprint, tpm })),
    ),
    getObjects(
      tx,
      'JoinToken',
      exchanges.flatMap(({ tokenName }) => (tokenName === null ? [] : [{ namespace: '', name: tokenName }])),
    ),
    loadExchanges(
      tx,
      exchanges.map(({ id }) => id),
    ),
    loadSurroundings(
      tx,
      batch.map(({ exchange: { cluster, node }, request: { natsKey }, tpm }) => ({ cluster, node, natsKey, tpm })),
      Math.max(...batch.map(({ nowMs }) => nowMs)),
    ),
    keysOfFormerLives(
      tx,
      batch.flatMap(({ exchange: { cluster, node }, request: { nodeKey }, tpm }) =>
        tpm ? [{ cluster, node, nodeKey }] : [],
      ),
    ),
  ])
  const forked: Forked[] = []
  // Of this batch: what one has taken is no longer there for the next.
  const holders: TpmHolder[] = [...surroundings.tpmHolders]
  const used = new Map<string, { namespace: string; name: string; status: { uses: number; lastUsedAt: string } }>()
  const entered: Entered[] = []
  const results = batch.map((proven): PromiseSettledResult<undefined> => {
    const { exchange, request, key, tpm, nowMs } = proven
    try {
      const mine = known.get(key.thumbprint)
      const token = mine || exchange.tokenName === null ? undefined : tokens.get(`/${exchange.tokenName}`)
      // Another exchange of these keys has taken its place since.
      if (stored.get(exchange.id)?.transcript !== exchange.transcript) throw gone()
      const { cluster, node } = destinationOf(request, mine, token)
      if (cluster !== exchange.cluster || node !== exchange.node)
        throw new Refusal('ChallengeExpired', 'these keys lead elsewhere now; start again')
      const uses = token ? (used.get(token.metadata.name)?.status.uses ?? token.status?.uses ?? 0) : 0
      const entrant = { request, cluster, node, known: mine, tpm, token, uses }
      const there = admitEntry(entrant, { ...surroundings, tpmHolders: holders }, nowMs)
      if (tpm && returned.has(`${cluster}/${node}`)) throw new Forked(cluster, node)
      if (tpm) holders.push({ ...tpm, cluster, node })
      if (token && there.spends) {
        const { name } = token.metadata
        const status = { uses: uses + 1, lastUsedAt: new Date(nowMs).toISOString() }
        used.set(name, { namespace: '', name, status })
      }
      entered.push({ ...proven, ...there, token, spec: specOf(proven, there, token) })
      return { status: 'fulfilled', value: undefined }
    } catch (reason) {
      // A refusal is its caller's own; anything else undoes the batch.
      if (!(reason instanceof Refusal || reason instanceof StatusError)) throw reason
      if (reason instanceof Forked) forked.push(reason)
      return { status: 'rejected', reason }
    }
  })
  await saveEntered(tx, entered)
  await saveStatuses(tx, 'JoinToken', [...used.values()])
  await suspend(tx, forked)
  return results
}

/** The node key of an earlier life came back with the same TPM: the disk that was believed lost is alive beside the new one. */
class Forked extends Refusal {
  readonly place: { readonly cluster: string; readonly node: string }
  constructor(cluster: string, node: string) {
    super(
      'ForkedChain',
      `node ${node} of cluster ${cluster} comes with the node key of an earlier life, after a later one began: two machines hold this TPM's identity; find the copy and switch it off, then accept the node again, or delete its registration where this machine is the one to keep`,
    )
    this.place = { cluster, node }
  }
}

async function suspend(tx: Tx, forked: readonly Forked[]): Promise<void> {
  for (const { place, message } of forked) {
    if (!(await suspendForked(tx, place))) continue
    const regarding = { kind: 'EdgeNode', namespace: place.cluster, name: place.node }
    await recordEvents(tx, [{ type: 'Warning', reason: 'ForkedChain', message, component: 'registration', regarding }])
    await wake(tx, 'identity')
  }
}

type Entered = Entering &
  Admitted & { readonly token: Token | undefined; readonly spec: ObjectOf<'Registration'>['spec'] }

function specOf(
  { exchange, request, key, tpm, shown }: Entering,
  { registration, isOwn }: Admitted,
  token: Token | undefined,
): ObjectOf<'Registration'>['spec'] {
  const before = isOwn ? registration?.spec : undefined
  const joinToken = token?.metadata.name ?? before?.joinToken
  return {
    nodeName: request.nodeName,
    class: request.class,
    keysDigest: exchange.id,
    nodeKeyThumbprint: key.thumbprint,
    natsKey: request.natsKey,
    fingerprint: fingerprintOf(exchange.transcript),
    ...(joinToken === undefined ? {} : { joinToken }),
    // Which profile judges a TPM's boots was decided with it, and is not the node's to choose again.
    hardwareId: before?.decision && before.tpm ? before.hardwareId : request.hardwareId,
    ...tpmSpecOf(tpm, shown, before),
    claims: request.claims,
    // The same key, or the same TPM, with a new credential is the same node: who decided about it stays decided.
    ...(before?.decision ? { decision: before.decision } : {}),
    ...(before?.rotatedAt === undefined ? {} : { rotatedAt: before.rotatedAt }),
  }
}

async function saveEntered(tx: Tx, entered: readonly Entered[]): Promise<void> {
  const [first] = entered
  if (!first) return
  await markProven(
    tx,
    entered.map(({ exchange: { id, transcript }, tpm, shown, proof }) => ({
      ...{ id, transcript, proof },
      tpm: tpm ? JSON.stringify({ ...tpm, ...shown } satisfies ExchangeTpm) : null,
    })),
    first.nowMs,
  )
  // One exchange a node: what these keys replace is not asked for again.
  await deleteExchanges(
    tx,
    entered.flatMap(({ registration, exchange: { id } }) =>
      registration && registration.spec.keysDigest !== id ? [registration.spec.keysDigest] : [],
    ),
  )
  await createObjects(
    tx,
    'ManagedCluster',
    entered
      .filter(({ cluster }) => !cluster)
      .map(({ exchange, token }) => ({
        metadata: {
          name: exchange.cluster,
          labels: { [CLUSTER_SET_LABEL]: token?.spec.clusterSet ?? 'default' },
        },
        spec: { hubAcceptsClient: false },
      })),
  )
  await updateObjects(
    tx,
    'Registration',
    entered.flatMap(({ registration, spec }) => (registration ? [{ metadata: registration.metadata, spec }] : [])),
  )
  const fresh = entered.filter(({ registration }) => !registration)
  await createObjects(
    tx,
    'Registration',
    fresh.map(({ exchange: { cluster, node }, spec }) => ({
      metadata: { namespace: cluster, name: node },
      spec,
      status: WAITING,
    })),
  )
  await recordAudits(
    tx,
    entered.map(({ exchange: { cluster, node }, caller, key, registration, spec }) => ({
      ...caller,
      namespace: cluster,
      name: node,
      actor: `node-key/${key.thumbprint}`,
      verb: 'register',
      kind: 'Registration',
      before: registration?.spec,
      after: spec,
    })),
  )
  await recordEvents(
    tx,
    fresh.map(({ exchange: { cluster, node }, request, spec }) => ({
      type: 'Normal',
      reason: 'RegistrationReceived',
      message: `node ${node} asks to belong, class ${request.class}, fingerprint ${spec.fingerprint}`,
      component: 'registration',
      regarding: { kind: 'Registration', namespace: cluster, name: node },
    })),
  )
}

const WAITING = { state: 'Pending', reason: 'AwaitingDecision', message: 'a rule or a person decides' } as const

function gone(): Refusal {
  return new Refusal('ChallengeExpired', 'there is no open challenge for these keys; start again')
}
