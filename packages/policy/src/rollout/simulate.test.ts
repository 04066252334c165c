import { type ClusterState, FAILS_BY, type RolloutAct, type RolloutSpec } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ClusterFacts, RolloutFacts } from './facts.ts'
import { cluster, type Doing, facts, image, iso, NOW, progressive, rollout } from './fixture.ts'
import { planRollout } from './plan.ts'
import { type Simulation, type SimulationInput, simulate } from './simulate.ts'
import type { SimulatedCluster } from './simulated-world.ts'
import { FAILURES, HOLDS_A_SLOT } from './states.ts'
import { rolloutStatus } from './status.ts'
import type { TimelineEntry } from './timeline.ts'

const START = Date.parse('2026-06-01T08:00:00Z')
const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000]
const LIMITS = { lateMs: 90_000, offlineMs: 300_000, staleMs: 14 * DAY }
const night = { activation: [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 7_200 }] }

type Given = Partial<SimulationInput> & { spec?: Partial<RolloutSpec> }
const asked = (clusters: readonly SimulatedCluster[], { spec = {}, ...given }: Given = {}): SimulationInput => ({
  rollout: rollout(spec),
  image,
  groups: [{ name: '', clusters: clusters.map(({ name }) => name) }],
  clusters,
  limits: LIMITS,
  startMs: START,
  endMs: START + 7 * DAY,
  ...given,
})
function played(input: SimulationInput): Simulation & { kind: 'Played' } {
  const outcome = simulate(input)
  if (outcome.kind === 'Refused') throw new Error(JSON.stringify(outcome.faults))
  return outcome
}
const at = (text: string) => Date.parse(text)
const told = (entries: readonly TimelineEntry[], cluster: string) =>
  entries.flatMap((entry) =>
    entry.kind === 'Cluster' && entry.cluster === cluster
      ? [`${new Date(entry.atMs).toISOString().slice(8, 19)} ${entry.state} ${entry.reason}`]
      : entry.kind === 'Sent' && entry.clusters.includes(cluster)
        ? [`${new Date(entry.atMs).toISOString().slice(8, 19)} sent`]
        : [],
  )
const ended = ({ end }: Simulation & { kind: 'Played' }) =>
  Object.fromEntries(end.clusters.map(({ cluster, state, reason }) => [cluster, `${state} ${reason}`]))

test('of many changes the first are told and the others counted; what the rollout as a whole does is told to the end', () => {
  const input = asked([{ name: 'a' }, { name: 'b' }, { name: 'c' }])
  const whole = played(input)
  const isChange = ({ kind }: TimelineEntry) => kind === 'Cluster'
  const changes = whole.timeline.filter(isChange)
  const cut = played({ ...input, maxChanges: 4 })
  expect(cut.timeline.filter(isChange)).toEqual(changes.slice(0, 4))
  expect([whole.leftOut, cut.leftOut]).toEqual([0, changes.length - 4])
  expect(cut.timeline.filter((entry) => !isChange(entry))).toEqual(whole.timeline.filter((entry) => !isChange(entry)))
  expect({ ...cut, timeline: [], leftOut: 0 }).toEqual({ ...whole, timeline: [] })
})

