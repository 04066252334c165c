import type { RolloutSpec, RolloutStatus } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ClusterFacts, DecidedGroup } from './facts.ts'
import { cluster, condition, type Doing, facts, held, iso, MINUTE, NOW, row, saved } from './fixture.ts'
import { planRollout, type RolloutPlan } from './plan.ts'
import { type Asked, rollOut, type Told } from './test-ocm.ts'

/** `canary a:proven b:nothing` is a group and what its clusters do. */
function fleetOf(...lines: readonly string[]): { decided: DecidedGroup[]; clusters: ClusterFacts[] } {
  const groups = lines.map((line, index) => {
    const [name = '', ...members] = line.split(' ')
    const doing = members.map((one) => one.split(':') as [string, Doing])
    return {
      decided: { index, name: name === '-' ? '' : name, clusters: doing.map(([cluster]) => cluster) },
      clusters: doing.map(([each, what]) => cluster(each, what)),
    }
  })
  return { decided: groups.map(({ decided }) => decided), clusters: groups.flatMap(({ clusters }) => clusters) }
}

function planned(
  lines: readonly string[],
  spec: Partial<RolloutSpec>,
  status?: RolloutStatus,
  nowMs = NOW,
): RolloutPlan {
  const { decided, clusters } = fleetOf(...lines)
  return planRollout({ ...facts(clusters, spec, status), decided }, nowMs)
}
const after = (plan: RolloutPlan, more: Partial<RolloutStatus> = {}) => ({ ...saved(plan), ...more })
const perGroup = (
  given: NonNullable<NonNullable<RolloutSpec['strategy']>['progressivePerGroup']> = {},
): Partial<RolloutSpec> => ({ strategy: { type: 'ProgressivePerGroup', progressivePerGroup: given } })
const progressive = (
  given: NonNullable<NonNullable<RolloutSpec['strategy']>['progressive']> = {},
): Partial<RolloutSpec> => ({ strategy: { type: 'Progressive', progressive: given } })

