import { SCHEDULING_DISABLED_ANNOTATION } from '@skerry/api'
import { expect, test } from 'vitest'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { createObject, deleteObject, updateObject } from '../store/resources.ts'
import { write } from '../store/store.ts'
import { addPlacement, newest, openWorld, type World } from './fixture.ts'
import { placementController } from './placement.ts'

const look = (world: World) => world.look(placementController())
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
