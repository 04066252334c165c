import { isDeepStrictEqual } from 'node:util'
import { type ClusterState, DEFAULT_GATES, type ObjectOf, type RolloutSpec, type RolloutStatus } from '@skerry/api'
import {
  planRollout,
  type ReachabilityLimits,
  type RolloutFacts,
  type RolloutPlan,
  retriesOf,
  rolloutStatus,
  WAY_BACK_ASKS,
} from '@skerry/policy'
import { listActs } from '../store/acts.ts'
import { asStored } from '../store/as-stored.ts'
import { type Assignment, saveAssignments, saveTerms } from '../store/assignments.ts'
import { type NewEvent, recordEvents } from '../store/events.ts'
import { type Lease, writeFenced } from '../store/leases.ts'
import { getObject, saveStatus } from '../store/resources.ts'
import { factsOf } from '../store/rollout-facts.ts'
import { loadRolloutFleet, type RolloutFleet } from '../store/rollout-fleet.ts'
import type { Store } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import type { Controller } from './run.ts'

type Rollout = ObjectOf<'Rollout'>

/** The ends of a cluster in a rollout, each an event. */
const TOLD: ReadonlySet<ClusterState> = new Set(['Succeeded', 'Failed', 'TimeOut', 'RolledBack'])

/** Plans every rollout and stores the plan: assignments for what advances, status for all of it, in one transaction a rollout. */
export function rolloutController(limits: ReachabilityLimits): Controller {
  return {
    name: 'rollout',
    async reconcile({ store, lease, mirrors, now }) {
      const fleet = await loadRolloutFleet(store.sql, mirrors)
      if (!fleet) return {}
      const rechecks: number[] = []
      for (const entry of fleet.entries.values()) {
        const nowMs = now()
        const facts = factsOf(fleet, entry, limits, nowMs)
        const plan = planRollout(facts, nowMs)
        if (plan.recheckAtMs !== undefined) rechecks.push(plan.recheckAtMs)
        for (const { recheckAtMs } of plan.hold) rechecks.push(recheckAtMs)
        const changed = changedTerms(fleet, facts, plan)
        const assigned = await savePlan(store, lease, facts, plan, changed, nowMs)
        for (const assignment of assigned) fleet.assignments.set(assignment.cluster, assignment)
      }
      return { recheckAtMs: rechecks.length > 0 ? rechecks.reduce((a, b) => Math.min(a, b)) : undefined }
    },
  }
}

async function savePlan(
  store: Store,
  lease: Lease,
  facts: RolloutFacts,
  plan: RolloutPlan,
  changed: readonly { cluster: string; terms: Assignment['terms'] }[],
  nowMs: number,
): Promise<readonly Assignment[]> {
  const { rollout, image } = facts
  return writeFenced(store, lease, async (tx) => {
    const { namespace = '', name } = rollout.metadata
    const current = await getObject(tx, 'Rollout', namespace, name)
    // Another of the same name, made meanwhile, is of the same generation.
    if (current?.metadata.uid !== rollout.metadata.uid) return []
    if (current.metadata.generation !== rollout.metadata.generation) return []
    // What a person did meanwhile is judged first: after an abort nothing is sent, and nothing unseen is accepted.
    if ((await listActs(tx, rollout.metadata.uid)).length !== (facts.acts ?? []).length) return []
    const order =
      image && plan.advance.length > 0 ? orderOf(current, image, termsFor(current.spec, plan.waves)) : undefined
    const termsOf = termsBy(facts, plan)
    const sent = plan.advance.map((cluster) => ({ cluster, terms: termsOf(cluster) }))
    if (order) await saveAssignments(tx, plan.advance, order)
    const retried = sent.filter(({ terms }) => terms.retry)
    await saveTerms(tx, rollout.metadata.uid, [...changed, ...retried])
    const backward = plan.back.map(({ cluster, to }) => ({
      cluster,
      order: orderOf(current, to, termsBack(current.spec)),
    }))
    for (const { cluster, order } of backward) await saveAssignments(tx, [cluster], order)
    if (order || changed.length > 0 || backward.length > 0) await wake(tx, 'assignment')
    const status = rolloutStatus({ rollout: current, image }, plan, nowMs)
    const news = await saveStatus(tx, 'Rollout', namespace, name, status)
    if (news) await recordEvents(tx, eventsOf(current, status, plan.staying))
    return [
      ...(order ? sent.map((one) => ({ ...order, ...one, assignedAt: new Date(nowMs) })) : []),
      ...backward.map(({ cluster, order }) => ({ ...order, cluster, assignedAt: new Date(nowMs) })),
    ]
  })
}

