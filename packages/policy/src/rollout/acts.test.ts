import type { ActVerb, ClusterState, NodePhase, ObjectOf, RolloutAct, RolloutSpec, RolloutStatus } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type ActFacts,
  type AskedAct,
  approvalsAt,
  heldInTheDark,
  judgeAct,
  type Reached,
  retriesOf,
  steeredBy,
} from './acts.ts'
import { NOTHING_LEFT } from './states.ts'

const NOW = Date.parse('2026-06-01T12:00:00Z')
const MINUTE = 60_000
const iso = (ms: number) => new Date(ms).toISOString()
const [BYTES, OTHER] = ['a'.repeat(64), 'b'.repeat(64)]
const image = { target: 't', manifestSha256: BYTES, imageSha256: 'c'.repeat(64), releaseCounter: 1, version: '1' }

const act = (verb: ActVerb, more: Partial<RolloutAct> = {}): RolloutAct => ({
  id: `${verb}-${JSON.stringify(more)}`,
  verb,
  by: 'anna',
  at: iso(NOW - MINUTE),
  reason: 'because',
  rolloutUid: 'r',
  manifestSha256: BYTES,
  ...more,
})
const row = (name: string, state: ClusterState, sinceMs = NOW - 10 * MINUTE) => ({
  name,
  state,
  reason: state,
  message: 'm',
  since: iso(sinceMs),
})

function facts(
  more: Partial<ActFacts> & { spec?: Partial<RolloutSpec>; status?: RolloutStatus } = {},
): ActFacts & { rollout: ObjectOf<'Rollout'> } {
  const { spec, status, ...rest } = more
  return {
    rollout: {
      apiVersion: 'skerry.dev/v1alpha1',
      kind: 'Rollout',
      metadata: {
        name: 'edge-os',
        namespace: 'fleet',
        uid: 'r',
        resourceVersion: '1',
        generation: 1,
        creationTimestamp: iso(NOW),
      },
      spec: { placementRef: { name: 'p' }, image: { name: 'os-1' }, ...spec },
      ...(status ? { status } : {}),
    },
    manifestSha256: BYTES,
    acts: [],
    changedBy: 'otto',
    ...rest,
  }
}
const ask = (verb: ActVerb, more: object = {}): AskedAct =>
  ({ verb, by: 'anna', reason: 'because', ...(verb === 'approve' ? { gate: 'Start' } : {}), ...more }) as AskedAct

/** What came of it in a word: New, the id of the act that stands, or the code of the refusal. */
function told(asked: AskedAct, given: ActFacts): string {
  const judged = judgeAct(asked, given, NOW)
  if (judged.kind === 'Refused') return judged.refusal.code
  return judged.kind === 'Stands' ? judged.act.id : 'New'
}

const breached = (sinceMs: number): RolloutStatus => ({
  phase: 'Paused',
  conditions: [
    { type: 'Breached', status: 'True', reason: 'MaxFailuresExceeded', message: 'm', lastTransitionTime: iso(sinceMs) },
  ],
})
const nothingLeft: RolloutStatus = {
  phase: 'Paused',
  conditions: [
    { type: 'Completed', status: 'False', reason: NOTHING_LEFT, message: 'm', lastTransitionTime: iso(NOW) },
  ],
}
const gates: Partial<RolloutSpec> = { approvals: { start: 1, betweenGroups: 2, completion: 1 } }
const [paused, resumed, aborted] = [act('pause'), act('resume'), act('abort')]
const retried = act('retry', { clusters: ['shop-1'] })
const failedRows = (...rows: ReturnType<typeof row>[]): RolloutStatus => ({ phase: 'Running', image, clusters: rows })

