import {
  APPROVED_REMOVAL_ANNOTATION,
  APPROVED_REMOVAL_BY_ANNOTATION,
  MAX_REMOVAL_PERCENT_ANNOTATION,
} from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { listAudit } from '../store/audit.ts'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { createObject, deleteObject, updateObject } from '../store/resources.ts'
import { write } from '../store/store.ts'
import { addPlacement, newest, openWorld, type World } from './fixture.ts'
import { placementController } from './placement.ts'

const names = (count: number, from = 0) => Array.from({ length: count }, (_, at) => `site-${1000 + from + at}`)
const prod = { predicates: [{ requiredClusterSelector: { labelSelector: { matchLabels: { env: 'prod' } } } }] }

/** Twenty sites of `prod`, all of them selected; and a hub that looks. */
async function openFleet() {
  const world = await openWorld()
  await addPlacement(world)
  await write(world.store, async (tx) => {
    for (const name of names(20))
      await createObject(tx, 'ManagedCluster', {
        metadata: { name, labels: { env: 'prod' } },
        spec: { hubAcceptsClient: true },
      })
  })
  await world.edit('Placement', 'all', 'fleet', prod)
  const controller = placementController()
  const look = () => world.look(controller)
  await look()
  const placement = () => world.get('Placement', 'all', 'fleet')
  return { world, look, placement, relabel: (some: readonly string[], env: string) => relabel(world, some, env) }
}
const relabel = (world: World, some: readonly string[], env: string) =>
  write(world.store, async (tx) => {
    for (const name of some)
      await updateObject(tx, 'ManagedCluster', {
        metadata: { name, labels: { env } },
        spec: { hubAcceptsClient: true },
      })
  })
const annotate = (world: World, annotations: Record<string, string>, spec: object = prod) =>
  write(world.store, (tx) =>
    updateObject(tx, 'Placement', { metadata: { name: 'all', namespace: 'fleet', annotations }, spec }),
  )
const approve = (world: World, hash: string | undefined, spec?: object) =>
  annotate(world, { [APPROVED_REMOVAL_ANNOTATION]: hash ?? '', [APPROVED_REMOVAL_BY_ANNOTATION]: 'anna' }, spec)
const decided = async (world: World) =>
  (await world.list('PlacementDecision')).flatMap(({ status }) => status?.decisions?.map((d) => d.clusterName) ?? [])
const events = async (world: World) =>
  (await world.list('Event'))
    .filter(({ spec }) => spec.regarding.kind === 'Placement')
    .map(({ spec }) => spec.reason)
    .toSorted()