describe('[conformance: ocm] group by group', () => {
  test('all of a group at once, and the next one when it is through', () => {
    const first = planned(['canary a:nothing b:nothing', 'rest c:nothing'], perGroup())
    expect(first).toMatchObject({ phase: 'Running', advance: ['a', 'b'] })
    expect(held(first, 'c')).toMatchObject({
      reason: 'GroupWaits',
      message: 'group 0 (canary) comes first and is not through: 2 not started',
    })
    const soaking = planned(['canary a:proven b:staging', 'rest c:nothing'], perGroup(), after(first))
    expect(soaking.advance).toEqual([])
    expect(held(soaking, 'c')?.message).toBe('group 0 (canary) comes first and is not through: 1 under way')
    const next = planned(['canary a:proven b:proven', 'rest c:nothing'], perGroup(), after(soaking))
    expect(next).toMatchObject({ advance: ['c'], phase: 'Running' })
    expect(next.groups).toEqual([
      { index: 0, name: 'canary', openedAt: iso(NOW), passedAt: iso(NOW), total: 2, succeeded: 2, failed: 0 },
      { index: 1, name: 'rest', openedAt: iso(NOW), total: 1, succeeded: 0, failed: 0 },
    ])
    expect(planned(['canary a:proven b:proven', 'rest c:proven'], perGroup(), after(next)).phase).toBe('Completed')
  })

  test('a budget is of its group, and a breach names it', () => {
    const lines = ['- a:rolled-back b:proven', '- c:rolled-back d:proven e:proven f:proven', '- g:nothing']
    expect(planned(lines, perGroup({ maxFailures: '50%' }))).toMatchObject({ phase: 'Running', advance: ['g'] })
    const stopped = planned(lines, perGroup({ maxFailures: '10%' }))
    expect(stopped).toMatchObject({ phase: 'Running' })
    const breached = planned(lines, perGroup())
    expect(breached).toMatchObject({ phase: 'Paused', advance: [] })
    expect(condition(breached, 'Breached')?.message).toMatch(
      /^group 0: 1 failed, 0 tolerated; group 1: 1 failed, 0 tolerated/,
    )
  })

  test.each<
    [string, NonNullable<NonNullable<RolloutSpec['strategy']>['progressive']>['mandatoryDecisionGroups'], string[]]
  >([
    ['by index', [{ groupIndex: 1 }], ['c']],
    ['by name, all groups of it', [{ groupName: 'shop' }], ['a', 'b']],
    ['a name before an index', [{ groupName: 'shop', groupIndex: 1 }], ['a', 'b']],
    ['in the order of indexes, whatever the list says', [{ groupIndex: 2 }, { groupIndex: 1 }], ['c']],
    ['who is not there is nobody', [{ groupName: 'none' }, { groupIndex: 9 }], ['a', 'b', 'c', 'd', 'e']],
  ])('mandatory groups %s', (_, mandatoryDecisionGroups, advance) => {
    const lines = ['shop a:nothing b:nothing', 'farm c:nothing', 'shop d:nothing e:nothing']
    expect(planned(lines, progressive({ mandatoryDecisionGroups: mandatoryDecisionGroups ?? [] })).advance).toEqual(
      advance,
    )
  })

  test('in a mandatory group no failure is tolerated, whatever the budget', () => {
    const spec = progressive({ maxFailures: '100%', mandatoryDecisionGroups: [{ groupIndex: 0 }] })
    const stopped = planned(['- a:rolled-back b:proven', '- c:nothing'], spec)
    expect(stopped).toMatchObject({ phase: 'Paused', advance: [] })
    expect(condition(stopped, 'Breached')?.message).toMatch(/^group 0: 1 failed, 0 tolerated/)
  })

  test('concurrency is of the clusters outside mandatory groups, the budget of all', () => {
    const spec = progressive({
      maxConcurrency: '50%',
      maxFailures: '50%',
      mandatoryDecisionGroups: [{ groupIndex: 0 }],
    })
    const lines = ['- a:proven b:proven c:proven d:proven', '- e:nothing f:nothing g:nothing h:nothing']
    expect(planned(lines, spec).advance).toEqual(['e', 'f'])
    const failing = [
      '- a:proven b:proven c:proven d:proven',
      '- e:rolled-back f:rolled-back g:rolled-back h:rolled-back',
    ]
    expect(condition(planned(failing, spec), 'Breached')?.status).toBe('False')
  })
})

describe('[deviation] what OCM gets wrong', () => {
  test('X-02: one that timed out does not let the next group start while another still rolls', () => {
    const spec = perGroup({ maxFailures: 1, progressDeadline: '30s' })
    const first = planned(['- a:activating b:window', '- c:nothing'], {
      ...spec,
      windows: { activation: [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3600 }] },
    })
    expect(row(first, 'a')?.state).toBe('TimeOut')
    expect(first.advance).toEqual([])
    expect(held(first, 'c')?.reason).toBe('GroupWaits')
  })

  test('X-03: a failure late in the alphabet is counted before the window is filled', () => {
    const stopped = planned(['- a:staging b:nothing z:rolled-back'], progressive({ maxConcurrency: 1 }))
    expect(stopped).toMatchObject({ phase: 'Paused', advance: [] })
  })

  test('X-05: with a mandatory group the rest is a sliding window, and one that timed out there stops nothing', () => {
    const spec = progressive({
      maxConcurrency: 2,
      maxFailures: 1,
      progressDeadline: '30s',
      mandatoryDecisionGroups: [{ groupIndex: 0 }],
    })
    const going = planned(['- a:proven', '- b:activating c:proven d:nothing e:nothing f:nothing'], spec)
    expect(row(going, 'b')?.state).toBe('TimeOut')
    expect(going.advance).toEqual(['d', 'e'])
  })

  test('X-06: who is dropped is Removed, and its failure stays in the budget of its group', () => {
    const spec = perGroup({ maxFailures: 1 })
    const first = planned(['- a:rolled-back b:proven', '- c:staging'], spec)
    const dropped = planned(['- b:proven', '- c:staging'], spec, after(first))
    expect(row(dropped, 'a')?.state).toBe('RolledBack')
    expect(condition(dropped, 'Breached')?.status).toBe('False')
    expect(planned(['- b:rolled-back', '- c:staging'], spec, after(dropped)).phase).toBe('Paused')
  })
})

