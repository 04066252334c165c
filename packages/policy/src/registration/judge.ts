import { type JoinTokenSpec, LABEL_PATTERN, Refusal, type RegistrationRequest } from '@skerry/api'
import { counted } from '../words.ts'
import type { TpmIdentity } from './hardware.ts'
import { nodeIdOf } from './names.ts'
import { AWAITING_PROOF, type Standing } from './standing.ts'

// Whether a node that shows its keys may ask to belong. Nothing here accepts it: that is a rule's or a person's decision.

/** What the hub knows when a node asks to belong with a token whose secret was right. */
export type TokenFacts = {
  readonly name: string
  readonly spec: JoinTokenSpec
  readonly uses: number
  /** This very key has used the token before: a lost answer, or an agent that starts again. */
  readonly alreadyCounted: boolean
}

/** The cluster that a request names, where it exists. */
export type ClusterStanding = {
  readonly accepted: boolean
  readonly clusterSet: string
  /** Nodes of other keys that are registered in it. */
  readonly otherNodes: number
}

export type EntryFacts = {
  /** Where the request leads: `destinationOf()`. */
  readonly cluster: string
  readonly node: string
  /**
   * The record that this node key proves, or this TPM, found by them alone, and what it shall be now (`standingOf()`);
   * undefined for keys that no record holds, or one that left.
   */
  readonly known:
    | {
        readonly cluster: string
        readonly node: string
        readonly standing: Standing
        /** What it was registered with; undefined for class software-key. */
        readonly tpm: TpmIdentity | undefined
      }
    | undefined
  /** The TPM that the request names. */
  readonly tpm: TpmIdentity | undefined
  /** Another node that is registered with this EK, or with this AK. */
  readonly tpmHeldBy: { readonly cluster: string; readonly node: string } | undefined
  /** Another key holds this name in this cluster, and not with the same TPM. */
  readonly heldByOther: boolean
  /** The NATS key of the request was ended before, or is another node's. */
  readonly natsKeyFault: 'Ended' | 'HeldByOther' | undefined
  readonly standing: ClusterStanding | undefined
  readonly token: TokenFacts | undefined
}

type Asked = Pick<RegistrationRequest, 'class' | 'cluster' | 'nodeName'>

const LABEL = new RegExp(LABEL_PATTERN)

/** Cluster and node of a request: those of the key's record, else what request and token say. Refusal InvalidField. */
export function destinationOf(
  request: Asked,
  known: EntryFacts['known'],
  token: { readonly spec: JoinTokenSpec } | undefined,
): { cluster: string; node: string } {
  if (known) return { cluster: known.cluster, node: known.node }
  const node = nodeIdOf(request.nodeName)
  const cluster = request.cluster ?? token?.spec.cluster ?? node
  if (!LABEL.test(cluster))
    throw new Refusal('InvalidField', `"${cluster}" is no cluster id (${LABEL_PATTERN})`, { field: 'cluster' })
  return { cluster, node }
}

/** Why a request may not go on to its challenge, or its proof not be taken; undefined when it may. */
export function judgeEntry(request: Asked, facts: EntryFacts, nowMs: number): Refusal | undefined {
  const { cluster, node, known, tpm, heldByOther, token } = facts
  const changed = judgeTpm(facts)
  if (changed) return changed
  if (known) return judgeKnown(request, known) ?? judgeNatsKey(facts)
  if (!token) return new Refusal('TokenUnknown', 'no record holds this node key or its TPM: a join token is needed')
  if (heldByOther)
    return new Refusal(
      'NodeTaken',
      `node ${node} of cluster ${cluster} belongs to another key${tpm ? ' and another TPM' : ''}`,
    )
  return judgeToken(request, facts, token, nowMs) ?? judgeNatsKey(facts)
}

