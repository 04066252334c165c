import type { RolloutStatus } from '@skerry/api'
import type { RolloutFacts } from './facts.ts'
import { planRollout } from './plan.ts'
import { iso } from './rows.ts'
import { rolloutStatus } from './status.ts'

/**
 * The status that the next look of the hub gives a rollout, told and not stored: so every cluster that something is still to
 * come of says when it is looked at again, where a stored row says so only if time itself may end the wait.
 */
export function foreseenStatus(facts: RolloutFacts, nowMs: number): RolloutStatus {
  const plan = planRollout(facts, nowMs)
  const status = rolloutStatus(facts, plan, nowMs)
  const rechecks = new Map(plan.hold.map(({ cluster, recheckAtMs }) => [cluster, recheckAtMs]))
  const isToCome = (time: string | undefined) => time !== undefined && Date.parse(time) > nowMs
  const soonestMs = plan.hold.reduce((soonest, { recheckAtMs }) => Math.min(soonest, recheckAtMs), Infinity)
  return {
    ...status,
    clusters: plan.clusters.map((row) => {
      const recheckAtMs = rechecks.get(row.name)
      return recheckAtMs === undefined || isToCome(row.recheckAt) ? row : { ...row, recheckAt: iso(recheckAtMs) }
    }),
    ...(status.recheckAt === undefined && Number.isFinite(soonestMs) ? { recheckAt: iso(soonestMs) } : {}),
  }
}
