import type { ActVerb, RolloutAct, RolloutSpec, RolloutStatus } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ClusterFacts, DecidedGroup, RolloutFacts } from './facts.ts'
import {
  cluster,
  condition,
  type Doing,
  facts,
  held,
  image,
  iso,
  MINUTE,
  NOW,
  progressive,
  row,
  saved,
} from './fixture.ts'
import { planRollout, type RolloutPlan } from './plan.ts'
import { rolloutStatus } from './status.ts'

// What people do to a rollout, and what comes of it.

let acts = 0
const act = (verb: ActVerb, more: Partial<RolloutAct> = {}): RolloutAct => ({
  id: `00000000-0000-4000-8000-${String(++acts).padStart(12, '0')}`,
  verb,
  by: 'ola',
  at: iso(NOW),
  reason: 'the shop called',
  rolloutUid: 'r',
  manifestSha256: image.manifestSha256,
  ...more,
})

type Given = { readonly spec?: Partial<RolloutSpec>; readonly acts?: readonly RolloutAct[]; readonly at?: number }
function planned(
  clusters: ClusterFacts[],
  { spec = {}, acts: done = [], at = NOW }: Given,
  status?: RolloutStatus,
): RolloutPlan {
  return planRollout({ ...facts(clusters, spec, status), acts: done, changedBy: 'kari' }, at)
}
function grouped(
  groups: readonly ClusterFacts[][],
  { spec = {}, acts: done = [], at = NOW }: Given,
  status?: RolloutStatus,
) {
  const decided = groups.map(
    (some, index): DecidedGroup => ({ index, name: '', clusters: some.map(({ name }) => name) }),
  )
  return planRollout({ ...facts(groups.flat(), spec, status), decided, acts: done, changedBy: 'kari' }, at)
}
const after = (plan: RolloutPlan, at = NOW): RolloutStatus => ({
  ...saved(plan),
  conditions: plan.conditions.map((one) => ({ ...one, lastTransitionTime: iso(at) })),
})

describe('[deviation] a person pauses a rollout', () => {
  const fleet = () => [cluster('a', 'proven'), cluster('b', 'staging'), cluster('c', 'nothing')]
  const spec = { strategy: progressive({ maxConcurrency: 2 }) }

  test('nothing new starts, what has not activated holds, and each says by whom and how it goes on', () => {
    const paused = planned(fleet(), { spec, acts: [act('pause')] })
    expect(paused).toMatchObject({ phase: 'Paused', advance: [], underWay: [{ cluster: 'b', paused: true }] })
    expect(held(paused, 'c')).toMatchObject({
      reason: 'Paused',
      message: `paused by ola at ${iso(NOW)}: the shop called; "skerry rollout resume r" lets it go on`,
    })
    expect(condition(paused, 'Paused')).toMatchObject({ status: 'True', reason: 'Paused' })
    expect(condition(paused, 'Breached')?.status).toBe('False')
    expect(condition(paused, 'Completed')).toMatchObject({ status: 'False', reason: 'Paused' })
  })

  test('a look that changes nothing renews no time', () => {
    const done = [act('pause')]
    const paused = planned(fleet(), { spec, acts: done })
    const later = planned(fleet(), { spec, acts: done, at: NOW + MINUTE }, after(paused))
    expect(later.clusters).toEqual(paused.clusters)
  })

  test('resumed it goes on with what it had, and nothing is asked again', () => {
    const paused = planned(fleet(), { spec, acts: [act('pause')] })
    const done = [act('pause'), act('resume', { at: iso(NOW + MINUTE) })]
    const going = planned(fleet(), { spec, acts: done, at: NOW + 2 * MINUTE }, after(paused))
    expect(going).toMatchObject({ phase: 'Running', advance: ['c'], underWay: [{ cluster: 'b', paused: false }] })
    expect(condition(going, 'Paused')).toMatchObject({ status: 'False', reason: 'Resumed' })
  })

  test('one that has completed sends nothing to who returns while it is paused, and is completed again when resumed', () => {
    const catchUp = { jitter: '0s' }
    const done = planned([cluster('a', 'proven'), cluster('b', 'offline')], { spec: { ...spec, catchUp } })
    expect(done.phase).toBe('Completed')
    const back = [cluster('a', 'proven'), cluster('b', 'nothing')]
    const paused = planned(back, { spec: { ...spec, catchUp }, acts: [act('pause')] }, after(done))
    expect(paused).toMatchObject({ phase: 'Paused', advance: [] })
    const resumed = planned(back, { spec: { ...spec, catchUp }, acts: [act('pause'), act('resume')] }, after(paused))
    expect(resumed).toMatchObject({ phase: 'Completed', advance: ['b'] })
  })
})

