import type { RolloutStatus } from '@skerry/api'
import { setCondition } from '../conditions.ts'
import type { RolloutFacts } from './facts.ts'
import type { RolloutPlan } from './plan.ts'
import { iso } from './rows.ts'

/** The status that a rollout has after this look: what the hub stores, and what the next look starts from. */
export function rolloutStatus(
  { rollout: { metadata, status: before }, image }: Pick<RolloutFacts, 'rollout' | 'image'>,
  plan: RolloutPlan,
  nowMs: number,
): RolloutStatus {
  const observedGeneration = metadata.generation
  // Of other bytes nothing has completed.
  const isSame = image === undefined || before?.image?.manifestSha256 === image.manifestSha256
  const completedAt =
    (isSame ? before?.completedAt : undefined) ?? (plan.phase === 'Completed' ? iso(nowMs) : undefined)
  let conditions = before?.conditions ?? []
  for (const condition of plan.conditions)
    conditions = setCondition(conditions, { ...condition, observedGeneration }, nowMs)
  return {
    phase: plan.phase,
    observedGeneration,
    ...(image ? { image } : {}),
    ...(plan.firstSent ? { firstSent: plan.firstSent } : {}),
    ...(plan.groups ? { groups: plan.groups } : {}),
    clusters: [...plan.clusters],
    counts: plan.counts,
    byState: plan.byState,
    slowest: [...plan.slowest],
    ...(plan.recheckAtMs === undefined ? {} : { recheckAt: iso(plan.recheckAtMs) }),
    startedAt: before?.startedAt ?? iso(nowMs),
    // A pause takes nothing of it back.
    ...(completedAt === undefined ? {} : { completedAt }),
    conditions,
  }
}
