import type { RolloutAct, RolloutSpec, RolloutStatus } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { planSite } from '../site-plan/plan-site.ts'
import { minuteOf } from '../wave/minute.ts'
import type { ClusterFacts } from './facts.ts'
import { cluster, facts, image, iso, MINUTE, NOW, node, plan, progressive, row } from './fixture.ts'
import { planRollout, type RolloutPlan } from './plan.ts'
import { simulate } from './simulate.ts'
import { rolloutStatus } from './status.ts'
import { waveFaults, wavesOf } from './waves.ts'

type Given = NonNullable<RolloutSpec['waves']>
const HOUR = 60 * MINUTE
const WEEK: Given = [
  { startAfter: '0s', percent: 1 },
  { startAfter: '4h', percent: 10 },
  { startAfter: '24h', percent: 50 },
  { startAfter: '144h', percent: 100 },
]

describe('the waves of a spec', () => {
  test('are told to sites with every spread worked out', () => {
    expect(wavesOf({ waves: WEEK }, NOW)).toEqual({
      startsAt: iso(NOW),
      schedule: [
        { startAfterSeconds: 0, spreadSeconds: 4 * 3600, percent: 1 },
        { startAfterSeconds: 4 * 3600, spreadSeconds: 20 * 3600, percent: 10 },
        { startAfterSeconds: 24 * 3600, spreadSeconds: 120 * 3600, percent: 50 },
        // As long as from the wave before it.
        { startAfterSeconds: 144 * 3600, spreadSeconds: 120 * 3600, percent: 100 },
      ],
    })
    const own = [{ startAfter: '0s', percent: 100, spread: '90s' }]
    expect(wavesOf({ waves: own }, NOW)?.schedule).toEqual([{ startAfterSeconds: 0, spreadSeconds: 90, percent: 100 }])
    expect(wavesOf({}, NOW)).toBeUndefined()
  })

  test.each<[string, Given, string[]]>([
    ['as the documents have them', WEEK, []],
    ['one that is spread', [{ startAfter: '1h', percent: 100, spread: '4h' }], []],
    ['one for all at once', [{ startAfter: '0s', percent: 100, spread: '0s' }], []],
    [
      'one that does not say its spread',
      [{ startAfter: '0s', percent: 100 }],
      ['[0].spread is wanted where there is one wave: within how long its clusters are spread, such as 4h'],
    ],
    [
      'every fault at once',
      [
        { startAfter: '4h', percent: 10, spread: '1h' },
        { startAfter: '240m', percent: 10 },
        { startAfter: '5h', percent: 20, spread: '2h' },
        { startAfter: '6h', percent: 90 },
      ],
      [
        '[1].startAfter must be later than 4h, when the wave before it begins',
        '[1].percent must be more than 10: a wave includes those before it',
        '[2].spread must end before 6h, when the next wave begins',
        '[3].percent must be 100 in the last wave, or some clusters would never activate',
      ],
    ],
    [
      'one that ends in another year',
      [
        { startAfter: '0s', percent: 1 },
        { startAfter: '8000h', percent: 100 },
      ],
      ['[1].startAfter must be so that the wave is over within a year (8760h)'],
    ],
    [
      'no number at all',
      [{ startAfter: `${'9'.repeat(15)}h`, percent: 100, spread: '1h' }],
      ['[0].startAfter must be so that the wave is over within a year (8760h)'],
    ],
  ])('%s', (_, waves, faults) => {
    expect(waveFaults(waves).map(({ field, message }) => `${field} ${message}`)).toEqual(faults)
  })

  test('that have no fault can be told to a site: nothing in them is too long or falls', () => {
    const wave = fc.record(
      {
        startAfter: fc.nat(9_000).map((hours) => `${hours}h`),
        percent: fc.integer({ min: 1, max: 100 }),
        spread: fc.nat(100).map((hours) => `${hours}h`),
      },
      { requiredKeys: ['startAfter', 'percent'] },
    )
    fc.assert(
      fc.property(fc.array(wave, { minLength: 1, maxLength: 4 }), (given) => {
        const waves = given.map((one, index) => (index === given.length - 1 ? { ...one, percent: 100 } : one))
        fc.pre(waveFaults(waves).length === 0)
        const schedule = wavesOf({ waves }, NOW)?.schedule ?? []
        for (const [index, { startAfterSeconds, spreadSeconds, percent }] of schedule.entries()) {
          expect(spreadSeconds).toBeGreaterThanOrEqual(0)
          expect(startAfterSeconds + spreadSeconds).toBeLessThanOrEqual(31_536_000)
          const next = schedule[index + 1]
          if (!next) continue
          expect(startAfterSeconds + spreadSeconds).toBeLessThanOrEqual(next.startAfterSeconds)
          expect(percent).toBeLessThan(next.percent)
        }
      }),
    )
  })
})