// A node's TPM never changes, and a TPM is one node's: what does not fit is a new registration, which a person begins.
function judgeTpm({ cluster, node, known, tpm, tpmHeldBy }: EntryFacts): Refusal | undefined {
  const next = 'a person deletes the old registration first (skerry delete registration)'
  if (known && (known.tpm?.ekSha256 !== tpm?.ekSha256 || known.tpm?.akName !== tpm?.akName)) {
    const says = (one: TpmIdentity | undefined) => (one ? `TPM ${one.ekSha256}, AK ${one.akName}` : 'no TPM')
    return new Refusal(
      'IdentityChanged',
      `node ${known.node} of cluster ${known.cluster} is registered with ${says(known.tpm)}, and comes with ${says(tpm)}; ${next}`,
      { field: 'ek' },
    )
  }
  if (tpmHeldBy)
    return new Refusal(
      'IdentityChanged',
      `this TPM is registered as node ${tpmHeldBy.node} of cluster ${tpmHeldBy.cluster} and asks as node ${node} of cluster ${cluster}; ${next}`,
      { field: 'ek' },
    )
  return undefined
}

// From the proven key to the record, and then the claims are compared with it: exactly, never by prefix or pattern.
function judgeKnown(request: Asked, known: NonNullable<EntryFacts['known']>): Refusal | undefined {
  // A TPM that asks as another node is one that two hold.
  const [code, it] = known.tpm ? (['IdentityChanged', 'TPM'] as const) : (['WrongSender', 'key'] as const)
  if (nodeIdOf(request.nodeName) !== known.node)
    return new Refusal(code, `this ${it} belongs to node ${known.node}, the request says ${request.nodeName}`, {
      field: 'nodeName',
    })
  if (request.cluster !== undefined && request.cluster !== known.cluster)
    return new Refusal(code, `this ${it} belongs to cluster ${known.cluster}, not to ${request.cluster}`, {
      field: 'cluster',
    })
  const { state, reason } = known.standing
  if (state === 'Accepted' || reason === AWAITING_PROOF) return undefined
  return new Refusal('NotAllowed', `node ${known.node} of cluster ${known.cluster} is ${state}; a person decides`)
}

// A key that was ended may be in a thief's hands, and one of another node would be ended together with this one.
function judgeNatsKey({ natsKeyFault }: EntryFacts): Refusal | undefined {
  if (natsKeyFault === undefined) return undefined
  const why = natsKeyFault === 'Ended' ? 'was ended' : 'belongs to another node'
  return new Refusal('NotAllowed', `this NATS key ${why}; make a new one`, { field: 'natsKey' })
}

function judgeToken(
  request: Asked,
  { cluster, standing }: EntryFacts,
  { name, spec, uses, alreadyCounted }: TokenFacts,
  nowMs: number,
): Refusal | undefined {
  if (!spec.classes.includes(request.class))
    return new Refusal('TokenOutOfScope', `join token ${name} does not admit class ${request.class}`)
  if (spec.cluster !== undefined && spec.cluster !== cluster)
    return new Refusal('TokenOutOfScope', `join token ${name} is for cluster ${spec.cluster}`)
  if (standing && spec.clusterSet !== undefined && spec.clusterSet !== standing.clusterSet)
    return new Refusal('TokenOutOfScope', `join token ${name} is for cluster set ${spec.clusterSet}`)
  // The same key asks again: nothing more is granted, so neither time nor uses are asked about again.
  if (alreadyCounted) return undefined
  if (Date.parse(spec.expiresAt) <= nowMs)
    return new Refusal('TokenExpired', `join token ${name} expired at ${spec.expiresAt}`)
  if (uses >= spec.maxUses)
    return new Refusal('TokenUsedUp', `join token ${name} was used ${counted(uses, 'time')}, which is all it allows`)
  // No token may push a node into a foreign cluster.
  if (standing && spec.cluster !== cluster)
    return new Refusal('TokenOutOfScope', `cluster ${cluster} exists; a further node needs a token bound to it`)
  if (standing && standing.otherNodes > 0 && !standing.accepted)
    return new Refusal('NotAllowed', `cluster ${cluster} is not accepted, so no further node may join it`)
  return undefined
}
