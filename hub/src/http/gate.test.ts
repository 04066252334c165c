import { until } from '@skerry/supervise'
import { describe, expect, test } from 'vitest'
import { addPlacement, openWorld, rolloutSpec } from '../controllers/fixture.ts'
import { makeGate } from './gate.ts'
import type { Routes } from './server.ts'
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
  await expect(enter('third')).rejects.toThrow('too many calls at once; try again in 5 s')
  expect(entered).toEqual(['first'])
  over.resolve()
  await Promise.all([first, second])
  await enter('fourth')
  expect(entered).toEqual(['first', 'second', 'fourth'])
})

test('who has gone leaves the line, and makes room for another', async () => {
  const gate = makeGate('calls', 1, 1)
  const over = Promise.withResolvers<void>()
  const entered: string[] = []
  const enter = (name: string, signal?: AbortSignal) =>
    gate(async () => {
      entered.push(name)
      await over.promise
    }, signal)
  const first = enter('first')
  const gone = new AbortController()
  const second = enter('second', gone.signal)
  gone.abort()
  await expect(second).rejects.toThrow('whoever asked did not wait for the answer')
  await expect(enter('third', gone.signal)).rejects.toThrow('whoever asked did not wait for the answer')
  const fourth = enter('fourth')
  over.resolve()
  await Promise.all([first, fourth])
  expect(entered).toEqual(['first', 'fourth'])
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

const asBody = (method: string, body: object | undefined) =>
  body ? { body, ...(method === 'PATCH' ? { type: 'application/merge-patch+json' } : {}) } : {}

/** An API with a placement and a rollout, whose rows nobody reaches until `over` is called. */
async function heldApi(options: { watchRoutes?: Routes } = {}) {
  const api = await testApi(options)
  const world = await openWorld(api.store)
  await addPlacement(world)
  await world.create('Rollout', 'r', rolloutSpec('os-1'), { namespace: 'fleet' })
  const locked = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  const lock = api.store.sql.begin(async (tx) => {
    await tx`lock table resource in access exclusive mode`
    locked.resolve()
    await released.promise
  })
  await locked.promise
  const over = async () => {
    released.resolve()
    await lock
  }
  return { ...api, over }
}

test('however many explanations are asked for by whoever may only read, a writer has a dry run', async () => {
  const { ask, over, viewer } = await heldApi()
  let turnedAway = 0
  const reads = Array.from({ length: 24 }, async () => {
    const { code } = await ask('GET', `${PLACEMENT}/why`, { token: viewer })
    if (code === 429) turnedAway += 1
  })
  await until(() => turnedAway === 2, 'the first that finds the line of explanations full', 30_000)
  const dryRun = ask('PUT', `${PLACEMENT}?dryRun=All`, { body: asked })
  await over()
  expect((await dryRun).code).toBe(200)
  await Promise.all(reads)
})

describe.each<[method: string, path: string, body: object | undefined]>([
  ['PUT', `${PLACEMENT}?dryRun=All`, asked],
  ['POST', `${PLACEMENT}/why`, asked],
  ['GET', `${PLACEMENT}/why`, undefined],
  ['GET', `${ROLLOUT}/facts`, undefined],
  ['GET', `${OURS}/report`, undefined],
])('over HTTP, %s %s', (method, path, body) => {
  /** The line is full with these, one of which was turned away. */
  async function fullLine(signal?: AbortSignal) {
    let left = 0
    const watchRoutes: Routes = (app) => {
      app.addHook('onError', async (_, reply) => {
        if (reply.raw.destroyed) left += 1
      })
    }
    const { app, admin, over } = await heldApi({ watchRoutes })
    const url = `${await app.listen({ port: 0, host: '127.0.0.1' })}${path}`
    const headers = { authorization: `Bearer ${admin}`, ...(body ? { 'content-type': 'application/json' } : {}) }
    const request = { method, headers, ...(body ? { body: JSON.stringify(body) } : {}), ...(signal ? { signal } : {}) }
    let turnedAway = 0
    const answers = Array.from({ length: 23 }, async () => {
      const answer = await fetch(url, request).catch(() => undefined)
      await answer?.text()
      if (answer?.status === 429) turnedAway += 1
      return answer?.status
    })
    await until(() => turnedAway === 1, 'the one that finds the line full', 30_000)
    return { answers, over, left: () => left }
  }

  test('who waits in line is answered once it is his turn', async () => {
    const { answers, over } = await fullLine()
    await over()
    const codes = (await Promise.all(answers)).map((code = 0) => (code < 300 ? 'answered' : code))
    expect(codes.toSorted()).toEqual([429, ...Array(22).fill('answered')])
  })

  test('who has gone leaves it', async () => {
    const gone = new AbortController()
    const { answers, over, left } = await fullLine(gone.signal)
    gone.abort()
    await until(() => left() === 20, 'those that waited and have gone', 30_000)
    await over()
    await Promise.all(answers)
  })
})

test.each<[what: string, method: string, path: string, body: object | undefined, atOnce: number]>([
  ['reports', 'GET', `${OURS}/report`, undefined, 2],
  ['explanations of a placement', 'GET', `${PLACEMENT}/why`, undefined, 2],
  ['explanations of one that is not stored', 'POST', `${PLACEMENT}/why`, asked, 2],
  ['dry runs of a placement that is made', 'POST', `${PLACEMENTS}?dryRun=All`, named('new'), 2],
  ['dry runs of a placement', 'PUT', `${PLACEMENT}?dryRun=All`, asked, 2],
  ['dry runs of a placement that is patched', 'PATCH', `${PLACEMENT}?dryRun=All`, { spec: {} }, 2],
  ['dry runs of a rollout', 'PUT', `${ROLLOUT}?dryRun=All`, askedRollout, 2],
  ['facts of a rollout', 'GET', `${ROLLOUT}/facts`, undefined, 2],
])(
  'however many %s are asked for at once, few are made at a time and the database is left to others',
  async (...row) => {
    const [, method, path, body, atOnce] = row
    const { ask, store, over } = await heldApi()
    let turnedAway = 0
    const answers = Array.from({ length: 32 }, async () => {
      const { code, headers } = await ask(method, path, asBody(method, body))
      if (code === 429) turnedAway += 1
      return { code, again: headers['retry-after'] }
    })
    // All have come then: whoever came after the lock is gone would find the line shorter.
    await until(() => turnedAway === 12 - atOnce, 'the last of those that are turned away', 30_000)
    const left = await store.sql`select 1 as one`
    await over()
    expect(left).toEqual([{ one: 1 }])
    const all = await Promise.all(answers)
    expect(all.filter(({ code }) => code < 300)).toHaveLength(atOnce + 20)
    expect(all.filter(({ code }) => code >= 300)).toEqual(Array(12 - atOnce).fill({ code: 429, again: '5' }))
  },
)