const staged = (name: string, reason = 'WaveNotDue'): ClusterFacts => {
  const held = cluster(name, 'window')
  return { ...held, nodes: [node(name, 'Staged', { reason, message: 'later' })] }
}
const next = (was: RolloutPlan, clusters: ClusterFacts[], spec: Partial<RolloutSpec>, at: number) => {
  const status = rolloutStatus(facts(clusters, spec), was, NOW)
  return plan(clusters, spec, status, at)
}
/** Of a rollout that was first sent now. */
const minute = (name: string, waves = WEEK) =>
  minuteOf(wavesOf({ waves }, NOW) ?? { startsAt: '', schedule: [] }, name, image.manifestSha256)

describe('[deviation] a rollout in waves', () => {
  const spec = { waves: WEEK, strategy: progressive({ maxConcurrency: 1, progressDeadline: '30m' }) }
  const first = plan([cluster('a', 'nothing'), cluster('b', 'nothing')], spec)

  test('counts from when the image is first sent to anybody, and tells each cluster its minute', () => {
    expect(first).toMatchObject({
      advance: ['a'],
      firstSent: { manifestSha256: image.manifestSha256, at: iso(NOW) },
      waves: { startsAt: iso(NOW), schedule: [{ percent: 1 }, { percent: 10 }, { percent: 50 }, { percent: 100 }] },
    })
    expect(row(first, 'b')).toMatchObject({ state: 'NotStarted', waveAt: iso(minute('b')) })
  })

  test.each<[string, Partial<RolloutSpec>, ClusterFacts[]]>([
    ['all are dark', { catchUp: { jitter: '0s' } }, [cluster('a', 'offline')]],
    ['it waits for people', { approvals: { start: 1 } }, [cluster('a', 'nothing')]],
  ])('while %s nothing counts', (_, more, clusters) => {
    const waiting = plan(clusters, { ...spec, ...more })
    expect(waiting.firstSent).toBeUndefined()
    expect(row(waiting)).not.toHaveProperty('waveAt')
    const going = next(waiting, [cluster('a', 'nothing')], { ...spec, catchUp: { jitter: '0s' } }, NOW + HOUR)
    expect(going.firstSent?.at).toBe(iso(NOW + HOUR))
  })

  test('the start stays where it is: whoever is sent it later, whatever is paused, edited or missing meanwhile', () => {
    const clusters = [staged('a'), cluster('b', 'nothing')]
    const done = (verb: RolloutAct['verb']): RolloutAct => ({
      ...{ id: `${verb}-1`, verb, by: 'ola', at: iso(NOW), reason: 'x', rolloutUid: 'r' },
    })
    let status: RolloutStatus = rolloutStatus(facts(clusters, spec), first, NOW)
    const looks: [Partial<RolloutSpec>, readonly RolloutAct[], object][] = [
      [spec, [], {}],
      [spec, [done('pause')], {}],
      [{ ...spec, waves: [{ startAfter: '1h', percent: 100, spread: '1h' }] }, [done('pause')], {}],
      [spec, [done('pause')], { image: undefined }],
      [spec, [done('pause')], { decided: 'Missing' }],
      [spec, [done('pause'), done('resume')], {}],
    ]
    for (const [index, [edited, acts, more]] of looks.entries()) {
      const at = NOW + (index + 1) * HOUR
      const given = { ...facts(clusters, edited, status), acts, ...more }
      const outcome = planRollout(given, at)
      expect(outcome.firstSent?.at).toBe(iso(NOW))
      // While nothing can be planned all terms stay what they were.
      expect(outcome.waves?.startsAt).toBe('image' in more || 'decided' in more ? undefined : iso(NOW))
      status = rolloutStatus(given, outcome, at)
    }
  })

  test('another image counts anew, and an order from before there was a start says when it was', () => {
    const other = { ...image, manifestSha256: '9'.repeat(64) }
    const was = rolloutStatus(facts([], spec), first, NOW)
    const edited = planRollout({ ...facts([cluster('a', 'nothing')], spec, was), image: other }, NOW + HOUR)
    expect(edited.firstSent).toEqual({ manifestSha256: other.manifestSha256, at: iso(NOW + HOUR) })
    const held = plan([cluster('a', 'staging'), cluster('b', 'nothing')], spec, undefined, NOW)
    expect(held.firstSent?.at).toBe(iso(cluster('a', 'staging').assignment?.atMs ?? 0))
  })

  test('who waits for its minute holds no slot, has no deadline, and says when it comes, as the hub works it out', () => {
    const clusters = [staged('a'), cluster('b', 'nothing')]
    const outcome = next(first, clusters, spec, NOW + HOUR)
    expect(outcome.advance).toEqual(['b'])
    expect(row(outcome)).toMatchObject({
      state: 'WaitingForWindow',
      reason: 'WaveNotDue',
      message: `node n1: its minute in the waves is ${iso(minute('a'))}`,
      waveAt: iso(minute('a')),
      recheckAt: iso(minute('a')),
    })
    expect(outcome.recheckAtMs).toBe(minute('a'))
    const before = next(outcome, clusters, spec, minute('a') - 1)
    expect(row(before)?.state).toBe('WaitingForWindow')
    const due = next(before, clusters, spec, minute('a'))
    expect(row(due)).toMatchObject({ state: 'WaitingForWindow', reason: 'WaveDue' })
    expect(row(next(due, clusters, spec, minute('a') + 31 * MINUTE))?.state).toBe('TimeOut')
  })

  test('who was not heard of since it took the order may be waiting: its deadline counts from its minute', () => {
    const dark = { ...cluster('a', 'staging'), reachability: 'Stale' as const }
    const at = (ms: number) => row(next(first, [dark], spec, ms))?.state
    expect(at(minute('a') + 29 * MINUTE)).toBe('Staging')
    expect(at(minute('a') + 30 * MINUTE)).toBe('TimeOut')
  })

  test('its minute and its window: it waits for both, and each is told', () => {
    const windows = { activation: [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3600 }] }
    const both = { ...spec, windows }
    const opens = (Math.floor(minute('a') / (24 * HOUR)) + 1) * 24 * HOUR + 2 * HOUR
    const early = next(first, [staged('a')], both, NOW + MINUTE)
    expect(row(early)?.reason).toBe('WaveNotDue')
    const due = next(early, [staged('a')], both, minute('a'))
    expect(row(due)).toMatchObject({ reason: 'WindowClosed', recheckAt: iso(opens) })
    const open = next(due, [staged('a')], both, opens)
    expect(row(open)).toMatchObject({ state: 'WaitingForWindow', reason: 'WaveDue' })
    expect(row(next(open, [staged('a')], both, opens + 31 * MINUTE))?.state).toBe('TimeOut')
  })

  test('an edit that takes the waves away, or shortens them, counts at once where it has staged', () => {
    const { waves: _, ...none } = spec
    const held = next(first, [staged('a')], spec, NOW + MINUTE)
    const removed = next(held, [staged('a')], none, NOW + HOUR)
    expect(removed).toMatchObject({ waves: undefined, underWay: [{ cluster: 'a', paused: false }] })
    expect(row(removed)).toMatchObject({ state: 'WaitingForWindow', reason: 'WaveDue' })
    expect(row(removed)).not.toHaveProperty('waveAt')
    const quick = [{ startAfter: '0s', percent: 100, spread: '30m' }]
    const short = next(held, [staged('a')], { ...spec, waves: quick }, NOW + HOUR)
    expect(short.waves).toEqual(wavesOf({ waves: quick }, NOW))
    expect(row(short)).toMatchObject({ reason: 'WaveDue', waveAt: iso(minute('a', quick)) })
  })

  test('without waves nothing of them is told', () => {
    const plain = plan([cluster('a', 'nothing')])
    expect(plain.waves).toBeUndefined()
    expect(row(plain)).not.toHaveProperty('waveAt')
  })
})

