import type { RolloutAct, RolloutSpec, RolloutStatus } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import type { ClusterFacts, DecidedGroup } from './facts.ts'
import { cluster, condition, facts, held, image, iso, MINUTE, NOW, progressive, saved } from './fixture.ts'
import { planRollout, type RolloutPlan } from './plan.ts'

// Whose turn it is, where people, edits and other rollouts come between.

const perGroup: RolloutSpec['strategy'] = { type: 'ProgressivePerGroup', progressivePerGroup: {} }
function grouped(groups: readonly ClusterFacts[][], spec: Partial<RolloutSpec>, status?: RolloutStatus): RolloutPlan {
  const decided = groups.map(
    (some, index): DecidedGroup => ({ index, name: '', clusters: some.map(({ name }) => name) }),
  )
  return planRollout({ ...facts(groups.flat(), spec, status), decided }, NOW)
}
/** What was stored, with when these clusters came back. */
function returned(plan: RolloutPlan, at: Readonly<Record<string, number>>): RolloutStatus {
  const stored = saved(plan)
  return {
    ...stored,
    clusters: stored.clusters?.map((row) => {
      const ms = at[row.name]
      return ms === undefined ? row : { ...row, returnedAt: iso(ms) }
    }),
  }
}

describe('stages', () => {
  test('after the end no gate is asked of a group that had nobody: who comes to it is sent the image', () => {
    const spec = { strategy: perGroup, approvals: { betweenGroups: 1 } }
    const end = grouped([[cluster('a', 'proven')], [cluster('b', 'newer')]], spec)
    expect(end.phase).toBe('Completed')
    const later = grouped([[cluster('a', 'proven')], [cluster('b', 'released')]], spec, saved(end))
    expect(later).toMatchObject({ phase: 'Completed', advance: ['b'] })
  })

  test('where there is nobody, nobody is asked whether it is the end', () => {
    const empty = grouped([[]], { approvals: { completion: 1 } })
    expect(empty.phase).not.toBe('WaitingForApproval')
    expect(condition(empty, 'Completed')?.reason).toBe('NoClusters')
  })

  test('an edit that puts a group that is through into one stage with others leaves nobody out', () => {
    const fleet = [[cluster('a', 'proven')], [cluster('b', 'nothing')], [cluster('c', 'nothing')]]
    const first = grouped(fleet, { strategy: perGroup })
    expect(first.advance).toEqual(['b'])
    expect(grouped(fleet, { strategy: { type: 'All' } }, saved(first)).advance).toEqual(['b', 'c'])
  })
})

describe('turns', () => {
  test('who returns to a group that waits again, by an edit, waits with it', () => {
    const dark = [[cluster('a', 'staging')], [cluster('b', 'offline')]]
    const all = grouped(dark, { strategy: { type: 'All' } })
    const lit = [[cluster('a', 'staging')], [cluster('b', 'nothing')]]
    const edited = grouped(lit, { strategy: perGroup, catchUp: { jitter: '0s' } }, saved(all))
    expect(edited.advance).toEqual([])
    expect(held(edited, 'b')?.reason).toBe('GroupWaits')
  })

  test('of those who catch up, who came back first goes first, whatever its name', () => {
    const spec = { catchUp: { maxConcurrency: 1, jitter: '0s' } }
    const first = grouped([[cluster('a', 'offline'), cluster('z', 'offline')]], spec)
    const status = returned(first, { a: NOW - MINUTE, z: NOW - 2 * MINUTE })
    expect(grouped([[cluster('a', 'nothing'), cluster('z', 'nothing')]], spec, status).advance).toEqual(['z'])
  })

  test('who catches up takes no slot of those who were never away', () => {
    const spec = { strategy: progressive({ maxConcurrency: 1 }) }
    const first = grouped([[cluster('a', 'staging'), cluster('b', 'nothing')]], spec)
    expect(first.advance).toEqual([])
    const status = returned(first, { a: NOW - MINUTE })
    expect(grouped([[cluster('a', 'staging'), cluster('b', 'nothing')]], spec, status).advance).toEqual(['b'])
  })
})

test('who waits at a gate is looked at again when an approval of it ends', () => {
  const approval: RolloutAct = {
    ...{ id: '00000000-0000-4000-8000-000000000001', verb: 'approve', by: 'ola', reason: 'seen', rolloutUid: 'r' },
    ...{ at: iso(NOW), gate: 'Start', manifestSha256: image.manifestSha256, expiresAt: iso(NOW + 5_000) },
  }
  const spec = { approvals: { start: 2 } }
  const waits = planRollout({ ...facts([cluster('a', 'nothing')], spec), acts: [approval], changedBy: 'kari' }, NOW)
  expect(held(waits)).toMatchObject({ reason: 'WaitingForApproval', recheckAtMs: NOW + 5_000 })
})