describe('[deviation] groups are fixed when the first of them has its turn', () => {
  test('until the first has its turn they are what the placement says', () => {
    const spec = { ...perGroup(), approvals: { start: 1 } }
    const waits = planned(['x a:nothing', 'y b:nothing'], spec)
    expect(waits).toMatchObject({ phase: 'WaitingForApproval', advance: [] })
    expect(planned(['z b:nothing a:nothing'], spec, after(waits)).groups).toMatchObject([
      { index: 0, name: 'z', total: 2 },
    ])
  })

  test('they stay so where nobody is sent anything any more', () => {
    const first = planned(['x a:staging', 'y b:nothing'], perGroup())
    const again = planned(['x a:nothing', 'y b:nothing'], perGroup(), after(first))
    const moved = planned(['x b:nothing', 'y a:nothing'], perGroup(), after(again))
    expect(moved.advance).toEqual(['a'])
    expect(moved.clusters.map(({ name, group }) => [name, group])).toEqual([
      ['a', 0],
      ['b', 1],
    ])
  })

  test('who joins later is of the last group, and who moves stays where it was', () => {
    const first = planned(['x a:staging', 'y b:nothing'], perGroup())
    const moved = planned(['x n:nothing b:nothing', 'y a:staging'], perGroup(), after(first))
    expect(moved.advance).toEqual([])
    expect(moved.clusters.map(({ name, group }) => [name, group])).toEqual([
      ['a', 0],
      ['b', 1],
      ['n', 1],
    ])
    const next = planned(['x n:nothing b:nothing', 'y a:proven'], perGroup(), after(moved))
    expect(next.advance).toEqual(['b', 'n'])
  })

  test('a group in which nobody is any more holds up nobody', () => {
    const first = planned(['x a:staging', 'y b:nothing'], perGroup())
    expect(planned(['y b:nothing'], perGroup(), after(first)).advance).toEqual(['b'])
  })
})