function orderOf(
  { metadata }: Rollout,
  image: NonNullable<RolloutStatus['image']>,
  terms: Assignment['terms'],
): Omit<Assignment, 'cluster' | 'assignedAt'> {
  return {
    rolloutNamespace: metadata.namespace ?? '',
    rolloutName: metadata.name,
    rolloutUid: metadata.uid,
    target: image.target,
    manifestSha256: image.manifestSha256,
    imageSha256: image.imageSha256,
    terms,
  }
}

function termsFor(spec: RolloutSpec, waves: RolloutPlan['waves']): Assignment['terms'] {
  return {
    windows: spec.windows?.activation ?? [],
    ...(waves ? { waves } : {}),
    gates: spec.gates ?? DEFAULT_GATES,
    attestation: spec.attestation ?? 'affirming',
  }
}

// What a site is ordered back to runs there already: there is no wave to wait for, and no proof that it could lack.
function termsBack(spec: RolloutSpec): Assignment['terms'] {
  return { ...termsFor(spec, undefined), attestation: WAY_BACK_ASKS }
}

// What is asked of one cluster. A retry stays in its terms: the site has done with it once it has forgotten.
function termsBy(
  { rollout: { spec }, image, acts }: RolloutFacts,
  { waves }: RolloutPlan,
): (cluster: string) => Assignment['terms'] {
  const terms = termsFor(spec, waves)
  const retries = image && retriesOf(image.manifestSha256, acts)
  return (cluster) => {
    const retry = retries?.get(cluster)
    return { ...terms, ...(image && retry ? { retry: { imageSha256: image.imageSha256, act: retry.id } } : {}) }
  }
}

// A pause and an edit reach who is under way: the same bytes, on other terms. Of any other order only a pause is changed.
function changedTerms(
  { assignments }: RolloutFleet,
  facts: RolloutFacts,
  plan: RolloutPlan,
): { cluster: string; terms: Assignment['terms'] }[] {
  const termsOf = termsBy(facts, plan)
  const present = plan.underWay.map(({ cluster, paused }) => ({ cluster, paused, terms: termsOf(cluster) }))
  const kept = plan.others.map((one) => ({ ...one, terms: assignments.get(one.cluster)?.terms }))
  return [...present, ...kept].flatMap(({ cluster, paused, terms: wanted }) => {
    const held = assignments.get(cluster)?.terms
    if (!held || !wanted) return []
    const terms = { ...wanted, paused }
    return isDeepStrictEqual({ paused: false, ...held }, asStored(terms)) ? [] : [{ cluster, terms }]
  })
}

// `staying`: of a way back, how many could not go it.
function eventsOf(rollout: Rollout, status: RolloutStatus, staying: number): NewEvent[] {
  const { namespace = '', name } = rollout.metadata
  const events: NewEvent[] = []
  const tell = (type: NewEvent['type'], reason: string, message: string) =>
    events.push({ type, reason, message, component: 'rollout', regarding: { kind: 'Rollout', namespace, name } })
  const conditionOf = (wanted: string) => status.conditions?.find(({ type }) => type === wanted)
  const breached = conditionOf('Breached')
  const wasBreached = rollout.status?.conditions?.some(({ type, status }) => type === 'Breached' && status === 'True')
  // Also where a person had stopped it already.
  const breaks = breached?.status === 'True' && !wasBreached
  if (breaks) tell('Warning', 'Breached', `the rollout stopped: ${breached.message}`)
  // That it stopped is told with that; that the way back is over is news of its own, also at the first look.
  if (rollout.status?.phase !== status.phase && (!breaks || status.phase === 'RolledBack')) {
    const completed = conditionOf('Completed')
    const failures = (status.counts?.failed ?? 0) + (status.counts?.rolledBack ?? 0) > 0
    const over = failures && (status.phase === 'Completed' || status.phase === 'Paused')
    const stays = status.phase === 'RolledBack' && staying > 0
    const message = `the rollout is ${status.phase}${over && completed ? `: ${completed.message}` : ''}`
    tell(
      over || stays ? 'Warning' : 'Normal',
      `Rollout${status.phase}`,
      stays && completed ? completed.message : message,
    )
  }
  const before = new Map((rollout.status?.clusters ?? []).map((cluster) => [cluster.name, cluster.state]))
  for (const { name: cluster, state, message } of status.clusters ?? []) {
    const was = before.get(cluster)
    if (was === state) continue
    if (TOLD.has(state)) tell(state === 'Succeeded' ? 'Normal' : 'Warning', state, `${cluster}: ${message}`)
    else if (was === 'Succeeded' && state === 'NotStarted')
      tell(
        'Normal',
        'SentAgain',
        `${cluster}: the rollout that had it since has it no more, and its image was not confirmed there`,
      )
  }
  return events
}