test('[deviation] an abort is final: nothing is sent, nothing activates, whatever is done later', () => {
  const fleet = [cluster('a', 'proven'), cluster('b', 'window'), cluster('c', 'nothing')]
  const aborted = planned(fleet, { acts: [act('abort'), act('resume')] })
  expect(aborted).toMatchObject({ phase: 'Aborted', advance: [], underWay: [{ cluster: 'b', paused: true }] })
  expect(held(aborted, 'c')).toMatchObject({
    reason: 'Aborted',
    message: `aborted by ola at ${iso(NOW)}: the shop called`,
  })
  expect(row(aborted, 'a')?.state).toBe('Succeeded')
  expect(condition(aborted, 'Paused')).toMatchObject({ status: 'True', reason: 'Aborted' })
})

test('[deviation] an abort reaches who was sent the image also while the placement is not there', () => {
  const going = planned([cluster('a', 'window'), cluster('b', 'proven')], {})
  const held = facts([cluster('a', 'window'), cluster('b', 'proven')], {}, after(going))
  const gone = planRollout({ ...held, decided: 'Missing', acts: [act('abort')] }, NOW + MINUTE)
  expect(gone).toMatchObject({ phase: 'Aborted', others: [{ cluster: 'a', paused: true }] })
  expect(condition(gone, 'Paused')).toMatchObject({ status: 'True', reason: 'Aborted' })
})

describe('[deviation] a stop reaches every order of the rollout that may still be activated', () => {
  const other = { ...image, manifestSha256: '9'.repeat(64) }
  /** The placement selects those that are named. */
  const selecting = (names: readonly string[], clusters: ClusterFacts[], more: Partial<RolloutFacts> = {}) => ({
    ...facts(clusters),
    decided: [{ index: 0, name: '', clusters: names }],
    ...more,
  })

  test.each<[string, Doing, boolean]>([
    ['has not accepted it', 'sent', true],
    ['is dark and may have it', 'sent-dark', true],
    ['waits for its window', 'window', true],
    ['is activating, which finishes', 'activating', true],
    ['runs it', 'proven', false],
    ['gave it up', 'rolled-back', false],
    ['refused it', 'refused', false],
    ['is another rollout’s', 'newer', false],
    ['was sent nothing', 'nothing', false],
  ])('dropped by the placement, where it %s', (_, doing, held) => {
    const given = selecting(['a'], [cluster('a', 'staging'), cluster('b', doing)])
    for (const verb of ['pause', 'abort'] as const)
      expect(planRollout({ ...given, acts: [act(verb)] }, NOW)).toMatchObject({
        underWay: [{ cluster: 'a', paused: true }],
        others: held ? [{ cluster: 'b', paused: true }] : [],
      })
    expect(planRollout({ ...given, acts: [act('pause'), act('resume')] }, NOW).others).toEqual(
      held ? [{ cluster: 'b', paused: false }] : [],
    )
  })

  test('of an image before, until the cluster is sent the newer one', () => {
    const clusters = [cluster('a', 'window'), cluster('b', 'nothing')]
    const spec = { strategy: progressive({ maxConcurrency: 1 }) }
    const edited = { ...facts(clusters, spec), image: other }
    expect(planRollout({ ...edited, acts: [act('pause', other)] }, NOW)).toMatchObject({
      advance: [],
      underWay: [],
      others: [{ cluster: 'a', paused: true }],
    })
    expect(planRollout(edited, NOW)).toMatchObject({ advance: ['a'], others: [] })
  })

  test('of one that has timed out, or is denied', () => {
    const denied = { ...cluster('b', 'window'), denied: true }
    const spec = { strategy: { type: 'All' as const, all: { progressDeadline: '0s' } } }
    const stopped = planned([cluster('a', 'staging'), denied], { spec, acts: [act('abort')] })
    expect([row(stopped, 'a')?.state, row(stopped, 'b')?.state]).toEqual(['TimeOut', 'Removed'])
    expect(stopped.others).toEqual(['a', 'b'].map((name) => ({ cluster: name, paused: true })))
  })

  test('a breach is such a stop, and the way back after it is not held', () => {
    const clusters = [cluster('a', 'rolled-back'), cluster('b', 'window'), cluster('c', 'window')]
    const spec = { strategy: progressive(), onBreach: 'RollbackAll' as const }
    const good = { ...image, manifestSha256: '7'.repeat(64), imageSha256: 'b'.repeat(64), releaseCounter: 1 }
    const given = {
      ...facts(
        clusters.map((one) => ({ ...one, lastGood: good })),
        spec,
      ),
    }
    const dropping = { ...given, decided: [{ index: 0, name: '', clusters: ['a', 'b'] }] }
    const breached = planRollout(dropping, NOW)
    expect(breached.back.map(({ cluster: name }) => name)).toEqual(['a', 'b'])
    expect(breached.others).toEqual([{ cluster: 'c', paused: true }])
    const orders = [{ cluster: 'b', manifestSha256: good.manifestSha256, isSettled: false }]
    const status = { ...after(breached), clusters: [...breached.clusters] }
    const later = planRollout({ ...dropping, rollout: { ...dropping.rollout, status }, orders }, NOW + MINUTE)
    expect(later.others).toEqual([])
  })
})

