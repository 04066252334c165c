import type { RolloutAct, RolloutSpec, RolloutStatus } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import type { ClusterFacts } from './facts.ts'
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
  plan,
  progressive,
  row,
  said,
  saved,
} from './fixture.ts'
import { planRollout } from './plan.ts'

// What a breach does to who failed, where the rollout says so.

const before = {
  ...image,
  target: 'images/os/1.json',
  manifestSha256: '1'.repeat(64),
  imageSha256: '2'.repeat(64),
  releaseCounter: 1,
  version: '1',
}
const known = (name: string, doing: Doing): ClusterFacts => ({ ...cluster(name, doing), lastGood: before })
/** As it is once the order back is stored, and whether the site has taken it. */
function ordered(name: string, doing: Doing, taken: boolean): ClusterFacts {
  const told = known(name, doing)
  const { assignment, accepted: _, ...rest } = told
  if (!assignment) throw new Error(`${name} is assigned nothing`)
  const position = { timeline: 0, generation: 2 }
  const statement = told.nodes[0]?.statement
  if (!statement) throw new Error(`${name} has said nothing`)
  return {
    ...rest,
    assignment: { ...assignment, manifestSha256: before.manifestSha256 },
    position,
    ...(taken ? { accepted: { position, atMs: NOW, statement } } : {}),
  }
}
const asks = (onBreach: RolloutSpec['onBreach']): Partial<RolloutSpec> => ({
  ...(onBreach === undefined ? {} : { onBreach }),
  strategy: progressive({ maxConcurrency: 3 }),
})
const after = (outcome: ReturnType<typeof plan>): RolloutStatus => saved(outcome)

