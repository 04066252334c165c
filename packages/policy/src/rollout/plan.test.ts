import type {
  ClusterState,
  NodePhase,
  ObjectOf,
  Reachability,
  RolloutSpec,
  RolloutStatus,
  StatementRef,
} from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ClusterFacts, NodeFacts, RolloutFacts } from './facts.ts'
import { planRollout, type RolloutPlan } from './plan.ts'
import { durationMs, sizesOf, termsOf } from './strategy.ts'

const NOW = Date.parse('2026-06-01T12:00:00Z')
const MINUTE = 60_000
const iso = (ms: number) => new Date(ms).toISOString()
const GOOD = 'a'.repeat(64)
const image = {
  target: 'images/os/2.json',
  manifestSha256: 'f'.repeat(64),
  imageSha256: GOOD,
  releaseCounter: 2,
  version: '2',
}
const said = (cluster: string, seq = 1): StatementRef => ({
  cluster,
  node: 'n1',
  incarnation: 1,
  seq,
  digest: 'd'.repeat(64),
})
const position = { timeline: 0, generation: 1 }

/** What a cluster may be doing, as facts. */
type Doing =
  | 'nothing'
  | 'offline'
  | 'unheard'
  | 'late'
  | 'sent'
  | 'sent-dark'
  | 'delivered'
  | 'staging'
  | 'window'
  | 'activating'
  | 'confirmed'
  | 'proven'
  | 'rolled-back'
  | 'never-rebooted'
  | 'refused'
  | 'newer'
const node = (name: string, phase: NodePhase, more: Partial<NodeFacts> = {}): NodeFacts => ({
  node: 'n1',
  phase,
  reason: phase,
  message: `is ${phase}`,
  statement: said(name),
  ...more,
})
function cluster(name: string, doing: Doing, atMs = NOW - MINUTE): ClusterFacts {
  const reachability: Reachability =
    ({ offline: 'Offline', 'sent-dark': 'Offline', unheard: 'NeverSeen', late: 'Late' } as const)[doing as string] ??
    'Online'
  const base: ClusterFacts = { name, reachability, nodes: [node(name, 'Idle')] }
  if (doing === 'nothing' || doing === 'offline' || doing === 'unheard' || doing === 'late') return base
  const assignment = {
    rolloutUid: 'r',
    rolloutName: 'r',
    manifestSha256: image.manifestSha256,
    atMs: NOW - 3 * MINUTE,
    newer: false,
  }
  if (doing === 'newer')
    return { ...base, assignment: { ...assignment, rolloutUid: 'other', rolloutName: 'newer', newer: true } }
  const sent = { ...base, assignment, position }
  if (doing === 'sent' || doing === 'sent-dark') return sent
  if (doing === 'refused')
    return { ...sent, refused: { code: 'ReleaseCounterTooLow', message: 'too low', atMs, statement: said(name) } }
  const accepted = { ...sent, accepted: { position, atMs, statement: said(name) } }
  const at = (given: NodeFacts): ClusterFacts => ({ ...accepted, nodes: [given] })
  const confirmed = { imageSha256: GOOD, bootId: 'b2', atMs, statement: said(name, 5) }
  const verdict = { bootId: 'b2', verdict: 'warning' as const, reason: 'SoftwareKey' }
  const failure = {
    outcome: 'RolledBack' as const,
    reason: 'FellBack',
    message: 'did not come up',
    atMs,
    statement: said(name, 4),
  }
  switch (doing) {
    case 'delivered':
      return accepted
    case 'staging':
      return at(node(name, 'Staging'))
    case 'window':
      return at(node(name, 'Staged', { reason: 'WindowClosed', message: 'later' }))
    case 'activating':
      return at(node(name, 'Verifying'))
    case 'confirmed':
      return at(node(name, 'Idle', { confirmed }))
    case 'proven':
      return at(node(name, 'Idle', { confirmed, verdict }))
    case 'rolled-back':
      return at(node(name, 'Failed', { failure }))
    case 'never-rebooted':
      return at(node(name, 'Failed', { failure: { ...failure, outcome: 'NeverRebooted', reason: 'NeverRebooted' } }))
    default: {
      const never: never = doing
      return never
    }
  }
}

