import { fleetOf } from '@skerry/policy'
import { afterEach, expect, test, vi } from 'vitest'
import { addCluster, addPlacement, openWorld } from '../../controllers/fixture.ts'
import { testApi } from '../testing.ts'

afterEach(() => void vi.restoreAllMocks())

test('why is asked of one placement, by its namespace and name', async () => {
  const { ask, store } = await testApi()
  const world = await openWorld(store)
  await addPlacement(world)
  await addCluster(world, 'shop')
  await world.create('Placement', 'none', { numberOfClusters: 0 }, { namespace: 'fleet' })
  await world.create('Placement', 'all', { clusterSets: ['none'] }, { namespace: 'other' })
  const why = (place: string) => {
    const [namespace, name] = place.split('/')
    return ask('GET', `/apis/cluster.open-cluster-management.io/v1beta1/namespaces/${namespace}/placements/${name}/why`)
  }
  for (const [place, selected] of [
    ['fleet/all', 1],
    ['fleet/none', 0],
    ['other/all', 0],
  ] as const)
    expect((await why(place)).body).toMatchObject({ kind: 'PlacementExplanation', placement: place, selected })
  expect(await why('other/none')).toMatchObject({ code: 404, body: { message: expect.stringContaining('"none"') } })
})

test('lines that have to be asked for once more stop nobody, and end with the time of the answer', async () => {
  const { ask, store } = await testApi({ answerMs: 1_000 })
  const world = await openWorld(store)
  await world.create('ManagedClusterSet', 'all', {
    clusterSelector: { selectorType: 'LabelSelector', labelSelector: {} },
  })
  await world.create('ManagedClusterSetBinding', 'all', { clusterSet: 'all' }, { namespace: 'fleet' })
  const celExpressions = ['managedCluster.metadata.labels[managedCluster.metadata.name] == "x"']
  await world.create(
    'Placement',
    'p',
    { predicates: [{ requiredClusterSelector: { celSelector: { celExpressions } } }] },
    { namespace: 'fleet' },
  )
  for (let n = 0; n < 200; n += 1) await world.create('ManagedCluster', `site-${n}`, {})
  const fleet = Object.getPrototypeOf(fleetOf({ sets: [], bindings: [], clusters: [], decisions: [], scores: [] }))
  const plain = fleet.celMismatch
  let told = 0
  vi.spyOn(fleet, 'celMismatch').mockImplementation(function (this: unknown, ...asked: unknown[]) {
    told += 1
    for (const untilMs = performance.now() + 25; performance.now() < untilMs; );
    return plain.apply(this, asked)
  })
  expect(
    (await ask('GET', '/apis/cluster.open-cluster-management.io/v1beta1/namespaces/fleet/placements/p/why')).code,
  ).toBe(504)
  expect(told).toBeGreaterThan(0)
  expect(told).toBeLessThan(200)
})