describe('[deviation] onBreach', () => {
  const fleet = () => [known('a', 'rolled-back'), known('b', 'staging'), known('c', 'proven'), known('d', 'nothing')]

  test('Pause, the default, orders nobody back', () => {
    for (const spec of [asks(undefined), asks('Pause')])
      expect(plan(fleet(), spec)).toMatchObject({ phase: 'Paused', back: [], advance: [] })
  })

  test('without a breach nobody is ordered back', () => {
    expect(plan([known('b', 'staging'), known('c', 'proven')], asks('RollbackAll'))).toMatchObject({
      phase: 'Running',
      back: [],
    })
  })

  test('RollbackFailed orders who failed back to what it confirmed before, and is over once the sites took that', () => {
    const stopped = plan(fleet(), asks('RollbackFailed'))
    expect(stopped).toMatchObject({ phase: 'RollingBack', advance: [], back: [{ cluster: 'a', to: before }] })
    expect(row(stopped, 'a')).toMatchObject({ state: 'RolledBack', backTo: { version: '1', state: 'Ordered' } })
    expect(row(stopped, 'a')?.backTo?.message).toBe(
      'is ordered back to 1, which its nodes confirmed before; the site has not said that it took the order; what it waits for, if it said so, is among its events ("skerry describe cluster a")',
    )
    expect(row(stopped, 'b')?.backTo).toBeUndefined()
    expect(stopped.underWay).toContainEqual({ cluster: 'b', paused: true })
    const rest = [known('b', 'staging'), known('c', 'proven'), known('d', 'nothing')]
    const sent = plan([ordered('a', 'rolled-back', false), ...rest], asks('RollbackFailed'), after(stopped))
    expect(sent).toMatchObject({ phase: 'RollingBack', back: [] })
    const done = plan([ordered('a', 'rolled-back', true), ...rest], asks('RollbackFailed'), after(sent))
    expect(done).toMatchObject({ phase: 'RolledBack', back: [], advance: [] })
    expect(row(done, 'a')).toMatchObject({ state: 'RolledBack', backTo: { state: 'Accepted' } })
    expect(condition(done, 'Breached')?.status).toBe('True')
    expect(held(done, 'd')?.reason).toBe('Breached')
  })

  test('RollbackAll orders back who has not confirmed the image too; who has stays, and is told why', () => {
    const stopped = plan([...fleet(), known('e', 'confirmed')], asks('RollbackAll'))
    expect(stopped.back.map(({ cluster: name }) => name)).toEqual(['a', 'b'])
    // The order back has terms of its own, and no pause is among them.
    expect(stopped.underWay).toEqual([{ cluster: 'e', paused: false }])
    expect(row(stopped, 'c')?.backTo).toBeUndefined()
    expect(row(stopped, 'e')?.backTo).toMatchObject({
      state: 'Impossible',
      message: expect.stringMatching(/^a node has confirmed 2, and a site takes no lower release than it confirmed/),
    })
    const taken = plan(
      [ordered('a', 'rolled-back', true), ordered('b', 'staging', true), known('c', 'proven'), known('d', 'nothing')],
      asks('RollbackAll'),
      after(stopped),
    )
    expect(taken.phase).toBe('RolledBack')
    // It is sent the image again once a person lets the rollout go on.
    expect(row(taken, 'b')).toMatchObject({ state: 'NotStarted', reason: 'Breached', backTo: { state: 'Accepted' } })
  })

  test('of whom no signed image is known that it confirmed before, that is said', () => {
    const stopped = plan([cluster('a', 'rolled-back'), known('d', 'nothing')], asks('RollbackFailed'))
    expect(stopped).toMatchObject({ phase: 'RolledBack', back: [] })
    expect(row(stopped, 'a')?.backTo).toMatchObject({
      state: 'Impossible',
      message: 'no signed image is known that every node of it confirmed before: roll out an image that it is to run',
    })
    expect(stopped.staying).toBe(1)
    // Whom the placement has dropped since is not counted, though its row is still told.
    const dropped = plan([known('d', 'nothing')], asks('RollbackFailed'), after(stopped))
    expect(dropped).toMatchObject({ phase: 'RolledBack', staying: 0 })
    expect(row(dropped, 'a')?.backTo?.state).toBe('Impossible')
  })

  test('a site that refused the order back cannot go back: that is told with its reason, and nobody waits for it', () => {
    const refused = {
      ...{
        code: 'ImageFailedBefore',
        message: 'these bytes ended in RolledBack here',
        attestation: 'warning' as const,
      },
      ...{ atMs: NOW, statement: said('a') },
    }
    const rest = [known('c', 'proven'), known('d', 'nothing')]
    const stopped = plan([known('a', 'rolled-back'), known('b', 'staging'), ...rest], asks('RollbackAll'))
    const sites = (taken: boolean) => [
      { ...ordered('a', 'rolled-back', false), refused },
      ordered('b', 'staging', taken),
      ...rest,
    ]
    const waits = plan(sites(false), asks('RollbackAll'), after(stopped))
    expect(waits).toMatchObject({ phase: 'RollingBack', back: [] })
    const done = plan(sites(true), asks('RollbackAll'), after(waits))
    expect(done).toMatchObject({ phase: 'RolledBack', back: [] })
    expect(row(done, 'a')?.backTo).toMatchObject({
      ...{ version: '1', state: 'Impossible' },
      message:
        'the site refused the order for 1, which its nodes confirmed before (ImageFailedBefore: these bytes ended in RolledBack here); it keeps the order that it took before: roll out an image to it that it takes',
    })
    expect(condition(done, 'Completed')?.message).toBe(
      'the rollout is RolledBack; 1 cluster cannot go back, and backTo in the row of each says why',
    )
    // A node that refused first and took it then has taken it.
    const took = plan([{ ...ordered('a', 'rolled-back', true), refused }, ...rest], asks('RollbackAll'), after(waits))
    expect(row(took, 'a')?.backTo?.state).toBe('Accepted')
    // What it refused was for another image than the one that it is to go back to now.
    const elsewhere = { ...before, manifestSha256: '4'.repeat(64) }
    const again = plan([{ ...ordered('a', 'rolled-back', false), refused, lastGood: elsewhere }], asks('RollbackAll'))
    expect(again).toMatchObject({ phase: 'RollingBack', back: [{ cluster: 'a', to: elsewhere }] })
  })

  test('of who refused the order back, and may still activate the image, that is told and the rollout is not over', () => {
    const told = { code: 'ReleaseCounterTooLow', message: 'below 5', attestation: 'warning' as const, atMs: NOW }
    const refused = { ...told, statement: said('b') }
    const stopped = plan([known('a', 'rolled-back'), known('b', 'staging')], asks('RollbackAll'))
    const sites = (now: Doing) => [ordered('a', 'rolled-back', true), { ...ordered('b', now, false), refused }]
    const trying = plan(sites('staging'), asks('RollbackAll'), after(stopped))
    expect(trying).toMatchObject({ phase: 'RollingBack', back: [] })
    expect(row(trying, 'b')?.backTo).toMatchObject({
      state: 'Impossible',
      message:
        'the site refused the order for 1, which its nodes confirmed before (ReleaseCounterTooLow: below 5); it may still activate 2, and no pause reaches that until it takes another order: sign what it is to go back to with a higher release counter, and roll that out',
    })
    expect(condition(trying, 'Completed')?.message).toBe(
      'the rollout is RollingBack; 1 cluster cannot go back and may still activate the image: backTo in the row of each says what to do',
    )
    for (const [now, why] of [
      ['activating', 'may still activate 2'],
      ['rolled-back', 'it keeps the order that it took before: sign'],
      ['confirmed', 'a node has confirmed 2'],
    ] as const) {
      const next = plan(sites(now), asks('RollbackAll'), after(trying))
      expect(next.phase, now).toBe(now === 'activating' ? 'RollingBack' : 'RolledBack')
      expect(row(next, 'b')?.backTo?.message).toContain(why)
    }
  })

  test('what a node has under way of another image, or of a site that is denied, is not waited for', () => {
    const told = { code: 'ReleaseCounterTooLow', message: 'below 5', attestation: 'warning' as const, atMs: NOW }
    const stopped = plan([known('a', 'rolled-back'), known('b', 'staging')], asks('RollbackAll'))
    const [first] = cluster('b', 'staging').nodes
    if (!first) throw new Error('no node')
    const refuses = (more: Partial<ClusterFacts>) => [
      ordered('a', 'rolled-back', true),
      { ...ordered('b', 'staging', false), refused: { ...told, statement: said('b') }, ...more },
    ]
    const look = (sites: ClusterFacts[]) => plan(sites, asks('RollbackAll'), after(stopped))
    const same = look(refuses({ nodes: [{ ...first, about: image.imageSha256 }] }))
    expect(same).toMatchObject({ phase: 'RollingBack', staying: 0 })
    const other = look(refuses({ nodes: [{ ...first, about: before.imageSha256 }] }))
    expect(other).toMatchObject({ phase: 'RolledBack', staying: 1 })
    const { refused: _, ...silent } = refuses({ denied: true })[1] ?? ordered('b', 'staging', false)
    const denied = look([ordered('a', 'rolled-back', true), silent])
    expect(denied).toMatchObject({ phase: 'RolledBack', staying: 1 })
    expect(row(denied, 'b')?.backTo).toMatchObject({
      state: 'Impossible',
      message: expect.stringContaining('the hub does not accept this cluster'),
    })
  })

  test('a node that may still activate the image is told also where another one has confirmed it, or nothing is left to go back to', () => {
    const stopped = plan([known('a', 'rolled-back'), known('b', 'staging')], asks('RollbackAll'))
    const [first] = cluster('b', 'staging').nodes
    const [done] = cluster('b', 'confirmed').nodes
    if (!first || !done) throw new Error('no node')
    const { lastGood: _, ...lost } = ordered('b', 'staging', false)
    for (const [site, why] of [
      [{ ...ordered('b', 'staging', false), nodes: [done, { ...first, node: 'n2' }] }, 'a node has confirmed 2'],
      [lost, 'no signed image is known'],
    ] as const) {
      const look = (one: ClusterFacts) =>
        plan([ordered('a', 'rolled-back', true), one], asks('RollbackAll'), after(stopped))
      // Nothing reaches who is denied.
      const denied = look({ ...site, denied: true })
      expect(denied).toMatchObject({ phase: 'RolledBack', staying: 1 })
      expect(row(denied, 'b')?.backTo?.message).toContain('the hub does not accept this cluster')
      const next = look(site)
      expect(next).toMatchObject({ phase: 'RollingBack', staying: 0 })
      expect(row(next, 'b')?.backTo?.message).toContain(why)
      expect(row(next, 'b')?.backTo?.message).toMatch(/; a node may still activate 2$/)
    }
  })

  test('also of a site that was sent the image once more before, a refused order back is told', () => {
    const retry: RolloutAct = {
      ...{
        id: '00000000-0000-4000-8000-000000000002',
        verb: 'retry',
        by: 'ola',
        at: iso(NOW - MINUTE),
        reason: 'again',
      },
      ...{ rolloutUid: 'r', manifestSha256: image.manifestSha256, clusters: ['a'] },
    }
    const look = (site: ClusterFacts, status?: RolloutStatus) =>
      planRollout({ ...facts([site], asks('RollbackFailed'), status), acts: [retry] }, NOW)
    const failed = known('a', 'rolled-back')
    const assignment = failed.assignment && { ...failed.assignment, retry: retry.id }
    const stopped = look({ ...failed, ...(assignment ? { assignment } : {}) })
    expect(stopped).toMatchObject({ phase: 'RollingBack', back: [{ cluster: 'a' }] })
    const waits = look(ordered('a', 'rolled-back', false), after(stopped))
    expect(waits).toMatchObject({ phase: 'RollingBack', back: [] })
    const refused = { code: 'ReleaseCounterTooLow', message: 'm', attestation: 'warning' as const, atMs: NOW }
    const site = { ...ordered('a', 'rolled-back', false), refused: { ...refused, statement: said('a') } }
    const done = look(site, after(waits))
    expect(done).toMatchObject({ phase: 'RolledBack', back: [] })
    expect(row(done)).toMatchObject({ state: 'RolledBack', backTo: { state: 'Impossible' } })
  })

  test("who is another rollout's by now is ordered nothing, whatever that one ordered", () => {
    const gone = known('n', 'newer')
    if (!gone.assignment) throw new Error('it is assigned nothing')
    const other = { ...gone, assignment: { ...gone.assignment, manifestSha256: '3'.repeat(64) } }
    const stopped = plan([known('a', 'rolled-back'), other], asks('RollbackAll'))
    expect(stopped.back.map(({ cluster: name }) => name)).toEqual(['a'])
    expect(row(stopped, 'n')?.backTo).toBeUndefined()
  })

  test('while a person has it paused nobody is ordered back, and nobody is told to be', () => {
    const paused: RolloutAct = {
      ...{ id: '00000000-0000-4000-8000-000000000001', verb: 'pause', by: 'ola', at: iso(NOW), reason: 'wait' },
      rolloutUid: 'r',
    }
    const elsewhere = { ...ordered('b', 'rolled-back', true), lastGood: { ...before, manifestSha256: '4'.repeat(64) } }
    const clusters = [known('a', 'rolled-back'), elsewhere]
    const stopped = planRollout({ ...facts(clusters, asks('RollbackFailed')), acts: [paused] }, NOW)
    expect(stopped).toMatchObject({ phase: 'Paused', back: [] })
    expect(row(stopped, 'a')?.backTo).toBeUndefined()
    const going = plan(clusters, asks('RollbackFailed'))
    expect(going.back.map(({ cluster: name }) => name)).toEqual(['a', 'b'])
  })
})
