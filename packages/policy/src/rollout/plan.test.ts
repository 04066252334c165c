import type { ClusterState, NodePhase, RolloutSpec, RolloutStatus, Verdict } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { durationMs } from '../duration.ts'
import { STOPS_THE_CLOCK } from './cluster-state.ts'
import type { Boot, ClusterFacts, NodeFacts, RolloutFacts } from './facts.ts'
import {
  cluster,
  condition,
  type Doing,
  facts,
  GOOD,
  held,
  image,
  iso,
  MINUTE,
  NOW,
  node,
  plan,
  progressive,
  rollout,
  row,
  said,
  saved,
} from './fixture.ts'
import { planRollout, type RolloutPlan } from './plan.ts'
import { durationsOf, type Sizes, stagesOf } from './strategy.ts'

/** A cluster `a` whose node, sent the image, says that of itself. */
function saying(phase: NodePhase, reason: string, terms: { readonly paused?: boolean } = {}): ClusterFacts {
  const { assignment, ...rest } = cluster('a', 'staging')
  if (!assignment) throw new Error('a cluster that stages is assigned its image')
  return { ...rest, assignment: { ...assignment, ...terms }, nodes: [node('a', phase, { reason, message: reason })] }
}

/** The sizes of a strategy that is one stage. */
function sizesOf(spec: RolloutSpec, total: number): Sizes | undefined {
  const [stage] = stagesOf(spec, [{ index: 0, name: '' }])
  return stage?.sizesOf(total, total)
}