describe('an act is new, stands, or is refused', () => {
  test.each([
    ['pause', {}, {}, 'New'],
    ['pause', {}, { acts: [paused] }, paused.id],
    ['pause', { reason: 'the tills are open' }, { acts: [paused] }, 'New'],
    ['pause', { by: 'bert' }, { acts: [paused] }, 'New'],
    ['pause', {}, { acts: [paused, resumed] }, 'New'],
    ['pause', {}, { acts: [paused, aborted] }, 'RolloutAborted'],
    // What is not there to be sent can be paused all the same.
    ['pause', {}, { manifestSha256: undefined }, 'New'],
    ['resume', {}, {}, 'NotPaused'],
    ['resume', {}, { acts: [paused] }, 'New'],
    ['resume', {}, { acts: [paused, resumed] }, 'NotPaused'],
    ['resume', {}, { status: breached(NOW - 5 * MINUTE) }, 'New'],
    ['resume', {}, { status: breached(NOW - 5 * MINUTE), acts: [resumed] }, resumed.id],
    ['resume', {}, { status: breached(NOW), acts: [resumed] }, 'New'],
    ['resume', {}, { status: { phase: 'Paused' } }, 'NotPaused'],
    ['abort', {}, { acts: [paused] }, 'New'],
    ['abort', {}, { acts: [paused, aborted] }, aborted.id],
    ['resume', {}, { acts: [paused, aborted] }, 'RolloutAborted'],
    ['retry', {}, { acts: [aborted], status: failedRows(row('shop-1', 'Failed')) }, 'RolloutAborted'],
    ['approve', {}, { acts: [aborted], spec: gates }, 'RolloutAborted'],
    ['retry', {}, {}, 'NothingFailed'],
    ['retry', {}, { status: failedRows(row('shop-1', 'Succeeded')) }, 'NothingFailed'],
    ['retry', {}, { status: failedRows(row('shop-1', 'Failed'), row('shop-2', 'TimeOut')) }, 'New'],
    ['retry', { clusters: ['shop-2'] }, { status: failedRows(row('shop-1', 'Failed')) }, 'NothingFailed'],
    ['retry', {}, { status: failedRows(row('shop-1', 'Failed')), manifestSha256: undefined }, 'TargetUnknown'],
    // Rows are of bytes.
    ['retry', {}, { status: failedRows(row('shop-1', 'Failed')), manifestSha256: OTHER }, 'NothingFailed'],
    ['retry', {}, { status: failedRows(row('shop-1', 'Failed')), acts: [retried] }, retried.id],
    ['retry', {}, { status: failedRows(row('shop-1', 'Sent')), acts: [retried] }, retried.id],
    [
      'retry',
      { clusters: ['shop-1'] },
      { status: failedRows(row('shop-1', 'Succeeded')), acts: [retried] },
      retried.id,
    ],
    ['retry', {}, { status: failedRows(row('shop-1', 'Failed', NOW)), acts: [retried] }, 'New'],
    ['retry', {}, { status: failedRows(row('shop-1', 'Failed', NOW - MINUTE)), acts: [retried] }, retried.id],
    ['approve', {}, {}, 'GateNotAsked'],
    ['approve', {}, { spec: gates }, 'New'],
    ['approve', { gate: 'Group/1' }, { spec: gates }, 'New'],
    ['approve', { gate: 'Group/0' }, { spec: gates }, 'GateNotAsked'],
    ['approve', { gate: 'Completion' }, { spec: { approvals: { start: 1 } } }, 'GateNotAsked'],
    ['approve', {}, { spec: gates, manifestSha256: undefined }, 'TargetUnknown'],
    ['approve', {}, { spec: gates, changedBy: 'anna' }, 'SecondPersonNeeded'],
    ['approve', {}, { spec: gates, changedBy: undefined }, 'SecondPersonNeeded'],
    ['approve', {}, { spec: { approvals: { start: 1, fourEyes: false } }, changedBy: 'anna' }, 'New'],
  ] as const)('%s %j with %j: %s', (verb, more, given, expected) => {
    expect(told(ask(verb, more), facts(given as Parameters<typeof facts>[0]))).toBe(expected)
  })

  test('a refusal names the rollout, why, and what to do next', () => {
    const said = (asked: AskedAct, given: ActFacts) => {
      const judged = judgeAct(asked, given, NOW)
      return judged.kind === 'Refused' ? judged.refusal.message : judged.kind
    }
    expect(said(ask('pause'), facts({ acts: [aborted] }))).toBe(
      `rollout fleet/edge-os was aborted by anna at ${aborted.at} (because), which is final: make another rollout`,
    )
    expect(said(ask('approve'), facts({ spec: gates, changedBy: 'anna' }))).toMatch(
      /^anna made the last change of rollout fleet\/edge-os, .* have somebody else approve Start/,
    )
    expect(said(ask('retry', { clusters: ['x', 'y'] }), facts({ status: failedRows(row('x', 'Soaking')) }))).toBe(
      'cluster x is Soaking (Soaking) in rollout fleet/edge-os, and 1 more did not fail: name clusters that failed there, or none for all of them',
    )
    const notResumed = (why: string) => `rollout fleet/edge-os is not to be resumed: ${why}`
    expect(said(ask('resume'), facts({ status: { phase: 'Running' } }))).toBe(
      notResumed('it is Running, and nobody has paused it'),
    )
    expect(said(ask('resume'), facts({ status: nothingLeft }))).toMatch(
      /: it is Paused because all that was left has failed: /,
    )
  })

  test('a rollout that was resumed and not looked at since is not told to be stuck', () => {
    const judged = judgeAct(ask('resume'), facts({ status: { phase: 'Paused' }, acts: [paused, resumed] }), NOW)
    expect(judged).toMatchObject({
      refusal: {
        message: expect.stringContaining(`: it was resumed by anna at ${resumed.at}, and nobody has paused it`),
      },
    })
  })

  test('a retry names those that failed and were not retried since, whoever was asked for', () => {
    const status = failedRows(row('shop-1', 'Failed'), row('shop-3', 'RolledBack'), row('shop-2', 'TimeOut'))
    const judged = judgeAct(ask('retry'), facts({ status, acts: [retried] }), NOW)
    expect(judged).toMatchObject({ kind: 'New', act: { clusters: ['shop-2', 'shop-3'], manifestSha256: BYTES } })
  })

  test('an approval is of a rollout, a manifest and a gate, and ends when the rollout says', () => {
    const spec: Partial<RolloutSpec> = { approvals: { betweenGroups: 1, expireAfter: '1h30m' } }
    expect(judgeAct(ask('approve', { gate: 'Group/2' }), facts({ spec }), NOW)).toEqual({
      kind: 'New',
      act: {
        verb: 'approve',
        by: 'anna',
        at: iso(NOW),
        reason: 'because',
        rolloutUid: 'r',
        manifestSha256: BYTES,
        gate: 'Group/2',
        expiresAt: iso(NOW + 90 * MINUTE),
      },
    })
  })
})

