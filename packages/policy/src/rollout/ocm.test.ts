import type { RolloutAct, RolloutSpec, RolloutStatus } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { admitRollout } from './admission.ts'
import type { DecidedGroup } from './facts.ts'
import { cluster, condition, type Doing, facts, held, iso, MINUTE, NOW, row, saved } from './fixture.ts'
import { planRollout, type RolloutPlan } from './plan.ts'
import { type Asked, rollOut, type Told } from './test-ocm.ts'

type Progressive = NonNullable<NonNullable<RolloutSpec['strategy']>['progressive']>
type PerGroup = NonNullable<NonNullable<RolloutSpec['strategy']>['progressivePerGroup']>
const progressive = (given: Progressive = {}): RolloutSpec['strategy'] => ({ type: 'Progressive', progressive: given })
const perGroup = (given: PerGroup = {}): RolloutSpec['strategy'] => ({
  type: 'ProgressivePerGroup',
  progressivePerGroup: given,
})

/** Of groups such as `a:proven b:nothing`, in order. */
function planned(
  groups: readonly string[],
  spec: Partial<RolloutSpec>,
  { status, nowMs = NOW, acts }: { status?: RolloutStatus; nowMs?: number; acts?: readonly RolloutAct[] } = {},
): RolloutPlan {
  const members = groups.map((line) => line.split(' ').map((one) => one.split(':') as [string, Doing]))
  const decided = members.map(
    (some, index): DecidedGroup => ({ index, name: '', clusters: some.map(([name]) => name) }),
  )
  const clusters = members.flat().map(([name, doing]) => cluster(name, doing))
  const given = { ...facts(clusters, { semantics: 'OCM', ...spec }, status), decided, ...(acts ? { acts } : {}) }
  return planRollout(given, nowMs)
}
const isBreached = (plan: RolloutPlan) => condition(plan, 'Breached')?.status === 'True'

