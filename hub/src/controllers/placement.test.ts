import {
  DECISION_GROUP_INDEX_LABEL,
  DECISION_GROUP_NAME_LABEL,
  DECISION_REASONS_ANNOTATION,
  SCHEDULING_DISABLED_ANNOTATION,
} from '@skerry/api'
import { fleetOf } from '@skerry/policy'
import { expect, onTestFinished, test, vi } from 'vitest'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { createObject, deleteObject, getObject, saveStatus, updateObject } from '../store/resources.ts'
import { write } from '../store/store.ts'
import { addPlacement, newest, openWorld, type World } from './fixture.ts'
import { placementController } from './placement.ts'
import type { Controller } from './run.ts'

// One hub in each world: it follows what changes.
const hubs = new WeakMap<World, Controller>()
const look = (world: World) => {
  const hub = hubs.get(world) ?? placementController()
  hubs.set(world, hub)
  return world.look(hub)
}
const addClusters = (world: World, names: readonly string[]) =>
  write(world.store, async (tx) => {
    for (const name of names)
      await createObject(tx, 'ManagedCluster', { metadata: { name }, spec: { hubAcceptsClient: true } })
  })
const decided = async (world: World) =>
  (await world.list('PlacementDecision')).flatMap(({ status }) => status?.decisions?.map((d) => d.clusterName) ?? [])

test('decisions and status are there together, in slices of a hundred, and no version shows one without the other', async () => {
  const world = await openWorld()
  await addPlacement(world)
  await addClusters(
    world,
    Array.from({ length: 150 }, (_, n) => `site-${1000 + n}`),
  )
  await look(world)
  const { status } = await world.get('Placement', 'all', 'fleet')
  expect(status).toMatchObject({ numberOfSelectedClusters: 150, observedGeneration: 1 })
  const slices = await world.list('PlacementDecision')
  expect(slices.map((one) => one.status?.decisions?.length)).toEqual([100, 50])
  expect(status?.decisionGroups?.[0]?.decisions).toEqual(slices.map(({ metadata }) => metadata.name))
  // One transaction: all rows carry its id.
  const [row] = await world.store.sql<{ n: number }[]>`
    select count(distinct xmin::text)::int as n from resource where kind in ('Placement', 'PlacementDecision')`
  expect(row?.n).toBe(1)
})

test('decision groups: in the status, and in the labels of their slices; a group that frees a place is told', async () => {
  const world = await openWorld()
  await addPlacement(world)
  await write(world.store, async (tx) => {
    for (const name of ['a', 'b', 'c', 'd', 'e'])
      await createObject(tx, 'ManagedCluster', {
        metadata: { name, labels: { wave: name < 'c' ? 'canary' : 'rest' } },
        spec: { hubAcceptsClient: true },
      })
  })
  const groupClusterSelector = { labelSelector: { matchLabels: { wave: 'canary' } } }
  const groupStrategy = { decisionGroups: [{ groupName: 'canary', groupClusterSelector }], clustersPerDecisionGroup: 2 }
  await world.edit('Placement', 'all', 'fleet', { decisionStrategy: { groupStrategy } })
  await look(world)
  const group = (decisionGroupIndex: number, decisionGroupName: string, decisions: string[], clusterCount: number) => ({
    ...{ decisionGroupIndex, decisionGroupName, decisions, clusterCount },
  })
  expect((await world.get('Placement', 'all', 'fleet')).status?.decisionGroups).toEqual([
    group(0, 'canary', ['all-decision-1'], 2),
    group(1, '', ['all-decision-2'], 2),
    group(2, '', ['all-decision-3'], 1),
  ])
  expect(
    (await world.list('PlacementDecision')).map(({ metadata: { labels }, status }) => [
      labels?.[DECISION_GROUP_NAME_LABEL],
      labels?.[DECISION_GROUP_INDEX_LABEL],
      status?.decisions?.map(({ clusterName }) => clusterName),
    ]),
  ).toEqual([
    ['canary', '0', ['a', 'b']],
    ['', '1', ['c', 'd']],
    ['', '2', ['e']],
  ])
  // Frozen by a fault: a cluster that is gone leaves its own group, and the others stand.
  await world.edit('Placement', 'all', 'fleet', {
    decisionStrategy: { groupStrategy: { clustersPerDecisionGroup: '2' } },
  })
  await write(world.store, (tx) => deleteObject(tx, 'ManagedCluster', '', 'c'))
  await look(world)
  const { status } = await world.get('Placement', 'all', 'fleet')
  expect(status?.numberOfSelectedClusters).toBe(4)
  expect(status?.decisionGroups?.map(({ clusterCount }) => clusterCount)).toEqual([2, 1, 1])
})