describe('a site in virtual time', () => {
  test('takes the image, boots and counts after its soak', () => {
    const { timeline, end } = played(
      asked([{ name: 'a' }], { spec: { strategy: progressive({ minSuccessTime: '1h' }) } }),
    )
    expect(told(timeline, 'a')).toEqual([
      '01T08:00:00 sent',
      '01T08:00:00 Sent AwaitingAcceptance',
      '01T08:00:05 Staging Downloading',
      '01T08:10:05 Activating Activating',
      '01T08:15:05 Soaking MinSuccessTime',
      '01T09:15:05 Succeeded Confirmed',
    ])
    expect(end).toMatchObject({ why: 'Settled', phase: 'Completed', atMs: at('2026-06-01T09:15:05Z') })
  })

  test('goes on in the dark with what it was delivered: the hub learns of it when the link is back', () => {
    const outage = { fromMs: at('2026-06-01T08:12:00Z'), toMs: at('2026-06-02T09:00:00Z') }
    const { timeline } = played(asked([{ name: 'a', outages: [outage] }], { spec: { windows: night } }))
    expect(told(timeline, 'a')).toEqual([
      '01T08:00:00 sent',
      '01T08:00:00 Sent AwaitingAcceptance',
      '01T08:00:05 Staging Downloading',
      '01T08:10:05 WaitingForWindow WindowClosed',
      '02T02:00:00 WaitingForWindow WindowOpen',
      '02T04:00:00 WaitingForWindow WindowClosed',
      '02T09:00:00 Succeeded Confirmed',
    ])
  })

  test('takes bytes over its link alone, and keeps those it has', () => {
    const outage = { fromMs: at('2026-06-01T08:05:05Z'), toMs: at('2026-06-01T12:00:00Z') }
    const { timeline } = played(asked([{ name: 'a', outages: [outage] }]))
    expect(told(timeline, 'a').at(-2)).toBe('01T12:05:00 Activating Activating')
  })

  test('that is dark is sent nothing, holds no slot, and catches up when it returns', () => {
    const outage = { fromMs: START - HOUR, toMs: at('2026-06-01T20:00:00Z') }
    const { timeline, batches, held } = played(
      asked([{ name: 'a', outages: [outage] }, { name: 'b' }], {
        spec: { strategy: progressive({ maxConcurrency: 1 }) },
      }),
    )
    expect(told(timeline, 'b')[0]).toBe('01T08:00:00 sent')
    expect(
      told(timeline, 'a')
        .slice(0, 3)
        .map((line) => line.slice(12)),
    ).toEqual(['Offline Offline', 'NotStarted CatchUpDelay', 'sent'])
    expect(batches.map(({ clusters, catchingUp }) => [clusters, catchingUp])).toEqual([
      [['b'], false],
      [['a'], true],
    ])
    expect(held.find(({ reason }) => reason === 'Offline')).toMatchObject({
      totalMs: 12 * HOUR,
      clusters: [{ cluster: 'a', ms: 12 * HOUR }],
    })
  })

  test.each<[SimulatedCluster['fails'] & {}, string]>([
    [{ by: 'RollsBack' }, 'RolledBack FellBack'],
    [{ by: 'StagingFails' }, 'Failed StagingFailed'],
    [{ by: 'Refuses' }, 'Failed ImageRefused'],
    [{ by: 'GoesSilent' }, 'TimeOut ProgressDeadlineExceeded'],
    [{ by: 'Unproven' }, 'TimeOut AttestationInsufficient'],
    [{ by: 'Contraindicated' }, 'Failed AttestationContraindicated'],
  ])('where the image fails (%o) ends as %s', (fails, expected) => {
    const spec = { strategy: progressive({ progressDeadline: '2h', maxFailures: 1 }) }
    expect(ended(played(asked([{ name: 'a', fails }, { name: 'b' }], { spec })))).toEqual({
      a: expected,
      b: 'Succeeded Confirmed',
    })
  })

  test('that failed once is tried again by a person, and succeeds', () => {
    const acts = [{ atMs: START + 3 * HOUR, verb: 'retry' as const, by: 'ann', reason: 'a loose cable' }]
    const fails = { by: 'RollsBack' as const, times: 1 }
    const outcome = played(asked([{ name: 'a', fails }, { name: 'b' }], { acts }))
    expect(ended(outcome)).toEqual({ a: 'Succeeded Confirmed', b: 'Succeeded Confirmed' })
  })

  test('that is new is sent the image when it is first heard', () => {
    const { timeline } = played(asked([{ name: 'a', joinsAtMs: START + HOUR }]))
    expect(told(timeline, 'a').slice(0, 2)).toEqual(['01T08:00:00 Offline NeverSeen', '01T09:00:00 sent'])
  })
})

