import type { ObjectOf, RolloutSpec, RolloutStatus } from '@skerry/api'
import { foreseenStatus, fleetOf as policyFleet, type StandingRollout } from '@skerry/policy'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { desiredController } from '../../controllers/desired.ts'
import { addCluster, addImage, addPlacement, LIMITS, openWorld, rolloutSpec } from '../../controllers/fixture.ts'
import { placementController } from '../../controllers/placement.ts'
import { rolloutController } from '../../controllers/rollout.ts'
import { deleteObject } from '../../store/resources.ts'
import { write } from '../../store/store.ts'
import { type Shown, testApi } from '../testing.ts'

const ROLLOUTS = '/apis/skerry.dev/v1alpha1/namespaces/fleet/rollouts'
const TOKENS = '/apis/skerry.dev/v1alpha1/apitokens'
const DRY = '?dryRun=All'
const oneByOne: Partial<RolloutSpec> = { strategy: { type: 'Progressive', progressive: { maxConcurrency: 1 } } }

/** An API over a fleet that is decided: sites that were heard just now, and one, `dark`, that never was. */
async function fleetOf(...near: readonly string[]) {
  const api = await testApi({ now: () => world.now() })
  const world = await openWorld(api.store)
  await addImage(world, 'os-1')
  await addImage(world, 'os-2', 2)
  await addPlacement(world)
  await addCluster(world, 'dark')
  for (const name of near) await (await addCluster(world, name)).heartbeat()
  await world.look(placementController())
  const controllers = [rolloutController(LIMITS), desiredController()]
  const ask = async (method: string, path: string, body?: object, token?: string) => {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    const answer = await api.ask(method, `${ROLLOUTS}${path}`, { body, type, ...(token ? { token } : {}) })
    if (answer.code >= 400) throw new Error(`${answer.code}: ${answer.text}`)
    return answer.body
  }
  return {
    world,
    ask,
    async rest() {
      for (let n = 0; n < 2; n += 1) for (const controller of controllers) await world.look(controller)
    },
    look: () => world.look(rolloutController(LIMITS)),
    stored: (name: string) => world.get('Rollout', name, 'fleet'),
    person: async (name: string) =>
      (await api.ask('POST', TOKENS, { body: { name, role: 'platform-admin' } })).body.token,
    /** Everything that a write or a look could leave behind. */
    async traces() {
      const [row] = await api.store.sql`
        select (select count(*) from audit_record)::int as audited, (select count(*) from resource_change)::int as changes,
        (select max(resource_version) from resource)::int as version, (select count(*) from assignment)::int as assigned,
        (select count(*) from resource where kind = 'Event')::int as events,
        (select string_agg(spec_by, ',') from resource) as authors`
      return row
    },
  }
}
const body = (name: string, spec: RolloutSpec) => ({
  ...{ apiVersion: 'skerry.dev/v1alpha1', kind: 'Rollout', metadata: { name }, spec },
})
const statusOf = ({ status }: Pick<Shown, 'status'>) => status as RolloutStatus
/** Of each cluster its state and reason. */
const told = (status: RolloutStatus | undefined) =>
  Object.fromEntries((status?.clusters ?? []).map(({ name, state, reason }) => [name, `${state} ${reason}`]))
/** Without times of the two looks, and without when waits end that only news ends. */
const timeless = (status: RolloutStatus | undefined): unknown =>
  JSON.parse(
    JSON.stringify(status, (key, value) => (key === 'recheckAt' ? undefined : value)).replaceAll(
      /"\d{4}-[^"]*Z"/g,
      '"T"',
    ),
  )