describe('[conformance: ocm] strategy', () => {
  test.each<[number | string | undefined, number, number, number]>([
    [undefined, 10, 10, 0],
    [0, 10, 10, 0],
    [3, 10, 3, 3],
    ['25%', 10, 3, 3],
    ['0%', 10, 10, 0],
    ['7%', 100, 8, 8],
    ['55%', 100, 56, 56],
    ['100%', 3, 3, 3],
  ])('%s of %i: %i at once, %i failures', (value, total, maxConcurrency, maxFailures) => {
    const given = value as number | undefined
    expect(
      sizesOf(
        {
          strategy: progressive({ ...(given === undefined ? {} : { maxConcurrency: given, maxFailures: given }) }),
        } as RolloutSpec,
        total,
      ),
    ).toEqual({ maxConcurrency, maxFailures })
  })

  test('[deviation] a size beyond the fleet is the fleet', () => {
    expect(sizesOf({ strategy: progressive({ maxConcurrency: 5, maxFailures: 5 }) } as RolloutSpec, 3)).toEqual({
      maxConcurrency: 3,
      maxFailures: 3,
    })
  })

  test.each<[string | undefined, number | undefined]>([
    [undefined, undefined],
    ['', undefined],
    ['None', undefined],
    ['0s', 0],
    ['90s', 90_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['1h1m1s', 3_661_000],
  ])('a duration of %j is %s ms', (text, ms) => {
    expect(durationMs(text)).toBe(ms)
  })

  test('All starts everything, tolerates everything, knows no soak, and has its deadline', () => {
    const spec = {
      strategy: { type: 'All' as const, all: { progressDeadline: '5m' }, progressive: { minSuccessTime: '1h' } },
    }
    expect(durationsOf({ ...rollout().spec, ...spec })).toEqual({ soakMs: 0, deadlineMs: 300_000 })
    const outcome = plan(
      [cluster('a', 'rolled-back'), cluster('b', 'rolled-back'), cluster('c', 'nothing'), cluster('d', 'nothing')],
      spec,
    )
    expect(outcome).toMatchObject({ advance: ['c', 'd'], phase: 'Running' })
    expect(durationsOf(rollout().spec)).toEqual({ soakMs: 0, deadlineMs: undefined })
  })

  test('Progressive fills the window in name order', () => {
    const clusters = ['d', 'b', 'a', 'c'].map((name) => cluster(name, 'nothing'))
    expect(plan(clusters, { strategy: progressive({ maxConcurrency: 2 }) }).advance).toEqual(['a', 'b'])
    const first = cluster('a', 'staging')
    expect(
      plan([first, ...clusters.filter(({ name }) => name !== 'a')], { strategy: progressive({ maxConcurrency: 2 }) })
        .advance,
    ).toEqual(['b'])
  })

  test('a soaking success keeps its slot until its end, and says when that is', () => {
    const spec = { strategy: progressive({ maxConcurrency: 1, minSuccessTime: '5m' }) }
    const soaking = plan([cluster('a', 'proven'), cluster('b', 'nothing')], spec)
    expect(row(soaking)).toMatchObject({ state: 'Soaking', recheckAt: iso(NOW + 4 * MINUTE) })
    expect(soaking).toMatchObject({ advance: [], recheckAtMs: NOW + 4 * MINUTE })
    expect(plan([cluster('a', 'proven'), cluster('b', 'nothing')], spec, undefined, NOW + 4 * MINUTE).advance).toEqual([
      'b',
    ])
  })

  test('a success that soaks is past its deadline: what is left to come is time, and new evidence meanwhile', () => {
    const spec = { strategy: progressive({ minSuccessTime: '1h', progressDeadline: '2m' }) }
    const soaking = plan([cluster('a', 'proven')], spec, undefined, NOW + 5 * MINUTE)
    expect(row(soaking)).toMatchObject({ state: 'Soaking', recheckAt: iso(NOW + 59 * MINUTE) })
    expect(row(plan([cluster('a', 'proven')], spec, saved(soaking), NOW + 59 * MINUTE))?.state).toBe('Succeeded')
    // One that nobody has judged has as long as it would have soaked.
    const unjudged = (at: number) => row(plan([cluster('a', 'confirmed')], spec, saved(soaking), at))
    expect(unjudged(NOW + 5 * MINUTE)).toMatchObject({ state: 'Soaking', recheckAt: iso(NOW + 59 * MINUTE) })
    expect(unjudged(NOW + 59 * MINUTE)?.state).toBe('TimeOut')
  })

  test.each<[string, Doing, string | undefined, ClusterState]>([
    ['before its deadline', 'staging', '2m', 'Staging'],
    ['at its deadline', 'staging', '1m', 'TimeOut'],
    ['with a deadline of nothing', 'activating', '0s', 'TimeOut'],
    ['without a deadline', 'staging', undefined, 'Staging'],
    ['Succeeded has none', 'proven', '1m', 'Succeeded'],
    ['what was not delivered has none', 'sent', '0s', 'Sent'],
  ])('%s: %s with %s is %s', (_, doing, progressDeadline, state) => {
    const spec = { strategy: progressive(progressDeadline === undefined ? {} : { progressDeadline }) }
    expect(row(plan([cluster('a', doing)], spec))?.state).toBe(state)
  })
})

describe('[deviation] states of a cluster', () => {
  test.each<[Doing, ClusterState, string, boolean]>([
    ['nothing', 'NotStarted', 'Sending', false],
    ['late', 'NotStarted', 'Sending', false],
    ['offline', 'Offline', 'Offline', false],
    ['unheard', 'Offline', 'NeverSeen', false],
    ['sent', 'Sent', 'AwaitingAcceptance', true],
    ['sent-dark', 'Offline', 'Offline', false],
    ['delivered', 'Delivered', 'Accepted', true],
    ['staging', 'Staging', 'Staging', true],
    ['activating', 'Activating', 'Verifying', true],
    ['confirmed', 'Soaking', 'AwaitingAttestation', true],
    ['proven', 'Succeeded', 'Confirmed', false],
    ['rolled-back', 'RolledBack', 'FellBack', false],
    ['never-rebooted', 'Failed', 'NeverRebooted', false],
    ['refused', 'Failed', 'ReleaseCounterTooLow', false],
    ['newer', 'Removed', 'AssignedElsewhere', false],
    ['released', 'NotStarted', 'Sending', false],
    ['outrun', 'Removed', 'NewerImageConfirmed', false],
  ])('%s is %s (%s), holds a slot: %s', (doing, state, reason, slot) => {
    const spec = { strategy: progressive({ maxConcurrency: 1, maxFailures: 1 }) }
    const outcome = plan([cluster('b', doing), cluster('z', 'nothing')], spec)
    // NotStarted takes the only slot itself.
    expect(row(outcome, 'b')).toMatchObject({ state, reason })
    if (state !== 'NotStarted') expect(outcome.advance).toEqual(slot ? [] : ['z'])
  })

  describe('a node of which statements are lost, and with them what it confirmed', () => {
    const spec = { strategy: progressive({ maxConcurrency: 1, progressDeadline: '30m' }) }
    const day = 24 * 60 * MINUTE
    const delivered = cluster('a', 'delivered', NOW - day)
    const lossy = (lostAtMs: number) => ({
      ...delivered,
      assignment: delivered.assignment && { ...delivered.assignment, atMs: NOW - day },
      nodes: [node('a', 'Idle', { lostAtMs })],
    })

    test('is waited for from then on, and is no failure before its deadline', () => {
      const first = plan([lossy(NOW), cluster('b', 'nothing')], spec)
      expect(row(first)).toMatchObject({ state: 'Delivered', reason: 'StatementsLost' })
      expect(first.advance).toEqual([])
      expect(row(plan([lossy(NOW)], spec, saved(first), NOW + 30 * MINUTE - 1))?.state).toBe('Delivered')
      expect(row(plan([lossy(NOW)], spec, saved(first), NOW + 30 * MINUTE))?.state).toBe('TimeOut')
    })

    test('has succeeded all the same where it had, also past that deadline', () => {
      const before = plan([cluster('a', 'proven')], spec)
      expect(row(before)?.state).toBe('Succeeded')
      for (const nowMs of [NOW, NOW + day])
        expect(row(plan([lossy(NOW)], spec, saved(before), nowMs))?.state).toBe('Succeeded')
      // What a node says of itself in those words is no such thing.
      const says = { ...delivered, nodes: [node('a', 'Staging', { reason: 'StatementsLost' })] }
      expect(row(plan([says], spec, saved(before)))?.state).not.toBe('Succeeded')
    })

    test('has nothing to do with what it was sent since', () => {
      const sent = cluster('a', 'delivered')
      expect(row(plan([{ ...sent, nodes: [node('a', 'Idle', { lostAtMs: NOW - day })] }], spec))?.reason).toBe(
        'Accepted',
      )
    })
  })

  test('waiting for a closed window holds no slot and names the opening', () => {
    const windows = { activation: [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3600 }] }
    const outcome = plan([cluster('a', 'window'), cluster('b', 'nothing')], {
      windows,
      strategy: progressive({ maxConcurrency: 1 }),
    })
    expect(row(outcome)).toMatchObject({ state: 'WaitingForWindow', recheckAt: '2026-06-02T02:00:00.000Z' })
    expect(outcome.advance).toEqual(['b'])
  })

  test('a closed window stops the clock; once it is open the clock runs again, heard or not', () => {
    const spec = {
      windows: { activation: [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 7200 }] },
      strategy: progressive({ maxConcurrency: 1, progressDeadline: '30m' }),
    }
    const waiting = cluster('a', 'window')
    const first = plan([waiting], spec)
    const night = Date.parse('2026-06-02T02:00:00Z')
    expect(row(plan([waiting], spec, saved(first), night - 1))?.state).toBe('WaitingForWindow')
    const opened = plan([waiting, cluster('b', 'nothing')], spec, saved(first), night)
    expect(row(opened)).toMatchObject({ state: 'WaitingForWindow', reason: 'WindowOpen', waitedSeconds: 14 * 3600 })
    expect(opened.advance).toEqual(['b'])
    const work = cluster('a', 'activating')
    expect(row(plan([work], spec, saved(opened), night + 28 * MINUTE))?.state).toBe('Activating')
    // Delivered one minute before it began to wait.
    expect(row(plan([work], spec, saved(opened), night + 29 * MINUTE))?.state).toBe('TimeOut')
    expect(row(plan([waiting], spec, saved(opened), night + 29 * MINUTE))?.state).toBe('TimeOut')
    // It closes again after two hours: what was waited is kept, and the next wait counts on top.
    const long = { ...spec, strategy: progressive({ progressDeadline: '5h' }) }
    const closed = plan([waiting], long, saved(plan([waiting], long, saved(first), night)), night + 120 * MINUTE)
    expect(row(closed)).toMatchObject({ state: 'WaitingForWindow', reason: 'WindowClosed', waitedSeconds: 14 * 3600 })
    const reopened = plan([waiting], long, saved(closed), night + 24 * 60 * MINUTE)
    expect(row(reopened)).toMatchObject({ reason: 'WindowOpen', waitedSeconds: (14 + 22) * 3600 })
  })

  test('delivered and then silent keeps its slot and times out', () => {
    const dark = { ...cluster('a', 'staging'), reachability: 'Stale' as const }
    const spec = { strategy: progressive({ maxConcurrency: 1, progressDeadline: '2m' }) }
    expect(plan([dark, cluster('b', 'nothing')], spec)).toMatchObject({ advance: [], recheckAtMs: NOW + MINUTE })
    const late = plan([dark, cluster('b', 'nothing')], spec, undefined, NOW + MINUTE)
    expect(row(late)?.state).toBe('TimeOut')
    expect(condition(late, 'Breached')?.status).toBe('True')
  })

  test.each<[string, Verdict | undefined, ClusterState, string]>([
    ['affirming is good enough', 'affirming', 'Succeeded', 'Confirmed'],
    ['warning where affirming is asked', 'warning', 'Soaking', 'AttestationInsufficient'],
    ['none is never good enough', 'none', 'Soaking', 'AttestationInsufficient'],
    ['contraindicated fails', 'contraindicated', 'Failed', 'AttestationContraindicated'],
    ['no verdict is none', undefined, 'Soaking', 'AwaitingAttestation'],
  ])('success is evidence: %s', (_, verdict, state, reason) => {
    const base = cluster('a', 'confirmed')
    const boot = { bootId: 'b2', imageSha256: GOOD, atMs: NOW - MINUTE, statement: said('a', 5) }
    const judged = verdict ? { ...boot, verdict: { verdict, reason: 'X', message: 'so it is' } } : boot
    const nodes = base.nodes.map((one) => ({ ...one, boot: judged }))
    const found = row(plan([{ ...base, nodes }], { attestation: 'affirming' }))
    expect(found).toMatchObject({ state, reason })
    // A verdict that does not count says what it rests on.
    if (reason.startsWith('Attestation')) expect(found?.message).toMatch(/X.*so it is|so it is.*X/)
  })

  describe('a boot that was confirmed, and what is heard of the machine while it soaks', () => {
    const verdictOf = (verdict: Verdict, firstVerdict: Verdict = verdict) =>
      ({ verdict, firstVerdict, reason: 'PcrMismatch', message: 'PCR 9 is not what it was' }) as const
    const boot = (bootId: string, verdict?: Verdict, more: Partial<Boot> = {}): Boot => ({
      ...{ bootId, imageSha256: GOOD, atMs: NOW - MINUTE, statement: said('a', bootId === 'b2' ? 5 : 9) },
      ...(verdict ? { verdict: verdictOf(verdict) } : {}),
      ...more,
    })
    const rejudged = (verdict: Verdict, first: Verdict) => ({ verdict: verdictOf(verdict, first) })
    const confirmed = (more: Partial<NodeFacts> = {}, of: Partial<ClusterFacts> = {}): ClusterFacts => {
      const base = cluster('a', 'confirmed')
      return { ...base, ...of, nodes: base.nodes.map((one) => ({ ...one, boot: boot('b2', 'affirming'), ...more })) }
    }
    const asks = (p: NonNullable<NonNullable<RolloutSpec['strategy']>['progressive']> = {}): Partial<RolloutSpec> => ({
      attestation: 'affirming',
      strategy: progressive({ minSuccessTime: '5m', maxConcurrency: 1, ...p }),
    })
    const soaking = saved(plan([confirmed(), cluster('z', 'nothing')], asks()))
    const OTHER = 'c'.repeat(64)
    const END = NOW + 4 * MINUTE

    test.each<[string, Partial<NodeFacts>, ClusterState, string]>([
      [
        'a later boot that is contraindicated fails',
        { boot: boot('b3', 'contraindicated') },
        'Failed',
        'AttestationContraindicated',
      ],
      [
        'also one that a good boot followed',
        { bad: boot('b3', 'contraindicated'), boot: boot('b4', 'affirming') },
        'Failed',
        'AttestationContraindicated',
      ],
      [
        'also the confirmed one that a good boot followed',
        { bad: boot('b2', 'contraindicated'), boot: boot('b3', 'affirming') },
        'Failed',
        'AttestationContraindicated',
      ],
      [
        'renewed evidence that is contraindicated fails',
        { boot: boot('b2', 'contraindicated') },
        'Failed',
        'AttestationContraindicated',
      ],
      ['a later boot that is as good counts', { boot: boot('b3', 'affirming') }, 'Succeeded', 'Confirmed'],
      ['a later boot that is a warning waits', { boot: boot('b3', 'warning') }, 'Soaking', 'AttestationInsufficient'],
      ['so does renewed evidence', { boot: boot('b2', 'warning') }, 'Soaking', 'AttestationInsufficient'],
      ['a later boot that nobody can judge waits', { boot: boot('b3', 'none') }, 'Soaking', 'AttestationInsufficient'],
      ['a later boot that is not judged waits', { boot: boot('b3') }, 'Soaking', 'AwaitingAttestation'],
      [
        'one that was affirming until other values were signed waits',
        { boot: boot('b3', 'warning', rejudged('warning', 'affirming')) },
        'Soaking',
        'ReferenceValuesChanged',
      ],
      [
        'and so does one that is contraindicated by them',
        { boot: boot('b2', 'contraindicated', rejudged('contraindicated', 'affirming')) },
        'Soaking',
        'ReferenceValuesChanged',
      ],
      [
        'also one that was a warning before',
        { boot: boot('b2', 'contraindicated', rejudged('contraindicated', 'warning')) },
        'Soaking',
        'ReferenceValuesChanged',
      ],
      [
        'what better values made a warning of is waited for as any warning',
        { boot: boot('b2', 'warning', rejudged('warning', 'none')) },
        'Soaking',
        'AttestationInsufficient',
      ],
      [
        'a boot of another image is no boot of this one, whatever it is worth; at the end of the soak the node fell back',
        { boot: boot('b3', 'contraindicated', { imageSha256: OTHER }) },
        'Failed',
        'AnotherImageBooted',
      ],
    ])('%s', (_, more, state, reason) => {
      // At the end of the soak, when it would count.
      const outcome = plan([confirmed(more), cluster('z', 'nothing')], asks(), soaking, END)
      expect(row(outcome)).toMatchObject({ state, reason })
      if (state !== 'Failed') return expect(outcome.advance).toEqual(state === 'Succeeded' ? ['z'] : [])
      expect(row(outcome)?.message).toMatch(/PCR 9 is not what it was.*PcrMismatch|of another image, c{12}/)
      expect(outcome).toMatchObject({ phase: 'Paused', advance: [], counts: { failed: 1, succeeded: 0 } })
      expect(condition(outcome, 'Breached')).toMatchObject({ status: 'True', reason: 'MaxFailuresExceeded' })
      // The budget is used, and where it has room the others go on.
      const tolerant = plan([confirmed(more), cluster('z', 'nothing')], asks({ maxFailures: 1 }), soaking, END)
      expect(tolerant).toMatchObject({ phase: 'Running', advance: ['z'], counts: { failed: 1 } })
      // What is heard afterwards gives nothing back.
      expect(row(plan([confirmed()], asks(), saved(outcome), END))?.state).toBe('Failed')
    })

    test('what fails rests on the evidence that it was judged by, and names the boot', () => {
      const failed = row(plan([confirmed({ boot: boot('b3', 'contraindicated') })], asks(), soaking))
      expect(failed).toMatchObject({
        message: 'node n1: a later boot, b3: PCR 9 is not what it was (PcrMismatch)',
        statement: said('a', 9),
      })
    })

    test.each<[string, Verdict | undefined]>([
      ['was a warning', 'warning'],
      ['could not be judged', 'none'],
      ['was never told of', undefined],
    ])('a node whose confirmed boot %s counts by a later one that is as good as asked', (_, first) => {
      const poor = plan([confirmed({ boot: boot('b2', first) })], asks(), undefined, END)
      expect(row(poor)?.state).toBe('Soaking')
      const mended = plan([confirmed({ boot: boot('b3', 'affirming') })], asks(), saved(poor), END)
      expect(row(mended)).toMatchObject({ state: 'Succeeded', reason: 'Confirmed' })
    })

    test('a node that runs another image while it soaks has until its end to run this one again', () => {
      const other = confirmed({ boot: boot('b3', 'affirming', { imageSha256: OTHER }) })
      const waits = plan([other], asks({ progressDeadline: '1m' }), soaking)
      expect(row(waits)).toMatchObject({ state: 'Soaking', reason: 'AnotherImageBooted', recheckAt: iso(END) })
      expect(row(plan([confirmed({ boot: boot('b4', 'affirming') })], asks(), saved(waits), END))?.state).toBe(
        'Succeeded',
      )
      // What is activating there is no fallback.
      const busy = { ...other, nodes: other.nodes.map((one) => ({ ...one, phase: 'Verifying' as const })) }
      expect(row(plan([busy], asks(), saved(waits), END))?.state).toBe('Activating')
    })

    test('what ran there before the cluster was assigned the image is no fallback: it has the deadline to run this one', () => {
      const told = NOW - 4 * MINUTE
      const other = confirmed({ boot: boot('b3', 'affirming', { imageSha256: OTHER, atMs: told }) })
      const spec = asks({ progressDeadline: '6m' })
      const waits = plan([other], spec, soaking, END)
      expect(row(waits)).toMatchObject({ state: 'Soaking', reason: 'AnotherImageBooted' })
      expect(row(plan([other], spec, saved(waits), END + MINUTE))?.state).toBe('TimeOut')
    })

    test('who merely went offline while it soaked does not fail', () => {
      for (const reachability of ['Late', 'Offline', 'Stale'] as const) {
        const dark = confirmed({}, { reachability, heardAtMs: NOW - 10 * MINUTE })
        expect(row(plan([dark], asks(), soaking))?.state).toBe('Soaking')
        expect(row(plan([dark], asks(), soaking, END))?.state).toBe('Succeeded')
      }
    })

    test.each<[string, Partial<NodeFacts>, ClusterState]>([
      ['a contraindicated boot undoes it', { boot: boot('b3', 'contraindicated') }, 'Failed'],
      [
        'also one that a good boot followed',
        { bad: boot('b3', 'contraindicated'), boot: boot('b4', 'affirming') },
        'Failed',
      ],
      ['a warning does not', { boot: boot('b3', 'warning') }, 'Succeeded'],
      ['nor a boot that nobody judged', { boot: boot('b3') }, 'Succeeded'],
      ['nor a boot of another image', { boot: boot('b3', 'affirming', { imageSha256: OTHER }) }, 'Succeeded'],
      [
        'nor one that is contraindicated by values that were signed since',
        { boot: boot('b2', 'contraindicated', rejudged('contraindicated', 'affirming')) },
        'Succeeded',
      ],
      [
        'but one that is older than what it confirmed, which only came later, does',
        {
          boot: boot('b2', 'contraindicated', {
            verdict: {
              verdict: 'contraindicated',
              firstVerdict: 'affirming',
              reason: 'OlderThanConfirmed',
              message: 'older',
            },
          }),
        },
        'Failed',
      ],
    ])('after the soak: %s, however long ago the deadline was', (_, more, state) => {
      const spec = asks({ progressDeadline: '1h' })
      const done = plan([confirmed()], spec, soaking, END)
      expect(row(done)?.state).toBe('Succeeded')
      expect(row(plan([confirmed(more)], spec, saved(done), END + 600 * MINUTE))?.state).toBe(state)
    })

    test('a loss of what it had confirmed is its own word, and stops no clock', () => {
      const verdict = {
        verdict: 'warning',
        firstVerdict: 'affirming',
        reason: 'ConfirmedLost',
        message: 'lost',
      } as const
      const doubtful = confirmed({ boot: boot('b2', 'warning', { verdict }) })
      const spec = asks({ progressDeadline: '2m' })
      const waits = plan([doubtful], spec, soaking, END)
      expect(row(plan([doubtful], spec, saved(waits), END + 600 * MINUTE))).toMatchObject({
        ...{ state: 'TimeOut', reason: 'AttestationInsufficient' },
        message: expect.stringContaining('(ConfirmedLost: lost)'),
      })
    })

    test('values that were signed with a mistake fail nobody, however long it takes to sign others', () => {
      const spec = asks({ progressDeadline: '2m' })
      const bad = confirmed({ boot: boot('b2', 'contraindicated', rejudged('contraindicated', 'affirming')) })
      const waits = plan([bad], spec, soaking, END)
      const still = plan([bad], spec, saved(waits), END + 600 * MINUTE)
      expect(row(still)).toMatchObject({
        state: 'Soaking',
        reason: 'ReferenceValuesChanged',
        message:
          'node n1: the boot: the verdict is contraindicated, affirming before it was judged again (PcrMismatch: PCR 9 is not what it was), this rollout asks for affirming',
      })
      expect(row(plan([confirmed()], spec, saved(still), END + 600 * MINUTE))?.state).toBe('Succeeded')
    })

    test('a boot that is not judged at the end of the soak has the deadline from when it was told', () => {
      const spec = asks({ progressDeadline: '2m' })
      const rebooted = confirmed({ boot: boot('b3', undefined, { atMs: END - 1 }) })
      const waits = plan([rebooted], spec, soaking, END)
      expect(row(waits)).toMatchObject({ state: 'Soaking', recheckAt: iso(END - 1 + 2 * MINUTE) })
      expect(row(plan([rebooted], spec, saved(waits), END + 2 * MINUTE - 1))).toMatchObject({
        state: 'TimeOut',
        reason: 'ProgressDeadlineExceeded',
        message: 'was Soaking (AwaitingAttestation) at its deadline',
      })
    })

    test('what lacked only the proof at its deadline says so, and an edit that asks for no more takes it back', () => {
      const poor = confirmed({ boot: boot('b2', 'warning') })
      const late = plan([poor, cluster('z', 'nothing')], asks({ progressDeadline: '2m' }), soaking, END)
      expect(row(late)).toMatchObject({
        state: 'TimeOut',
        reason: 'AttestationInsufficient',
        message: expect.stringMatching(/^at its deadline: node n1: the boot: the verdict is warning/),
      })
      expect(condition(late, 'Breached')?.message).toBe(
        '1 failed, 0 tolerated; 1 of them were not proven in time: with spec.attestation warning a warning is good enough; find out why, then edit the rollout: with a larger maxFailures it goes on, with another image it starts over; or let it go on as it is ("skerry rollout resume r"), or try again where it failed ("skerry rollout retry r")',
      )
      const modest = { ...asks({ progressDeadline: '2m' }), attestation: 'warning' as const }
      const edited = { ...saved(late), observedGeneration: 0 }
      expect(plan([poor, cluster('z', 'nothing')], modest, edited, END)).toMatchObject({
        phase: 'Running',
        advance: ['z'],
        counts: { succeeded: 1, failed: 0 },
      })
      // A boot that nobody can judge is not good enough either way.
      const none = confirmed({ boot: boot('b2', 'none') })
      expect(row(plan([none], modest, edited, END))?.state).toBe('TimeOut')
      const bad = plan([confirmed({ boot: boot('b2', 'contraindicated') })], asks(), soaking)
      expect(plan([confirmed()], modest, { ...saved(bad), observedGeneration: 0 }).phase).toBe('Paused')
    })

    test('a cluster of which one node lacks the proof and another a verdict does not say that only the proof lacked', () => {
      const poor = confirmed({ boot: boot('b2', 'warning') })
      const nodes = [...poor.nodes, ...confirmed({ node: 'n2', boot: boot('b2') }).nodes]
      const late = plan([{ ...poor, nodes }], asks({ progressDeadline: '2m' }), soaking, END)
      expect(row(late)).toMatchObject({ state: 'TimeOut', reason: 'ProgressDeadlineExceeded' })
    })

    test('a contraindicated node fails its cluster, whatever the others do', () => {
      const bad = confirmed({ boot: boot('b3', 'contraindicated') })
      for (const other of [
        node('a', 'Staging', { node: 'm' }),
        node('a', 'Verifying', { node: 'm' }),
        { ...(cluster('a', 'confirmed').nodes[0] ?? node('a', 'Idle')), node: 'm' },
      ])
        expect(row(plan([{ ...bad, nodes: [other, ...bad.nodes] }], asks()))).toMatchObject({
          state: 'Failed',
          reason: 'AttestationContraindicated',
        })
    })
  })

  test('every node counts: one that is open keeps the cluster going, one that failed fails it', () => {
    const done = cluster('a', 'proven')
    const withSecond = (phase: NodePhase, more: Partial<NodeFacts> = {}) => ({
      ...done,
      nodes: [...done.nodes, node('a', phase, { node: 'n2', ...more })],
    })
    expect(row(plan([withSecond('Staging')]))?.state).toBe('Staging')
    const failure = {
      outcome: 'RolledBack' as const,
      reason: 'GatesFailed',
      message: 'x',
      atMs: NOW,
      statement: said('a'),
    }
    const both = withSecond('Failed', { failure })
    expect(row(plan([both]))).toMatchObject({ state: 'RolledBack', message: 'node n2: x' })
    expect(row(plan([{ ...both, nodes: both.nodes.toReversed() }]))).toEqual(row(plan([both])))
    expect(row(plan([{ ...done, nodes: [] }]))).toMatchObject({ state: 'Delivered', reason: 'NoNodes' })
  })
})