test('a breach orders back who failed and who may still try, where the rollout says so', () => {
  const fails = { by: 'RollsBack' as const }
  const spec = { strategy: progressive({ maxConcurrency: 2 }), onBreach: 'RollbackAll' as const }
  const sites = [{ name: 'a', fails }, { name: 'b', stagingMs: HOUR }, { name: 'c' }]
  const { timeline, end } = played(asked(sites, { spec }))
  expect(timeline.flatMap((entry) => (entry.kind === 'OrderedBack' ? entry.clusters : []))).toEqual(['a', 'b'])
  expect(timeline.flatMap((entry) => (entry.kind === 'Rollout' ? entry.phase : []))).toEqual([
    'Running',
    'RollingBack',
    'RolledBack',
  ])
  expect(end).toMatchObject({ phase: 'RolledBack', why: 'Settled' })
})

describe('a rollout that goes on from where it stands', () => {
  const before = NOW - MINUTE
  /** A fleet as a hub has it, of which `a` does something, `b` is well and `c` is not started; looked at once. */
  function standing(doing: Doing, given: Partial<RolloutSpec> = {}, acts: RolloutAct[] = []) {
    const clusters = [cluster('a', doing, before), cluster('b', 'proven', before), cluster('c', 'nothing')]
    const of = { ...facts(clusters, { strategy: progressive({ maxConcurrency: 3, maxFailures: 1 }), ...given }), acts }
    const looked = planRollout(of, before)
    const status = rolloutStatus(of, looked, before)
    const holding = new Set(looked.underWay.filter(({ paused }) => paused).map(({ cluster: name }) => name))
    const told = clusters.map(({ assignment, ...rest }) => ({
      ...rest,
      ...(assignment ? { assignment: { ...assignment, paused: holding.has(rest.name) } } : {}),
    }))
    return { rollout: { ...of.rollout, status }, clusters: told, acts }
  }
  const goneOn = ({ rollout, clusters, acts }: ReturnType<typeof standing>, more: Partial<SimulationInput> = {}) =>
    played(
      asked(
        clusters.map((known) => ({ name: known.name, known, ...darkAs(known) })),
        { rollout, done: acts, startMs: NOW, endMs: NOW + DAY, ...more },
      ),
    )
  const darkAs = ({ reachability }: ClusterFacts) =>
    reachability === 'Offline' ? { outages: [{ fromMs: NOW - HOUR }] } : {}

  test.each<[Doing, string[]]>([
    ['nothing', ['00:00 Sent AwaitingAcceptance', '00:05 Staging Downloading', '10:05 Activating Activating']],
    ['offline', []],
    ['sent', ['00:00 Staging Downloading', '10:00 Activating Activating', '15:00 Succeeded Confirmed']],
    ['delivered', ['09:00 Activating Activating', '14:00 Succeeded Confirmed']],
    // What has come within a minute is there.
    ['staging', ['09:00 Activating Activating', '14:00 Succeeded Confirmed']],
    ['activating', ['04:00 Succeeded Confirmed']],
    ['window', ['00:00 Activating Activating', '05:00 Succeeded Confirmed']],
    // The hub had its evidence, and had not judged it.
    ['confirmed', ['00:00 Succeeded Confirmed']],
    ['proven', []],
    ['rolled-back', []],
    ['refused', []],
    ['newer', []],
  ])('a cluster that was %s goes on from there', (doing, expected) => {
    const { timeline, end } = goneOn(standing(doing))
    const changes = told(timeline, 'a').map((line) => line.replace(/^01T12:/, ''))
    expect(changes.filter((line) => !line.endsWith(' sent')).slice(0, 3)).toEqual(expected)
    expect(told(timeline, 'b')).toEqual([])
    expect(end.clusters.find((one) => one.cluster === 'b')).toMatchObject({ state: 'Succeeded', sinceMs: before })
  })

  test('what had failed is in its budget, and a retry that a person makes is judged by it', () => {
    const stood = standing('rolled-back', { strategy: progressive({ maxFailures: 0 }) })
    const { end, batches } = goneOn(stood)
    expect([end.phase, batches]).toEqual(['Paused', []])
    const retry = { atMs: NOW + HOUR, verb: 'retry' as const, by: 'ann', reason: 'a loose cable' }
    expect(goneOn(stood, { acts: [retry] }).end.phase).toBe('Completed')
  })

  test('what people had done holds, also where a site has not heard of it', () => {
    const pause = { id: '1', verb: 'pause' as const, by: 'ann', at: iso(before), reason: 'tills', rolloutUid: 'r' }
    const { end } = goneOn(standing('window', {}, [pause]))
    expect([end.phase, end.byState]).toEqual(['Paused', { NotStarted: 1, Staging: 1, Succeeded: 1 }])
    // The order that it holds has no pause, and it is dark.
    const stood = standing('window', {}, [pause])
    const [a, ...others] = stood.clusters
    const behind = { ...a, position: { timeline: 0, generation: 2 }, reachability: 'Offline' } as ClusterFacts
    const dark = goneOn({ ...stood, clusters: [behind, ...others] })
    expect(dark.end.clusters[0]).toMatchObject({ cluster: 'a', state: 'WaitingForWindow', reason: 'WindowOpen' })
    const back = [{ fromMs: NOW - HOUR, toMs: NOW + HOUR }]
    const clusters = [
      { name: 'a', known: behind, outages: back },
      ...others.map((known) => ({ name: known.name, known })),
    ]
    const heard = played(asked(clusters, { rollout: stood.rollout, done: [pause], startMs: NOW, endMs: NOW + DAY }))
    expect(told(heard.timeline, 'a').at(-1)).toBe('01T13:00:00 Succeeded Confirmed')
  })

  test.each([
    ['said that a pause holds it', 'Paused', '01T13:00:05 Activating Activating'],
    ['said nothing of a pause', 'WindowClosed', '01T13:00:00 Succeeded Confirmed'],
  ])('who %s, and is dark while later terms are on their way, does as it said', (_, reason, heard) => {
    const [a, ...others] = standing('window').clusters
    const nodes = a?.nodes.map((node) => ({ ...node, reason })) ?? []
    const behind = { ...a, position: { timeline: 0, generation: 2 }, reachability: 'Offline', nodes } as ClusterFacts
    const dark = [{ fromMs: NOW - HOUR, toMs: NOW + HOUR }]
    const clusters = [
      { name: 'a', known: behind, outages: dark },
      ...others.map((known) => ({ name: known.name, known })),
    ]
    const { rollout: going } = standing('window')
    const { timeline } = played(asked(clusters, { rollout: going, startMs: NOW, endMs: NOW + DAY }))
    expect(told(timeline, 'a').find((line) => line.startsWith('01T13:00'))).toBe(heard)
  })

  test('an edit is played from there, as the hub would on a change of the spec', () => {
    const stood = standing('staging', { strategy: progressive({ maxConcurrency: 1 }) })
    expect(goneOn(stood).batches).toEqual([{ atMs: NOW + 14 * MINUTE, clusters: ['c'], catchingUp: false }])
    const { metadata, spec: was } = stood.rollout
    const edited = { ...was, strategy: progressive({ maxConcurrency: 2 }) }
    const rollout = { ...stood.rollout, metadata: { ...metadata, generation: 2 }, spec: edited }
    expect(goneOn({ ...stood, rollout }).batches).toEqual([{ atMs: NOW, clusters: ['c'], catchingUp: false }])
  })
})