describe('what acts come to', () => {
  const approval = (by: string, more: Partial<RolloutAct> = {}) => act('approve', { by, gate: 'Group/1', ...more })
  const given = (acts: RolloutAct[], more: Parameters<typeof facts>[0] = {}) =>
    approvalsAt('Group/1', facts({ spec: gates, ...more, acts }), NOW).given.map(({ by }) => by)

  test('who approved twice counts once, and needs are counted by gate', () => {
    expect(given([approval('anna'), approval('bert'), approval('anna', { id: 'again' })])).toEqual(['anna', 'bert'])
    expect(approvalsAt('Group/1', facts({ spec: gates }), NOW)).toEqual({ needed: 2, given: [] })
    expect(approvalsAt('Group/0', facts({ spec: gates }), NOW).needed).toBe(0)
  })

  test.each([
    ['for other bytes', { manifestSha256: OTHER }, {}],
    ['where there is no image any more', {}, { manifestSha256: undefined }],
    ['at another gate', { gate: 'Group/2' }, {}],
    ['that has ended', { expiresAt: iso(NOW) }, {}],
    ['by whoever changed the spec since', {}, { changedBy: 'anna' }],
  ] as const)('an approval %s counts for nothing', (_, more, also) => {
    expect(given([approval('anna', more)], also as Parameters<typeof facts>[0])).toEqual([])
  })

  test('an approval that ends says when to look again', () => {
    const acts = [
      approval('anna', { expiresAt: iso(NOW + MINUTE) }),
      approval('bert', { expiresAt: iso(NOW + 2 * MINUTE) }),
    ]
    expect(approvalsAt('Group/1', facts({ spec: gates, acts }), NOW).recheckAtMs).toBe(NOW + MINUTE)
  })

  test('the newest retry of these bytes that names a cluster is its retry', () => {
    const acts = [retried, act('retry', { clusters: ['shop-2'] }), act('retry', { id: 'new', clusters: ['shop-1'] })]
    const ids = [...retriesOf(BYTES, acts)].map(([cluster, { id }]) => [cluster, id])
    expect(ids).toEqual([
      ['shop-1', 'new'],
      ['shop-2', acts[1]?.id],
    ])
    expect(retriesOf(OTHER, acts)).toEqual(new Map())
  })

  test('through any history: what stands is never written again, and after an abort nothing is new', () => {
    const step = fc.record({
      verb: fc.constantFrom('pause', 'resume', 'abort', 'retry', 'approve') as fc.Arbitrary<ActVerb>,
      by: fc.constantFrom('anna', 'bert', 'otto'),
      gate: fc.constantFrom('Start', 'Group/1'),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const acts: RolloutAct[] = []
        const status = failedRows(row('shop-1', 'Failed'))
        for (const [index, { verb, by, gate }] of steps.entries()) {
          const asked = ask(verb, { by, ...(verb === 'approve' ? { gate } : {}) })
          const before = steeredBy(acts).state
          const judged = judgeAct(asked, facts({ spec: gates, status, acts }), NOW)
          if (judged.kind !== 'New') continue
          expect(before).not.toBe('Aborted')
          const made = { ...judged.act, id: `${index}` }
          acts.push(made)
          const again = judgeAct(asked, facts({ spec: gates, status, acts }), NOW)
          if (verb === 'resume') expect(again).toMatchObject({ kind: 'Refused', refusal: { code: 'NotPaused' } })
          else expect(again).toEqual({ kind: 'Stands', act: made })
        }
        expect(acts.filter(({ verb }) => verb === 'abort').length).toBeLessThanOrEqual(1)
      }),
    )
  })
})