describe('[deviation] the rollout as a whole', () => {
  test('every failure is counted before the window is filled', () => {
    const clusters = [
      cluster('a', 'staging'),
      cluster('b', 'nothing'),
      cluster('y', 'rolled-back'),
      cluster('z', 'refused'),
    ]
    const outcome = plan(clusters, { strategy: progressive({ maxConcurrency: 2, maxFailures: 1 }) })
    expect(outcome).toMatchObject({
      phase: 'Paused',
      advance: [],
      counts: { failed: 1, rolledBack: 1, inProgress: 1, notStarted: 1 },
    })
    const next =
      'find out why, then edit the rollout: with a larger maxFailures it goes on, with another image it starts over; or let it go on as it is ("skerry rollout resume r"), or try again where it failed ("skerry rollout retry r")'
    expect(condition(outcome, 'Breached')).toMatchObject({ status: 'True', message: `2 failed, 1 tolerated; ${next}` })
    expect(held(outcome, 'b')).toMatchObject({
      reason: 'Breached',
      message: `the rollout stopped: more clusters failed than it tolerates; ${next}`,
    })
  })

  test('who is out of reach is in no denominator', () => {
    const clusters = [...'abcdefgh']
      .map((name) => cluster(name, 'offline'))
      .concat([cluster('x', 'rolled-back'), cluster('y', 'nothing')])
    expect(plan(clusters, { strategy: progressive({ maxFailures: '10%' }) }).phase).toBe('Running')
    const two = plan([...clusters.slice(0, 9), cluster('y', 'rolled-back')], {
      strategy: progressive({ maxFailures: '10%' }),
    })
    expect(condition(two, 'Breached')).toMatchObject({
      status: 'True',
      message: expect.stringContaining('2 failed, 1 tolerated'),
    })
  })

  test('completion needs one success, and waits for nobody who is out of reach', () => {
    expect(plan([cluster('a', 'offline')]).phase).toBe('Running')
    const outcome = plan([cluster('a', 'proven'), cluster('b', 'offline'), cluster('c', 'rolled-back')])
    expect(outcome.phase).toBe('Completed')
    expect(condition(outcome, 'Completed')).toMatchObject({ status: 'True', reason: 'CompletedPendingCatchUp' })
    expect(condition(plan([cluster('a', 'proven')]), 'Completed')).toMatchObject({
      reason: 'Completed',
      message: 'every cluster is settled',
    })
  })

  const never =
    'the same image is not sent again by itself: try it again ("skerry rollout retry r"), name another one in spec.image.name, or make another rollout'
  const next = `find out why; where it failed ${never}`

  test.each<[string, Doing[], Partial<RolloutSpec>, string]>([
    ['within the budget', ['rolled-back', 'refused'], { strategy: progressive({ maxFailures: 2 }) }, '2 failed'],
    ['with no budget at all', ['rolled-back', 'refused', 'never-rebooted'], {}, '3 failed'],
    ['beside who is another rollout’s', ['rolled-back', 'newer'], {}, '1 failed'],
  ])('a rollout of which every cluster failed %s ends, and says so', (_, doings, spec, failed) => {
    const clusters = doings.map((doing, i) => cluster(`c${i}`, doing))
    const outcome = plan(clusters, spec)
    expect(outcome).toMatchObject({ phase: 'Paused', advance: [], hold: [], underWay: [] })
    expect(condition(outcome, 'Breached')?.status).toBe('False')
    expect(condition(outcome, 'Completed')).toMatchObject({
      status: 'False',
      reason: 'NothingSucceeded',
      message: `0 succeeded, ${failed}; no cluster is left to go on with; ${next}`,
    })
    // Another cluster is sent it all the same: the failures are tolerated.
    const more = plan([...clusters, cluster('z', 'nothing')], spec, saved(outcome))
    expect(more).toMatchObject({ phase: 'Running', advance: ['z'] })
    expect(plan([...clusters, cluster('z', 'proven')], spec, saved(more)).phase).toBe('Completed')
  })

  describe('what to do after failures', () => {
    const refused = (name: string): ClusterFacts => {
      const { assignment, refused: said, ...base } = cluster(name, 'refused')
      const impossible = { code: 'AttestationImpossible', message: 'm', attestation: 'affirming' }
      return {
        ...base,
        assignment: { ...assignment, attestation: 'affirming' },
        refused: { ...said, ...impossible },
      } as ClusterFacts
    }
    const asks = { attestation: 'affirming' as const }
    const sentAgain = (count: number) =>
      `${count} of them cannot prove a boot: with spec.attestation warning they are sent the image again`

    test('where only a proof lacked, the edit that lets the rollout go on is named, and it does', () => {
      const outcome = plan([refused('a')], asks)
      expect(outcome.phase).toBe('Paused')
      expect(condition(outcome, 'Completed')?.message).toBe(
        `0 succeeded, 1 failed; no cluster is left to go on with; ${sentAgain(1)}`,
      )
      const edited = plan([refused('a')], { attestation: 'warning' }, { ...saved(outcome), observedGeneration: 0 })
      expect(edited.phase).toBe('Running')
      expect(condition(edited, 'Completed')).toMatchObject({ reason: 'Running', message: 'the rollout is Running' })
    })

    test('where others failed too, each is told what is its', () => {
      const outcome = plan([refused('a'), cluster('b', 'rolled-back'), cluster('c', 'rolled-back')], asks)
      expect(condition(outcome, 'Completed')?.message).toBe(
        `0 succeeded, 3 failed; no cluster is left to go on with; ${sentAgain(1)}; find out why; to the other 2 ${never}`,
      )
    })

    test('a breach after which nothing is left promises nothing of a larger budget', () => {
      const breached = (...clusters: ClusterFacts[]) =>
        condition(plan(clusters, { ...asks, strategy: progressive() }), 'Breached')?.message
      expect(breached(cluster('a', 'rolled-back'))).toBe(`1 failed, 0 tolerated; ${next}`)
      expect(breached(refused('a'))).toBe(`1 failed, 0 tolerated; ${sentAgain(1)}`)
      expect(breached(cluster('a', 'rolled-back'), cluster('b', 'nothing'))).toContain('with a larger maxFailures')
    })
  })

  test('a rollout that completed with failures in its budget says how many, and what to do', () => {
    const two = { strategy: progressive({ maxFailures: 2 }) }
    const outcome = plan([cluster('a', 'proven'), cluster('b', 'rolled-back'), cluster('c', 'refused')], two)
    expect(outcome.phase).toBe('Completed')
    expect(condition(outcome, 'Completed')).toMatchObject({
      status: 'True',
      reason: 'CompletedWithFailures',
      message: `1 succeeded, 2 failed; ${next}`,
    })
    const dark = plan([cluster('a', 'proven'), cluster('b', 'rolled-back'), cluster('c', 'offline')], two)
    expect(condition(dark, 'Completed')).toMatchObject({
      reason: 'CompletedPendingCatchUp',
      message: `1 cluster is out of reach, to catch up on return; 1 succeeded, 1 failed; ${next}`,
    })
  })

  test('a rollout in which nothing goes on says what it waits for', () => {
    const dark = plan([cluster('a', 'offline'), cluster('b', 'offline'), cluster('c', 'rolled-back')])
    expect(dark.phase).toBe('Running')
    expect(condition(dark, 'Completed')).toMatchObject({
      status: 'False',
      reason: 'OutOfReach',
      message: `2 clusters are out of reach, to be sent the image on return; 0 succeeded, 1 failed; ${next}`,
    })
    expect(condition(plan([cluster('a', 'unheard')]), 'Completed')?.message).toBe(
      '1 cluster is out of reach, to be sent the image on return',
    )
    expect(condition(plan([]), 'Completed')).toMatchObject({
      reason: 'NoClusters',
      message: 'the placement selects no cluster that this rollout could send the image to',
    })
    expect(condition(plan([{ ...cluster('a', 'nothing'), denied: true }]), 'Completed')?.reason).toBe('NoClusters')
  })

  test('who returns after completion is sent the image, and its failure counts', () => {
    const spec = { strategy: progressive({ maxConcurrency: 1 }), catchUp: { jitter: '0s' } }
    const done = plan([cluster('a', 'proven'), cluster('b', 'offline'), cluster('c', 'offline')], spec)
    // 10 % of three, with a jitter of nothing.
    const back = plan([cluster('a', 'proven'), cluster('b', 'nothing'), cluster('c', 'nothing')], spec, saved(done))
    expect(back).toMatchObject({ phase: 'Completed', advance: ['b'] })
    const failed = plan(
      [cluster('a', 'proven'), cluster('b', 'rolled-back'), cluster('c', 'nothing')],
      spec,
      saved(back),
    )
    expect(failed).toMatchObject({ phase: 'Paused', advance: [] })
    expect(condition(failed, 'Breached')?.status).toBe('True')
  })

  test('a cluster that the placement adds later is sent the image; one that it drops is Removed, its failure is not', () => {
    const done = plan([cluster('a', 'proven'), cluster('b', 'rolled-back')], {
      strategy: progressive({ maxFailures: 1 }),
    })
    const after = plan([cluster('c', 'nothing')], { strategy: progressive({ maxFailures: 1 }) }, saved(done))
    expect(after.advance).toEqual(['c'])
    expect(row(after, 'a')).toMatchObject({ state: 'Removed', reason: 'Deselected' })
    expect(row(after, 'b')?.state).toBe('RolledBack')
    expect(condition(after, 'Breached')?.message).toBe('1 failed, 1 tolerated')
    expect(after.counts).toMatchObject({ total: 2, rolledBack: 1, notStarted: 1 })
  })

  test('a newer rollout takes clusters; the older completes with what is left, and one without any says so', () => {
    expect(plan([cluster('a', 'proven'), cluster('b', 'newer')]).phase).toBe('Completed')
    const nothing = plan([cluster('a', 'newer'), cluster('b', 'newer')])
    expect(nothing.phase).toBe('Running')
    expect(condition(nothing, 'Completed')).toMatchObject({ status: 'False', reason: 'Superseded' })
    const failed = plan([cluster('a', 'rolled-back')])
    expect(row(plan([cluster('a', 'newer')], {}, saved(failed)))?.state).toBe('RolledBack')
  })

  test('after a breach who was sent the image and has not activated holds, until an edit ends the breach', () => {
    const spec = { strategy: progressive({ maxConcurrency: 9 }) }
    const clusters = [
      cluster('a', 'staging'),
      cluster('b', 'sent-dark'),
      cluster('c', 'confirmed'),
      cluster('d', 'proven'),
      cluster('e', 'nothing'),
    ]
    const calm = plan([...clusters, cluster('x', 'staging')], spec)
    expect(calm.underWay.map(({ cluster: name, paused }) => `${name} ${paused}`)).toEqual([
      'a false',
      'b false',
      'c false',
      'x false',
    ])
    const breached = plan([...clusters, cluster('x', 'rolled-back')], spec, saved(calm))
    expect(breached.underWay.map(({ cluster: name, paused }) => `${name} ${paused}`)).toEqual([
      'a true',
      'b true',
      'c false',
    ])
    const tolerant = { strategy: progressive({ maxConcurrency: 9, maxFailures: 1 }) }
    const again = plan([...clusters, cluster('x', 'rolled-back')], tolerant, saved(breached))
    expect(condition(again, 'Breached')?.status).toBe('True')
    const edited = plan([...clusters, cluster('x', 'rolled-back')], tolerant, {
      ...saved(breached),
      observedGeneration: 0,
    })
    expect(condition(edited, 'Breached')?.status).toBe('False')
    expect(edited.underWay.some(({ paused }) => paused)).toBe(false)
    expect(edited.advance).toEqual(['e'])
  })

  describe('an order that no node there can carry out, because it asks for an affirming boot', () => {
    const refused = (name: string, said: Partial<NonNullable<ClusterFacts['refused']>> = {}): ClusterFacts => {
      const base = cluster(name, 'refused')
      const impossible = { code: 'AttestationImpossible', message: 'nothing measures it', attestation: 'affirming' }
      return {
        ...base,
        assignment: { ...base.assignment, attestation: 'affirming' },
        refused: { ...base.refused, ...impossible, ...said },
      } as ClusterFacts
    }
    /** Its new terms are stored, and not composed: the refusal of the old ones is still its newest word. */
    const sentAgain = (name: string): ClusterFacts => {
      const base = refused(name)
      return { ...base, assignment: { ...base.assignment, attestation: 'warning' } } as ClusterFacts
    }
    const asks = (attestation: 'affirming' | 'warning', more: Partial<RolloutSpec> = {}) => ({
      attestation,
      strategy: progressive(),
      ...more,
    })
    const stopped = plan([refused('a'), cluster('b', 'nothing')], asks('affirming'))
    const edited = (status: RolloutPlan): RolloutStatus => ({ ...saved(status), observedGeneration: 0 })

    test('stops the rollout, and the condition says which edit is the way out', () => {
      expect(row(stopped)).toMatchObject({ state: 'Failed', reason: 'AttestationImpossible' })
      expect(stopped).toMatchObject({ phase: 'Paused', advance: [] })
      expect(condition(stopped, 'Breached')).toMatchObject({
        status: 'True',
        message:
          '1 failed, 0 tolerated; 1 of them cannot prove a boot: with spec.attestation warning they are sent the image again; find out why, then edit the rollout: with a larger maxFailures it goes on, with another image it starts over; or let it go on as it is ("skerry rollout resume r"), or try again where it failed ("skerry rollout retry r")',
      })
    })

    test('an edit that asks no more for it lets the rollout go on by itself, with nothing counted', () => {
      const again = plan([refused('a'), cluster('b', 'nothing')], asks('warning'), edited(stopped))
      expect(again).toMatchObject({ phase: 'Running', advance: ['a', 'b'], underWay: [], counts: { failed: 0 } })
      expect(row(again)).toMatchObject({ state: 'NotStarted' })
      expect(condition(again, 'Breached')).toMatchObject({ status: 'False', message: '0 failed, 0 tolerated' })
      const sent = plan([sentAgain('a'), cluster('b', 'sent')], asks('warning'), saved(again))
      expect(row(sent)).toMatchObject({ state: 'Sent', reason: 'AwaitingAcceptance' })
      const done = plan([cluster('a', 'proven'), cluster('b', 'proven')], asks('warning'), saved(sent))
      expect(done).toMatchObject({ phase: 'Completed', counts: { succeeded: 2 } })
      expect(plan([refused('a')], asks('affirming'), edited(again)).phase).toBe('Paused')
      // Nor does it count of a cluster that the placement has dropped.
      expect(plan([cluster('b', 'nothing')], asks('affirming'), edited(stopped)).phase).toBe('Paused')
      expect(plan([cluster('b', 'nothing')], asks('warning'), edited(stopped)).advance).toEqual(['b'])
    })

    test('who is sent the image again takes a turn as everybody does, and who is out of reach waits for its return', () => {
      const names = ['a', 'b', 'c', 'd', 'e']
      const spec = { strategy: progressive({ maxConcurrency: 2, maxFailures: 9 }) }
      const before = plan(
        names.map((name) => refused(name)),
        asks('affirming', spec),
      )
      const dark = { ...refused('c'), reachability: 'Offline' as const }
      const first = plan(
        [refused('a'), refused('b'), dark, refused('d'), refused('e')],
        asks('warning', spec),
        edited(before),
      )
      expect(first).toMatchObject({ advance: ['a', 'b'], underWay: [], counts: { notStarted: 4, deferred: 1 } })
      expect(held(first, 'd')?.reason).toBe('ConcurrencyLimit')
      const next = plan(
        [sentAgain('a'), sentAgain('b'), refused('c'), refused('d'), refused('e')],
        asks('warning', spec),
        saved(first),
      )
      expect(next).toMatchObject({ advance: [], counts: { inProgress: 2, notStarted: 3, failed: 0 } })
      expect(next.underWay.map(({ cluster: name }) => name)).toEqual(['a', 'b'])
      const last = plan(
        [cluster('a', 'proven'), sentAgain('b'), refused('c'), refused('d'), refused('e')],
        asks('warning', spec),
        saved(next),
      )
      // Who was away has slots and a time of its own.
      expect(last.advance).toEqual(['d'])
      expect(held(last, 'c')?.reason).toBe('CatchUpDelay')
    })

    test('nothing is given back but in the look that sees the edit, nor what a site chose the same words for', () => {
      const known = { ...saved(stopped), observedGeneration: 1 }
      expect(plan([refused('a')], asks('warning'), known)).toMatchObject({ phase: 'Paused', advance: [] })
      for (const outcome of ['RolledBack', 'ActivationFailed'] as const) {
        const base = cluster('a', 'delivered')
        const failure = { outcome, message: 'm', atMs: NOW, statement: said('a') }
        const chosen = (reason: string): ClusterFacts => ({
          ...base,
          nodes: [node('a', 'Failed', { failure: { ...failure, reason } })],
        })
        for (const reason of ['AttestationImpossible', 'AttestationInsufficient', 'AnotherImageBooted']) {
          const failed = plan([chosen(reason)], asks('affirming'))
          expect(row(failed)?.reason).toBe(outcome)
          // Also once it says nothing of that any more.
          expect(plan([cluster('a', 'nothing')], asks('warning'), edited(failed)).advance).toEqual([])
        }
      }
    })

    test('an edit of anything else leaves it stopped, and what failed for another reason stays failed', () => {
      const other = asks('affirming', { gates: { healthySeconds: 1, timeoutSeconds: 60 } })
      expect(plan([refused('a'), cluster('b', 'nothing')], other, edited(stopped)).phase).toBe('Paused')
      const both = plan([refused('a'), refused('b', { code: 'ReleaseCounterTooLow' })], asks('affirming'))
      const after = plan([refused('a'), refused('b', { code: 'ReleaseCounterTooLow' })], asks('warning'), edited(both))
      expect(row(after)?.state).toBe('NotStarted')
      expect(condition(after, 'Breached')).toMatchObject({
        status: 'True',
        message: expect.stringMatching(/^1 failed, 0 tolerated; find out why/),
      })
    })

    test('an edit that comes while the placement is being decided counts all the same', () => {
      const before = saved(stopped)
      const seen: RolloutStatus = {
        ...before,
        observedGeneration: 1,
        conditions: before.conditions?.map((one) => ({ ...one, observedGeneration: 0 })) ?? [],
      }
      expect(plan([refused('a')], asks('warning'), seen).phase).toBe('Running')
      const again = { ...seen, conditions: before.conditions?.map((one) => ({ ...one, observedGeneration: 1 })) ?? [] }
      expect(condition(plan([refused('a')], asks('warning'), again), 'Breached')?.status).toBe('True')
    })
  })

  test('a pause stops the clock as a closed window does', () => {
    const spec = { strategy: progressive({ progressDeadline: '10m', maxFailures: 5 }) }
    const base = cluster('a', 'staging')
    const hold = saying('Staged', 'Paused', { paused: true })
    const before = plan([base], spec)
    const paused = plan([hold], spec, saved(before))
    const later = plan([hold], spec, saved(paused), NOW + 60 * MINUTE)
    expect(row(later)).toMatchObject({ state: 'Staging', reason: 'Paused' })
    // It has not said yet that it heard of the end of the pause.
    const released = plan([saying('Staged', 'Paused')], spec, saved(later), NOW + 61 * MINUTE)
    expect(row(released)).toMatchObject({
      ...{ state: 'Staging', reason: 'Staged', waitedSeconds: 61 * 60 },
      message: 'node n1: the pause is over, and it has not said yet that it heard so',
    })
    expect(row(plan([base], spec, saved(released), NOW + 70 * MINUTE))?.state).toBe('TimeOut')
  })

  test.each(
    (['Preflight', 'Staging', 'Staged'] as const).flatMap((phase) =>
      [...STOPS_THE_CLOCK].flatMap((reason) => [false, true].map((paused) => ({ phase, reason, paused }))),
    ),
  )('a site that says $reason in $phase gets no time by it, whatever is true (paused: $paused)', (said) => {
    const { phase, reason, paused } = said
    const spec = { strategy: progressive({ maxConcurrency: 1, maxFailures: 5, progressDeadline: '10m' }) }
    const fleet = [saying(phase, reason, { paused }), cluster('z', 'nothing')]
    const later = plan(fleet, spec, saved(plan(fleet, spec)), NOW + 60 * MINUTE)
    const isPaused = paused && phase === 'Staged' && reason === 'Paused'
    expect(row(later)?.state).toBe(isPaused ? 'Staging' : 'TimeOut')
    expect(later.advance).toEqual(isPaused ? [] : ['z'])
  })

  test('other terms for the same bytes are no new delivery: nothing begins again, and the clock goes on', () => {
    const spec = { strategy: progressive({ progressDeadline: '5m' }) }
    const first = plan([cluster('a', 'staging')], spec)
    // The newer document is composed; the site has accepted only the one before it, and is silent.
    const newer = {
      ...cluster('a', 'staging'),
      position: { timeline: 0, generation: 2 },
      reachability: 'Offline' as const,
    }
    const silent = plan([newer], spec, saved(first))
    expect(row(silent)).toMatchObject({ state: 'Staging', deliveredAt: row(first)?.deliveredAt })
    expect(row(plan([newer], spec, saved(silent), NOW + 4 * MINUTE))?.state).toBe('TimeOut')
  })

  test('a row of what was not sent yet says nothing of an assignment by the rollout before it', () => {
    const { assignment, ...base } = cluster('a', 'staging')
    const older = { ...base, assignment: { ...assignment, rolloutUid: 'old', rolloutName: 'old', holder: 'Older' } }
    const shown = row(plan([older as ClusterFacts]))
    expect(shown?.state).toBe('NotStarted')
    expect(shown).not.toHaveProperty('assignedAt')
    expect(shown).not.toHaveProperty('position')
    expect(shown).not.toHaveProperty('deliveredAt')
  })

  test('what succeeded is history: a later rollout takes the cluster, and neither counts nor phase move', () => {
    const done = plan([cluster('a', 'proven'), cluster('b', 'proven')])
    const taken = plan([cluster('a', 'newer'), cluster('b', 'proven')], {}, saved(done), NOW + MINUTE)
    expect(taken).toMatchObject({ phase: 'Completed', counts: done.counts, advance: [], underWay: [] })
    const { reason, message, ...rest } = row(taken) ?? {}
    const { reason: _, message: __, ...was } = row(done) ?? {}
    expect(rest).toEqual(was)
    expect([reason, message]).toEqual(['AssignedElsewhere', 'succeeded; the rollout newer has had this cluster since'])
  })

  describe('a rollout that has a cluster no more: it was deleted, or selects it no longer', () => {
    const left = (more: Partial<NonNullable<ClusterFacts['assignment']>>, facts: Partial<ClusterFacts> = {}) => {
      const { assignment, ...orphan } = cluster('a', 'newer')
      return { ...orphan, assignment: { ...assignment, holder: 'Released', ...more }, ...facts } as ClusterFacts
    }
    const busy = { nodes: [node('a', 'Activating')] }
    const done = saved(plan([cluster('a', 'proven'), cluster('b', 'proven')]))
    const passedBy = saved(plan([cluster('a', 'newer'), cluster('b', 'proven')]))
    const gone = 'succeeded; the rollout newer sent it another image since, and has it no more'

    test.each<[string, ClusterFacts, ClusterState, string, string[]]>([
      ['an order that no node confirmed is withdrawn', left({}), 'NotStarted', 'is sent the image now', ['a']],
      ['an activation that is under way is not cut off', left({}, busy), 'Succeeded', gone, []],
      ['who is out of reach may have activated it', left({}, { reachability: 'Offline' }), 'Succeeded', gone, []],
      ['what was confirmed stays', left({ confirmed: true, releaseCounter: 3 }), 'Succeeded', gone, []],
      ['also with an equal counter', left({ confirmed: true, releaseCounter: 2 }), 'Succeeded', gone, []],
    ])('one that succeeded there before: %s', (_, facts, state, message, advance) => {
      const outcome = plan([facts, cluster('b', 'proven')], {}, done)
      expect(row(outcome)).toMatchObject({ state, message })
      expect(outcome).toMatchObject({ phase: 'Completed', advance })
    })

    test.each<[string, ClusterFacts, ClusterState, string, string[]]>([
      ['an order that no node confirmed is withdrawn', left({}), 'NotStarted', 'Sending', ['a']],
      ['an activation that is under way is waited for', left({}, busy), 'Removed', 'AssignedElsewhere', []],
      ['who is out of reach is waited for', left({}, { reachability: 'Offline' }), 'Offline', 'Offline', []],
      [
        'a site is sent no step down',
        left({ confirmed: true, releaseCounter: 3 }),
        'Removed',
        'NewerImageConfirmed',
        [],
      ],
      ['nor what may be one', left({ confirmed: true }), 'Removed', 'NewerImageConfirmed', []],
      ['but an image that is not lower', left({ confirmed: true, releaseCounter: 2 }), 'NotStarted', 'Sending', ['a']],
    ])('one that never got that far, running or completed: %s', (_, facts, state, reason, advance) => {
      for (const before of [passedBy, undefined]) {
        const outcome = plan([facts, cluster('b', 'proven')], {}, before)
        expect(row(outcome)).toMatchObject({ state, reason })
        expect(outcome.advance).toEqual(advance)
      }
    })

    test('what failed here is not begun again, whoever has let go of it', () => {
      const failed = saved(plan([cluster('a', 'rolled-back')]))
      expect(plan([left({})], {}, failed).advance).toEqual([])
    })

    test('a step down says which counter stands against which', () => {
      expect(row(plan([left({ confirmed: true, releaseCounter: 3 })]))?.message).toBe(
        'runs what the rollout newer sent, which has this cluster no more; its release counter 3 is above 2, and a site takes no lower one',
      )
      expect(row(plan([left({ confirmed: true })]))?.message).toContain('counter is not known and may be above 2')
    })
  })

  test('what is under way after the completion is counted in the condition, and so is who waits', () => {
    const spec = { strategy: progressive({ maxConcurrency: 2 }) }
    const done = saved(plan([cluster('a', 'proven'), cluster('b', 'offline')], spec))
    const said = (...clusters: ClusterFacts[]) =>
      condition(plan([cluster('a', 'proven'), ...clusters], spec, done), 'Completed')
    expect(said(cluster('b', 'staging'))).toMatchObject({
      status: 'True',
      reason: 'CompletedCatchingUp',
      message: '1 cluster is under way since it completed',
    })
    expect(
      said(cluster('b', 'staging'), cluster('c', 'window'), cluster('d', 'nothing'), cluster('e', 'offline')),
    ).toMatchObject({
      status: 'True',
      message:
        '2 clusters are under way since it completed; 1 cluster is not sent the image yet; 1 cluster is out of reach, to catch up on return',
    })
    expect(said(cluster('b', 'proven'))).toMatchObject({ reason: 'Completed', message: 'every cluster is settled' })
  })

  test('a cluster that is late says since when, until it is out of reach; one that is finished says nothing of it', () => {
    const silent = { heardAtMs: NOW - 2 * MINUTE, changesAtMs: NOW + 3 * MINUTE, reachability: 'Late' as const }
    const late = plan([{ ...cluster('a', 'staging'), ...silent }])
    expect(row(late)).toMatchObject({
      state: 'Staging',
      message: 'node n1: is Staging; late, last heard 2026-06-01T11:58:00.000Z',
      recheckAt: iso(NOW + 3 * MINUTE),
    })
    expect(late.recheckAtMs).toBe(NOW + 3 * MINUTE)
    const online = plan([{ ...cluster('a', 'staging'), ...silent, reachability: 'Online' }])
    expect(row(online)?.message).toBe('node n1: is Staging')
    expect(row(online)).not.toHaveProperty('recheckAt')
    const dark = plan([{ ...cluster('a', 'staging'), ...silent, reachability: 'Offline' }])
    expect(row(dark)?.message).toBe('node n1: is Staging; not heard since 2026-06-01T11:58:00.000Z')
    const done = plan([{ ...cluster('a', 'proven'), ...silent }])
    expect(row(done)?.message).not.toContain('late')
    expect(done.recheckAtMs).toBeUndefined()
    // Its deadline comes first.
    const spec = { strategy: progressive({ progressDeadline: '2m' }) }
    expect(row(plan([{ ...cluster('a', 'staging'), ...silent }], spec))?.recheckAt).toBe(iso(NOW + MINUTE))
  })

  test.each<[string, 'Denied' | 'Deleted' | undefined, string]>([
    ['Deselected', undefined, 'the placement no longer selects it'],
    ['Denied', 'Denied', expect.stringMatching(/^the hub does not accept this cluster; .*skerry get registrations/)],
    ['Deleted', 'Deleted', 'the hub has no such cluster any more'],
  ])('a cluster that leaves is Removed from then on, because it is %s', (reason, why, message) => {
    const soaking = { strategy: progressive({ minSuccessTime: '5m' }) }
    const first = saved(plan([cluster('a', 'proven'), cluster('b', 'proven')], soaking))
    const without = (status: RolloutStatus, at: number) =>
      planRollout(
        {
          ...facts([cluster('b', 'proven')], soaking, status),
          ...(why && at < NOW + 2 * MINUTE ? { gone: new Map([['a', why]]) } : {}),
        },
        at,
      )
    const left = without(first, NOW + MINUTE)
    expect(row(left)).toMatchObject({ state: 'Removed', reason, message, since: iso(NOW + MINUTE) })
    expect(row(left)).not.toHaveProperty('recheckAt')
    // Why it left is told once, and stays.
    expect(row(without(saved(left), NOW + 2 * MINUTE))).toEqual(row(left))
  })

  test('a cluster that the hub denies is Removed and holds no slot, until it is accepted again; its success and its failure stay', () => {
    const spec = { strategy: progressive({ maxConcurrency: 1, maxFailures: 1 }) }
    const denied = (doing: Doing) => ({ ...cluster('a', doing), denied: true })
    const began = saved(plan([cluster('a', 'staging'), cluster('b', 'nothing')], spec))
    const outcome = plan([denied('staging'), cluster('b', 'nothing')], spec, began, NOW + MINUTE)
    expect(row(outcome)).toMatchObject({ state: 'Removed', reason: 'Denied', since: iso(NOW + MINUTE) })
    expect(outcome).toMatchObject({ advance: ['b'], underWay: [] })
    expect(row(plan([cluster('a', 'staging')], spec, saved(outcome)))?.state).toBe('Staging')
    expect(row(plan([denied('proven')], spec, saved(plan([cluster('a', 'proven')], spec))))?.state).toBe('Succeeded')
    const failed = saved(plan([cluster('a', 'rolled-back')], spec))
    expect(row(plan([denied('nothing')], spec, failed))?.state).toBe('RolledBack')
  })

  test('0 and none at all are no limit, and the rollout says so', () => {
    const ready = (strategy: RolloutSpec['strategy']) =>
      condition(plan([cluster('a', 'nothing')], strategy ? { strategy } : {}), 'Ready')?.message
    const unlimited =
      'image and placement are known; maxConcurrency is 0 or not given, which is no limit on how many clusters are under way at once'
    expect(ready(progressive({ maxConcurrency: 0 }))).toBe(unlimited)
    expect(ready(progressive({ maxConcurrency: '0%' }))).toBe(unlimited)
    expect(ready(progressive())).toBe(unlimited)
    expect(ready(progressive({ maxConcurrency: '1%' }))).toBe('image and placement are known')
    expect(ready(undefined)).toBe('image and placement are known')
  })

  test('a rollout that is edited to another image starts over', () => {
    const breached = plan([cluster('a', 'rolled-back'), cluster('b', 'nothing')], { strategy: progressive() })
    const status = { ...saved(breached), image: { ...image, manifestSha256: 'e'.repeat(64) } }
    expect(plan([cluster('a', 'nothing'), cluster('b', 'nothing')], { strategy: progressive() }, status)).toMatchObject(
      { phase: 'Running', advance: ['a', 'b'] },
    )
  })

  test('a breach stays a breach, and what failed stays failed, whatever is heard later', () => {
    const spec = { strategy: progressive({ progressDeadline: '1m' }) }
    const late = plan([cluster('a', 'staging'), cluster('b', 'nothing')], spec)
    const after = plan([cluster('a', 'proven'), cluster('b', 'nothing')], spec, saved(late))
    expect(row(after)?.state).toBe('TimeOut')
    expect(after).toMatchObject({ phase: 'Paused', advance: [] })
  })

  test.each<[string, Partial<RolloutFacts>, string, string]>([
    [
      'an image that is not there',
      { image: undefined },
      'ImageUnknown',
      'there is no OSImage os-2: publish it, or name another one in spec.image.name',
    ],
    [
      'an image and a placement, of which neither is there,',
      { image: undefined, decided: 'Missing' },
      'ImageUnknown',
      'there is no OSImage os-2: publish it, or name another one in spec.image.name; there is no Placement p in namespace fleet: apply it, or name another one in spec.placementRef.name',
    ],
    [
      'a placement that is not there',
      { decided: 'Missing' },
      'PlacementMissing',
      'there is no Placement p in namespace fleet: apply it, or name another one in spec.placementRef.name',
    ],
    [
      'a placement that is not decided',
      { decided: 'Undecided' },
      'PlacementUndecided',
      'Placement p is there and not decided yet, which the hub does by itself',
    ],
  ])('%s keeps a rollout Pending, and is named with what to do', (_, missing, reason, message) => {
    expect(planRollout({ ...facts([cluster('a', 'nothing')]), ...missing }, NOW)).toMatchObject({
      phase: 'Pending',
      advance: [],
      conditions: [
        { type: 'Completed', status: 'False', reason, message },
        { type: 'Ready', status: 'False', reason, message },
      ],
    })
  })

  test('a placement that is being decided anew, or is gone, changes nothing of what began', () => {
    const undecided = (status: RolloutStatus) => planRollout({ ...facts([], {}, status), decided: 'Undecided' }, NOW)
    const done = plan([cluster('a', 'proven'), cluster('b', 'offline')])
    expect(undecided(saved(done))).toMatchObject({
      phase: 'Completed',
      counts: done.counts,
      clusters: done.clusters,
      hold: [{ cluster: 'b', reason: 'PlacementUndecided' }],
    })
  })

  test('a rollout that is edited to an image that is not there still counts the clusters that it shows', () => {
    const done = plan([cluster('a', 'proven'), cluster('b', 'rolled-back')])
    const status = { ...saved(done), image: { ...image, manifestSha256: 'e'.repeat(64) } }
    expect(planRollout({ ...facts([], {}, status), image: undefined }, NOW)).toMatchObject({
      phase: 'Pending',
      clusters: done.clusters,
      counts: { total: 2, succeeded: 1, rolledBack: 1 },
    })
  })

  test('`since` moves with the state alone', () => {
    const first = plan([cluster('a', 'staging')])
    expect(row(plan([cluster('a', 'staging')], {}, saved(first), NOW + 5))?.since).toBe(iso(NOW))
    expect(row(plan([cluster('a', 'activating')], {}, saved(first), NOW + 5))?.since).toBe(iso(NOW + 5))
  })
})