describe('[deviation] a person lets a rollout go on after a breach', () => {
  const spec = { strategy: progressive({ maxConcurrency: 1 }) }
  const stopped = () =>
    planned([cluster('a', 'rolled-back'), cluster('b', 'nothing'), cluster('c', 'nothing')], { spec })

  test('a resume accepts what failed so far, and one failure more stops it again', () => {
    expect(stopped()).toMatchObject({ phase: 'Paused', advance: [] })
    const done = [act('resume', { at: iso(NOW + MINUTE) })]
    const fleet = [cluster('a', 'rolled-back'), cluster('b', 'nothing'), cluster('c', 'nothing')]
    const going = planned(fleet, { spec, acts: done, at: NOW + 2 * MINUTE }, after(stopped()))
    expect(going).toMatchObject({ phase: 'Running', advance: ['b'], counts: { rolledBack: 1 } })
    expect(condition(going, 'Breached')?.status).toBe('False')
    const again = [cluster('a', 'rolled-back'), cluster('b', 'rolled-back'), cluster('c', 'nothing')]
    const breached = planned(again, { spec, acts: done, at: NOW + 3 * MINUTE }, after(going, NOW + 2 * MINUTE))
    expect(breached).toMatchObject({ phase: 'Paused', advance: [] })
    expect(condition(breached, 'Breached')?.status).toBe('True')
    // A resume of before this breach does not end it.
    const still = planned(again, { spec, acts: done, at: NOW + 4 * MINUTE }, after(breached, NOW + 3 * MINUTE))
    expect(still).toMatchObject({ phase: 'Paused', advance: [] })
  })

  test('a failure that is told as a worse one after the resume is not one more', () => {
    const late = { strategy: progressive({ progressDeadline: '30s' }) }
    const out = planned([cluster('a', 'activating'), cluster('b', 'nothing')], { spec: late })
    expect(row(out, 'a')?.state).toBe('TimeOut')
    const done = [act('resume', { at: iso(NOW + MINUTE) })]
    const fleet = [cluster('a', 'rolled-back', NOW + 2 * MINUTE), cluster('b', 'nothing')]
    let status = after(out)
    for (const minutes of [2, 3, 4]) {
      const going = planned(fleet, { spec: late, acts: done, at: NOW + minutes * MINUTE }, status)
      expect(going).toMatchObject({ phase: 'Running', advance: ['b'] })
      expect(row(going, 'a')).toMatchObject({ state: 'RolledBack', since: iso(NOW) })
      status = after(going, NOW + minutes * MINUTE)
    }
  })

  test('what a resume accepted stays accepted when somebody pauses later', () => {
    const resume = act('resume', { at: iso(NOW + MINUTE) })
    const fleet = [cluster('a', 'rolled-back'), cluster('b', 'nothing')]
    const going = planned(fleet, { spec, acts: [resume], at: NOW + 2 * MINUTE }, after(stopped()))
    const done = [resume, act('pause', { at: iso(NOW + 3 * MINUTE) })]
    const paused = planned(fleet, { spec, acts: done, at: NOW + 4 * MINUTE }, after(going, NOW + 2 * MINUTE))
    expect(condition(paused, 'Breached')?.status).toBe('False')
    expect(held(paused, 'b')?.reason).toBe('Paused')
  })

  test('a pause that came first is told first, and both must be taken back', () => {
    const paused = planned([cluster('a', 'rolled-back'), cluster('b', 'nothing')], { spec, acts: [act('pause')] })
    expect(held(paused, 'b')?.reason).toBe('Paused')
    expect(condition(paused, 'Breached')?.status).toBe('True')
  })
})