describe('[deviation] D-06 the guard against large removals', () => {
  test('a removal that is too large waits, is told once, and goes with its approval, which is used up', async () => {
    const { world, look, placement, relabel } = await openFleet()
    const before = await placement()
    await relabel(names(5), 'dev')
    await look()
    expect(await decided(world)).toEqual(names(20))
    const { status } = await placement()
    expect(status).toMatchObject({
      numberOfSelectedClusters: 20,
      decisionGroups: before.status?.decisionGroups,
      heldRemoval: { count: 5, of: 20, sample: names(5) },
    })
    const condition = (type: string) => status?.conditions?.find((one) => one.type === type)
    expect(condition('RemovalHeld')).toMatchObject({ status: 'True', reason: 'TooManyRemovals' })
    expect(condition('PlacementSatisfied')).toEqual(
      before.status?.conditions?.find(({ type }) => type === 'PlacementSatisfied'),
    )
    const held = await newest(world)
    await look()
    await world.look(placementController())
    expect(await newest(world)).toBe(held)
    expect(await events(world)).toEqual(['RemovalHeld'])
    expect((await listAudit(world.store.sql, 0, 100)).map(({ actor, verb, kind }) => [actor, verb, kind])).toEqual([
      ['placement-controller', 'hold', 'Placement'],
    ])

    await approve(world, status?.heldRemoval?.hash)
    await look()
    expect(await decided(world)).toEqual(names(15, 5))
    const after = await placement()
    expect(after.metadata.annotations ?? {}).toEqual({})
    expect(after.status?.heldRemoval).toBeUndefined()
    expect(after.status?.conditions?.map(({ type }) => type)).not.toContain('RemovalHeld')
    expect(await events(world)).toEqual(['RemovalApproved', 'RemovalHeld'])
    expect((await world.list('Event')).some(({ spec }) => spec.message.includes('anna approved removal'))).toBe(true)

    // The same once more is another one.
    await relabel(names(5), 'prod')
    await look()
    await relabel(names(5), 'dev')
    await look()
    expect((await placement()).status?.heldRemoval?.hash).toBe(status?.heldRemoval?.hash)
    expect(await decided(world)).toEqual(names(20))
  })

  test('an approval of something else lets nobody go; what is less goes by itself', async () => {
    const { world, look, placement, relabel } = await openFleet()
    await relabel(names(5), 'dev')
    await look()
    const { status } = await placement()
    await relabel(names(6), 'dev')
    await look()
    await approve(world, status?.heldRemoval?.hash)
    await look()
    expect(await decided(world)).toEqual(names(20))
    expect((await placement()).status?.heldRemoval?.count).toBe(6)
    await relabel(names(3), 'prod')
    await look()
    expect(await decided(world)).toEqual([...names(3), ...names(14, 6)])
    expect((await placement()).metadata.annotations ?? {}).toEqual({})
    expect(await events(world)).toEqual(['RemovalHeld', 'RemovalHeld', 'RemovalNoLongerHeld'])
  })

  test('a binding that is gone, a set that is gone and an edit all wait; who is deleted leaves at once', async () => {
    const { world, look, placement } = await openFleet()
    await write(world.store, (tx) => deleteObject(tx, 'ManagedClusterSetBinding', 'fleet', 'everyone'))
    await look()
    expect((await placement()).status?.heldRemoval).toMatchObject({ count: 20, of: 20 })
    await write(world.store, async (tx) => {
      for (const name of names(8)) await deleteObject(tx, 'ManagedCluster', '', name)
    })
    await look()
    expect(await decided(world)).toEqual(names(12, 8))
    expect((await placement()).status).toMatchObject({
      numberOfSelectedClusters: 12,
      decisionGroups: [{ clusterCount: 12 }],
      heldRemoval: { count: 12, of: 12 },
    })
    await world.create('ManagedClusterSetBinding', 'everyone', { clusterSet: 'everyone' }, { namespace: 'fleet' })
    await look()
    expect((await placement()).status?.heldRemoval).toBeUndefined()
    await write(world.store, (tx) => deleteObject(tx, 'ManagedClusterSet', '', 'everyone'))
    await look()
    expect((await placement()).status?.heldRemoval).toMatchObject({ count: 12, of: 12 })
    await world.create('ManagedClusterSet', 'everyone', {
      clusterSelector: { selectorType: 'LabelSelector', labelSelector: {} },
    })
    await world.edit('Placement', 'all', 'fleet', { ...prod, numberOfClusters: 4 })
    await look()
    expect(await decided(world)).toEqual(names(12, 8))
    await annotate(world, { [MAX_REMOVAL_PERCENT_ANNOTATION]: '100' }, { ...prod, numberOfClusters: 4 })
    await look()
    expect(await decided(world)).toHaveLength(4)
  })

  test('what an approval lets go while the decisions are frozen is told, and uses it up', async () => {
    const { world, look, placement } = await openFleet()
    const wrong = { ...prod, prioritizerPolicy: { mode: 'Loose' } }
    await world.edit('Placement', 'all', 'fleet', wrong)
    await write(world.store, (tx) => deleteObject(tx, 'ManagedClusterSetBinding', 'fleet', 'everyone'))
    await look()
    const { status } = await placement()
    expect(status?.conditions?.map(({ type }) => type)).toContain('DecisionsFrozen')
    expect(status?.heldRemoval).toMatchObject({ count: 20, of: 20 })
    await approve(world, status?.heldRemoval?.hash, wrong)
    await look()
    expect(await decided(world)).toEqual([])
    expect((await placement()).metadata.annotations ?? {}).toEqual({})
    expect(await events(world)).toEqual(['DecisionsFrozen', 'RemovalApproved', 'RemovalHeld'])
    const before = await newest(world)
    await look()
    expect(await newest(world)).toBe(before)
  })

  test('what leaves one by one counts together, whichever hub looks, until an hour has passed', async () => {
    const { world, look, placement, relabel } = await openFleet()
    const hour = 3_600_000
    for (const name of names(4)) {
      await relabel([name], 'dev')
      await look()
    }
    expect(await decided(world)).toEqual(names(16, 4))
    const [left] = (await placement()).status?.recentRemovals ?? []
    expect(left).toEqual({ at: expect.any(String), of: 20, count: 4, clusters: names(4) })
    const until = Date.parse(left?.at ?? '') + hour
    await relabel(names(1, 4), 'dev')
    expect(await world.look(placementController())).toEqual({ recheckAtMs: until })
    expect(await decided(world)).toEqual(names(16, 4))
    expect((await placement()).status).toMatchObject({
      heldRemoval: { count: 1, of: 16, sample: names(1, 4), recent: 4, until: new Date(until).toISOString() },
      recentRemovals: [{ count: 4 }],
    })
    const held = await newest(world)
    await look()
    expect(await newest(world)).toBe(held)
    // An approval lets go these, and they do not count again; the others do.
    await approve(world, (await placement()).status?.heldRemoval?.hash)
    await look()
    expect(await decided(world)).toEqual(names(15, 5))
    await relabel(names(1, 5), 'dev')
    await look()
    expect((await placement()).status).toMatchObject({ heldRemoval: { count: 1, of: 15, recent: 4 } })
    world.pass(until - world.now() - 60_000)
    await look()
    expect(await decided(world)).toEqual(names(15, 5))
    world.pass(60_001)
    await look()
    expect(await decided(world)).toEqual(names(14, 6))
    const { status } = await placement()
    expect([status?.heldRemoval, status?.recentRemovals]).toEqual([
      undefined,
      [{ at: expect.any(String), of: 15, count: 1, clusters: names(1, 5) }],
    ])
    expect(await events(world)).toEqual(['RemovalApproved', 'RemovalHeld', 'RemovalHeld', 'RemovalNoLongerHeld'])
  })

  test('a hub that ends between an approval and what follows loses neither, and an approval may be taken back', async () => {
    const { world, look, placement, relabel } = await openFleet()
    await relabel(names(5), 'dev')
    await look()
    const hash = (await placement()).status?.heldRemoval?.hash
    await approve(world, hash)
    // The look that would carry it out is one of a hub that has lost its lease: all of it is rolled back.
    await world.lease.release()
    const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(60_000))
    await expect(look()).rejects.toThrow(LeaseLost)
    expect(await decided(world)).toEqual(names(20))
    expect((await placement()).metadata.annotations?.[APPROVED_REMOVAL_ANNOTATION]).toBe(hash)
    await annotate(world, {})
    await world.look(placementController(), fresh)
    expect(await decided(world)).toEqual(names(20))
    await approve(world, hash)
    await world.look(placementController(), fresh)
    expect(await decided(world)).toEqual(names(15, 5))
    expect((await placement()).metadata.annotations ?? {}).toEqual({})
    expect(await events(world)).toEqual(['RemovalApproved', 'RemovalHeld'])
    await fresh.release()
  })
})
