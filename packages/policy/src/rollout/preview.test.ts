import type { RolloutSpec, RolloutStatus } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import type { ClusterFacts } from './facts.ts'
import { cluster, type Doing, facts, image, MINUTE, NOW, progressive, rollout } from './fixture.ts'
import { foreseenStatus } from './foresee.ts'
import { type PreviewStage, previewChanges, previewOf } from './preview.ts'

type Groups = readonly (readonly [name: string, clusters: Readonly<Record<string, Doing>>])[]

/** The status of a rollout over these groups after a look. */
function looked(groups: Groups, spec: Partial<RolloutSpec>, status?: RolloutStatus, nowMs = NOW): RolloutStatus {
  const clusters = groups.flatMap(([, of]) =>
    Object.entries(of).map(([name, doing]): ClusterFacts => cluster(name, doing)),
  )
  const decided = groups.map(([name, of], index) => ({ index, name, clusters: Object.keys(of) }))
  return foreseenStatus({ ...facts(clusters, spec, status), decided }, nowMs)
}
const preview = (groups: Groups, spec: Partial<RolloutSpec>, status?: RolloutStatus) =>
  previewOf(rollout(spec, looked(groups, spec, status)))
const sent = ({ sentNow }: PreviewStage) => sentNow

const FLEET: Groups = [
  ['canary', { a: 'nothing', b: 'offline' }],
  ['shops', { c: 'nothing', d: 'nothing', e: 'unheard' }],
]
const byGroup: Partial<RolloutSpec> = {
  strategy: { type: 'ProgressivePerGroup', progressivePerGroup: { maxFailures: 1 } },
}

describe('the stages', () => {
  test('are the stages in their order, each cluster once, with who is sent the image now and who comes later', () => {
    expect(preview(FLEET, byGroup).stages).toEqual([
      {
        ...{ groups: [{ index: 0, name: 'canary' }], isMandatory: false, turn: 'Open' },
        ...{ maxConcurrency: 1, maxFailures: 1, sentNow: ['a'], underWay: [], later: ['b'], finished: [] },
      },
      {
        ...{ groups: [{ index: 1, name: 'shops' }], isMandatory: false, turn: 'Waits' },
        ...{ maxConcurrency: 2, maxFailures: 1, sentNow: [], underWay: [], later: ['c', 'd', 'e'], finished: [] },
      },
    ])
  })

  test('of one strategy are one stage, whose limits are worked out; a mandatory group comes before it', () => {
    const limits = { maxConcurrency: '50%', maxFailures: '50%' }
    const [only, ...none] = preview(FLEET, { strategy: progressive(limits) }).stages
    expect(none).toEqual([])
    expect(only).toMatchObject({ maxConcurrency: 2, maxFailures: 2, sentNow: ['a', 'c'], later: ['b', 'd', 'e'] })
    const first = preview(FLEET, {
      strategy: progressive({ ...limits, mandatoryDecisionGroups: [{ groupName: 'shops' }] }),
    })
    expect(first.stages.map(({ groups, isMandatory }) => [groups[0]?.name, isMandatory])).toEqual([
      ['shops', true],
      ['canary', false],
    ])
    expect(first.stages.map(sent)).toEqual([['c', 'd'], []])
    expect(preview(FLEET, {}).stages[0]).not.toHaveProperty('maxFailures')
  })

  test("by OCM's rules are the stages as well, and who is out of its window comes later, in reach or not", () => {
    const spec: Partial<RolloutSpec> = { semantics: 'OCM', strategy: progressive({ maxConcurrency: 2 }) }
    const { stages, held } = preview(FLEET, spec)
    expect(stages).toMatchObject([{ maxConcurrency: 2, sentNow: ['a', 'b'], later: ['c', 'd', 'e'] }])
    expect(held.map(({ reason }) => reason)).toEqual(['OutOfWindow', 'OutOfWindow', 'OutOfWindow'])
  })

  test('tell who is under way and who is through', () => {
    const going: Groups = [['', { a: 'staging', b: 'proven', c: 'window', d: 'rolled-back', e: 'newer', f: 'nothing' }]]
    const { stages, held } = preview(going, { strategy: progressive({ maxConcurrency: 1, maxFailures: 3 }) })
    expect(stages).toMatchObject([{ underWay: ['a', 'c'], finished: ['b', 'd', 'e'], later: ['f'], sentNow: [] }])
    expect(held.map(({ cluster: name }) => name)).toEqual(['a', 'c', 'f'])
  })
})

test('a site whose own reason is the word for being sent is under way, once', () => {
  const status = looked([['', { a: 'staging', b: 'nothing' }]], { strategy: progressive({ maxConcurrency: 2 }) })
  const clusters = status.clusters?.map((row) => (row.name === 'a' ? { ...row, reason: 'Sending' } : row))
  const { stages, held } = previewOf(rollout({}, { ...status, ...(clusters ? { clusters } : {}) }))
  expect(stages).toMatchObject([{ sentNow: ['b'], underWay: ['a'] }])
  expect(held.map(({ cluster: name }) => name)).toEqual(['a'])
})