describe('[deviation] a person tries again where it failed', () => {
  const spec = { strategy: progressive({ maxConcurrency: 1 }) }
  const fleet = () => [cluster('a', 'rolled-back'), cluster('b', 'nothing')]
  const retry = act('retry', { at: iso(NOW + MINUTE), clusters: ['a'] })
  const retried = () =>
    planned(fleet(), { spec, acts: [retry], at: NOW + 2 * MINUTE }, after(planned(fleet(), { spec })))

  test('it takes a turn as everybody does, its failure is given back, and the breach that rested on it is over', () => {
    const again = retried()
    expect(again).toMatchObject({ phase: 'Running', advance: ['a'], counts: { rolledBack: 0, notStarted: 2 } })
    expect(condition(again, 'Breached')?.status).toBe('False')
  })

  test('sent again it is under way, and what it said before the retry fails it no more', () => {
    const sent = cluster('a', 'rolled-back')
    const { assignment } = sent
    if (!assignment) throw new Error('it is assigned nothing')
    const under = { ...sent, assignment: { ...assignment, atMs: NOW + 2 * MINUTE, retry: retry.id } }
    const going = planned(
      [under, cluster('b', 'nothing')],
      { spec, acts: [retry], at: NOW + 3 * MINUTE },
      after(retried()),
    )
    expect(row(going, 'a')?.state).not.toBe('RolledBack')
    expect(going.advance).toEqual([])
  })

  test('a failure after the retry is one, and only another retry gives it back', () => {
    const later = cluster('a', 'rolled-back', NOW + 4 * MINUTE)
    const { assignment } = later
    if (!assignment) throw new Error('it is assigned nothing')
    const failed = { ...later, assignment: { ...assignment, atMs: NOW + 2 * MINUTE, retry: retry.id } }
    const breached = planned(
      [failed, cluster('b', 'nothing')],
      { spec, acts: [retry], at: NOW + 5 * MINUTE },
      after(retried(), NOW + 2 * MINUTE),
    )
    expect(breached).toMatchObject({ phase: 'Paused', advance: [], counts: { rolledBack: 1 } })
    const still = planned(
      [failed, cluster('b', 'nothing')],
      { spec, acts: [retry], at: NOW + 6 * MINUTE },
      after(breached, NOW + 5 * MINUTE),
    )
    expect(still).toMatchObject({ phase: 'Paused', counts: { rolledBack: 1 } })
  })

  test('of whom the placement dropped nothing is given back: there is nothing to try again', () => {
    const wide = { strategy: progressive({ maxConcurrency: 1, maxFailures: 0 }) }
    const failed = planned(fleet(), { spec: wide })
    const dropped = planned(
      [cluster('b', 'nothing')],
      { spec: wide, acts: [retry], at: NOW + 2 * MINUTE },
      after(failed),
    )
    expect(row(dropped, 'a')?.state).toBe('RolledBack')
    expect(dropped).toMatchObject({ phase: 'Paused', counts: { rolledBack: 1 } })
  })

  test('who timed out begins anew, and a retry of other bytes is none', () => {
    const late = { strategy: progressive({ progressDeadline: '30s' }) }
    const out = planned([cluster('a', 'staging')], { spec: late })
    expect(row(out, 'a')?.state).toBe('TimeOut')
    const again = (done: RolloutAct, doing: Doing = 'staging') =>
      planned([cluster('a', doing)], { spec: late, acts: [done], at: NOW + 2 * MINUTE }, after(out))
    expect(again(retry)).toMatchObject({ advance: ['a'] })
    // Not before the try that is under way has ended, and its end is not held against the next.
    const waits = again(retry, 'activating')
    expect(waits).toMatchObject({ advance: [], phase: 'Paused' })
    const ended = planned(
      [cluster('a', 'rolled-back', NOW + 3 * MINUTE)],
      { spec: late, acts: [retry], at: NOW + 4 * MINUTE },
      after(waits),
    )
    expect(ended).toMatchObject({ advance: ['a'], counts: { rolledBack: 0 } })
    expect(again({ ...retry, manifestSha256: 'e'.repeat(64) })).toMatchObject({ advance: [], phase: 'Paused' })
    expect(again({ ...retry, clusters: ['z'] })).toMatchObject({ advance: [] })
  })
})