describe('a dry run of a rollout', () => {
  test('answers with the status that the next look gives it, and leaves no trace', async () => {
    const fleet = await fleetOf('a', 'b')
    const before = await fleet.traces()
    const spec = rolloutSpec('os-1', oneByOne)
    const foreseen = await fleet.ask('POST', DRY, body('r', spec))
    expect(foreseen).toMatchObject({ kind: 'Rollout', metadata: { name: 'r', generation: 1 }, spec })
    expect(told(statusOf(foreseen))).toEqual({
      a: 'NotStarted Sending',
      b: 'NotStarted ConcurrencyLimit',
      dark: 'Offline NeverSeen',
    })
    expect(await fleet.traces()).toEqual(before)
    await fleet.look()
    expect(await fleet.world.list('Rollout')).toEqual([])

    await fleet.ask('POST', '', body('r', spec))
    await fleet.look()
    expect(timeless(statusOf(foreseen))).toEqual(timeless((await fleet.stored('r')).status))
  })

  test('tells of every hold when it is looked at again', async () => {
    const fleet = await fleetOf('a', 'b')
    const { clusters = [], recheckAt } = statusOf(
      await fleet.ask('POST', DRY, body('r', rolloutSpec('os-1', oneByOne))),
    )
    const soon = (at = '') =>
      Date.parse(at) > fleet.world.now() - 30_000 && Date.parse(at) <= fleet.world.now() + 60_000
    expect(clusters.map((row) => [row.name, row.recheckAt !== undefined && soon(row.recheckAt)])).toEqual([
      ['a', false],
      ['b', true],
      ['dark', true],
    ])
    expect(soon(recheckAt)).toBe(true)
  })

  test.each(['PUT', 'PATCH'])('by %s tells what an edit would do, from how far it is', async (method) => {
    const fleet = await fleetOf('a', 'b')
    await fleet.ask('POST', '', body('r', rolloutSpec('os-1', oneByOne)))
    await fleet.rest()
    const before = [await fleet.traces(), await fleet.stored('r')]
    const edited = async (spec: RolloutSpec) =>
      statusOf(await fleet.ask(method, `/r${DRY}`, method === 'PUT' ? body('r', spec) : { spec }))
    const wider = rolloutSpec('os-1', { strategy: { type: 'Progressive', progressive: { maxConcurrency: 2 } } })
    expect(told(await edited(rolloutSpec('os-1', oneByOne)))).toMatchObject({
      a: 'Sent AwaitingAcceptance',
      b: 'NotStarted ConcurrencyLimit',
    })
    const foreseen = await edited(wider)
    expect(told(foreseen)).toMatchObject({ a: 'Sent AwaitingAcceptance', b: 'NotStarted Sending' })
    expect(foreseen.observedGeneration).toBe(2)
    // Of another image nothing is under way yet.
    const other = await edited(rolloutSpec('os-2', oneByOne))
    expect(other.image).toMatchObject({ version: 'os-2' })
    expect(told(other)).toMatchObject({ a: 'NotStarted Sending', b: 'NotStarted ConcurrencyLimit' })
    expect([await fleet.traces(), await fleet.stored('r')]).toEqual(before)

    await fleet.ask(method, '/r', method === 'PUT' ? body('r', wider) : { spec: wider })
    await fleet.look()
    expect(timeless(foreseen)).toEqual(timeless((await fleet.stored('r')).status))
  })

  test('of one that is the newest takes clusters from older ones, and of an older one it takes none back', async () => {
    const fleet = await fleetOf('a')
    await fleet.ask('POST', '', body('old', rolloutSpec('os-1')))
    await fleet.rest()
    const newest = await fleet.ask('POST', DRY, body('new', rolloutSpec('os-2')))
    expect(told(statusOf(newest))).toMatchObject({ a: 'NotStarted Sending' })
    await fleet.ask('POST', '', body('new', rolloutSpec('os-2')))
    await fleet.rest()
    const edit = { spec: { strategy: { type: 'Progressive', progressive: {} } } }
    expect(told(statusOf(await fleet.ask('PATCH', `/old${DRY}`, edit)))).toMatchObject({
      a: 'Removed AssignedElsewhere',
    })
  })

  test('counts no approval of whoever makes the edit', async () => {
    const fleet = await fleetOf('a')
    const [anna, bert] = [await fleet.person('anna'), await fleet.person('bert')]
    await fleet.ask('POST', '', body('r', rolloutSpec('os-1', { approvals: { start: 1 } })), bert)
    await fleet.rest()
    await fleet.ask('POST', '/r/approve', { reason: 'seen', gate: 'Start' }, anna)
    const edit = { spec: { gates: { healthySeconds: 2, timeoutSeconds: 9 } } }
    const by = async (token: string) => statusOf(await fleet.ask('PATCH', `/r${DRY}`, edit, token))
    expect(told(await by(bert))).toMatchObject({ a: 'NotStarted Sending' })
    expect(await by(anna)).toMatchObject({ phase: 'WaitingForApproval' })
    // A label is no change of the spec: the approval stands, whoever writes it.
    const label = { metadata: { labels: { a: 'b' } } }
    expect(told(statusOf(await fleet.ask('PATCH', `/r${DRY}`, label, anna)))).toMatchObject({ a: 'NotStarted Sending' })
  })

  test('says what the rollout waits for where nothing can be planned', async () => {
    const fleet = await fleetOf('a')
    const pending = async (spec: RolloutSpec) => {
      const { phase, conditions } = statusOf(await fleet.ask('POST', DRY, body('r', spec)))
      return [phase, conditions?.find(({ type }) => type === 'Ready')?.reason]
    }
    expect(await pending(rolloutSpec('os-9'))).toEqual(['Pending', 'ImageUnknown'])
    expect(await pending({ ...rolloutSpec('os-1'), placementRef: { name: 'none' } })).toEqual([
      'Pending',
      'PlacementMissing',
    ])
    await fleet.world.create('Placement', 'later', {}, { namespace: 'fleet' })
    expect(await pending({ ...rolloutSpec('os-1'), placementRef: { name: 'later' } })).toEqual([
      'Pending',
      'PlacementUndecided',
    ])
  })

  test('that is refused is refused as ever', async () => {
    const fleet = await fleetOf('a')
    const windows: ObjectOf<'Rollout'>['spec']['windows'] = {
      activation: [{ at: '61 2 * * *', timeZone: 'UTC', durationSeconds: 60 }],
    }
    await expect(fleet.ask('POST', DRY, body('r', rolloutSpec('os-1', { windows })))).rejects.toThrow(/^422: /)
  })
})