describe('people in virtual time', () => {
  test('a pause holds what is staged, a resume lets it go on', () => {
    const acts = [
      { atMs: START + 5 * MINUTE, verb: 'pause' as const, by: 'ann', reason: 'tills are open' },
      { atMs: START + 9 * HOUR, verb: 'resume' as const, by: 'ann', reason: 'tills are closed' },
    ]
    const { timeline, held } = played(asked([{ name: 'a' }], { acts }))
    expect(told(timeline, 'a').slice(3)).toEqual([
      '01T08:10:05 Staging Paused',
      '01T17:00:00 Staging Staged',
      '01T17:00:05 Activating Activating',
      '01T17:05:05 Succeeded Confirmed',
    ])
    expect(held.map(({ reason }) => reason)).toContain('Paused')
  })

  test('a gate waits until somebody has approved; who may not is told', () => {
    const approvers = [
      { by: 'ann', afterMs: HOUR },
      { by: 'bob', afterMs: 2 * HOUR },
    ]
    const { timeline, batches } = played(
      asked([{ name: 'a' }], { spec: { approvals: { start: 1 } }, approvers, changedBy: 'ann' }),
    )
    expect(batches.map(({ atMs }) => atMs)).toEqual([START + 2 * HOUR])
    expect(timeline.flatMap((entry) => (entry.kind === 'Act' ? [`${entry.by} ${entry.outcome}`] : []))).toEqual([
      'ann Refused',
      'bob New',
    ])
  })
})