describe("[conformance: ocm] spec.semantics OCM switches back to OCM's rollout", () => {
  test('A-01, X-01: who is out of reach is sent the image, and holds its slot', () => {
    const strategy = progressive({ maxConcurrency: 2 })
    expect(planned(['a:offline b:unheard c:nothing'], { strategy }).advance).toEqual(['a', 'b'])
    const dark = planned(['a:sent-dark b:sent-dark c:nothing'], { strategy })
    expect(dark).toMatchObject({ advance: [], counts: { inProgress: 2, deferred: 0 } })
    expect(held(dark, 'c')).toMatchObject({
      reason: 'OutOfWindow',
      message: "by OCM's rules (spec.semantics) 2 clusters are in the window, and this one is not",
    })
    expect(held(dark, 'a')?.reason).toBe('AwaitingAcceptance')
    expect(planned(['a:sent-dark b:sent-dark c:nothing'], { strategy, semantics: 'Skerry' }).advance).toEqual(['c'])
  })

  test('X-02: while one has timed out and another rolls, the next group begins', () => {
    const strategy = perGroup({ maxFailures: 1, progressDeadline: '30s' })
    const timedOut = planned(['a:staging b:nothing', 'c:nothing'], { strategy })
    const status = saved(timedOut)
    expect(row(timedOut, 'a')?.state).toBe('TimeOut')
    const lines = ['a:staging b:sent', 'c:nothing']
    expect(planned(lines, { strategy }, { status }).advance).toEqual(['c'])
    expect(planned(lines, { strategy, semantics: 'Skerry' }, { status }).advance).toEqual([])
  })

  test('X-03: a failure behind the one that fills the window is not seen', () => {
    const strategy = progressive({ maxConcurrency: 1 })
    expect(isBreached(planned(['a:staging b:rolled-back c:nothing'], { strategy }))).toBe(false)
    expect(isBreached(planned(['a:staging b:rolled-back'], { strategy, semantics: 'Skerry' }))).toBe(true)
  })

  test('X-04: a tolerance beyond the fleet is none', () => {
    const strategy = progressive({ maxFailures: 5 })
    expect(isBreached(planned(['a:rolled-back b:nothing c:nothing'], { strategy }))).toBe(true)
    const generous = planned(['a:rolled-back b:nothing'], { strategy, semantics: 'Skerry' })
    expect([isBreached(generous), generous.advance]).toEqual([false, ['b']])
  })

  test('X-05: with a mandatory group, one that timed out elsewhere stops everything and is no breach', () => {
    const strategy = progressive({
      maxFailures: 2,
      progressDeadline: '30s',
      mandatoryDecisionGroups: [{ groupIndex: 0 }],
    })
    const lines = ['a:proven', 'b:staging c:nothing']
    const stuck = planned(lines, { strategy }, { nowMs: NOW })
    expect(stuck).toMatchObject({ advance: [], phase: 'Running' })
    expect(isBreached(stuck)).toBe(false)
    expect(held(stuck, 'c')?.message).toContain('who timed out holds up all others')
    expect(planned(lines, { strategy, semantics: 'Skerry' }).advance).toEqual(['c'])
    // Where nobody timed out only the window holds it back.
    const [mandatoryDecisionGroups, maxConcurrency] = [[{ groupIndex: 0 }], 1]
    const full = planned(['a:proven', 'b:nothing c:nothing'], {
      strategy: progressive({ maxConcurrency, mandatoryDecisionGroups }),
    })
    expect([full.advance, held(full, 'c')?.message]).toEqual([['b'], expect.stringMatching(/and this one is not$/)])
  })

  test('groups are told by what is in the window and what is finished', () => {
    const told = (lines: readonly string[], acts?: readonly RolloutAct[]) =>
      planned(lines, { strategy: perGroup() }, acts ? { acts } : {}).groups?.map(({ openedAt, passedAt }) => [
        openedAt !== undefined,
        passedAt !== undefined,
      ])
    expect(told(['a:proven b:proven', 'c:nothing', 'd:nothing'])).toEqual([
      [true, true],
      [true, false],
      [false, false],
    ])
    const pause: RolloutAct = { id: 'p', verb: 'pause', by: 'anna', at: iso(NOW), reason: 'because', rolloutUid: 'r' }
    expect(told(['a:proven', 'b:newer', 'c:nothing'], [pause])).toEqual([
      [true, true],
      [false, true],
      [false, false],
    ])
  })

  test('a failure keeps its slot until its deadline, and without one for ever', () => {
    const strategy = progressive({ maxConcurrency: 1, maxFailures: 1, progressDeadline: '2m' })
    const first = planned(['a:rolled-back b:nothing'], { strategy })
    expect(first).toMatchObject({ advance: [], recheckAtMs: NOW + 2 * MINUTE })
    const at = (nowMs: number, given = strategy) =>
      planned(['a:rolled-back b:nothing'], { strategy: given }, { status: saved(first), nowMs }).advance
    expect(at(NOW + 2 * MINUTE - 1)).toEqual([])
    expect(at(NOW + 2 * MINUTE)).toEqual(['b'])
    expect(at(NOW + 600 * MINUTE, progressive({ maxConcurrency: 1, maxFailures: 1 }))).toEqual([])
  })

  test('A-13: groups are what the placement says now', () => {
    const strategy = perGroup()
    const status = saved(planned(['a:nothing', 'b:nothing'], { strategy }))
    expect(planned(['b:nothing', 'a:sent'], { strategy }, { status }).advance).toEqual(['b'])
    expect(planned(['b:nothing', 'a:sent'], { strategy, semantics: 'Skerry' }, { status }).advance).toEqual([])
  })

  test('a breach ends with its failures: who left the placement is counted no more', () => {
    const strategy = progressive({ maxConcurrency: 1 })
    const breach = planned(['a:rolled-back b:nothing'], { strategy })
    expect([isBreached(breach), breach.phase]).toEqual([true, 'Paused'])
    const status = saved(breach)
    expect(planned(['b:nothing'], { strategy }, { status })).toMatchObject({ advance: ['b'], phase: 'Running' })
    expect(planned(['b:nothing'], { strategy, semantics: 'Skerry' }, { status }).advance).toEqual([])
  })

  test('what people say holds all the same: a pause, and a resume that accepts what has failed', () => {
    const strategy = progressive({ progressDeadline: '30s' })
    const act = (verb: 'pause' | 'resume', atMs: number): RolloutAct => ({
      ...{ id: `${verb}-1`, verb, by: 'anna', at: iso(atMs), reason: 'because', rolloutUid: 'r' },
    })
    const lines = ['a:rolled-back b:nothing']
    const paused = planned(['a:nothing'], { strategy }, { acts: [act('pause', NOW)] })
    expect(paused).toMatchObject({ advance: [], phase: 'Paused' })
    const status = saved(planned(lines, { strategy }))
    const later = { status, nowMs: NOW + MINUTE }
    expect(isBreached(planned(lines, { strategy }, later))).toBe(true)
    const resumed = planned(lines, { strategy }, { ...later, acts: [act('resume', NOW + MINUTE)] })
    expect([isBreached(resumed), resumed.advance]).toEqual([false, ['b']])
  })

  test('it completes when nothing is left to come', () => {
    const strategy = progressive({ maxFailures: 1, progressDeadline: '30s' })
    const lines = ['a:rolled-back b:proven']
    const status = saved(planned(lines, { strategy }))
    expect(planned(lines, { strategy }, { status, nowMs: NOW + MINUTE }).phase).toBe('Completed')
  })

  test("whatever a fleet does, the choice is OCM's, defects included", () => {
    const STATUS: Readonly<Record<string, Told['status']>> = {
      ...{ sent: 'ToApply', 'sent-dark': 'ToApply', delivered: 'Progressing', staging: 'Progressing' },
      ...{ activating: 'Progressing', proven: 'Succeeded', 'rolled-back': 'Failed', refused: 'Failed' },
    }
    const kinds = ['nothing', 'offline', 'newer', ...Object.keys(STATUS)] as Doing[]
    const names = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', 'c8']
    const each = <T>(one: fc.Arbitrary<T>) => fc.array(one, { minLength: names.length, maxLength: names.length })
    fc.assert(
      fc.property(
        each(fc.nat(2)),
        // Few kinds at a time: a window that is nearly empty is as likely as one of everything.
        fc.subarray(kinds, { minLength: 1, maxLength: 4 }).chain((some) => each(fc.constantFrom(...some))),
        fc.record({
          type: fc.constantFrom('All' as const, 'Progressive' as const, 'ProgressivePerGroup' as const),
          maxConcurrency: fc.nat(10),
          maxFailures: fc.nat(10),
          mandatory: fc.subarray([0, 1, 2], { maxLength: 2 }),
          soak: fc.constantFrom(0, 30, 120),
          deadline: fc.constantFrom(undefined, 30, 120),
          laterMs: fc.constantFrom(0, 90_000),
        }),
        (groupOf, doing, { type, maxConcurrency, maxFailures, mandatory, soak, deadline, laterMs }) => {
          const indices = [...new Set(groupOf)].toSorted()
          const lines = indices.map((index) =>
            names.flatMap((name, at) => (groupOf[at] === index ? [`${name}:${doing[at]}`] : [])).join(' '),
          )
          const mandatoryDecisionGroups = mandatory.map((groupIndex) => ({ groupIndex }))
          const terms = {
            ...{ maxFailures, mandatoryDecisionGroups, minSuccessTime: `${soak}s` },
            ...(deadline === undefined ? {} : { progressDeadline: `${deadline}s` }),
          }
          const strategy = {
            ...{ type, progressive: { ...terms, maxConcurrency }, progressivePerGroup: terms },
            all: deadline === undefined ? {} : { progressDeadline: `${deadline}s` },
          }
          const first = planned(lines, { strategy })
          const found =
            laterMs === 0 ? first : planned(lines, { strategy }, { status: saved(first), nowMs: NOW + laterMs })
          const told = names.flatMap((name, at): Told[] => {
            const [what = 'nothing', group = 0] = [doing[at], groupOf[at]]
            if (what === 'newer') return []
            const status = STATUS[what]
            // A failure is one since it was first seen; all else happened a minute before.
            const ageMs = laterMs + (status === 'Failed' ? 0 : MINUTE)
            return [{ name, group: indices.indexOf(group), ageMs, ...(status === undefined ? {} : { status }) }]
          })
          const asked: Asked = {
            ...{ type, mandatory, maxConcurrency, maxFailures, soakMs: soak * 1000 },
            deadlineMs: deadline === undefined ? Number.POSITIVE_INFINITY : deadline * 1000,
          }
          const { window, breach } = rollOut(told, asked)
          const fresh = new Set(told.flatMap(({ name, status }) => (status === undefined ? [name] : [])))
          expect(isBreached(found)).toBe(breach)
          expect(found.advance).toEqual(breach ? [] : window.filter((name) => fresh.has(name)).toSorted())
        },
      ),
      { numRuns: 2_000 },
    )
  })
})

test('what its semantics would not carry out is refused, each with its path', () => {
  const spec: RolloutSpec = { placementRef: { name: 'p' }, image: { name: 'os-2' }, semantics: 'OCM' }
  expect(admitRollout(spec, NOW)).toEqual([])
  const fields = (given: Partial<RolloutSpec>) => admitRollout({ ...spec, ...given }, NOW).map(({ field }) => field)
  const own = { offlinePolicy: 'Wait', catchUp: {}, approvals: { start: 1 } } as const
  expect(fields(own)).toEqual(['spec.offlinePolicy', 'spec.catchUp', 'spec.approvals'])
  expect(fields({ ...own, semantics: 'Skerry' })).toEqual([])
})