const progressive = (
  p: NonNullable<NonNullable<RolloutSpec['strategy']>['progressive']> = {},
): RolloutSpec['strategy'] => ({ type: 'Progressive', progressive: p })
function rollout(spec: Partial<RolloutSpec> = {}, status?: RolloutStatus): ObjectOf<'Rollout'> {
  return {
    apiVersion: 'skerry.dev/v1alpha1',
    kind: 'Rollout',
    metadata: {
      name: 'r',
      namespace: 'fleet',
      uid: 'r',
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: iso(0),
    },
    spec: { placementRef: { name: 'p' }, image: { name: 'os-2' }, attestation: 'warning', ...spec },
    ...(status ? { status } : {}),
  }
}
const facts = (clusters: ClusterFacts[], spec: Partial<RolloutSpec> = {}, status?: RolloutStatus): RolloutFacts => ({
  rollout: rollout(spec, status),
  image,
  decided: clusters.map(({ name }) => name),
  clusters,
})
const saved = (plan: RolloutPlan): RolloutStatus => ({
  phase: plan.phase,
  image,
  clusters: [...plan.clusters],
  counts: plan.counts,
  conditions: plan.conditions.map((condition) => ({ ...condition, lastTransitionTime: iso(NOW) })),
})
const plan = (clusters: ClusterFacts[], spec: Partial<RolloutSpec> = {}, status?: RolloutStatus, nowMs = NOW) =>
  planRollout(facts(clusters, spec, status), nowMs)
const row = (outcome: RolloutPlan, name = 'a') => outcome.clusters.find((found) => found.name === name)
const held = (outcome: RolloutPlan, name = 'a') => outcome.hold.find((found) => found.cluster === name)
const condition = (outcome: RolloutPlan, type: string) => outcome.conditions.find((found) => found.type === type)

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
  ])('R-03 to R-05 %s of %i: %i at once, %i failures', (value, total, maxConcurrency, maxFailures) => {
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

  test('[deviation] X-04 a size beyond the fleet is the fleet', () => {
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
  ])('R-06 a duration of %j is %s ms', (text, ms) => {
    expect(durationMs(text)).toBe(ms)
  })

  test('R-02 and R-20 All starts everything, tolerates everything, knows no soak, and has its deadline', () => {
    const spec = {
      strategy: { type: 'All' as const, all: { progressDeadline: '5m' }, progressive: { minSuccessTime: '1h' } },
    }
    expect(termsOf({ ...rollout().spec, ...spec })).toEqual({ soakMs: 0, deadlineMs: 300_000 })
    const outcome = plan(
      [cluster('a', 'rolled-back'), cluster('b', 'rolled-back'), cluster('c', 'nothing'), cluster('d', 'nothing')],
      spec,
    )
    expect(outcome).toMatchObject({ advance: ['c', 'd'], phase: 'Running' })
    expect(termsOf(rollout().spec)).toEqual({ soakMs: 0, deadlineMs: undefined })
  })

  test('R-21 Progressive fills the window in name order', () => {
    const clusters = ['d', 'b', 'a', 'c'].map((name) => cluster(name, 'nothing'))
    expect(plan(clusters, { strategy: progressive({ maxConcurrency: 2 }) }).advance).toEqual(['a', 'b'])
    const first = cluster('a', 'staging')
    expect(
      plan([first, ...clusters.filter(({ name }) => name !== 'a')], { strategy: progressive({ maxConcurrency: 2 }) })
        .advance,
    ).toEqual(['b'])
  })

  test('R-10 a soaking success keeps its slot until its end, and says when that is', () => {
    const spec = { strategy: progressive({ maxConcurrency: 1, minSuccessTime: '5m' }) }
    const soaking = plan([cluster('a', 'proven'), cluster('b', 'nothing')], spec)
    expect(row(soaking)).toMatchObject({ state: 'Soaking', recheckAt: iso(NOW + 4 * MINUTE) })
    expect(soaking).toMatchObject({ advance: [], recheckAtMs: NOW + 4 * MINUTE })
    expect(plan([cluster('a', 'proven'), cluster('b', 'nothing')], spec, undefined, NOW + 4 * MINUTE).advance).toEqual([
      'b',
    ])
  })

  test.each<[string, Doing, string | undefined, ClusterState]>([
    ['before its deadline', 'staging', '2m', 'Staging'],
    ['at its deadline', 'staging', '1m', 'TimeOut'],
    ['with a deadline of nothing', 'activating', '0s', 'TimeOut'],
    ['without a deadline', 'staging', undefined, 'Staging'],
    ['Succeeded has none', 'proven', '1m', 'Succeeded'],
    ['what was not delivered has none (A-04)', 'sent', '0s', 'Sent'],
  ])('R-10 %s: %s with %s is %s', (_, doing, progressDeadline, state) => {
    const spec = { strategy: progressive(progressDeadline === undefined ? {} : { progressDeadline }) }
    expect(row(plan([cluster('a', doing)], spec))?.state).toBe(state)
  })
})