test('scores of an add-on rank clusters, and a placement that used one is looked at again when it ends', async () => {
  const world = await openWorld()
  await addPlacement(world)
  await addClusters(world, ['a', 'b'])
  const ends = Date.now() + 3_600_000
  await write(world.store, async (tx) => {
    for (const [namespace, value] of [
      ['a', 10],
      ['b', 90],
    ] as const) {
      await createObject(tx, 'AddOnPlacementScore', { metadata: { name: 'usage', namespace } })
      await saveStatus(tx, 'AddOnPlacementScore', namespace, 'usage', {
        scores: [{ name: 'free', value }],
        validUntil: new Date(ends).toISOString(),
      })
    }
  })
  const scoreCoordinate = { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } }
  await world.edit('Placement', 'all', 'fleet', {
    numberOfClusters: 1,
    prioritizerPolicy: { configurations: [{ scoreCoordinate, weight: 2 }] },
  })
  expect(await look(world)).toEqual({ recheckAtMs: ends + 1 })
  expect(await decided(world)).toEqual(['b'])
  expect((await world.list('PlacementDecision'))[0]?.status?.decisions?.[0]).toMatchObject({ score: 280 })
})

test('stored scores follow after scoreRateLimit, and whoever is selected at once', async () => {
  const world = await openWorld()
  await addPlacement(world)
  await addClusters(world, ['a', 'b'])
  const scored = (name: string, value: number) =>
    write(world.store, async (tx) => {
      await createObject(tx, 'AddOnPlacementScore', { metadata: { name: 'usage', namespace: name } })
      await saveStatus(tx, 'AddOnPlacementScore', name, 'usage', { scores: [{ name: 'free', value }] })
    })
  await scored('a', 10)
  await scored('b', 20)
  const scoreCoordinate = { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } }
  const prioritizerPolicy = { mode: 'Exact', configurations: [{ scoreCoordinate }] }
  await world.edit('Placement', 'all', 'fleet', { sortBy: 'Score', scoreRateLimit: '2m', prioritizerPolicy })
  await look(world)
  expect(await decided(world)).toEqual(['b', 'a'])
  const first = Date.parse((await world.get('Placement', 'all', 'fleet')).status?.lastScoreUpdateTime ?? '')
  expect(first).toBeGreaterThan(0)
  await write(world.store, (tx) =>
    saveStatus(tx, 'AddOnPlacementScore', 'a', 'usage', { scores: [{ name: 'free', value: 90 }] }),
  )
  const before = await newest(world)
  expect(await look(world)).toEqual({ recheckAtMs: first + 120_000 })
  expect([await decided(world), await newest(world)]).toEqual([['b', 'a'], before])
  world.pass(120_000)
  await look(world)
  expect(await decided(world)).toEqual(['a', 'b'])
  const second = Date.parse((await world.get('Placement', 'all', 'fleet')).status?.lastScoreUpdateTime ?? '')
  expect(second - first).toBeGreaterThanOrEqual(120_000)
  await addClusters(world, ['c'])
  await look(world)
  expect(await decided(world)).toEqual(['a', 'b', 'c'])
})

test("[deviation] D-05 with decision-reasons Off slices are OCM's, also those that are there, and their order keeps its pace", async () => {
  const world = await openWorld()
  await addPlacement(world)
  await addClusters(world, ['a', 'b'])
  const scored = (name: string, value: number) =>
    write(world.store, async (tx) => {
      const there = await getObject(tx, 'AddOnPlacementScore', name, 'usage')
      if (!there) await createObject(tx, 'AddOnPlacementScore', { metadata: { name: 'usage', namespace: name } })
      await saveStatus(tx, 'AddOnPlacementScore', name, 'usage', { scores: [{ name: 'free', value }] })
    })
  await scored('a', 10)
  await scored('b', 20)
  const scoreCoordinate = { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } }
  const spec = {
    ...{ sortBy: 'Score', scoreRateLimit: '2m' },
    prioritizerPolicy: { mode: 'Exact', configurations: [{ scoreCoordinate }] },
  } as const
  await world.edit('Placement', 'all', 'fleet', spec)
  await look(world)
  const stored = async () => (await world.list('PlacementDecision'))[0]?.status?.decisions
  expect(await stored()).toEqual([
    { clusterName: 'b', reason: 'Selected', score: 20 },
    { clusterName: 'a', reason: 'Selected', score: 10 },
  ])
  const annotations = { [DECISION_REASONS_ANNOTATION]: 'Off' }
  await write(world.store, (tx) =>
    updateObject(tx, 'Placement', { metadata: { name: 'all', namespace: 'fleet', annotations }, spec }),
  )
  world.pass(120_000)
  await look(world)
  const plain = (...names: string[]) => names.map((clusterName) => ({ clusterName, reason: '' }))
  expect(await stored()).toEqual(plain('b', 'a'))
  await scored('a', 90)
  await look(world)
  expect(await stored()).toEqual(plain('b', 'a'))
  world.pass(120_000)
  await look(world)
  expect(await stored()).toEqual(plain('a', 'b'))
})

