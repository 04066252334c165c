import type { NodePhase, ObjectOf, Reachability, RolloutSpec, RolloutStatus, StatementRef } from '@skerry/api'
import type { ClusterFacts, NodeFacts, Order, RolloutFacts } from './facts.ts'
import { planRollout, type RolloutPlan } from './plan.ts'

// Clusters that do something, as facts; for tests.

export const NOW = Date.parse('2026-06-01T12:00:00Z')
export const MINUTE = 60_000
export const iso = (ms: number) => new Date(ms).toISOString()
export const GOOD = 'a'.repeat(64)
export const image = {
  target: 'images/os/2.json',
  manifestSha256: 'f'.repeat(64),
  imageSha256: GOOD,
  releaseCounter: 2,
  version: '2',
}
export const said = (cluster: string, seq = 1): StatementRef => ({
  cluster,
  node: 'n1',
  incarnation: 1,
  seq,
  digest: 'd'.repeat(64),
})
const position = { timeline: 0, generation: 1 }

const tooLow = { code: 'ReleaseCounterTooLow', message: 'too low', attestation: 'warning' as const }

/** What a cluster may be doing, as facts. */
export type Doing =
  | 'nothing'
  | 'offline'
  | 'unheard'
  | 'late'
  | 'sent'
  | 'sent-dark'
  | 'delivered'
  | 'staging'
  | 'window'
  | 'activating'
  | 'confirmed'
  | 'proven'
  | 'rolled-back'
  | 'never-rebooted'
  | 'refused'
  | 'newer'
  | 'released'
  | 'outrun'
export const node = (name: string, phase: NodePhase, more: Partial<NodeFacts> = {}): NodeFacts => ({
  node: 'n1',
  phase,
  reason: phase,
  message: `is ${phase}`,
  statement: said(name),
  ...more,
})
export function cluster(name: string, doing: Doing, atMs = NOW - MINUTE): ClusterFacts {
  const reachability: Reachability =
    ({ offline: 'Offline', 'sent-dark': 'Offline', unheard: 'NeverSeen', late: 'Late' } as const)[doing as string] ??
    'Online'
  const silent = doing === 'late' ? { heardAtMs: NOW - 2 * MINUTE, changesAtMs: NOW + 3 * MINUTE } : {}
  const base: ClusterFacts = { name, reachability, ...silent, nodes: [node(name, 'Idle')] }
  if (doing === 'nothing' || doing === 'offline' || doing === 'unheard' || doing === 'late') return base
  const assignment = {
    rolloutUid: 'r',
    rolloutName: 'r',
    manifestSha256: image.manifestSha256,
    atMs: NOW - 3 * MINUTE,
    holder: 'This' as const,
    attestation: 'warning' as const,
    paused: false,
    confirmed: false,
  }
  const other = { ...assignment, rolloutUid: 'other', rolloutName: 'newer' }
  if (doing === 'newer') return { ...base, assignment: { ...other, holder: 'Newer' } }
  if (doing === 'released') return { ...base, assignment: { ...other, holder: 'Released' } }
  if (doing === 'outrun')
    return { ...base, assignment: { ...other, holder: 'Released', confirmed: true, releaseCounter: 3 } }
  const sent = { ...base, assignment, position }
  if (doing === 'sent' || doing === 'sent-dark') return sent
  if (doing === 'refused') return { ...sent, refused: { ...tooLow, atMs, statement: said(name) } }
  const accepted = { ...sent, accepted: { position, atMs, statement: said(name) } }
  const at = (given: NodeFacts): ClusterFacts => ({ ...accepted, nodes: [given] })
  const confirmed = { imageSha256: GOOD, bootId: 'b2', atMs, statement: said(name, 5) }
  const verdict = { verdict: 'warning' as const, reason: 'SoftwareKey', message: 'a file' }
  const failure = {
    outcome: 'RolledBack' as const,
    reason: 'FellBack',
    message: 'did not come up',
    atMs,
    statement: said(name, 4),
  }
  switch (doing) {
    case 'delivered':
      return accepted
    case 'staging':
      return at(node(name, 'Staging'))
    case 'window':
      return at(node(name, 'Staged', { reason: 'WindowClosed', message: 'later' }))
    case 'activating':
      return at(node(name, 'Verifying'))
    case 'confirmed':
      return at(node(name, 'Idle', { confirmed }))
    case 'proven':
      return at(node(name, 'Idle', { confirmed, boot: { ...confirmed, verdict } }))
    case 'rolled-back':
      return at(node(name, 'Failed', { failure }))
    case 'never-rebooted':
      return at(node(name, 'Failed', { failure: { ...failure, outcome: 'NeverRebooted', reason: 'NeverRebooted' } }))
    default: {
      const never: never = doing
      return never
    }
  }
}

export const progressive = (
  p: NonNullable<NonNullable<RolloutSpec['strategy']>['progressive']> = {},
): RolloutSpec['strategy'] => ({ type: 'Progressive', progressive: p })
export function rollout(spec: Partial<RolloutSpec> = {}, status?: RolloutStatus): ObjectOf<'Rollout'> {
  return {
    apiVersion: 'skerry.dev/v1alpha1',
    kind: 'Rollout',
    metadata: {
      name: 'r',
      namespace: 'fleet',
      uid: 'r',
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: iso(0),
    },
    spec: { placementRef: { name: 'p' }, image: { name: 'os-2' }, attestation: 'warning', ...spec },
    ...(status ? { status } : {}),
  }
}
export const facts = (
  clusters: ClusterFacts[],
  spec: Partial<RolloutSpec> = {},
  status?: RolloutStatus,
): RolloutFacts => ({
  rollout: rollout(spec, status),
  image,
  decided: [{ index: 0, name: '', clusters: clusters.map(({ name }) => name) }],
  clusters,
  orders: ordersOf(clusters),
})
const ordersOf = (clusters: readonly ClusterFacts[]): Order[] =>
  clusters.flatMap(({ name, assignment, refused, nodes }) =>
    assignment?.rolloutUid === 'r'
      ? [
          {
            cluster: name,
            manifestSha256: assignment.manifestSha256,
            isSettled: refused !== undefined || nodes.every(({ confirmed, failure }) => confirmed ?? failure),
          },
        ]
      : [],
  )
export const saved = (plan: RolloutPlan): RolloutStatus => ({
  phase: plan.phase,
  image,
  clusters: [...plan.clusters],
  ...(plan.groups ? { groups: plan.groups } : {}),
  counts: plan.counts,
  conditions: plan.conditions.map((condition) => ({ ...condition, lastTransitionTime: iso(NOW) })),
})
export const plan = (clusters: ClusterFacts[], spec: Partial<RolloutSpec> = {}, status?: RolloutStatus, nowMs = NOW) =>
  planRollout(facts(clusters, spec, status), nowMs)
export const row = (outcome: RolloutPlan, name = 'a') => outcome.clusters.find((found) => found.name === name)
export const held = (outcome: RolloutPlan, name = 'a') => outcome.hold.find((found) => found.cluster === name)
export const condition = (outcome: RolloutPlan, type: string) => outcome.conditions.find((found) => found.type === type)
