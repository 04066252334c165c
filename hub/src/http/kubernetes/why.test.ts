import { fleetOf } from '@skerry/policy'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { addCluster, addPlacement, openWorld } from '../../controllers/fixture.ts'
import { placementController } from '../../controllers/placement.ts'
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
  const { ask, store } = await testApi({ answerMs: 3_000 })
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

describe('why a placement would choose as it would, before it is stored', () => {
  const PLACEMENTS = '/apis/cluster.open-cluster-management.io/v1beta1/namespaces/fleet/placements'
  const placement = (name: string, spec: object, metadata: object = {}) => ({
    apiVersion: 'cluster.open-cluster-management.io/v1beta1',
    ...{ kind: 'Placement', metadata: { name, ...metadata }, spec },
  })
  const large = { predicates: [{ requiredClusterSelector: { labelSelector: { matchLabels: { size: 'large' } } } }] }

  async function decided() {
    const api = await testApi({ now: () => world.now() })
    const world = await openWorld(api.store)
    await addPlacement(world)
    for (const name of ['a', 'b', 'c', 'd', 'e'])
      await world.create('ManagedCluster', name, {}, { labels: { size: name < 'e' ? 'small' : 'large' } })
    const look = () => world.look(placementController())
    await look()
    const why = async (name: string, body?: object, query = '', token?: string) => {
      const path = `${PLACEMENTS}/${name}/why${query}`
      const { code, body: said, text, headers } = await api.ask(body ? 'POST' : 'GET', path, { body, token })
      return { code, body: said, told: JSON.parse(text) as unknown, warned: String(headers['warning'] ?? '') }
    }
    const traces = async () =>
      (
        await api.store.sql`select (select count(*) from audit_record)::int as audited,
          (select string_agg(name || resource_version, ',' order by name) from resource) as stored`
      )[0]
    return { api, world, look, why, traces }
  }

  test('of a new one is what is told once it is stored, and leaves no trace', async () => {
    const { api, why, traces } = await decided()
    const spec = {
      ...large,
      prioritizerPolicy: { configurations: [{ scoreCoordinate: { builtIn: 'Steady' }, weight: 3 }] },
    }
    const before = await traces()
    const foreseen = await why('new', placement('new', spec))
    expect(foreseen.told).toMatchObject({
      ...{ kind: 'PlacementExplanation', placement: 'fleet/new', outcome: 'Decided', selected: 1 },
      clusters: [
        { cluster: 'a', reason: 'PredicateMismatch', message: 'label size is small, not large' },
        ...[{}, {}, {}],
        { cluster: 'e', reason: 'Selected', rank: 1, scores: [{ name: 'Balance' }, { name: 'Steady', weight: 3 }] },
      ],
    })
    expect(foreseen.warned).toBe('299 - "dry run: 1 cluster would be selected, 0 are now; 1 would come: e"')
    expect(await traces()).toEqual(before)
    expect(await why('new', placement('new', spec), '?cluster=e')).toMatchObject({
      told: { clusters: [{ cluster: 'e', reason: 'Selected' }] },
    })
    expect((await why('new')).code).toBe(404)
    await api.ask('POST', PLACEMENTS, { body: placement('new', spec) })
    expect((await why('new')).told).toEqual(foreseen.told)
  })

  test('of an edit goes on from what is stored: what it decided, and how many may leave', async () => {
    const { api, look, why } = await decided()
    const edited = placement('all', large)
    const foreseen = await why('all', edited)
    expect(foreseen.told).toMatchObject({
      ...{ outcome: 'Held', selected: 5, heldRemoval: { count: 4, of: 5 } },
      clusters: [{ cluster: 'a', reason: 'HeldByGuard' }, ...[{}, {}, {}], { cluster: 'e', reason: 'Selected' }],
    })
    expect((await why('all')).told).toMatchObject({ outcome: 'Decided', selected: 5 })
    await api.ask('PUT', `${PLACEMENTS}/all`, { body: edited })
    await look()
    expect((await why('all')).told).toEqual(foreseen.told)
  })

  test('is refused as the write would be, each fault with its field, and so is another name', async () => {
    const { why, api } = await decided()
    const celExpressions = ['managedCluster.']
    const wrong = placement('all', {
      predicates: [{ requiredClusterSelector: { celSelector: { celExpressions } } }],
      tolerations: [{ value: 'v' }],
      strategie: {},
    })
    const { code, body } = await why('all', wrong)
    expect([code, body.details.causes?.map(({ field }) => field).toSorted()]).toEqual([
      422,
      [
        'spec.predicates[0].requiredClusterSelector.celSelector.celExpressions[0]',
        'spec.strategie',
        'spec.tolerations[0].key',
      ],
    ])
    expect((await why('new', placement('other', {}))).body).toMatchObject({
      message: 'the name of the object (other) does not match the name in the URL (new)',
    })
    expect((await why('all', placement('other', {}))).code).toBe(400)
    expect((await why('all', placement('all', {}, { resourceVersion: '1' }))).code).toBe(409)
    expect((await why('all', placement('all', { extra: 1 }), '?fieldValidation=Warn')).warned).toContain('spec.extra')
    expect((await why('all', placement('all', {}), '', api.viewer)).code).toBe(403)
  })
})