describe('hub and sites', () => {
  const names = fc.uniqueArray(fc.stringMatching(/^[a-z][a-z0-9-]{0,20}[a-z0-9]$/), { minLength: 1, maxLength: 8 })
  const waves = fc.constantFrom<Given>(
    WEEK,
    [{ startAfter: '1h', percent: 100, spread: '24h' }],
    [
      { startAfter: '0s', percent: 30 },
      { startAfter: '90m', percent: 31, spread: '1s' },
      { startAfter: '3h', percent: 100 },
    ],
  )

  test('agree on the minute of every cluster: the site is held until then by the order that the hub makes, and no longer', () => {
    fc.assert(
      fc.property(names, waves, fc.nat(3_600_000), (clusters, given, offsetMs) => {
        const at = NOW + offsetMs
        const spec = { waves: given }
        const outcome = plan(
          clusters.map((name) => cluster(name, 'nothing')),
          spec,
          undefined,
          at,
        )
        for (const name of clusters) {
          const minuteMs = Date.parse(row(outcome, name)?.waveAt ?? '')
          const desired = {
            ...{ cluster: name, windows: { activation: [] }, paused: false, budget: { maxUnavailable: 1 } },
            image: { target: image.target, sha256: image.manifestSha256, rollout: 'fleet/r' },
            ...(outcome.waves ? { waves: outcome.waves } : {}),
          }
          const site = (ms: number) => planSite(desired, [{ node: 'n1', phase: 'Staged' }], ms)
          expect(site(minuteMs - 1)).toMatchObject({
            turns: [],
            nextWindowMs: minuteMs,
            hold: [{ reason: 'WaveNotDue' }],
          })
          expect(site(minuteMs).turns).toEqual(['n1'])
        }
      }),
      { numRuns: 60 },
    )
  })

  test('whoever is dark from delivery on activates in its minute all the same, and in virtual time as well', () => {
    const LIMITS = { lateMs: 90_000, offlineMs: 300_000, staleMs: 14 * 24 * HOUR }
    fc.assert(
      fc.property(names, waves, (clusters, given) => {
        const outcome = simulate({
          rollout: facts([], { waves: given }).rollout,
          image,
          groups: [{ name: '', clusters }],
          // It takes the order and the bytes, and is away until long after the last minute.
          clusters: clusters.map((name) => ({
            name,
            ...{ deliveryMs: 5_000, stagingMs: 10_000, activationMs: 60_000 },
            outages: [{ fromMs: NOW + 20_000, toMs: NOW + 400 * HOUR }],
          })),
          ...{ limits: LIMITS, startMs: NOW, endMs: NOW + 500 * HOUR },
        })
        if (outcome.kind !== 'Played') throw new Error(JSON.stringify(outcome.faults))
        expect(outcome.end).toMatchObject({ phase: 'Completed', counts: { succeeded: clusters.length } })
        for (const name of clusters) {
          const told = outcome.timeline.flatMap((entry) =>
            entry.kind === 'Cluster' && entry.cluster === name ? [[entry.reason, entry.atMs]] : [],
          )
          expect(told).toContainEqual(['WaveDue', Math.max(minute(name, given), NOW + 20_000)])
          // Activated in the dark: it is done when it is heard again.
          expect(told.at(-1)).toEqual(['Confirmed', NOW + 400 * HOUR])
        }
      }),
      { numRuns: 20 },
    )
  })
})
