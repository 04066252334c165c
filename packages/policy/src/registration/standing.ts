import type { JoinTokenSpec, RegistrationSpec, RegistrationState } from '@skerry/api'
import { asGoodAs } from '../attestation/findings.ts'

// What a registration is, from its rows alone: decisions of rules and persons in, one state with its reason out.

/** What the record of a node says, as far as its standing depends on it. */
export type RecordedIdentity = {
  readonly state: RegistrationState
  /** Digest of the keys its credential was minted for. */
  readonly requestId: string
  /** When it was decided about last; of a suspended one, when it was suspended. */
  readonly decidedAtMs: number
  readonly issuedAtMs: number
}

export type RegistrationFacts = {
  readonly spec: Pick<RegistrationSpec, 'decision' | 'keysDigest' | 'rotatedAt' | 'tpm'>
  /** `spec.hubAcceptsClient` of its cluster. */
  readonly clusterAccepted: boolean
  readonly identity: RecordedIdentity | undefined
  /** Where else this node key is at home: a key is one node's. */
  readonly keyHeldBy: string | undefined
}

/** The reason of a node that is accepted and has to come with a new NATS key: its last one was ended. */
export const AWAITING_PROOF = 'AwaitingProof'

export type Standing = { readonly state: RegistrationState; readonly reason: string; readonly message: string }

/** The state that a registration shall have now. Both halves of the hub's opt-in count: the decision and the cluster's. */
export function standingOf({ spec, clusterAccepted, identity, keyHeldBy }: RegistrationFacts): Standing {
  const { decision } = spec
  // Only a decision made after the suspension ends it.
  if (identity?.state === 'Suspended' && !(decision && Date.parse(decision.at) > identity.decidedAtMs))
    return {
      state: 'Suspended',
      reason: 'ForkedChain',
      message: 'suspended: two machines spoke as this node; a person decides',
    }
  if (decision === undefined) return { state: 'Pending', reason: 'AwaitingDecision', message: whoDecides(spec.tpm) }
  if (decision.state === 'Revoked') return { state: 'Revoked', reason: 'Revoked', message: `revoked by ${decision.by}` }
  if (decision.state === 'Denied') return { state: 'Denied', reason: 'Denied', message: `denied by ${decision.by}` }
  if (keyHeldBy !== undefined)
    return { state: 'Denied', reason: 'NodeKeyTaken', message: `its node key belongs to ${keyHeldBy}` }
  if (clusterAccepted && needsNewKey(spec, identity))
    return { state: 'Pending', reason: AWAITING_PROOF, message: 'accepted; the node has to come with a new NATS key' }
  if (clusterAccepted) return { state: 'Accepted', reason: 'Accepted', message: `accepted by ${decision.by}` }
  if (identity && identity.state !== 'Left')
    return {
      state: 'Denied',
      reason: 'HubClusterAdminDenied',
      message: 'the hub does not accept its cluster any more (spec.hubAcceptsClient)',
    }
  return {
    state: 'Pending',
    reason: 'AwaitingClusterAcceptance',
    message: 'the node is accepted, its cluster is not yet (spec.hubAcceptsClient)',
  }
}

function whoDecides(tpm: RegistrationSpec['tpm']): string {
  if (ruleMayAccept(tpm)) return 'a rule or a person decides'
  const { verdict, reason, message } = tpm?.firstBoot ?? { verdict: 'none', reason: '', message: '' }
  return `a person decides: the first boot is ${verdict} (${reason}: ${message})`.slice(0, 1_000)
}

/** Whether a rule may accept a node for what its first quote showed: one that nobody could judge, or that is bad, is a person's. */
export function ruleMayAccept(tpm: RegistrationSpec['tpm']): boolean {
  return tpm === undefined || asGoodAs(tpm.firstBoot.verdict, 'warning')
}

// What was ended stays ended: the keys of a denied, suspended or rotated credential get no other one.
function needsNewKey(
  { keysDigest, rotatedAt }: RegistrationFacts['spec'],
  identity: RecordedIdentity | undefined,
): boolean {
  if (!identity || identity.state === 'Left' || identity.requestId !== keysDigest) return false
  return identity.state !== 'Accepted' || (rotatedAt !== undefined && Date.parse(rotatedAt) > identity.issuedAtMs)
}

/** What must be done about a node's credential: `mint` one, `end` what it has, or `keep` things as they are. */
export function credentialDue(
  standing: Standing,
  spec: Pick<RegistrationSpec, 'keysDigest'>,
  identity: RecordedIdentity | undefined,
): 'mint' | 'end' | 'keep' {
  if (standing.state === 'Accepted')
    return identity?.state === 'Accepted' && identity.requestId === spec.keysDigest ? 'keep' : 'mint'
  // A suspended node keeps its credential: what it reports is refused, and it can ask where it stands and be let in again.
  if (!identity || standing.state === 'Suspended') return 'keep'
  return identity.state === 'Accepted' || identity.state === 'Suspended' ? 'end' : 'keep'
}

/**
 * What an Automatic token decides about a registration it brought: nothing once anybody has decided, so that a denial
 * sticks; and about the cluster only while nobody has ever decided about that cluster.
 */
export function decideByRule({
  acceptance,
  tpm,
  decided,
  clusterDecided,
}: {
  readonly acceptance: JoinTokenSpec['acceptance'] | undefined
  /** What the registration says of its TPM, and of the first boot. */
  readonly tpm: RegistrationSpec['tpm']
  readonly decided: boolean
  readonly clusterDecided: boolean
}): { readonly acceptNode: boolean; readonly acceptCluster: boolean } {
  if (acceptance !== 'Automatic' || decided || !ruleMayAccept(tpm)) return { acceptNode: false, acceptCluster: false }
  return { acceptNode: true, acceptCluster: !clusterDecided }
}

/**
 * Which life of a node an accepted request is. It goes on when the same key says that it continues the life the hub
 * counted last; a wiped database, another key or a first join begins the next. `lastLife` is the greatest number that was
 * ever given under this name, 0 for none: a record goes when its key is taken up elsewhere, and what its lives said stays.
 */
export function lifeOf(
  before: { readonly incarnation: number; readonly nodeKeyThumbprint: string; readonly left: boolean } | undefined,
  lastLife: number,
  asked: { readonly incarnation: number | undefined; readonly nodeKeyThumbprint: string },
): { readonly incarnation: number; readonly continues: boolean } {
  if (
    before &&
    !before.left &&
    before.nodeKeyThumbprint === asked.nodeKeyThumbprint &&
    before.incarnation === asked.incarnation
  )
    return { incarnation: before.incarnation, continues: true }
  return { incarnation: 1 + Math.max(before?.incarnation ?? 0, lastLife), continues: false }
}