describe('[deviation] groups and sites that are out of reach', () => {
  const lines = ['x a:proven b:offline', 'y c:nothing']
  test.each<[string, Partial<RolloutSpec>, string[]]>([
    ['Skip, the default', {}, ['c']],
    ['Wait', { offlinePolicy: 'Wait' }, []],
    ['CountAsFailure, before its time', { offlinePolicy: 'CountAsFailure' }, []],
    ['Wait for this group alone', { groupOfflinePolicies: [{ groupName: 'x', offlinePolicy: 'Wait' }] }, []],
    [
      'Wait, but for this group',
      { offlinePolicy: 'Wait', groupOfflinePolicies: [{ groupIndex: 0, offlinePolicy: 'Skip' }] },
      ['c'],
    ],
  ])('%s', (_, more, advance) => {
    expect(planned(lines, { ...perGroup(), ...more }).advance).toEqual(advance)
  })

  test('a mandatory group waits for them unless it is told otherwise', () => {
    const spec = perGroup({ mandatoryDecisionGroups: [{ groupIndex: 0 }] })
    const waits = planned(lines, spec)
    expect(waits.advance).toEqual([])
    expect(held(waits, 'c')?.message).toBe('group 0 (x) comes first and is not through: 1 out of reach')
    expect(condition(waits, 'Completed')).toMatchObject({ reason: 'OutOfReach' })
    expect(planned(lines, { ...spec, offlinePolicy: 'Skip' }).advance).toEqual(['c'])
  })

  test('a group that is all dark proves nothing: the next one waits for a success', () => {
    const dark = planned(['x a:offline b:offline', 'y c:nothing'], perGroup())
    expect(dark).toMatchObject({ advance: [], phase: 'Running' })
    expect(held(dark, 'c')?.message).toBe(
      'group 0 (x) comes first and is not through: 2 out of reach, no cluster of it succeeded',
    )
    expect(condition(dark, 'Completed')).toMatchObject({
      reason: 'OutOfReach',
      message:
        'group 0 (x): 2 clusters are out of reach, to be sent the image on return; none of it succeeded, and what comes after it waits until one did',
    })
  })

  test('CountAsFailure: after its time, from its turn on, a site that is away is a failure that stays one', () => {
    const spec = { ...perGroup({ maxFailures: 1 }), offlinePolicy: 'CountAsFailure' as const, offlineAfter: '10m' }
    const first = planned(['x a:proven b:offline', 'y c:offline d:nothing'], spec)
    expect(row(first, 'b')).toMatchObject({ state: 'Offline' })
    expect(held(first, 'b')?.recheckAtMs).toBe(NOW + MINUTE)
    const early = planned(['x a:proven b:offline', 'y c:offline d:nothing'], spec, after(first), NOW + 9 * MINUTE)
    expect(row(early, 'b')).toMatchObject({ state: 'Offline', recheckAt: iso(NOW + 10 * MINUTE) })
    const late = planned(['x a:proven b:offline', 'y c:offline d:nothing'], spec, after(early), NOW + 10 * MINUTE)
    expect(row(late, 'b')).toMatchObject({ state: 'TimeOut', reason: 'OfflineTooLong' })
    // The second group's turn begins now, and with it its time.
    expect(late.advance).toEqual(['d'])
    const back = planned(['x a:proven b:nothing', 'y c:offline d:staging'], spec, after(late), NOW + 15 * MINUTE)
    expect(row(back, 'b')?.state).toBe('TimeOut')
    expect(row(back, 'c')?.state).toBe('Offline')
    const end = planned(['x a:proven b:nothing', 'y c:offline d:proven'], spec, after(back), NOW + 20 * MINUTE)
    expect(row(end, 'c')?.state).toBe('TimeOut')
    expect(end.phase).toBe('Completed')
  })

  test('who returns to a group that is through catches up beside the one that rolls', () => {
    const spec = { ...perGroup(), catchUp: { jitter: '0s', maxConcurrency: 1 } }
    const first = planned(['x a:proven b:offline e:offline', 'y c:nothing d:nothing'], spec)
    expect(first.advance).toEqual(['c', 'd'])
    const back = planned(['x a:proven b:nothing e:nothing', 'y c:staging d:staging'], spec, after(first))
    expect(back.advance).toEqual(['b'])
    expect(held(back, 'e')).toMatchObject({
      reason: 'CatchUpLimit',
      message: '1 cluster is under way to catch up, which is as many as may be',
    })
    // Its group stays through: nobody waits for it.
    const end = planned(['x a:proven b:staging e:nothing', 'y c:proven d:proven'], spec, after(back))
    expect(end.phase).toBe('Completed')
    // And its failure is in the budget of its group.
    const failed = planned(['x a:proven b:rolled-back e:nothing', 'y c:proven d:proven'], spec, after(end))
    expect(failed).toMatchObject({ phase: 'Paused', advance: [] })
  })

  test('sites that return start one after the other, each at a time of its own', () => {
    const names = Array.from({ length: 200 }, (_, i) => `site-${i}`)
    const line = (doing: string) => [`- a:proven ${names.map((name) => `${name}:${doing}`).join(' ')}`]
    const spec = { ...progressive(), catchUp: { jitter: '10m', maxConcurrency: '100%' } }
    const dark = planned(line('offline'), spec)
    const back = planned(line('nothing'), spec, after(dark))
    const delays = names.map((name) => held(back, name)).map((hold) => hold?.message.match(/this one at (\S+)$/)?.[1])
    const starts = delays.flatMap((at) => (at === undefined ? [] : [Date.parse(at) - NOW]))
    expect(starts.length + back.advance.length).toBe(names.length)
    // Even: each fifth of the ten minutes has its share.
    for (let fifth = 0; fifth < 5; fifth++) {
      const share = starts.filter((ms) => ms >= fifth * 2 * MINUTE && ms < (fifth + 1) * 2 * MINUTE).length
      expect(share).toBeGreaterThan(20)
      expect(share).toBeLessThan(65)
    }
    expect(Math.min(...back.hold.map(({ recheckAtMs }) => recheckAtMs))).toBeGreaterThan(NOW)
    expect(back.recheckAtMs).toBe(NOW + Math.min(...starts))
    const [waits = ''] = names.filter((name) => held(back, name))
    expect(row(back, waits)?.recheckAt).toBe(held(back, waits)?.message.match(/this one at (\S+)$/)?.[1])
    const all = planned(line('nothing'), spec, after(back), NOW + 10 * MINUTE)
    expect(all.advance).toEqual(names.toSorted())
  })

  test('with strictConcurrency who waits for a window keeps its slot', () => {
    const windows = { activation: [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3600 }] }
    const spec = { ...progressive({ maxConcurrency: 1 }), windows }
    expect(planned(['- a:window b:nothing'], spec).advance).toEqual(['b'])
    expect(planned(['- a:window b:nothing'], { ...spec, strictConcurrency: true }).advance).toEqual([])
  })
})