describe('the facts of a rollout', () => {
  /** What the next look makes of them, by an edited spec where one is given. */
  const looked = (answer: unknown, spec?: RolloutSpec) => {
    const { nowMs, gone, limits: _, ...facts } = answer as StandingRollout
    const { metadata, ...rest } = facts.rollout
    const rollout = spec
      ? { ...rest, metadata: { ...metadata, generation: metadata.generation + 1 }, spec }
      : facts.rollout
    return foreseenStatus({ ...facts, rollout, gone: new Map(Object.entries(gone)) }, nowMs)
  }

  test('are all that its next look is made of, also where its spec is another one', async () => {
    const fleet = await fleetOf('a', 'b')
    await fleet.ask('POST', '', body('r', rolloutSpec('os-1', oneByOne)))
    await fleet.rest()
    const before = await fleet.traces()
    const facts = await fleet.ask('GET', '/r/facts')
    expect(facts).toMatchObject({
      limits: { lateMs: 90_000 },
      image: { version: 'os-1' },
      clusters: [
        { name: 'a', assignment: { holder: 'This' }, position: { generation: 1 } },
        { name: 'b' },
        { name: 'dark' },
      ],
    })
    expect(timeless(looked(facts))).toEqual(timeless(statusOf(await fleet.ask('PATCH', `/r${DRY}`, {}))))
    const other = rolloutSpec('os-2', oneByOne)
    const ofOther = await fleet.ask('GET', '/r/facts?image=os-2')
    expect(timeless(looked(ofOther, other))).toEqual(
      timeless(statusOf(await fleet.ask('PATCH', `/r${DRY}`, { spec: other }))),
    )
    expect(await fleet.ask('GET', '/r/facts?placement=none')).toMatchObject({
      ...{ decided: 'Missing', clusters: [] },
      rollout: { spec: rolloutSpec('os-1', oneByOne) },
    })
    expect(await fleet.traces()).toEqual(before)
  })

  test('say who is gone, and of a rollout that is not there nothing', async () => {
    const fleet = await fleetOf('a', 'b')
    await fleet.ask('POST', '', body('r', rolloutSpec('os-1')))
    await fleet.rest()
    await write(fleet.world.store, (tx) => deleteObject(tx, 'ManagedCluster', '', 'b'))
    await fleet.world.look(placementController())
    expect(await fleet.ask('GET', '/r/facts')).toMatchObject({ gone: { b: 'Deleted' } })
    await expect(fleet.ask('GET', '/none/facts')).rejects.toThrow(/^404: /)
  })
})