describe('a pause and an abort do not reach who holds the order in the dark', () => {
  const position = { timeline: 0, generation: 2 }
  const said = { cluster: 'shop', node: 'n', incarnation: 1, seq: 1, digest: BYTES }
  const site = (name: string, more: Partial<Reached> = {}): Reached => ({
    name,
    reachability: 'Offline',
    assignment: {
      rolloutUid: 'r',
      rolloutName: 'edge-os',
      manifestSha256: BYTES,
      atMs: NOW - 5 * MINUTE,
      holder: 'This',
      attestation: 'affirming',
      paused: false,
      confirmed: false,
    },
    position,
    accepted: { position, atMs: NOW - 4 * MINUTE, statement: said },
    isSettled: false,
    nodes: [{ phase: 'Staged' }],
    ...more,
  })
  const earlier = '9'.repeat(64)
  // Its nodes confirmed that image once: nothing of the order is left to activate, taken or not.
  const orderedBack = (phase: NodePhase, about?: string): Reached => {
    const nodes = [{ phase, ...(about === undefined ? {} : { about }) }]
    const { assignment, accepted: _, ...told } = site('a', { isSettled: true, nodes })
    return { ...told, ...(assignment ? { assignment: { ...assignment, manifestSha256: earlier } } : {}) }
  }
  const goesBack = (state: 'Ordered' | 'Accepted' | 'Impossible') => ({
    ...row('a', 'NotStarted'),
    backTo: { target: 'images/os/1.json', manifestSha256: earlier, version: '1', state, message: 'm' },
  })

  test.each([
    ['dark, and accepted it', site('a'), undefined, true],
    ['dark for long', site('a', { reachability: 'Stale' }), undefined, true],
    ['late, and not out of reach yet', site('a', { reachability: 'Late' }), undefined, false],
    ['in reach', site('a', { reachability: 'Online' }), undefined, false],
    [
      'dark, and holds an older one',
      site('a', { accepted: { position: { ...position, generation: 1 }, atMs: 0, statement: said } }),
      undefined,
      false,
    ],
    [
      'dark, and holds these bytes on older terms',
      site('a', { accepted: { position: { ...position, generation: 1 }, atMs: 0, statement: said } }),
      {
        ...row('a', 'WaitingForWindow'),
        assignedAt: iso(NOW - 5 * MINUTE),
        deliveredAt: iso(NOW - 4 * MINUTE),
      },
      true,
    ],
    ['dark, and timed out', site('a'), row('a', 'TimeOut'), true],
    ['dark, and dropped by the placement', site('a'), row('a', 'Removed'), true],
    ['dark, and of an image before', site('a'), row('a', 'NotStarted'), true],
    ['dark, and runs it, or gave it up', site('a', { isSettled: true }), row('a', 'WaitingForWindow'), false],
    ['dark, ordered back, and holds the image', orderedBack('Staged'), goesBack('Ordered'), true],
    ['dark, refused the order back, and holds the image', orderedBack('Staged'), goesBack('Impossible'), true],
    ['dark, ordered back, and holds it by name', orderedBack('Staged', image.imageSha256), goesBack('Ordered'), true],
    ['dark, ordered back, and holds another', orderedBack('Staged', earlier), goesBack('Ordered'), false],
    [
      'dark, ordered back, of which a node confirmed the image and another holds it',
      orderedBack('Staged'),
      { ...row('a', 'NotStarted'), backTo: { ...goesBack('Impossible').backTo, manifestSha256: BYTES } },
      true,
    ],
    [
      'dark, took the order back, and what it was ordered back to is known no more',
      { ...orderedBack('Staged'), accepted: { position, atMs: 0, statement: said } },
      { ...row('a', 'NotStarted'), backTo: { ...goesBack('Impossible').backTo, manifestSha256: BYTES } },
      false,
    ],
    [
      'dark, and holds an image before of this rollout, from which there is no way back',
      { ...site('a', { nodes: [{ phase: 'Staged', about: earlier }] }), assignment: orderedBack('Staged').assignment },
      { ...row('a', 'NotStarted'), backTo: { ...goesBack('Impossible').backTo, manifestSha256: BYTES } },
      true,
    ],
    [
      'dark, holds the image, and may go back to another than it was ordered',
      orderedBack('Staged'),
      { ...row('a', 'NotStarted'), backTo: { ...goesBack('Ordered').backTo, manifestSha256: '8'.repeat(64) } },
      true,
    ],
    ['dark, refused the order back, and had ended before', orderedBack('Failed'), goesBack('Impossible'), false],
    ['dark, and took the order back', orderedBack('Staged'), goesBack('Accepted'), false],
  ] as const)('%s', (_, cluster, was, held) => {
    const { rollout } = facts({ status: { phase: 'Running', image, clusters: was ? [was] : [] } })
    expect(heldInTheDark([cluster], rollout)).toEqual(held ? ['a'] : [])
  })

  test("another rollout's order is not this one's", () => {
    const { assignment } = site('a')
    const other = site('a', { ...(assignment ? { assignment: { ...assignment, rolloutUid: 'x' } } : {}) })
    expect(heldInTheDark([other], facts().rollout)).toEqual([])
  })
})
