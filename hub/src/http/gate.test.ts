import { until } from '@skerry/supervise'
import { expect, test } from 'vitest'
import { addPlacement, openWorld, rolloutSpec } from '../controllers/fixture.ts'
import { LineFull, makeGate } from './gate.ts'
import { testApi } from './testing.ts'

test('so many are let through, so many wait, and one more is told that the line is full', async () => {
  const gate = makeGate('calls', 1, 1)
  const over = Promise.withResolvers<void>()
  const entered: string[] = []
  const enter = (name: string) =>
    gate(async () => {
      entered.push(name)
      await over.promise
    })
  const [first, second] = [enter('first'), enter('second')]
  await expect(enter('third')).rejects.toThrow(new LineFull('calls'))
  expect(entered).toEqual(['first'])
  over.resolve()
  await Promise.all([first, second])
  await enter('fourth')
  expect(entered).toEqual(['first', 'second', 'fourth'])
})

const OURS = '/apis/skerry.dev/v1alpha1'
const ROLLOUT = `${OURS}/namespaces/fleet/rollouts/r`
const PLACEMENTS = '/apis/cluster.open-cluster-management.io/v1beta1/namespaces/fleet/placements'
const PLACEMENT = `${PLACEMENTS}/all`
const named = (name: string) => ({
  ...{ apiVersion: 'cluster.open-cluster-management.io/v1beta1', kind: 'Placement' },
  ...{ metadata: { name }, spec: {} },
})
const asked = named('all')
const askedRollout = {
  ...{ apiVersion: 'skerry.dev/v1alpha1', kind: 'Rollout', metadata: { name: 'r' } },
  spec: { ...rolloutSpec('os-1'), attestation: 'affirming' },
}

test.each<[what: string, method: string, path: string, body: object | undefined, atOnce: number]>([
  ['reports', 'GET', `${OURS}/report`, undefined, 2],
  ['explanations of a placement', 'GET', `${PLACEMENT}/why`, undefined, 4],
  ['explanations of one that is not stored', 'POST', `${PLACEMENT}/why`, asked, 4],
  ['dry runs of a placement that is made', 'POST', `${PLACEMENTS}?dryRun=All`, named('new'), 4],
  ['dry runs of a placement', 'PUT', `${PLACEMENT}?dryRun=All`, asked, 4],
  ['dry runs of a rollout', 'PUT', `${ROLLOUT}?dryRun=All`, askedRollout, 4],
  ['facts of a rollout', 'GET', `${ROLLOUT}/facts`, undefined, 4],
])(
  'however many %s are asked for at once, few are made at a time and the database is left to others',
  async (...row) => {
    const [, method, path, body, atOnce] = row
    const { ask, store } = await testApi()
    const world = await openWorld(store)
    await addPlacement(world)
    await world.create('Rollout', 'r', rolloutSpec('os-1'), { namespace: 'fleet' })
    const locked = Promise.withResolvers<void>()
    const over = Promise.withResolvers<void>()
    const lock = store.sql.begin(async (tx) => {
      await tx`lock table resource in access exclusive mode`
      locked.resolve()
      await over.promise
    })
    await locked.promise
    let turnedAway = 0
    const answers = Array.from({ length: 32 }, async () => {
      const { code, headers } = await ask(method, path, body ? { body } : {})
      if (code === 429) turnedAway += 1
      return { code, again: headers['retry-after'] }
    })
    // All have come then: whoever came after the lock is gone would find the line shorter.
    await until(() => turnedAway === 12 - atOnce, 'the last of those that are turned away', 30_000)
    const left = await store.sql`select 1 as one`
    over.resolve()
    await lock
    expect(left).toEqual([{ one: 1 }])
    const all = await Promise.all(answers)
    expect(all.filter(({ code }) => code < 300)).toHaveLength(atOnce + 20)
    expect(all.filter(({ code }) => code >= 300)).toEqual(Array(12 - atOnce).fill({ code: 429, again: '5' }))
  },
)