/** Holds the first who asks expressions of a fleet until `end`. */
function heldWhileAsked() {
  const fleet = Object.getPrototypeOf(policyFleet({ sets: [], bindings: [], clusters: [], decisions: [], scores: [] }))
  const plain = fleet.askCel
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
  let isHeld = true
  vi.spyOn(fleet, 'askCel').mockImplementationOnce(function* (this: unknown, expressions: unknown) {
    begin()
    while (isHeld) yield
    yield* plain.call(this, expressions)
  })
  return { begun, end: () => (isHeld = false) }
}

/** Counts how often expressions were asked of a fleet until somebody stopped that before its end. */
function askedToTheEnd() {
  const fleet = Object.getPrototypeOf(policyFleet({ sets: [], bindings: [], clusters: [], decisions: [], scores: [] }))
  const plain = fleet.askCel
  let stops = 0
  vi.spyOn(fleet, 'askCel').mockImplementation(function* (this: unknown, expressions: unknown) {
    let isWhole = false
    try {
      yield* plain.call(this, expressions)
      isWhole = true
    } finally {
      if (!isWhole) stops += 1
    }
  })
  return { stopped: (times: number) => vi.waitFor(() => expect(stops).toBe(times), 20_000) }
}

describe('a dry run of a placement', () => {
  afterEach(() => void vi.restoreAllMocks())

  const PLACEMENTS = '/apis/cluster.open-cluster-management.io/v1beta1/namespaces/fleet/placements'
  const placement = (name: string, spec: object) => ({
    apiVersion: 'cluster.open-cluster-management.io/v1beta1',
    ...{ kind: 'Placement', metadata: { name }, spec },
  })
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']

  async function decided(options: { answerMs?: number } = {}) {
    const api = await testApi({ ...options, now: () => world.now() })
    const world = await openWorld(api.store)
    await addPlacement(world)
    for (const name of names)
      await world.create('ManagedCluster', name, {}, { labels: { half: name < 'e' ? 'first' : 'second' } })
    const look = () => world.look(placementController())
    await look()
    const ask = async (method: string, path: string, body: object) => {
      const { code, body: after, headers } = await api.ask(method, `${PLACEMENTS}${path}`, { body })
      return { code, status: after.status, said: String(headers['warning'] ?? ''), message: after.message }
    }
    const stored = async (name: string) => (await world.get('Placement', name, 'fleet')).status
    return { world, ask, look, stored, store: api.store }
  }
  const half = (value: string) => ({
    predicates: [{ requiredClusterSelector: { labelSelector: { matchLabels: { half: value } } } }],
  })
  const plain = (status: unknown): unknown => JSON.parse(JSON.stringify(status).replaceAll(/"\d{4}-[^"]*Z"/g, '"T"'))

  test('answers with the status that the next look gives it and says who would come, and leaves no trace', async () => {
    const { ask, look, stored, store } = await decided()
    const traces = async () => (await store.sql`select count(*)::int, max(resource_version)::int from resource`)[0]
    const before = await traces()
    const foreseen = await ask('POST', DRY, placement('new', half('first')))
    expect([foreseen.code, foreseen.said]).toEqual([
      201,
      '299 - "dry run: 4 clusters would be selected, 0 are now; 4 would come: a, b, c, d"',
    ])
    expect(await traces()).toEqual(before)
    expect((await ask('POST', '', placement('new', half('first')))).said).toBe('')
    await look()
    expect(plain(foreseen.status)).toEqual(plain(await stored('new')))

    const edit = placement('new', { ...half('second'), numberOfClusters: 3 })
    const held = await ask('PUT', `/new${DRY}`, edit)
    expect(held.status).toMatchObject({ heldRemoval: { count: 4, of: 4 }, numberOfSelectedClusters: 4 })
    expect(held.said).toBe('299 - "dry run: 4 clusters would be selected, 4 are now; nobody would come or leave"')
    await ask('PUT', '/new', edit)
    await look()
    expect(plain(held.status)).toEqual(plain(await stored('new')))
  })

  test('is of one moment: what is decided while its expressions are asked is none of its answer', async () => {
    const { ask, look, stored, world } = await decided()
    await world.create('Placement', 'new', half('first'), { namespace: 'fleet' })
    const celExpressions = ['managedCluster.metadata.name != "a"']
    const spec = { predicates: [{ requiredClusterSelector: { celSelector: { celExpressions } } }] }
    const asking = heldWhileAsked()
    const answer = ask('PUT', `/new${DRY}`, placement('new', spec))
    await asking.begun
    await look()
    expect(await stored('new')).toMatchObject({ numberOfSelectedClusters: 4 })
    asking.end()
    expect((await answer).said).toContain('7 clusters would be selected, 0 are now; 7 would come')
  })

  test('names the first of those that come and leave', async () => {
    const { ask, look } = await decided()
    const annotations = { 'placement.skerry.dev/max-removal-percent': '100' }
    const edit = { ...placement('all', half('second')), metadata: { name: 'all', annotations } }
    expect((await ask('PUT', `/all${DRY}`, edit)).said).toBe(
      '299 - "dry run: 4 clusters would be selected, 8 are now; 4 would leave: a, b, c, d"',
    )
    expect((await ask('POST', DRY, placement('every', {}))).said).toContain('8 would come: a, b, c, d, e and 3 more')
    const one = { ...placement('all', { numberOfClusters: 1 }), metadata: { name: 'all', annotations } }
    await ask('PUT', '/all', one)
    await look()
    expect((await ask('PUT', `/all${DRY}`, one)).said).toBe(
      '299 - "dry run: 1 cluster would be selected, 1 is now; nobody would come or leave"',
    )
  })

  test('whose expressions ask for longer than an answer may take ends with its time, and so does the question why', async () => {
    const { ask, world } = await decided({ answerMs: 3_000 })
    const ten = '[0,1,2,3,4,5,6,7,8,9]'
    const dear = [0, 1, 2, 3, 4].reduce((inner, n) => `${ten}.all(v${n}, ${inner})`, '1 < 2 && 2 < 3')
    const spec = { predicates: [{ requiredClusterSelector: { celSelector: { celExpressions: [dear] } } }] }
    for (let n = 0; n < 400; n += 1) await world.create('ManagedCluster', `site-${n}`, {})
    const asking = askedToTheEnd()
    expect((await ask('POST', DRY, placement('dear', spec))).code).toBe(504)
    await asking.stopped(1)
    await world.create('Placement', 'dear', spec, { namespace: 'fleet' })
    expect((await ask('GET', '/dear/why', {})).code).toBe(504)
    await asking.stopped(2)
    expect((await ask('POST', '/dear/why', placement('dear', spec))).code).toBe(504)
    await asking.stopped(3)
  })
})