describe('[deviation] states of a cluster', () => {
  test.each<[Doing, ClusterState, string, boolean]>([
    ['nothing', 'NotStarted', 'NotStarted', false],
    ['late', 'NotStarted', 'NotStarted', false],
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
  ])('%s is %s (%s), holds a slot: %s', (doing, state, reason, slot) => {
    const spec = { strategy: progressive({ maxConcurrency: 1, maxFailures: 1 }) }
    const outcome = plan([cluster('b', doing), cluster('z', 'nothing')], spec)
    // NotStarted takes the only slot itself.
    expect(row(outcome, 'b')).toMatchObject({ state, reason })
    if (state !== 'NotStarted') expect(outcome.advance).toEqual(slot ? [] : ['z'])
  })

  test('A-06 waiting for a closed window holds no slot and names the opening', () => {
    const windows = { activation: [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3600 }] }
    const outcome = plan([cluster('a', 'window'), cluster('b', 'nothing')], {
      windows,
      strategy: progressive({ maxConcurrency: 1 }),
    })
    expect(row(outcome)).toMatchObject({ state: 'WaitingForWindow', recheckAt: '2026-06-02T02:00:00.000Z' })
    expect(outcome.advance).toEqual(['b'])
  })

  test('A-04 a closed window stops the clock; once it is open the clock runs again, heard or not', () => {
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

  test('A-01 delivered and then silent keeps its slot and times out', () => {
    const dark = { ...cluster('a', 'staging'), reachability: 'Stale' as const }
    const spec = { strategy: progressive({ maxConcurrency: 1, progressDeadline: '2m' }) }
    expect(plan([dark, cluster('b', 'nothing')], spec)).toMatchObject({ advance: [], recheckAtMs: NOW + MINUTE })
    const late = plan([dark, cluster('b', 'nothing')], spec, undefined, NOW + MINUTE)
    expect(row(late)?.state).toBe('TimeOut')
    expect(condition(late, 'Breached')?.status).toBe('True')
  })

  test.each<[string, Partial<NodeFacts>, ClusterState, string]>([
    [
      'affirming is good enough',
      { verdict: { bootId: 'b2', verdict: 'affirming', reason: 'x' } },
      'Succeeded',
      'Confirmed',
    ],
    [
      'warning where affirming is asked',
      { verdict: { bootId: 'b2', verdict: 'warning', reason: 'x' } },
      'Soaking',
      'AttestationInsufficient',
    ],
    [
      'none is never good enough',
      { verdict: { bootId: 'b2', verdict: 'none', reason: 'x' } },
      'Soaking',
      'AttestationInsufficient',
    ],
    [
      'contraindicated fails',
      { verdict: { bootId: 'b2', verdict: 'contraindicated', reason: 'x' } },
      'Failed',
      'AttestationContraindicated',
    ],
    [
      'a verdict on another boot is none',
      { verdict: { bootId: 'b1', verdict: 'affirming', reason: 'x' } },
      'Soaking',
      'AwaitingAttestation',
    ],
  ])('A-11 success is evidence: %s', (_, more, state, reason) => {
    const base = cluster('a', 'confirmed')
    const nodes = base.nodes.map((one) => ({ ...one, ...more }))
    expect(row(plan([{ ...base, nodes }], { attestation: 'affirming' }))).toMatchObject({ state, reason })
  })

  test('A-11 every node counts: one that is open keeps the cluster going, one that failed fails it', () => {
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
  test('A-12 and X-03 every failure is counted before the window is filled', () => {
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
    expect(condition(outcome, 'Breached')).toMatchObject({ status: 'True', message: '2 failed, 1 tolerated' })
    expect(held(outcome, 'b')).toMatchObject({ reason: 'Breached' })
  })

  test('A-01 who is out of reach is in no denominator', () => {
    const clusters = [...'abcdefgh']
      .map((name) => cluster(name, 'offline'))
      .concat([cluster('x', 'rolled-back'), cluster('y', 'nothing')])
    expect(plan(clusters, { strategy: progressive({ maxFailures: '10%' }) }).phase).toBe('Running')
    const two = plan([...clusters.slice(0, 9), cluster('y', 'rolled-back')], {
      strategy: progressive({ maxFailures: '10%' }),
    })
    expect(condition(two, 'Breached')).toMatchObject({ status: 'True', message: '2 failed, 1 tolerated' })
  })

  test('A-01 completion needs one success, and waits for nobody who is out of reach', () => {
    expect(plan([cluster('a', 'offline')]).phase).toBe('Running')
    const outcome = plan([cluster('a', 'proven'), cluster('b', 'offline'), cluster('c', 'rolled-back')])
    expect(outcome.phase).toBe('Completed')
    expect(condition(outcome, 'Completed')).toMatchObject({ status: 'True', reason: 'CompletedPendingCatchUp' })
    expect(condition(plan([cluster('a', 'proven')]), 'Completed')).toMatchObject({
      reason: 'Completed',
      message: 'every cluster is settled',
    })
  })

  test('A-03 who returns after completion is sent the image, and its failure counts', () => {
    const spec = { strategy: progressive({ maxConcurrency: 1 }) }
    const done = plan([cluster('a', 'proven'), cluster('b', 'offline'), cluster('c', 'offline')], spec)
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

  test('A-13 a cluster that the placement adds later is sent the image; one that it drops is Removed, its failure is not', () => {
    const done = plan([cluster('a', 'proven'), cluster('b', 'rolled-back')], {
      strategy: progressive({ maxFailures: 1 }),
    })
    const after = plan([cluster('c', 'nothing')], { strategy: progressive({ maxFailures: 1 }) }, saved(done))
    expect(after.advance).toEqual(['c'])
    expect(row(after, 'a')).toMatchObject({ state: 'Removed', reason: 'Deselected' })
    expect(row(after, 'b')?.state).toBe('RolledBack')
    expect(condition(after, 'Breached')?.message).toBe('1 failed, 1 tolerated')
  })

  test('a newer rollout takes clusters; the older completes with what is left, and one without any says so', () => {
    expect(plan([cluster('a', 'proven'), cluster('b', 'newer')]).phase).toBe('Completed')
    const nothing = plan([cluster('a', 'newer'), cluster('b', 'newer')])
    expect(nothing.phase).toBe('Running')
    expect(condition(nothing, 'Completed')).toMatchObject({ status: 'False', reason: 'Superseded' })
    const failed = plan([cluster('a', 'rolled-back')])
    expect(row(plan([cluster('a', 'newer')], {}, saved(failed)))?.state).toBe('RolledBack')
  })

  test('A-07 after a breach who was sent the image and has not activated holds, until an edit ends the breach', () => {
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

  test('A-04 a pause stops the clock as a closed window does', () => {
    const spec = { strategy: progressive({ progressDeadline: '10m', maxFailures: 5 }) }
    const base = cluster('a', 'staging')
    const hold = { ...base, nodes: [node('a', 'Staged', { reason: 'Paused', message: 'paused' })] }
    const before = plan([base], spec)
    const paused = plan([hold], spec, saved(before))
    const later = plan([hold], spec, saved(paused), NOW + 60 * MINUTE)
    expect(row(later)).toMatchObject({ state: 'Staging', reason: 'Paused' })
    const released = plan([base], spec, saved(later), NOW + 61 * MINUTE)
    expect(row(released)).toMatchObject({ state: 'Staging', waitedSeconds: 61 * 60 })
    expect(row(plan([base], spec, saved(released), NOW + 70 * MINUTE))?.state).toBe('TimeOut')
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
    const older = { ...base, assignment: { ...assignment, rolloutUid: 'old', rolloutName: 'old', newer: false } }
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
    // The newer one is deleted: what ended is not begun again.
    const { assignment, ...orphan } = cluster('a', 'newer')
    const left = { ...orphan, assignment: { ...assignment, newer: false } } as ClusterFacts
    expect(plan([left, cluster('b', 'proven')], {}, saved(taken))).toMatchObject({ phase: 'Completed', advance: [] })
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

  test('an unknown image is Pending; a placement that is being decided anew changes nothing', () => {
    const without = planRollout({ ...facts([cluster('a', 'nothing')]), image: undefined }, NOW)
    expect(without).toMatchObject({
      phase: 'Pending',
      advance: [],
      conditions: [
        { type: 'Completed', reason: 'ImageUnknown' },
        { type: 'Ready', status: 'False' },
      ],
    })
    const undecided = (status?: RolloutStatus) => planRollout({ ...facts([], {}, status), decided: undefined }, NOW)
    expect(undecided()).toMatchObject({ phase: 'Pending' })
    const done = plan([cluster('a', 'proven'), cluster('b', 'offline')])
    expect(undecided(saved(done))).toMatchObject({
      phase: 'Completed',
      counts: done.counts,
      clusters: done.clusters,
      hold: [{ cluster: 'b', reason: 'PlacementUndecided' }],
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
        const { maxConcurrency } = sizesOf({ ...rollout(given).spec }, attempted)
        if (outcome.advance.length > 0) expect(inUse + outcome.advance.length).toBeLessThanOrEqual(maxConcurrency)
        if (condition(outcome, 'Breached')?.status === 'True') expect(outcome.advance).toEqual([])
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