describe('properties', () => {
  const doings: readonly Doing[] = [
    'nothing',
    'offline',
    'unheard',
    'late',
    'sent',
    'sent-dark',
    'delivered',
    'staging',
    'window',
    'activating',
    'confirmed',
    'proven',
    'rolled-back',
    'never-rebooted',
    'refused',
    'newer',
    'released',
    'outrun',
  ]
  const fleet = fc
    .uniqueArray(
      fc.tuple(fc.stringMatching(/^[a-z]{1,3}$/), fc.constantFrom(...doings), fc.integer({ min: 0, max: 10 * MINUTE })),
      { selector: ([name]) => name, maxLength: 25 },
    )
    .map((list) => list.map(([name, doing, ago]) => cluster(name, doing, NOW - ago)))
  const size = fc.oneof(
    fc.nat(10),
    fc.integer({ min: 0, max: 100 }).map((n) => `${n}%`),
  )
  const duration = fc.constantFrom('None', '0s', '90s', '5m', '1h')
  const spec = fc
    .record({ maxConcurrency: size, maxFailures: size, minSuccessTime: duration, progressDeadline: duration })
    .map(
      (given): Partial<RolloutSpec> => ({
        strategy: progressive(given),
        windows: { activation: [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3600 }] },
      }),
    )
  const SLOTS = new Set<ClusterState>(['Sent', 'Delivered', 'Staging', 'Activating', 'Soaking'])
  const FAILED = new Set<ClusterState>(['Failed', 'TimeOut', 'RolledBack'])

  test('never past maxConcurrency; nothing new after a breach; every cluster that waits says why and until when', () => {
    fc.assert(
      fc.property(fleet, spec, (clusters, given) => {
        const outcome = plan(clusters, given)
        const inUse = outcome.clusters.filter(({ state }) => SLOTS.has(state)).length
        const attempted = outcome.clusters.filter(({ state }) => state !== 'Offline' && state !== 'Removed').length
        const { maxConcurrency = 0 } = sizesOf({ ...rollout(given).spec }, attempted) ?? {}
        if (outcome.advance.length > 0) expect(inUse + outcome.advance.length).toBeLessThanOrEqual(maxConcurrency)
        if (condition(outcome, 'Breached')?.status === 'True') expect(outcome.advance).toEqual([])
        else if (outcome.phase === 'Paused') expect([...outcome.advance, ...outcome.hold]).toEqual([])
        else if (outcome.phase === 'Running' && outcome.clusters.some(({ state }) => FAILED.has(state)))
          expect([...outcome.advance, ...outcome.hold]).not.toEqual([])
        for (const { recheckAtMs, reason, message } of outcome.hold) {
          expect(recheckAtMs).toBeGreaterThan(NOW)
          expect(reason && message).toBeTruthy()
        }
        if (outcome.recheckAtMs !== undefined) expect(outcome.recheckAtMs).toBeGreaterThan(NOW)
        const open = outcome.clusters
          .filter(({ state }) => !['Succeeded', 'Removed', ...FAILED].includes(state))
          .map(({ name }) => name)
        expect([...outcome.advance, ...outcome.hold.map(({ cluster: name }) => name)].toSorted()).toEqual(
          open.toSorted(),
        )
      }),
    )
  })

  test('the same facts in any order give the same plan', () => {
    fc.assert(
      fc.property(fleet, spec, (clusters, given) => {
        expect(plan(clusters.toReversed(), given)).toEqual(plan(clusters, given))
      }),
    )
  })

  test('clusters that are out of reach change nothing for the others', () => {
    fc.assert(
      fc.property(fleet, spec, fc.nat(10), (clusters, given, dark) => {
        const online = clusters.filter(({ reachability }) => reachability === 'Online' || reachability === 'Late')
        const away = Array.from({ length: dark }, (_, i) => cluster(`zz-${i}`, 'offline'))
        expect(plan([...online, ...away], given).advance).toEqual(plan(online, given).advance)
      }),
    )
  })

  test('through any history failures never decrease, and after a breach nothing is sent', () => {
    const history = fc.array(fc.tuple(fleet, fc.integer({ min: 0, max: 20 * MINUTE })), { minLength: 2, maxLength: 6 })
    fc.assert(
      fc.property(history, spec, (steps, given) => {
        let status: RolloutStatus | undefined
        let [failures, breached, nowMs] = [0, false, NOW]
        for (const [clusters, later] of steps) {
          nowMs += later
          const outcome = plan(clusters, given, status, nowMs)
          const now = outcome.clusters.filter(({ state }) => FAILED.has(state)).length
          expect(now).toBeGreaterThanOrEqual(failures)
          if (breached) expect(outcome.advance).toEqual([])
          if (outcome.recheckAtMs !== undefined) expect(outcome.recheckAtMs).toBeGreaterThan(nowMs)
          failures = now
          breached ||= condition(outcome, 'Breached')?.status === 'True'
          status = saved(outcome)
        }
      }),
    )
  })

  test('planning again over the saved plan changes nothing: no write without news', () => {
    fc.assert(
      fc.property(fleet, spec, (clusters, given) => {
        const first = plan(clusters, given)
        const status = saved(first)
        expect(saved(plan(clusters, given, status))).toEqual(status)
        expect(saved(plan(clusters, given, saved(plan(clusters, given, status)))).clusters).toEqual(status.clusters)
      }),
    )
  })
})