describe('[deviation] gates', () => {
  const spec: Partial<RolloutSpec> = {
    strategy: { type: 'ProgressivePerGroup' },
    approvals: { start: 1, betweenGroups: 2, completion: 1 },
  }
  const yes = (gate: string, by = 'ola', more: Partial<RolloutAct> = {}) => act('approve', { gate, by, ...more })
  const groups = (one: Doing, other: Doing) => [[cluster('a', one)], [cluster('b', other)]]

  test('before the first group, between groups, and before the end', () => {
    const first = grouped(groups('nothing', 'nothing'), { spec })
    expect(first).toMatchObject({ phase: 'WaitingForApproval', advance: [] })
    expect(held(first, 'a')).toMatchObject({
      reason: 'WaitingForApproval',
      message: 'group 0 waits for an approval: "skerry rollout approve r --gate Start"',
    })
    expect(condition(first, 'Completed')).toMatchObject({ reason: 'WaitingForApproval' })
    const started = grouped(groups('nothing', 'nothing'), { spec, acts: [yes('Start')] }, after(first))
    expect(started).toMatchObject({ phase: 'Running', advance: ['a'] })
    const between = grouped(groups('proven', 'nothing'), { spec, acts: [yes('Start'), yes('Group/1')] }, after(started))
    expect(between).toMatchObject({ phase: 'WaitingForApproval', advance: [] })
    expect(held(between, 'b')?.message).toBe(
      'group 1 waits for 2 approvals, of which 1 is given: "skerry rollout approve r --gate Group/1"',
    )
    const both = [yes('Start'), yes('Group/1'), yes('Group/1', 'per')]
    const next = grouped(groups('proven', 'nothing'), { spec, acts: both }, after(between))
    expect(next).toMatchObject({ phase: 'Running', advance: ['b'] })
    const end = grouped(groups('proven', 'proven'), { spec, acts: both }, after(next))
    expect(end).toMatchObject({ phase: 'WaitingForApproval' })
    expect(condition(end, 'Completed')?.message).toBe(
      'the end waits for an approval: "skerry rollout approve r --gate Completion"',
    )
    const over = grouped(groups('proven', 'proven'), { spec, acts: [...both, yes('Completion')] }, after(end))
    expect(over.phase).toBe('Completed')
  })

  test.each<[string, RolloutAct]>([
    ['of another manifest', yes('Start', 'ola', { manifestSha256: 'e'.repeat(64) })],
    ['of another gate', yes('Group/1')],
    ['that has ended', yes('Start', 'ola', { expiresAt: iso(NOW) })],
    ['by whoever made the last change', yes('Start', 'kari')],
  ])('an approval %s opens nothing', (_, given) => {
    expect(grouped(groups('nothing', 'nothing'), { spec, acts: [given] })).toMatchObject({
      phase: 'WaitingForApproval',
      advance: [],
    })
  })

  test('a gate that was passed stays open when its approval ends', () => {
    const short = [yes('Start', 'ola', { expiresAt: iso(NOW + MINUTE) })]
    const first = grouped(groups('nothing', 'nothing'), { spec, acts: short })
    expect(first.advance).toEqual(['a'])
    const later = grouped(groups('nothing', 'nothing'), { spec, acts: short, at: NOW + 2 * MINUTE }, after(first))
    expect(later.advance).toEqual(['a'])
  })

  test('Start is asked before anything is sent, also where the first group has nobody', () => {
    const only = { ...spec, approvals: { start: 1 } }
    const first = grouped(groups('newer', 'nothing'), { spec: only })
    expect(first).toMatchObject({ phase: 'WaitingForApproval', advance: [] })
    expect(held(first, 'b')?.message).toMatch(/--gate Start"$/)
    expect(grouped(groups('newer', 'nothing'), { spec: only, acts: [yes('Start')] }, after(first)).advance).toEqual([
      'b',
    ])
  })

  test('a rollout that has completed waits at no gate again after a pause', () => {
    const one = { strategy: progressive(), approvals: { completion: 1 } }
    const short = yes('Completion', 'ola', { expiresAt: iso(NOW + MINUTE) })
    const done = planned([cluster('a', 'proven')], { spec: one, acts: [short] })
    expect(done.phase).toBe('Completed')
    const status = { ...after(done), completedAt: iso(NOW) }
    const acts = [short, act('pause', { at: iso(NOW + 2 * MINUTE) })]
    const paused = planned([cluster('a', 'proven')], { spec: one, acts, at: NOW + 3 * MINUTE }, status)
    const told = rolloutStatus({ ...facts([], one, status), image }, paused, NOW + 3 * MINUTE)
    expect(told).toMatchObject({ phase: 'Paused', completedAt: iso(NOW) })
    const resumed = [...acts, act('resume', { at: iso(NOW + 4 * MINUTE) })]
    expect(planned([cluster('a', 'proven')], { spec: one, acts: resumed, at: NOW + 5 * MINUTE }, told).phase).toBe(
      'Completed',
    )
  })

  test('a mandatory group comes first, and the one of index 0 has a gate of its own then', () => {
    const mandatory: Partial<RolloutSpec> = {
      ...spec,
      strategy: { type: 'ProgressivePerGroup', progressivePerGroup: { mandatoryDecisionGroups: [{ groupIndex: 1 }] } },
    }
    const first = grouped(groups('nothing', 'nothing'), { spec: mandatory, acts: [yes('Start')] })
    expect(first.advance).toEqual(['b'])
    const next = grouped(groups('nothing', 'proven'), { spec: mandatory, acts: [yes('Start')] }, after(first))
    expect(held(next, 'a')?.message).toMatch(/--gate Group\/0"$/)
  })
})

test('after an abort, and while it is paused, nothing is ever sent', () => {
  const doings: readonly Doing[] = ['nothing', 'offline', 'staging', 'window', 'activating', 'proven', 'rolled-back']
  const step = fc.tuple(
    fc.array(fc.constantFrom(...doings), { minLength: 4, maxLength: 4 }),
    fc.option(fc.constantFrom<ActVerb>('pause', 'resume', 'abort', 'retry'), { nil: undefined }),
  )
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), fc.nat(3), (steps, maxFailures) => {
      let status: RolloutStatus | undefined
      let at = NOW
      const done: RolloutAct[] = []
      for (const [doing, verb] of steps) {
        at += MINUTE
        const failed = (status?.clusters ?? []).filter(({ state }) =>
          ['RolledBack', 'Failed', 'TimeOut'].includes(state),
        )
        if (verb !== undefined)
          done.push(
            act(verb, { at: iso(at), ...(verb === 'retry' ? { clusters: failed.map(({ name }) => name) } : {}) }),
          )
        at += MINUTE
        const clusters = doing.map((what, index) => cluster(`c${index}`, what))
        const outcome = planned(clusters, { spec: { strategy: progressive({ maxFailures }) }, acts: done, at }, status)
        const last = done.findLast(({ verb: one }) => one === 'pause' || one === 'resume')?.verb
        if (done.some(({ verb: one }) => one === 'abort')) {
          expect(outcome).toMatchObject({ phase: 'Aborted', advance: [] })
        } else if (last === 'pause') expect(outcome).toMatchObject({ phase: 'Paused', advance: [] })
        if (condition(outcome, 'Breached')?.status === 'True') expect(outcome.advance).toEqual([])
        for (const { recheckAtMs, reason, message } of outcome.hold) {
          expect(recheckAtMs).toBeGreaterThan(at)
          expect(reason && message).toBeTruthy()
        }
        const before = new Map(status?.conditions?.map((one) => [one.type, one]))
        status = {
          ...saved(outcome),
          conditions: outcome.conditions.map((one) => ({
            ...one,
            lastTransitionTime:
              before.get(one.type)?.status === one.status
                ? (before.get(one.type)?.lastTransitionTime ?? iso(at))
                : iso(at),
          })),
        }
      }
    }),
  )
})