describe('properties of groups', () => {
  const doings: readonly Doing[] = [
    'nothing',
    'offline',
    'sent',
    'sent-dark',
    'staging',
    'window',
    'activating',
    'proven',
    'rolled-back',
  ]
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const step = fc.tuple(
    fc.array(fc.constantFrom(...doings), { minLength: names.length, maxLength: names.length }),
    fc.integer({ min: 0, max: 20 * MINUTE }),
  )
  const strategy = fc.record({
    type: fc.constantFrom('All' as const, 'Progressive' as const, 'ProgressivePerGroup' as const),
    maxFailures: fc.nat(3),
    maxConcurrency: fc.nat(3),
    mandatory: fc.subarray([0, 1, 2]),
    offlinePolicy: fc.constantFrom('Wait' as const, 'Skip' as const, 'CountAsFailure' as const),
  })
  const specOf = (given: typeof strategy extends fc.Arbitrary<infer Value> ? Value : never): Partial<RolloutSpec> => {
    const mandatoryDecisionGroups = given.mandatory.map((groupIndex) => ({ groupIndex }))
    const { type, maxFailures, maxConcurrency, offlinePolicy } = given
    return {
      offlinePolicy,
      offlineAfter: '10m',
      strategy: {
        type,
        progressive: { maxFailures, maxConcurrency, mandatoryDecisionGroups },
        progressivePerGroup: { maxFailures, mandatoryDecisionGroups },
      },
    }
  }
  const split = fc.array(fc.nat(2), { minLength: names.length, maxLength: names.length })
  const linesOf = (groups: readonly number[], doing: readonly Doing[]) =>
    [0, 1, 2].map((group) =>
      `- ${names.flatMap((name, at) => (groups[at] === group ? [`${name}:${doing[at]}`] : [])).join(' ')}`.trimEnd(),
    )
  const ROLLING = new Set(['Sent', 'Delivered', 'Staging', 'WaitingForWindow', 'Activating', 'Soaking'])

  test('no group starts while one before it rolls, no budget is passed, nothing is sent after a breach', () => {
    fc.assert(
      fc.property(split, strategy, fc.array(step, { minLength: 1, maxLength: 6 }), (groups, given, steps) => {
        const spec = specOf(given)
        let status: RolloutStatus | undefined
        let nowMs = NOW
        for (const [doing, later] of steps) {
          nowMs += later
          const outcome = planned(linesOf(groups, doing), spec, status, nowMs)
          const rows = new Map(outcome.clusters.map((one) => [one.name, one]))
          const stopped = condition(outcome, 'Breached')?.status === 'True'
          if (stopped) expect(outcome.advance).toEqual([])
          const passedBefore = new Set(
            (outcome.groups ?? []).flatMap(({ index, passedAt }) => (passedAt === undefined ? [] : [index])),
          )
          if (given.type === 'ProgressivePerGroup')
            for (const name of outcome.advance) {
              const mine = rows.get(name)?.group ?? 0
              if (passedBefore.has(mine)) continue
              const isFirst = (group: number) => given.mandatory.includes(group)
              const before = (group: number) =>
                isFirst(group) === isFirst(mine) ? group < mine : isFirst(group) && !isFirst(mine)
              // Who came back to a group that is through is not what the next one waits for.
              for (const { group = 0, state } of outcome.clusters)
                if (before(group) && !passedBefore.has(group)) expect(ROLLING.has(state)).toBe(false)
            }
          for (const { recheckAtMs, reason, message } of outcome.hold) {
            expect(recheckAtMs).toBeGreaterThan(nowMs)
            expect(reason && message).toBeTruthy()
          }
          if (outcome.recheckAtMs !== undefined) expect(outcome.recheckAtMs).toBeGreaterThan(nowMs)
          const shuffled = planned(
            linesOf(groups, doing).map((line) => {
              const [head = '', ...members] = line.split(' ')
              return [head, ...members.toReversed()].join(' ')
            }),
            spec,
            status,
            nowMs,
          )
          expect(shuffled).toEqual(outcome)
          status = saved(outcome)
          expect(saved(planned(linesOf(groups, doing), spec, status, nowMs))).toEqual(status)
        }
      }),
    )
  })

  test('[conformance: ocm] where every site is in reach and nothing has failed, the choice is OCM’s', () => {
    const online = ['nothing', 'activating', 'confirmed', 'proven'] as const
    fc.assert(
      fc.property(
        split,
        fc.record({
          type: fc.constantFrom('All' as const, 'Progressive' as const, 'ProgressivePerGroup' as const),
          maxConcurrency: fc.nat(10),
          maxFailures: fc.nat(3),
          mandatory: fc.subarray([0, 1, 2]),
          soak: fc.constantFrom('0s', '30s', '2m'),
        }),
        fc.array(fc.constantFrom(...online), { minLength: names.length, maxLength: names.length }),
        (groups, given, doing) => {
          const { type, maxConcurrency, maxFailures, mandatory, soak: minSuccessTime } = given
          const mandatoryDecisionGroups = mandatory.map((groupIndex) => ({ groupIndex }))
          const found = planned(linesOf(groups, doing), {
            strategy: {
              type,
              progressive: { maxFailures, maxConcurrency, mandatoryDecisionGroups, minSuccessTime },
              progressivePerGroup: { maxFailures, mandatoryDecisionGroups, minSuccessTime },
            },
          })
          const asked: Asked = {
            ...{ type, mandatory, maxConcurrency, maxFailures },
            soakMs: { '0s': 0, '30s': 30_000, '2m': 120_000 }[minSuccessTime],
            deadlineMs: Number.POSITIVE_INFINITY,
            without: ['X-05'],
          }
          const STATUS = {
            nothing: undefined,
            activating: 'Progressing',
            confirmed: 'Progressing',
            proven: 'Succeeded',
          } as const
          const told = names.map((name, at): Told => {
            const status = STATUS[doing[at] ?? 'nothing']
            return { name, group: groups[at] ?? 0, ageMs: MINUTE, ...(status === undefined ? {} : { status }) }
          })
          const { window, breach } = rollOut(told, asked)
          const fresh = new Set(told.flatMap(({ name, status }) => (status === undefined ? [name] : [])))
          expect(found.advance).toEqual(window.filter((name) => fresh.has(name)).toSorted())
          expect(condition(found, 'Breached')?.status === 'True').toBe(breach)
        },
      ),
      { numRuns: 500 },
    )
  })
})