test('nothing is written when nothing changed', async () => {
  const world = await openWorld()
  await addPlacement(world)
  await addClusters(world, ['a', 'b'])
  await look(world)
  // Who is decided already scores more from the next look on (Steady).
  await look(world)
  const before = await newest(world)
  await look(world)
  await look(world)
  expect(await newest(world)).toBe(before)
  await addClusters(world, ['c'])
  await look(world)
  expect(await decided(world)).toEqual(['a', 'b', 'c'])
})

test('slices of a placement that is gone go with it', async () => {
  const world = await openWorld()
  await addPlacement(world)
  await addClusters(world, ['a'])
  await look(world)
  await write(world.store, (tx) => deleteObject(tx, 'Placement', 'fleet', 'all'))
  await look(world)
  expect(await world.list('PlacementDecision')).toEqual([])
})

test('a placement whose scheduling is disabled is left as it is', async () => {
  const world = await openWorld()
  await addPlacement(world)
  await addClusters(world, ['a'])
  await look(world)
  const annotations = { [SCHEDULING_DISABLED_ANNOTATION]: 'true' }
  await write(world.store, (tx) =>
    updateObject(tx, 'Placement', { metadata: { name: 'all', namespace: 'fleet', annotations }, spec: {} }),
  )
  await addClusters(world, ['b'])
  await look(world)
  expect(await decided(world)).toEqual(['a'])
})

test('a frozen placement keeps its decisions, but for clusters that are no more, and decides anew when it is thawed', async () => {
  const world = await openWorld()
  await addPlacement(world)
  await addClusters(world, ['a', 'b'])
  await look(world)
  await world.edit('Placement', 'all', 'fleet', { tolerations: [{ operator: 'Equal', value: 'x' }] })
  await addClusters(world, ['c'])
  await look(world)
  expect(await decided(world)).toEqual(['a', 'b'])
  await write(world.store, (tx) => deleteObject(tx, 'ManagedCluster', '', 'a'))
  await look(world)
  expect(await decided(world)).toEqual(['b'])
  const frozen = await newest(world)
  await look(world)
  expect(await newest(world)).toBe(frozen)
  expect((await world.get('Placement', 'all', 'fleet')).status).toMatchObject({ numberOfSelectedClusters: 1 })
  await world.edit('Placement', 'all', 'fleet', {})
  await look(world)
  expect(await decided(world)).toEqual(['b', 'c'])
  const { status } = await world.get('Placement', 'all', 'fleet')
  expect(status?.conditions?.some(({ type }) => type === 'DecisionsFrozen')).toBe(false)
  expect((await world.list('Event')).map(({ spec }) => `${spec.type} ${spec.reason}`).toSorted()).toEqual([
    'Normal DecisionsThawed',
    'Warning DecisionsFrozen',
  ])
})

test('who holds an old lease decides nothing', async () => {
  const world = await openWorld()
  await addPlacement(world)
  await addClusters(world, ['a'])
  await world.lease.release()
  const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(60_000))
  await expect(look(world)).rejects.toThrow(LeaseLost)
  expect(await decided(world)).toEqual([])
  expect((await world.get('Placement', 'all', 'fleet')).status).toBeUndefined()
  await world.look(placementController(), fresh)
  expect(await decided(world)).toEqual(['a'])
  await fresh.release()
})

test('expressions that cost much leave the thread to others, and a placement that is deleted meanwhile is asked no further', async () => {
  const world = await openWorld()
  await addPlacement(world)
  const names = Array.from({ length: 400 }, (_, n) => `site-${1000 + n}`)
  await addClusters(world, names)
  const ten = '[0,1,2,3,4,5,6,7,8,9]'
  // Near to what one evaluation may cost: up to a tenth of a second for each cluster.
  const dear = [0, 1, 2, 3, 4].reduce((inner, n) => `${ten}.all(v${n}, ${inner})`, '1 < 2 && 2 < 3')
  const predicates = [{ requiredClusterSelector: { celSelector: { celExpressions: [dear] } } }]
  await world.create('Placement', 'dear', { clusterSets: ['everyone'], predicates }, { namespace: 'fleet' })
  const asking = watchAsking()
  const looking = look(world)
  await asking.began
  await write(world.store, (tx) => deleteObject(tx, 'Placement', 'fleet', 'dear'))
  await looking
  expect(asking.times()).toBeLessThan(names.length)
  expect(await decided(world)).toEqual(names)
})

/** Of how many clusters an expression was asked, and when the first was and others have the thread. */
function watchAsking() {
  const fleet = Object.getPrototypeOf(fleetOf({ sets: [], bindings: [], clusters: [], decisions: [], scores: [] }))
  const plain = fleet.askCel
  const { promise: began, resolve } = Promise.withResolvers<void>()
  let times = 0
  onTestFinished(() => void vi.restoreAllMocks())
  vi.spyOn(fleet, 'askCel').mockImplementation(function* (this: unknown, expressions: unknown) {
    for (const _ of plain.call(this, expressions)) {
      times += 1
      resolve()
      yield
    }
  })
  return { began, times: () => times }
}