describe('what cannot be played', () => {
  test('is refused with the places that are wrong', () => {
    const input = asked(
      [{ name: 'a', outages: [{ fromMs: START, toMs: START }], stagingMs: -1 }, { name: 'b' }, { name: 'b' }],
      {
        groups: [{ name: '', clusters: ['a', 'c'] }],
        endMs: START,
      },
    )
    expect(simulate(input)).toEqual({
      kind: 'Refused',
      faults: [
        { field: 'end', message: 'must be after the start' },
        { field: 'clusters[0].stagingMs', message: 'must be a whole number of milliseconds, 0 or more' },
        { field: 'clusters[0].outages[0]', message: 'must end after it begins' },
        { field: 'clusters[1]', message: 'b is in no group; put it into one' },
        { field: 'clusters[2]', message: 'b is there twice; name a cluster once' },
        { field: 'clusters[2]', message: 'b is in no group; put it into one' },
        { field: 'groups', message: 'c is not among the clusters; name it there' },
      ],
    })
  })

  test.each(['Shop_1', 'shop-', 'a.b', 'x'.repeat(64), ''])('"%s" is no name that a cluster can have', (name) => {
    const outcome = simulate(asked([{ name }]))
    expect(outcome).toMatchObject({
      faults: [{ field: 'groups[0]', message: expect.stringMatching(/" is no name: .* one RFC 1123 label \(/) }],
    })
  })

  test('more looks than are allowed are refused, and how far it came is told', () => {
    expect(simulate(asked([{ name: 'a' }], { maxLooks: 3 }))).toEqual({
      kind: 'Refused',
      faults: [
        {
          field: 'end',
          message:
            'after 3 looks it has only come to 2026-06-01T08:10:05.000Z: choose an earlier end, fewer clusters or fewer outages',
        },
      ],
    })
  })
})

test('a bad month: a canary, nights, a storm, an image that fails here and there, and people', () => {
  const shops = Array.from({ length: 10 }, (_, index): SimulatedCluster => ({ name: `shop-${index}` }))
  const storm = { fromMs: at('2026-06-04T22:00:00Z'), toMs: at('2026-06-06T10:00:00Z') }
  const clusters: SimulatedCluster[] = [
    { name: 'lab' },
    ...shops.map((shop, index) => ({ ...shop, outages: index < 4 ? [storm] : [] })),
  ].map((site) => ({
    ...site,
    ...(site.name === 'shop-5' ? { fails: { by: 'RollsBack' as const } } : {}),
    ...(site.name === 'shop-6' ? { fails: { by: 'GoesSilent' as const } } : {}),
    ...(site.name === 'shop-7' ? { outages: [{ fromMs: START - DAY, toMs: at('2026-06-20T12:00:00Z') }] } : {}),
  }))
  const month = asked(clusters, {
    groups: [
      { name: 'lab', clusters: ['lab'] },
      { name: 'shops', clusters: shops.map(({ name }) => name) },
    ],
    spec: {
      strategy: progressive({
        ...{ maxConcurrency: 3, maxFailures: 1, minSuccessTime: '1h', progressDeadline: '6h' },
        mandatoryDecisionGroups: [{ groupName: 'lab' }],
      }),
      strictConcurrency: true,
      windows: night,
      approvals: { betweenGroups: 1 },
    },
    approvers: [{ by: 'ann', afterMs: DAY }],
    acts: [
      { atMs: at('2026-06-07T09:00:00Z'), verb: 'resume', by: 'bob', reason: 'shop-6 has a broken disk' },
      { atMs: at('2026-06-15T09:00:00Z'), verb: 'retry', by: 'bob', reason: 'a new disk', clusters: ['shop-5'] },
    ],
    endMs: START + 30 * DAY,
  })
  const { timeline, batches, end } = played(month)
  const story = timeline.flatMap((entry) => {
    const when = new Date(entry.atMs).toISOString().slice(8, 16)
    if (entry.kind === 'Rollout') return [`${when} ${entry.phase} ${entry.reason}`]
    if (entry.kind === 'Breach') return [`${when} ${entry.breached ? 'breached' : 'within the budget'}`]
    if (entry.kind === 'Group') return [`${when} group ${entry.name} ${entry.turn}`]
    if (entry.kind === 'Act') return [`${when} ${entry.by} ${entry.verb} ${entry.outcome}`]
    if (entry.kind === 'Cluster' && FAILURES.has(entry.state)) return [`${when} ${entry.cluster} ${entry.state}`]
    return []
  })
  expect(story).toMatchInlineSnapshot(`
    [
      "01T08:00 Running Running",
      "01T08:00 group lab Opened",
      "02T03:05 WaitingForApproval WaitingForApproval",
      "02T03:05 group lab Passed",
      "03T03:05 ann approve New",
      "03T03:05 Running Running",
      "03T03:05 group shops Opened",
      "04T02:05 shop-5 RolledBack",
      "04T08:05 breached",
      "04T08:05 Paused Paused",
      "04T08:05 shop-6 TimeOut",
      "07T09:00 bob resume New",
      "07T09:00 within the budget",
      "07T09:00 Completed CompletedPendingCatchUp",
      "07T09:00 group shops Passed",
      "15T09:00 bob retry New",
      "15T09:00 Completed CompletedCatchingUp",
      "16T02:05 breached",
      "16T02:05 Paused Paused",
      "16T02:05 shop-5 RolledBack",
    ]
  `)
  expect(
    batches.map((batch) => `${new Date(batch.atMs).toISOString().slice(8, 16)} ${batch.clusters.join(' ')}`),
  ).toMatchInlineSnapshot(`
    [
      "01T08:00 lab",
      "03T03:05 shop-0 shop-1 shop-2",
      "03T04:20 shop-3 shop-4 shop-5",
      "04T02:05 shop-6",
      "04T03:05 shop-8 shop-9",
      "15T09:00 shop-5",
    ]
  `)
  expect(end.byState).toMatchInlineSnapshot(`
    {
      "NotStarted": 1,
      "RolledBack": 1,
      "Succeeded": 8,
      "TimeOut": 1,
    }
  `)
})

const duration = fc.constantFrom('0s', '5m', '1h', '3h')
const spec: fc.Arbitrary<Partial<RolloutSpec>> = fc.record(
  {
    strategy: fc.oneof(
      fc
        .record(
          {
            maxConcurrency: fc.integer({ min: 1, max: 4 }),
            maxFailures: fc.integer({ min: 0, max: 2 }),
            minSuccessTime: duration,
            progressDeadline: fc.constantFrom('None', '30m', '2h', '6h'),
            mandatoryDecisionGroups: fc.constantFrom<{ groupIndex: number }[]>([], [{ groupIndex: 0 }]),
          },
          { requiredKeys: ['maxConcurrency', 'maxFailures'] },
        )
        .map((p) => progressive(p)),
      fc
        .record({ maxFailures: fc.integer({ min: 0, max: 2 }), minSuccessTime: duration, progressDeadline: duration })
        .map((p) => ({
          type: 'ProgressivePerGroup' as const,
          progressivePerGroup: p,
        })),
      fc.constant({ type: 'All' as const, all: { progressDeadline: '3h' } }),
    ),
    offlinePolicy: fc.constantFrom('Wait', 'Skip', 'CountAsFailure'),
    offlineAfter: fc.constantFrom('1h', '6h'),
    catchUp: fc.record({ maxConcurrency: fc.integer({ min: 1, max: 2 }), jitter: fc.constantFrom('0s', '1m', '30m') }),
    strictConcurrency: fc.boolean(),
    onBreach: fc.constantFrom('Pause', 'RollbackFailed', 'RollbackAll'),
    windows: fc.constantFrom(night, {
      activation: [{ at: '30 */4 * * *', timeZone: 'Europe/Oslo', durationSeconds: 1_800 }],
    }),
    approvals: fc.record({
      start: fc.integer({ min: 0, max: 1 }),
      betweenGroups: fc.integer({ min: 0, max: 1 }),
      expireAfter: fc.constantFrom('None', '2h'),
    }),
  },
  { requiredKeys: ['strategy'] },
)
const minutes = (max: number) => fc.integer({ min: 0, max }).map((n) => n * MINUTE)
const outage = fc
  .tuple(minutes(1_440), minutes(900))
  .map(([fromMs, lasts]) => ({ fromMs: START - 2 * HOUR + fromMs, toMs: START - 2 * HOUR + fromMs + lasts + MINUTE }))
const site = fc.record(
  {
    outages: fc.array(outage, { maxLength: 3 }),
    fails: fc.record({ by: fc.constantFrom(...FAILS_BY), times: fc.integer({ min: 1, max: 2 }) }),
    deliveryMs: fc.constantFrom(0, 7_000, 90_000),
    stagingMs: fc.constantFrom(0, 11 * MINUTE, 5 * HOUR),
    activationMs: fc.constantFrom(0, 3 * MINUTE, 100 * MINUTE),
    joinsAtMs: minutes(600).map((ms) => START + ms),
  },
  { requiredKeys: [] },
)
const act = fc.record({
  atMs: minutes(1_440).map((ms) => START + ms),
  verb: fc.constantFrom('pause' as const, 'resume' as const, 'retry' as const),
  by: fc.constant('ann'),
  reason: fc.constant('because'),
})
const input = (acts = fc.array(act, { maxLength: 3 })): fc.Arbitrary<SimulationInput> =>
  fc
    .record({ spec, sites: fc.array(site, { minLength: 1, maxLength: 7 }), acts, cut: fc.integer({ min: 0, max: 7 }) })
    .map(({ spec: given, sites, acts: planned, cut }) => {
      const clusters = sites.map((one, index) => ({ name: `c${index}`, ...one }) as SimulatedCluster)
      const names = clusters.map(({ name }) => name)
      const groups = [names.slice(0, cut), names.slice(cut)].filter((some) => some.length > 0)
      return asked(clusters, {
        spec: given,
        groups: groups.map((some, index) => ({ name: `g${index}`, clusters: some })),
        acts: planned,
        approvers: [{ by: 'bob', afterMs: HOUR }],
        endMs: START + 30 * HOUR,
      })
    })

describe('over random months', () => {
  test('a hub that looks every minute tells the same as one that looks at events alone: no recheck is missed', () => {
    fc.assert(
      fc.property(input(), (given) => {
        const { looks: _, ...alone } = played(given)
        const { looks: more, ...often } = played({ ...given, looksEveryMs: MINUTE })
        expect(often).toEqual(alone)
      }),
      { numRuns: 15 },
    )
  })

  test('one that goes on from any of its looks ends as the whole of it', () => {
    const calm = input(fc.constant([])).map((given) => ({
      ...given,
      clusters: given.clusters.map(({ outages: _, joinsAtMs: __, fails, ...one }) => {
        return { ...one, ...(fails ? { fails: { by: fails.by } } : {}) }
      }),
      approvers: [],
    }))
    fc.assert(
      fc.property(calm, fc.nat(), (given, nth) => {
        const looks: { facts: RolloutFacts; nowMs: number }[] = []
        const whole = played({ ...given, onLook: (facts, nowMs) => looks.push({ facts, nowMs }) })
        const { facts: stood, nowMs } = looks[nth % looks.length] ?? { nowMs: 0 }
        // Since when one is activating that has timed out is told by nothing.
        const isTold = stood?.rollout.status?.clusters?.every(({ state }) => state !== 'TimeOut') ?? true
        if (!stood || !isTold || nowMs >= given.endMs) return
        const known = new Map(stood.clusters.map((one) => [one.name, one]))
        const rest = played({
          ...given,
          rollout: stood.rollout,
          done: stood.acts ?? [],
          clusters: given.clusters.map((one): SimulatedCluster => {
            const facts = known.get(one.name)
            const outages = facts?.heardAtMs === undefined ? [] : [{ fromMs: facts.heardAtMs }]
            return { ...one, outages, ...(facts ? { known: facts } : {}) }
          }),
          startMs: nowMs,
        })
        expect(ended(rest)).toEqual(ended(whole))
        const after = ({ timeline }: Simulation & { kind: 'Played' }) => timeline.filter(({ atMs }) => atMs > nowMs)
        expect(after(rest)).toEqual(after(whole))
      }),
      { numRuns: 100 },
    )
  })

  test('the same input in any order gives the same answer', () => {
    fc.assert(
      fc.property(input(), (given) => {
        const { rollout: asGiven, groups, clusters, acts = [] } = given
        const turned = {
          ...{ ...given, rollout: structuredClone(asGiven), acts: acts.toReversed() },
          clusters: clusters
            .toReversed()
            .map(({ outages = [], ...rest }) => ({ ...rest, outages: outages.toReversed() })),
          groups: groups.map(({ name, clusters: some }) => ({ name, clusters: some.toReversed() })),
        }
        expect(simulate(turned)).toEqual(simulate(given))
      }),
      { numRuns: 30 },
    )
  })

  test('nobody is sent the image past a concurrency or a budget, nor after a breach', () => {
    fc.assert(
      fc.property(input(fc.constant([])), (given) => {
        const { timeline, batches } = played(given)
        const { progressive: limits } = given.rollout.spec.strategy ?? {}
        const mandatory = (limits?.mandatoryDecisionGroups ?? []).length > 0 ? (given.groups[0]?.clusters ?? []) : []
        const catching = new Set(
          batches.flatMap((batch) => (batch.catchingUp ? batch.clusters.map((name) => `${batch.atMs} ${name}`) : [])),
        )
        const states = new Map<string, ClusterState>()
        const regular = new Set<string>()
        let isBreached = false
        for (const entry of timeline) {
          if (entry.kind === 'Breach') isBreached = entry.breached
          if (entry.kind === 'Cluster') {
            states.set(entry.cluster, entry.state)
            if (entry.state === 'Offline') regular.delete(entry.cluster)
          }
          if (entry.kind !== 'Sent') continue
          expect(isBreached).toBe(false)
          if (!limits) continue
          const failed = [...states].filter(([, state]) => FAILURES.has(state)).length
          expect(failed).toBeLessThanOrEqual(Math.min(Number(limits.maxFailures), given.clusters.length))
          for (const name of entry.clusters)
            if (!catching.has(`${entry.atMs} ${name}`) && !mandatory.includes(name)) regular.add(name)
          if (!entry.clusters.some((name) => regular.has(name))) continue
          const used = [...regular].filter(
            (name) => entry.clusters.includes(name) || HOLDS_A_SLOT.has(states.get(name) ?? 'NotStarted'),
          )
          expect(used.length).toBeLessThanOrEqual(Number(limits.maxConcurrency))
        }
      }),
      { numRuns: 60 },
    )
  })

  test('k dark of n never slow the rest', () => {
    const quiet = fc.record({
      stagingMs: fc.constantFrom(0, 11 * MINUTE, HOUR),
      activationMs: fc.constantFrom(0, 9 * MINUTE),
    })
    fc.assert(
      fc.property(
        fc.array(quiet, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 4 }),
        (sites, k, maxConcurrency) => {
          const well = sites.map((one, index) => ({ name: `w${index}`, ...one }))
          const dark = Array.from({ length: k }, (_, index) => ({
            name: `d${index}`,
            outages: [{ fromMs: START - DAY }],
          }))
          const given = { spec: { strategy: progressive({ maxConcurrency, minSuccessTime: '10m' }) } }
          expect(played(asked([...dark, ...well], given)).batches).toEqual(played(asked(well, given)).batches)
        },
      ),
      { numRuns: 30 },
    )
  })
})