describe('gates', () => {
  const gated: Partial<RolloutSpec> = {
    ...byGroup,
    approvals: { start: 2, betweenGroups: 1, completion: 1, fourEyes: false },
  }

  test('stand before each stage and the end, with how many must approve', () => {
    const { stages, completion, held } = preview(FLEET, gated)
    expect(stages.map(({ gate }) => gate)).toEqual([
      { name: 'Start', approvals: 2, isPassed: false },
      { name: 'Group/1', approvals: 1, isPassed: false },
    ])
    expect(completion).toEqual({ name: 'Completion', approvals: 1, isPassed: false })
    expect(held.find(({ cluster: name }) => name === 'a')?.message).toMatch(/--gate Start"$/)
  })

  test('the first stage is the first that somebody is in; where nobody is asked there is none', () => {
    const nobodyFirst: Groups = [
      ['canary', { a: 'newer' }],
      ['shops', { c: 'nothing' }],
    ]
    expect(preview(nobodyFirst, gated).stages.map(({ gate }) => gate?.name)).toEqual([undefined, 'Start'])
    const someFirst: Groups = [
      ['canary', { a: 'newer', b: 'nothing' }],
      ['shops', { c: 'nothing' }],
    ]
    expect(preview(someFirst, gated).stages.map(({ gate }) => gate?.name)).toEqual(['Start', 'Group/1'])
    expect(preview(FLEET, byGroup).stages.every(({ gate }) => gate === undefined)).toBe(true)
  })

  test('of a stage that has its turn is passed', () => {
    const open = looked(FLEET, byGroup)
    expect(previewOf(rollout(gated, open)).stages.map(({ gate }) => gate?.isPassed)).toEqual([true, false])
  })
})

test('everybody who is held has a reason, a sentence and a time', () => {
  const { held } = preview(FLEET, byGroup)
  expect(held.map(({ cluster: name, state, reason }) => [name, state, reason])).toEqual([
    ['b', 'Offline', 'Offline'],
    ['c', 'NotStarted', 'GroupWaits'],
    ['d', 'NotStarted', 'GroupWaits'],
    ['e', 'Offline', 'NeverSeen'],
  ])
  for (const { message, recheckAt } of held) {
    expect(message).not.toBe('')
    expect(Date.parse(recheckAt ?? '')).toBeGreaterThan(NOW)
  }
})

test('while nothing can be planned nobody is sent anything, whatever was told before', () => {
  const before = looked(FLEET, byGroup)
  const clusters = [cluster('a', 'nothing')]
  const status = foreseenStatus({ ...facts(clusters, byGroup, before), decided: 'Missing' }, NOW)
  expect(status.clusters?.find(({ name }) => name === 'a')?.reason).toBe('Sending')
  expect(previewOf(rollout(byGroup, status)).stages.flatMap(sent)).toEqual([])
  expect(previewOf(rollout(byGroup))).toEqual({ stages: [], held: [], orderedBack: [] })
})

test('of a rollout in waves each cluster that something is to come of has its minute, the soonest first', () => {
  const spec: Partial<RolloutSpec> = { waves: [{ startAfter: '1h', percent: 100, spread: '24h' }] }
  const status = looked(FLEET, spec)
  const { minutes = [] } = previewOf(rollout(spec, status))
  expect(minutes.map(({ cluster: name }) => name).toSorted()).toEqual(['a', 'b', 'c', 'd', 'e'])
  expect(minutes.map(({ waveAt }) => waveAt)).toEqual(minutes.map(({ waveAt }) => waveAt).toSorted())
  for (const { cluster: name, waveAt } of minutes)
    expect(status.clusters?.find((row) => row.name === name)?.waveAt).toBe(waveAt)
  expect(preview(FLEET, {})).not.toHaveProperty('minutes')
})

test('who is ordered back after a breach is told, with what to', () => {
  const lastGood = {
    ...image,
    target: 'images/os/1.json',
    version: '1',
    releaseCounter: 1,
    manifestSha256: 'e'.repeat(64),
  }
  const failed = { ...cluster('a', 'rolled-back'), lastGood }
  const spec: Partial<RolloutSpec> = { strategy: progressive({ maxFailures: 0 }), onBreach: 'RollbackFailed' }
  const status = foreseenStatus(facts([failed, cluster('b', 'nothing')], spec), NOW)
  expect(previewOf(rollout(spec, status)).orderedBack).toMatchObject([
    { cluster: 'a', target: 'images/os/1.json', version: '1', state: 'Ordered' },
  ])
})

test('an edit changes those of whom another state or reason is told, and no other', () => {
  const one: Partial<RolloutSpec> = { strategy: progressive({ maxConcurrency: 1 }) }
  const all: Groups = [['', { a: 'nothing', b: 'nothing', c: 'offline' }]]
  const stored = looked(all, one)
  const [without, edited] = [one, { strategy: progressive({ maxConcurrency: 2 }) }].map((spec) =>
    looked(all, spec, stored, NOW + MINUTE),
  )
  expect(previewChanges(without, edited)).toEqual([
    {
      cluster: 'b',
      was: { state: 'NotStarted', reason: 'ConcurrencyLimit' },
      is: { state: 'NotStarted', reason: 'Sending' },
    },
  ])
  expect(previewChanges(without, without)).toEqual([])
  const fewer = looked([['', { a: 'nothing' }]], one)
  expect(previewChanges(undefined, fewer)).toEqual([{ cluster: 'a', is: { state: 'NotStarted', reason: 'Sending' } }])
  expect(previewChanges(fewer, undefined)).toEqual([{ cluster: 'a', was: { state: 'NotStarted', reason: 'Sending' } }])
})
