import type { ActivationWindow, ActVerb, RolloutAct, RolloutSpec } from '@skerry/api'
import { minuteOf } from '@skerry/policy'
import { CLOCK, makeTpm, referenceOf, valuesOf } from '@skerry/policy/testing'
import pino from 'pino'
import { describe, expect, test } from 'vitest'
import { listAssignments } from '../store/assignments.ts'
import { newestDesired } from '../store/desired-states.ts'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { openMirrors } from '../store/mirrors.ts'
import { createObject, deleteObject, updateObject } from '../store/resources.ts'
import { write } from '../store/store.ts'
import { attestationController } from './attestation.ts'
import { desiredController } from './desired.ts'
import {
  addCluster,
  addImage,
  addMeasuredImage,
  addPlacement,
  addProfile,
  LIMITS,
  newest,
  openWorld,
  RESULT_KEY,
  rolloutSpec,
  sha,
  type World,
} from './fixture.ts'
import { placementController } from './placement.ts'
import { rolloutController } from './rollout.ts'
import { desired, fleetOf, fleetOn, generations, progressive, rollout } from './rollout-fixture.ts'

const night: ActivationWindow = { at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3600 }

const events = async (world: World) =>
  (await world.list('Event')).map(({ spec }) => `${spec.reason} ${spec.message}`).toSorted()
/** How loud it is told that the way back is over, and in which words. */
const wayBackOver = async (world: World) =>
  (await world.list('Event')).flatMap(({ spec: { reason, type, message } }) =>
    reason === 'RolloutRolledBack' ? [`${type} ${message}`] : [],
  )

test('assignments and status are written together, and a look without news writes nothing', async () => {
  const { world, roll, rest, rolloutOf } = await fleetOf('a', 'b', 'c')
  await roll('r', rolloutSpec('os-1', progressive({ maxConcurrency: 2 })))
  await world.look(rollout)
  expect((await listAssignments(world.store.sql)).map(({ cluster }) => cluster)).toEqual(['a', 'b'])
  expect((await rolloutOf('r')).status).toMatchObject({ phase: 'Running', observedGeneration: 1 })
  await rest()
  const before = [await newest(world), await generations(world)]
  await rest()
  expect([await newest(world), await generations(world)]).toEqual(before)
})

test('the groups of the placement get the image one after the other, and are fixed once the first has it', async () => {
  const fleet = await fleetOf('a', 'b', 'c')
  const { world, roll, rest, rolloutOf, owners } = fleet
  const strategy = (...names: string[]) => ({
    decisionStrategy: {
      groupStrategy: {
        decisionGroups: names.map((name) => ({
          groupName: `of-${name}`,
          groupClusterSelector: { labelSelector: { matchLabels: { name } } },
        })),
      },
    },
  })
  for (const name of ['a', 'b', 'c'])
    await write(world.store, (tx) =>
      updateObject(tx, 'ManagedCluster', { metadata: { name, labels: { name } }, spec: { hubAcceptsClient: true } }),
    )
  await world.edit('Placement', 'all', 'fleet', strategy('b', 'a'))
  await world.look(placementController())
  await roll('r', rolloutSpec('os-1', { strategy: { type: 'ProgressivePerGroup' } }))
  await rest()
  expect(await owners()).toEqual({ b: 'r' })
  expect((await rolloutOf('r')).status?.groups).toMatchObject([
    { index: 0, name: 'of-b', total: 1 },
    { index: 1, name: 'of-a', total: 1 },
    { index: 2, name: '', total: 1 },
  ])
  // Whatever the placement says of its groups from now on.
  await world.edit('Placement', 'all', 'fleet', strategy('c'))
  await world.look(placementController())
  await fleet.accepts('b')
  await fleet.confirms('b', 'os-1', 'boot-b')
  await rest()
  expect(await owners()).toEqual({ a: 'r', b: 'r' })
  expect(await fleet.stateOf('r', 'c')).toMatchObject({
    group: 2,
    reason: 'GroupWaits',
    message: 'group 1 (of-a) comes first and is not through: 1 under way',
  })
  const { groups, byState, slowest } = (await rolloutOf('r')).status ?? {}
  expect(groups?.map(({ passedAt }) => passedAt !== undefined)).toEqual([true, false, false])
  expect(byState).toEqual({ NotStarted: 1, Sent: 1, Succeeded: 1 })
  expect(slowest).toMatchObject([{ name: 'a', state: 'Sent' }])
})

test('each event is told once, in the look that saw it', async () => {
  const fleet = await fleetOf('a', 'b')
  await fleet.roll('r', rolloutSpec('os-1', progressive({ maxFailures: 1 })))
  await fleet.rest()
  await fleet.accepts('a')
  await fleet.accepts('b')
  await fleet.confirms('a', 'os-1', 'boot-a')
  await fleet.fails('b', 'os-1')
  await fleet.rest()
  await fleet.rest()
  expect(await events(fleet.world)).toEqual([
    'RolledBack b: node b: went to Failed',
    'RolloutCompleted the rollout is Completed: 1 succeeded, 1 failed; find out why; where it failed the same image is not sent again by itself: try it again ("skerry rollout retry r"), name another one in spec.image.name, or make another rollout',
    'RolloutRunning the rollout is Running',
    'Succeeded a: every node runs the image in a boot that is as good as asked',
  ])
})

test('a rollout of which every cluster failed within the budget ends with a warning; a cluster that comes later is sent the image', async () => {
  const fleet = await fleetOf('a', 'b')
  await fleet.roll('r', rolloutSpec('os-1', progressive({ maxFailures: '100%' })))
  await fleet.rest()
  for (const name of ['a', 'b']) {
    await fleet.accepts(name)
    await fleet.fails(name, 'os-1')
  }
  await fleet.rest()
  const { status } = await fleet.rolloutOf('r')
  expect(status).toMatchObject({ phase: 'Paused', counts: { rolledBack: 2, succeeded: 0 } })
  expect(status).not.toHaveProperty('completedAt')
  const completed = status?.conditions?.find(({ type }) => type === 'Completed')
  expect(completed).toMatchObject({
    status: 'False',
    reason: 'NothingSucceeded',
    message: expect.stringMatching(/^0 succeeded, 2 failed; no cluster is left to go on with; find out why/),
  })
  const paused = (await fleet.world.list('Event')).filter(({ spec }) => spec.reason === 'RolloutPaused')
  expect(paused.map(({ spec }) => [spec.type, spec.message])).toEqual([
    ['Warning', `the rollout is Paused: ${completed?.message}`],
  ])
  const late = await addCluster(fleet.world, 'c')
  await late.heartbeat()
  await fleet.world.look(placementController())
  await fleet.rest()
  expect((await fleet.rolloutOf('r')).status?.phase).toBe('Running')
  expect(await fleet.stateOf('r', 'c')).toMatchObject({ state: 'Sent' })
})

test('edited windows, gates and attestation reach who is under way as the next generation, and who is finished not at all', async () => {
  const fleet = await fleetOf('done', 'soaking', 'staged')
  await fleet.roll('r', rolloutSpec('os-1', { attestation: 'warning' }))
  await fleet.rest()
  for (const name of ['done', 'soaking', 'staged']) await fleet.accepts(name)
  await fleet.confirms('done', 'os-1', 'boot-1')
  await fleet.stages('staged', 'os-1')
  await fleet.rest()
  const delivered = await fleet.stateOf('r', 'staged')
  expect(await fleet.stateOf('r', 'done')).toMatchObject({ state: 'Succeeded' })

  const edited = rolloutSpec('os-1', { attestation: 'warning', windows: { activation: [night] } })
  await fleet.reroll('r', edited)
  await fleet.rest()
  expect(await generations(fleet.world)).toEqual({ done: 1, soaking: 2, staged: 2 })
  expect((await fleet.documentOf('staged'))?.windows.activation).toEqual([night])
  expect((await fleet.documentOf('done'))?.windows.activation).toEqual([])
  expect(await fleet.stateOf('r', 'staged')).toMatchObject({
    state: delivered?.state,
    assignedAt: delivered?.assignedAt,
    deliveredAt: delivered?.deliveredAt,
    position: { timeline: 0, generation: 2 },
  })
  await fleet.reroll('r', { ...edited, attestation: 'affirming', gates: { healthySeconds: 7, timeoutSeconds: 77 } })
  await fleet.rest()
  expect(await generations(fleet.world)).toEqual({ done: 1, soaking: 3, staged: 3 })
  expect(await fleet.documentOf('staged')).toMatchObject({ attestation: 'affirming', gates: { timeoutSeconds: 77 } })
  await fleet.rest()
  expect(await generations(fleet.world)).toEqual({ done: 1, soaking: 3, staged: 3 })
})

type Site = Awaited<ReturnType<typeof addCluster>>
const logless = (site: Site): Site => ({
  ...site,
  says: (said, manner) => {
    if (said.kind !== 'evidence') return site.says(said, manner)
    const { eventLog: _, ...body } = said.body
    return site.says({ kind: 'evidence', body }, manner)
  },
})
test.each<[string, object | undefined, boolean, object]>([
  ['affirming counts', {}, true, { state: 'Succeeded' }],
  [
    'affirming of another boot than the confirmed one waits',
    {},
    false,
    { state: 'Soaking', reason: 'AwaitingAttestation' },
  ],
  ['warning waits', { akName: undefined }, true, { state: 'Soaking', reason: 'AttestationInsufficient' }],
  ['none waits', undefined, true, { state: 'Soaking', reason: 'AttestationInsufficient' }],
  ['contraindicated fails', { akName: '00' }, true, { state: 'Failed', reason: 'AttestationContraindicated' }],
])('of a rollout that asks for affirming boots %s', async (_, record, same, expected) => {
  const world = await openWorld()
  const tpm = makeTpm()
  const { image, profile } = referenceOf(tpm)
  await addMeasuredImage(world, 'os-1', image)
  await addProfile(world, profile)
  await addPlacement(world)
  const shop = await addCluster(world, 'shop', { tpm, ...record })
  const site = record ? shop : logless(shop)
  const fleet = await fleetOn(world, { shop: site })
  await fleet.roll('r', rolloutSpec('os-1', { attestation: 'affirming' }))
  await fleet.rest()
  await fleet.accepts('shop')
  await site.says(site.quotes('b2', 'os-1'))
  const bootId = same ? 'b2' : 'b3'
  await fleet.goes('shop', 'Confirming', 'Idle', { imageSha256: sha('os-1'), bootId })
  await fleet.rest()
  expect(await fleet.stateOf('r', 'shop')).toMatchObject(expected)
})

/** A rollout that asks for affirming boots and an hour's soak, in which `shop` confirmed its boot `b2`, which is affirming if its key is known. */
async function soakingFleet(record: { akName?: undefined } = {}) {
  const world = await openWorld()
  const tpm = makeTpm()
  const { image, profile } = referenceOf(tpm)
  await addMeasuredImage(world, 'os-1', image)
  await addProfile(world, profile)
  await addPlacement(world)
  const site = await addCluster(world, 'shop', { tpm, ...record })
  const fleet = await fleetOn(world, { shop: site })
  await fleet.roll('r', rolloutSpec('os-1', { ...progressive({ minSuccessTime: '1h' }), attestation: 'affirming' }))
  await fleet.rest()
  await fleet.accepts('shop')
  await site.says(site.quotes('b2', 'os-1'))
  await fleet.goes('shop', 'Confirming', 'Idle', { imageSha256: sha('os-1'), bootId: 'b2' })
  await fleet.rest()
  expect(await fleet.stateOf('r', 'shop')).toMatchObject('akName' in record ? poor : soaks)
  return { ...fleet, shop: site, profile, tpm }
}
const starts = (resetCount: number, clockMs = CLOCK.clockMs) => ({ clock: { ...CLOCK, resetCount, clockMs } })
/** PCR 9 holds what nothing explains. */
const tampered = { values: valuesOf('secure-boot-off').set(9, '9'.repeat(64)) }
const renewed = starts(CLOCK.resetCount, CLOCK.clockMs + 60_000)
const bad = { state: 'Failed', reason: 'AttestationContraindicated' }
const poor = { state: 'Soaking', reason: 'AttestationInsufficient' }
const soaks = { state: 'Soaking', reason: 'MinSuccessTime' }
type Told = readonly [bootId: string, more: Parameters<Site['quotes']>[2], unknown?: 'nobody knows its key any more']

test.each<[string, readonly Told[], object, string]>([
  ['a new boot that is contraindicated fails', [['b3', { ...starts(8), ...tampered }]], bad, 'Failed'],
  [
    'so does one that a good boot followed before anybody looked',
    [
      ['b3', { ...starts(8), ...tampered }],
      ['b4', starts(9)],
    ],
    { ...bad, message: expect.stringContaining('a later boot, b3: ') },
    'Failed',
  ],
  ['a new boot that is worse than asked waits', [['b3', starts(8), 'nobody knows its key any more']], poor, 'Soaking'],
  ['renewed evidence that is contraindicated fails', [['b2', { ...renewed, ...tampered }]], bad, 'Failed'],
  [
    'also where good evidence of the same boot followed before anybody looked',
    [
      ['b2', { ...renewed, ...tampered }],
      ['b2', starts(CLOCK.resetCount, CLOCK.clockMs + 120_000)],
    ],
    { ...bad, message: expect.stringContaining(': the boot: ') },
    'Failed',
  ],
  [
    'renewed evidence that is worse than asked waits',
    [['b2', renewed, 'nobody knows its key any more']],
    poor,
    'Soaking',
  ],
  ['a new boot that is as good goes on', [['b3', starts(8)]], soaks, 'Succeeded'],
])('of a cluster that soaks, %s', async (_, told, expected, end) => {
  const { shop, rest, stateOf, rolloutOf, world } = await soakingFleet()
  for (const [bootId, more, unknown] of told) {
    if (unknown) await world.store.sql`update node_identity set ak_name = null`
    await shop.says(shop.quotes(bootId, 'os-1', more))
  }
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject(expected)
  const failed = end === 'Failed'
  expect((await rolloutOf('r')).status).toMatchObject(
    failed ? { phase: 'Paused', counts: { failed: 1, succeeded: 0 } } : { phase: 'Running' },
  )
  world.pass(3_600_000)
  await rest()
  expect((await stateOf('r', 'shop'))?.state).toBe(end)
  // What was so once is told once.
  expect((await events(world)).filter((event) => event.startsWith('Breached'))).toHaveLength(failed ? 1 : 0)
})

test('a cluster that soaks and goes offline does not fail; a new boot there waits for its quote', async () => {
  const { shop, rest, stateOf, world } = await soakingFleet()
  world.pass(LIMITS.offlineMs)
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject(soaks)
  const site = logless(shop)
  await site.says(shop.quotes('b3', 'os-1', starts(8)))
  await world.look(rollout)
  expect(await stateOf('r', 'shop')).toMatchObject({ state: 'Soaking', reason: 'AwaitingAttestation' })
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject({ state: 'Soaking', reason: 'AttestationInsufficient' })
  await shop.says(shop.quotes('b3', 'os-1', starts(8, CLOCK.clockMs + 60_000)))
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject(soaks)
  world.pass(3_600_000)
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject({ state: 'Succeeded', reason: 'Confirmed' })
})

test('a profile that is withdrawn while a cluster soaks fails nobody: it waits until one is signed again', async () => {
  const { shop, rest, stateOf, world, profile } = await soakingFleet()
  for (const later of [undefined, starts(8)]) {
    if (later) await shop.says(shop.quotes('b3', 'os-1', later))
    await rest()
    expect(await stateOf('r', 'shop')).toMatchObject(soaks)
    await write(world.store, (tx) => deleteObject(tx, 'HardwareProfile', '', profile.name))
    await rest()
    expect(await stateOf('r', 'shop')).toMatchObject({
      state: 'Soaking',
      reason: 'ReferenceValuesChanged',
      message: expect.stringContaining('NoProfile'),
    })
    await addProfile(world, profile)
  }
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject(soaks)
})

test('a profile that is signed with a mistake fails nobody, who soaks nor who succeeded', async () => {
  const { shop, rest, stateOf, world, profile } = await soakingFleet()
  const mistaken = { ...profile, firmware: [], learn: 'off' as const }
  for (const later of [undefined, starts(8)]) {
    if (later) await shop.says(shop.quotes('b3', 'os-1', later))
    await rest()
    await addProfile(world, mistaken)
    await rest()
    expect(await stateOf('r', 'shop')).toMatchObject({
      state: 'Soaking',
      reason: 'ReferenceValuesChanged',
      message: expect.stringContaining('contraindicated, affirming before'),
    })
    await addProfile(world, profile)
    await rest()
    expect(await stateOf('r', 'shop')).toMatchObject(soaks)
  }
  world.pass(3_600_000)
  await rest()
  expect((await stateOf('r', 'shop'))?.state).toBe('Succeeded')
  await addProfile(world, mistaken)
  await rest()
  expect((await stateOf('r', 'shop'))?.state).toBe('Succeeded')
  // What is judged by it from the first is not excused.
  await shop.says(shop.quotes('b4', 'os-1', starts(9)))
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject(bad)
})

test('a node whose confirmed boot could not be proven counts by a later boot that is', async () => {
  const { shop, rest, stateOf, world, tpm } = await soakingFleet({ akName: undefined })
  world.pass(3_600_000)
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject(poor)
  await world.store.sql`update node_identity set ak_name = ${tpm.name}`
  await shop.says(shop.quotes('b3', 'os-1', starts(8)))
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject({ state: 'Succeeded', reason: 'Confirmed' })
})

test('a contraindicated boot of another image is none of this one; who falls back to it for good fails', async () => {
  const { shop, rest, stateOf, world } = await soakingFleet()
  await shop.says(shop.quotes('b3', 'os-0', { ...starts(8), ...tampered }))
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject({ state: 'Soaking', reason: 'AnotherImageBooted' })
  await shop.says(shop.quotes('b4', 'os-1', starts(9)))
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject(soaks)
  await shop.says(shop.quotes('b5', 'os-0', starts(10)))
  world.pass(3_600_000)
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject({ state: 'Failed', reason: 'AnotherImageBooted' })
})

test('a bad boot from before a cluster was assigned the image is not held against it', async () => {
  const { shop, world, rest, stateOf, roll, accepts, age } = await soakingFleet()
  await shop.says(shop.quotes('b3', 'os-1', { ...starts(8), ...tampered }))
  await shop.says(shop.quotes('b4', 'os-1', starts(9)))
  await rest()
  expect(await stateOf('r', 'shop')).toMatchObject(bad)
  await age('r')
  // The database's own clock says when a statement was received.
  await world.store.sql`update statement set received_at = received_at - interval '1 hour'`
  await roll('again', rolloutSpec('os-1', { attestation: 'affirming' }))
  await rest()
  await accepts('shop')
  await rest()
  expect(await stateOf('again', 'shop')).toMatchObject({ state: 'Succeeded', reason: 'Confirmed' })
})

test('a verdict on another image does not count for the one that a site says it confirmed in that boot', async () => {
  const fleet = await fleetOf('liar')
  await addImage(fleet.world, 'os-2')
  await fleet.roll('r', rolloutSpec('os-2', { attestation: 'warning' }))
  await fleet.rest()
  await fleet.accepts('liar')
  const { site, goes } = fleet
  await site('liar').says(site('liar').boot('b1', 'os-1'))
  await goes('liar', 'Confirming', 'Idle', { imageSha256: sha('os-2'), bootId: 'b1' })
  await fleet.rest()
  expect(await fleet.stateOf('r', 'liar')).toMatchObject({
    state: 'Soaking',
    reason: 'AwaitingAttestation',
    message: 'node liar: the boot has no attestation result yet',
  })
})

test('newer evidence of the confirmed boot takes the place of its verdict before it is judged', async () => {
  const fleet = await fleetOf('shop')
  await fleet.roll('r', rolloutSpec('os-1', progressive({ minSuccessTime: '1h' })))
  await fleet.rest()
  await fleet.accepts('shop')
  await fleet.confirms('shop', 'os-1', 'b2')
  await fleet.rest()
  expect(await fleet.stateOf('r', 'shop')).toMatchObject({ state: 'Soaking', reason: 'MinSuccessTime' })
  const { site, world } = fleet
  await site('shop').says(site('shop').boot('b2', 'os-1'))
  await world.look(rollout)
  expect(await fleet.stateOf('r', 'shop')).toMatchObject({ state: 'Soaking', reason: 'AwaitingAttestation' })
  await fleet.rest()
  expect(await fleet.stateOf('r', 'shop')).toMatchObject({ state: 'Soaking', reason: 'MinSuccessTime' })
})

test('after a breach who was sent the image holds, dark or not; an edit that tolerates it lets them go', async () => {
  const fleet = await fleetOf('bad', 'dark', 'done', 'staged', 'waiting')
  const spec = rolloutSpec('os-1', progressive({ maxConcurrency: 4 }))
  await fleet.roll('r', spec)
  await fleet.rest()
  for (const name of ['bad', 'done', 'staged']) await fleet.accepts(name)
  await fleet.confirms('done', 'os-1', 'boot-1')
  await fleet.stages('staged', 'os-1')
  await fleet.fails('bad', 'os-1')
  await fleet.world.look(attestationController(RESULT_KEY))
  await fleet.world.look(rollout)
  await fleet.world.look(desired)
  const paused = async () =>
    Object.fromEntries((await newestDesired(fleet.world.store.sql)).map((s) => [s.cluster, s.document.paused]))
  expect((await fleet.rolloutOf('r')).status?.phase).toBe('Paused')
  expect(await paused()).toEqual({ bad: false, dark: true, done: false, staged: true })
  await fleet.rest()
  expect(await generations(fleet.world)).toEqual({ bad: 1, dark: 2, done: 1, staged: 2 })

  await fleet.reroll('r', rolloutSpec('os-1', progressive({ maxConcurrency: 4, maxFailures: 1 })))
  await fleet.rest()
  expect(await paused()).toEqual({ bad: false, dark: false, done: false, staged: false, waiting: false })
  expect((await fleet.rolloutOf('r')).status?.phase).toBe('Running')
})

test('after a breach who failed is ordered back to what it confirmed before, where the rollout says so', async () => {
  const fleet = await fleetOf('a', 'b')
  const { world } = fleet
  await addImage(world, 'os-2')
  await fleet.roll('first', rolloutSpec('os-1'))
  await fleet.rest()
  for (const name of ['a', 'b']) {
    await fleet.accepts(name)
    await fleet.confirms(name, 'os-1', `boot-${name}`)
  }
  await fleet.rest()
  await fleet.age('first')
  await fleet.roll('second', rolloutSpec('os-2', { ...progressive({ maxConcurrency: 1 }), onBreach: 'RollbackFailed' }))
  await fleet.rest()
  await fleet.accepts('a')
  expect((await fleet.documentOf('a'))?.image?.target).toContain('os-2')
  await fleet.fails('a', 'os-2')
  await fleet.rest()
  expect((await fleet.rolloutOf('second')).status?.phase).toBe('RollingBack')
  const back = await fleet.documentOf('a')
  expect(back?.image).toMatchObject({ rollout: 'fleet/second' })
  expect(back?.image?.target).toContain('os-1')
  await fleet.accepts('a')
  await fleet.rest()
  const { status } = await fleet.rolloutOf('second')
  expect(status?.phase).toBe('RolledBack')
  expect(await fleet.stateOf('second', 'a')).toMatchObject({
    state: 'RolledBack',
    backTo: { state: 'Accepted', message: 'the site has taken the order for os-1, which its nodes confirmed before' },
  })
  expect(await fleet.stateOf('second', 'b')).toMatchObject({ state: 'NotStarted', reason: 'Breached' })
  const before = [await newest(world), await generations(world)]
  await fleet.rest()
  expect([await newest(world), await generations(world)]).toEqual(before)
  expect((await events(world)).filter((told) => told.startsWith('Breached'))).toHaveLength(1)
  expect(await wayBackOver(world)).toEqual(['Normal the rollout is RolledBack'])
})

test('the way back asks for no proof of a boot; a site that refuses it all the same is told of, and the rollout is not left waiting', async () => {
  const fleet = await fleetOf('a')
  const { world } = fleet
  await addImage(world, 'os-2')
  await fleet.roll('first', rolloutSpec('os-1'))
  await fleet.rest()
  await fleet.accepts('a')
  await fleet.confirms('a', 'os-1', 'boot-a')
  await fleet.rest()
  await fleet.age('first')
  const terms = { attestation: 'affirming', onBreach: 'RollbackFailed' } as const
  await fleet.roll('second', rolloutSpec('os-2', { ...progressive({}), ...terms }))
  await fleet.rest()
  expect(await fleet.documentOf('a')).toMatchObject({ attestation: 'affirming' })
  await fleet.accepts('a')
  await fleet.fails('a', 'os-2')
  await fleet.rest()
  // It is sent the image once more before it is ordered back for good.
  const { id } = await fleet.does('second', 'retry', { clusters: ['a'] })
  await fleet.rest()
  expect(await fleet.documentOf('a')).toMatchObject({ retry: { act: id, imageSha256: sha('os-2') } })
  await fleet.accepts('a')
  await fleet.fails('a', 'os-2')
  await fleet.rest()
  expect((await fleet.rolloutOf('second')).status?.phase).toBe('RollingBack')
  const back = await fleet.documentOf('a')
  expect(back).toMatchObject({ attestation: 'warning', image: { target: expect.stringContaining('os-1') } })
  if (!back) throw new Error('nothing is ordered')

  const { timeline, generation } = back
  const said = { document: 'DesiredState', code: 'ReleaseCounterTooLow', message: 'release counter 1 is below 5' }
  await fleet
    .site('a')
    .says({ kind: 'refused', body: { ...said, digest: sha('order'), position: { timeline, generation } } })
  await fleet.rest()
  expect((await fleet.rolloutOf('second')).status?.phase).toBe('RolledBack')
  expect((await fleet.stateOf('second', 'a'))?.backTo).toMatchObject({
    state: 'Impossible',
    message: expect.stringContaining('(ReleaseCounterTooLow: release counter 1 is below 5)'),
  })
  expect(await wayBackOver(world)).toEqual([
    'Warning the rollout is RolledBack; 1 cluster cannot go back, and backTo in the row of each says why',
  ])

  // An order of the past that is played to the site again takes nothing of that back.
  const played = { document: 'DesiredState', digest: sha('played'), message: 'm' }
  for (const [code, at] of [
    ['OlderPosition', generation - 1],
    ['PositionReused', generation],
  ] as const)
    await fleet.site('a').says({ kind: 'refused', body: { ...played, code, position: { timeline, generation: at } } })
  await fleet.rest()
  expect((await fleet.rolloutOf('second')).status?.phase).toBe('RolledBack')
  expect((await fleet.stateOf('second', 'a'))?.backTo).toMatchObject({
    state: 'Impossible',
    message: expect.stringContaining('(ReleaseCounterTooLow: release counter 1 is below 5)'),
  })
})

test('where nobody can go back at the first look, that the way back is over is told beside the breach', async () => {
  const fleet = await fleetOf('a')
  await fleet.roll('first', rolloutSpec('os-1', { ...progressive({}), onBreach: 'RollbackFailed' }))
  await fleet.rest()
  await fleet.accepts('a')
  await fleet.fails('a', 'os-1')
  await fleet.rest()
  expect((await fleet.rolloutOf('first')).status?.phase).toBe('RolledBack')
  expect(await wayBackOver(fleet.world)).toEqual([
    'Warning the rollout is RolledBack; 1 cluster cannot go back, and backTo in the row of each says why',
  ])
  expect((await events(fleet.world)).filter((told) => told.startsWith('Breached'))).toHaveLength(1)
})

describe('a rollout in waves', () => {
  const waves = [
    { startAfter: '0s', percent: 10 },
    { startAfter: '48h', percent: 100 },
  ]

  test('every order says the schedule and one start, which stays; a site is waited for until the minute that it works out itself', async () => {
    const fleet = await fleetOf('a', 'b', 'c')
    const { world } = fleet
    const deadline = progressive({ maxConcurrency: 1, progressDeadline: '30s' })
    await fleet.roll('r', rolloutSpec('os-1', { ...deadline, waves }))
    await fleet.rest()
    const startsAt = (await fleet.rolloutOf('r')).status?.firstSent?.at
    expect((await fleet.rolloutOf('r')).status?.firstSent?.manifestSha256).toBe(sha('manifest os-1'))
    const order = await fleet.documentOf('a')
    expect(order?.waves).toEqual({
      startsAt,
      schedule: [
        { startAfterSeconds: 0, spreadSeconds: 172_800, percent: 10 },
        { startAfterSeconds: 172_800, spreadSeconds: 172_800, percent: 100 },
      ],
    })
    if (!order?.waves) throw new Error('the order has no waves')
    const mine = new Date(minuteOf(order.waves, 'a', sha('manifest os-1'))).toISOString()
    await fleet.accepts('a')
    await fleet.goes('a', 'Staging', 'Staged', { imageSha256: sha('os-1'), reason: 'WaveNotDue' })
    world.pass(60_000)
    await fleet.rest()
    expect(await fleet.stateOf('r', 'a')).toMatchObject({
      ...{ state: 'WaitingForWindow', reason: 'WaveNotDue', waveAt: mine, recheckAt: mine },
    })
    // It holds no slot: the next is sent the same schedule, from the same start.
    expect((await fleet.documentOf('b'))?.waves).toEqual(order.waves)
    expect((await fleet.rolloutOf('r')).status?.firstSent?.at).toBe(startsAt)
    const before = [await newest(world), await generations(world)]
    await fleet.rest()
    expect([await newest(world), await generations(world)]).toEqual(before)
  })

  test('an edit that shortens them, or takes them away, reaches who waits as a newer order', async () => {
    const fleet = await fleetOf('a')
    await fleet.roll('r', rolloutSpec('os-1', { waves }))
    await fleet.rest()
    await fleet.accepts('a')
    await fleet.goes('a', 'Staging', 'Staged', { imageSha256: sha('os-1'), reason: 'WaveNotDue' })
    await fleet.rest()
    const startsAt = (await fleet.documentOf('a'))?.waves?.startsAt
    await fleet.reroll('r', rolloutSpec('os-1', { waves: [{ startAfter: '1h', percent: 100, spread: '1h' }] }))
    await fleet.rest()
    expect(await fleet.documentOf('a')).toMatchObject({
      generation: 2,
      waves: { startsAt, schedule: [{ startAfterSeconds: 3_600, spreadSeconds: 3_600, percent: 100 }] },
    })
    await fleet.reroll('r', rolloutSpec('os-1'))
    await fleet.rest()
    const last = await fleet.documentOf('a')
    expect(last?.generation).toBe(3)
    expect(last).not.toHaveProperty('waves')
    expect(await fleet.stateOf('r', 'a')).toMatchObject({ state: 'WaitingForWindow', reason: 'WaveDue' })
  })

  test('who is ordered back after a breach waits for no wave', async () => {
    const fleet = await fleetOf('a', 'b')
    await addImage(fleet.world, 'os-2', 2)
    await fleet.roll('first', rolloutSpec('os-1'))
    await fleet.rest()
    for (const name of ['a', 'b']) {
      await fleet.accepts(name)
      await fleet.confirms(name, 'os-1', `boot-${name}`)
    }
    await fleet.rest()
    await fleet.age('first')
    const spec = { ...progressive({ maxConcurrency: 1 }), onBreach: 'RollbackFailed' as const, waves }
    await fleet.roll('second', rolloutSpec('os-2', spec))
    await fleet.rest()
    await fleet.accepts('a')
    expect(await fleet.documentOf('a')).toHaveProperty('waves')
    await fleet.fails('a', 'os-2')
    await fleet.rest()
    const back = await fleet.documentOf('a')
    expect(back?.image?.target).toContain('os-1')
    expect(back).not.toHaveProperty('waves')
  })
})

describe('what people do', () => {
  async function steered(spec: Partial<RolloutSpec> = {}) {
    const fleet = await fleetOf('a', 'b')
    await fleet.roll('r', rolloutSpec('os-1', { ...progressive({ maxConcurrency: 1 }), ...spec }))
    return { ...fleet, act: (verb: ActVerb, more: Partial<RolloutAct> = {}) => fleet.does('r', verb, more) }
  }

  test('a pause reaches who is under way as a signed order, and so does a resume', async () => {
    const fleet = await steered()
    await fleet.rest()
    await fleet.accepts('a')
    await fleet.act('pause')
    await fleet.rest()
    expect(await fleet.documentOf('a')).toMatchObject({ paused: true, generation: 2 })
    expect(await fleet.stateOf('r', 'b')).toMatchObject({ state: 'NotStarted', reason: 'Paused' })
    await fleet.act('resume')
    await fleet.rest()
    expect(await fleet.documentOf('a')).toMatchObject({ paused: false, generation: 3 })
    expect((await fleet.rolloutOf('r')).status?.phase).toBe('Running')
  })

  test('after an abort nothing is sent, and what is not activated holds', async () => {
    const fleet = await steered()
    await fleet.rest()
    await fleet.act('abort')
    await fleet.rest()
    expect((await fleet.rolloutOf('r')).status?.phase).toBe('Aborted')
    expect(await fleet.documentOf('a')).toMatchObject({ paused: true })
    expect(await fleet.owners()).toEqual({ a: 'r' })
  })

  describe('reaches every order of the rollout that is not activated', () => {
    /** `a` and `b` have staged os-1 and wait; `c` runs it. */
    async function held() {
      const fleet = await fleetOf('a', 'b', 'c')
      await addImage(fleet.world, 'os-2', 2)
      await fleet.roll('r', rolloutSpec('os-1', { windows: { activation: [night] } }))
      await fleet.rest()
      for (const name of ['a', 'b', 'c']) await fleet.accepts(name)
      for (const name of ['a', 'b']) await fleet.stages(name, 'os-1')
      await fleet.confirms('c', 'os-1', 'boot-c')
      await fleet.rest()
      const act = (verb: ActVerb) => fleet.does('r', verb)
      const told = async () =>
        Object.fromEntries(
          (await newestDesired(fleet.world.store.sql)).map(({ cluster, document: { paused, image } }) => [
            cluster,
            `${image?.target.slice(10, 14)}${paused ? ' holds' : ''}`,
          ]),
        )
      return { ...fleet, act, told }
    }
    /** The placement drops `b` and `c`. */
    const drop = async ({ world }: Awaited<ReturnType<typeof held>>) => {
      const predicates = [{ requiredClusterSelector: { labelSelector: { matchLabels: { name: 'a' } } } }]
      await write(world.store, (tx) =>
        updateObject(tx, 'ManagedCluster', {
          metadata: { name: 'a', labels: { name: 'a' } },
          spec: { hubAcceptsClient: true },
        }),
      )
      await write(world.store, (tx) =>
        updateObject(tx, 'Placement', {
          metadata: { name: 'all', namespace: 'fleet' },
          spec: { predicates, maxRemovalPercent: 100 },
        }),
      )
      await world.look(placementController())
    }

    test.each<ActVerb>(['pause', 'abort'])('%s: also where the placement has dropped the cluster', async (verb) => {
      const fleet = await held()
      await drop(fleet)
      await fleet.rest()
      expect(await fleet.stateOf('r', 'b')).toMatchObject({ state: 'Removed', reason: 'Deselected' })
      await fleet.act(verb)
      await fleet.rest()
      // Who runs it already is sent nothing.
      expect(await fleet.told()).toEqual({ a: 'os-1 holds', b: 'os-1 holds', c: 'os-1' })
      const before = [await newest(fleet.world), await generations(fleet.world)]
      await fleet.rest()
      expect([await newest(fleet.world), await generations(fleet.world)]).toEqual(before)
      await fleet.act('resume')
      await fleet.rest()
      const after = verb === 'pause' ? 'os-1' : 'os-1 holds'
      expect(await fleet.told()).toEqual({ a: after, b: after, c: 'os-1' })
    })

    test('pause: also where the cluster has an earlier image of the rollout, whose terms stay', async () => {
      const fleet = await held()
      await fleet.act('pause')
      await fleet.rest()
      await fleet.act('resume')
      await fleet.rest()
      const order = await fleet.documentOf('b')
      await fleet.reroll('r', rolloutSpec('os-2', progressive({ maxConcurrency: 1 })))
      await fleet.rest()
      expect(await fleet.told()).toEqual({ a: 'os-2', b: 'os-1', c: 'os-1' })
      await fleet.act('pause')
      await fleet.rest()
      expect(await fleet.told()).toEqual({ a: 'os-2 holds', b: 'os-1 holds', c: 'os-1' })
      expect((await fleet.documentOf('b'))?.windows).toEqual(order?.windows)
      await fleet.act('resume')
      await fleet.rest()
      expect(await fleet.told()).toEqual({ a: 'os-2', b: 'os-1', c: 'os-1' })
    })

    test('pause: also while the rollout names an image that is not there, and the orders keep all else', async () => {
      const fleet = await held()
      await fleet.reroll('r', rolloutSpec('os-9'))
      await fleet.act('pause')
      await fleet.rest()
      expect(await fleet.told()).toEqual({ a: 'os-1 holds', b: 'os-1 holds', c: 'os-1' })
      expect((await fleet.documentOf('a'))?.windows.activation).toEqual([night])
    })

    test('abort: also where the cluster has timed out', async () => {
      const fleet = await held()
      await fleet.reroll('r', rolloutSpec('os-1', { strategy: { type: 'All', all: { progressDeadline: '0s' } } }))
      await fleet.rest()
      expect((await fleet.stateOf('r', 'b'))?.state).toBe('TimeOut')
      await fleet.act('abort')
      await fleet.rest()
      expect(await fleet.told()).toEqual({ a: 'os-1 holds', b: 'os-1 holds', c: 'os-1' })
    })
  })

  test('an act that comes while a look is under way is judged before anything of that look is written', async () => {
    const fleet = await steered()
    const { store, lease, now } = fleet.world
    await fleet.act('abort')
    // As the look read them: before the act.
    const before = { ...openMirrors(store), acts: async () => new Map<string, readonly RolloutAct[]>() }
    const [log, signal] = [pino({ level: 'silent' }), AbortSignal.timeout(30_000)]
    await rollout.reconcile({ store, lease, mirrors: before, now, log, signal })
    expect(await fleet.owners()).toEqual({})
    expect((await fleet.rolloutOf('r')).status).toBeUndefined()
    await fleet.rest()
    expect((await fleet.rolloutOf('r')).status?.phase).toBe('Aborted')
    expect(await fleet.owners()).toEqual({})
  })

  test('who failed is sent the same bytes once more by a retry, which the site is told of, and counts then', async () => {
    const fleet = await steered()
    await fleet.rest()
    await fleet.accepts('a')
    await fleet.fails('a', 'os-1')
    await fleet.rest()
    expect((await fleet.rolloutOf('r')).status?.phase).toBe('Paused')
    const { id } = await fleet.act('retry', { clusters: ['a'] })
    await fleet.rest()
    expect(await fleet.documentOf('a')).toMatchObject({ paused: false, retry: { act: id, imageSha256: sha('os-1') } })
    expect(await fleet.stateOf('r', 'a')).toMatchObject({ state: 'Sent' })
    await fleet.accepts('a')
    await fleet.confirms('a', 'os-1', 'boot-2')
    await fleet.rest()
    expect(await fleet.stateOf('r', 'a')).toMatchObject({ state: 'Succeeded' })
    expect(await fleet.owners()).toEqual({ a: 'r', b: 'r' })
    const before = [await newest(fleet.world), await generations(fleet.world)]
    await fleet.rest()
    expect([await newest(fleet.world), await generations(fleet.world)]).toEqual(before)
  })

  test('nothing is sent before a gate is opened by so many people as the rollout asks for', async () => {
    const fleet = await steered({ approvals: { start: 2, fourEyes: false } })
    await fleet.rest()
    expect(await fleet.owners()).toEqual({})
    expect((await fleet.rolloutOf('r')).status?.phase).toBe('WaitingForApproval')
    await fleet.act('approve', { gate: 'Start' })
    await fleet.rest()
    expect(await fleet.owners()).toEqual({})
    await fleet.act('approve', { gate: 'Start', by: 'otto' })
    await fleet.rest()
    expect(await fleet.owners()).toEqual({ a: 'r' })
  })
})

test('a rollout that asks for a proof that its nodes cannot give goes on once an edit asks no more for it', async () => {
  const fleet = await fleetOf('a', 'b')
  const { world } = fleet
  const spec = rolloutSpec('os-1', { ...progressive({ maxConcurrency: 1 }), attestation: 'affirming' })
  await fleet.roll('r', spec)
  await fleet.rest()
  const breached = async () => {
    const { status } = await fleet.rolloutOf('r')
    const condition = status?.conditions?.find(({ type }) => type === 'Breached')
    return [status?.phase, condition?.status, condition?.message.split(';')[0]]
  }
  const position = { timeline: 0, generation: 1 }
  const said = { document: 'DesiredState', code: 'AttestationImpossible', message: 'nothing measures the boot here' }
  await fleet.site('a').says({ kind: 'refused', body: { ...said, digest: sha('order'), position } })
  await fleet.rest()
  expect(await fleet.stateOf('r', 'a')).toMatchObject({ state: 'Failed', reason: 'AttestationImpossible' })
  expect(await breached()).toEqual(['Paused', 'True', '1 failed, 0 tolerated'])

  await fleet.reroll('r', { ...spec, attestation: 'warning' })
  // In the next look the new terms are stored, and not composed: the order that was refused is still the newest one.
  for (const state of ['NotStarted', 'Sent']) {
    await world.look(rollout)
    expect(await fleet.stateOf('r', 'a')).toMatchObject({ state })
    expect(await breached()).toEqual(['Running', 'False', '0 failed, 0 tolerated'])
  }
  await fleet.rest()
  expect(await fleet.documentOf('a')).toMatchObject({ generation: 2, attestation: 'warning', paused: false })
  for (const name of ['a', 'b']) {
    await fleet.accepts(name)
    await fleet.confirms(name, 'os-1', `boot-${name}`)
    await fleet.rest()
    expect(await fleet.stateOf('r', name)).toMatchObject({ state: 'Succeeded' })
  }
  expect((await fleet.rolloutOf('r')).status?.phase).toBe('Completed')
})

test('of many that refused, no more are sent the image again at once than may be under way', async () => {
  const names = ['a', 'b', 'c', 'd', 'e']
  const fleet = await fleetOf(...names)
  const spec = rolloutSpec('os-1', progressive({ maxFailures: 9 }))
  await fleet.roll('r', { ...spec, attestation: 'affirming' })
  await fleet.rest()
  const position = { timeline: 0, generation: 1 }
  const said = { document: 'DesiredState', code: 'AttestationImpossible', message: 'nothing measures the boot here' }
  for (const name of names)
    await fleet.site(name).says({ kind: 'refused', body: { ...said, digest: sha('order'), position } })
  await fleet.rest()
  expect((await fleet.rolloutOf('r')).status).toMatchObject({ phase: 'Paused', counts: { failed: 5 } })

  await fleet.reroll('r', { ...spec, ...progressive({ maxFailures: 9, maxConcurrency: 2 }) })
  const sentTo: string[][] = []
  for (const done of ['a', 'b']) {
    await fleet.rest()
    sentTo.push(Object.entries(await generations(fleet.world)).flatMap(([name, n]) => (n === 2 ? [name] : [])))
    await fleet.accepts(done)
    await fleet.confirms(done, 'os-1', `boot-${done}`)
  }
  await fleet.rest()
  expect(sentTo).toEqual([
    ['a', 'b'],
    ['a', 'b', 'c'],
  ])
  expect((await fleet.rolloutOf('r')).status?.counts).toMatchObject({ succeeded: 2, inProgress: 2, notStarted: 1 })
})

test('a newer rollout takes a cluster; the completed one keeps its counts, rows and phase', async () => {
  const fleet = await fleetOf('a', 'b')
  await fleet.roll('old', rolloutSpec('os-1'))
  await fleet.rest()
  for (const name of ['a', 'b']) {
    await fleet.accepts(name)
    await fleet.confirms(name, 'os-1', `boot-${name}`)
  }
  await fleet.rest()
  const { status: done } = await fleet.rolloutOf('old')
  expect(done).toMatchObject({ phase: 'Completed', counts: { succeeded: 2 } })

  await addImage(fleet.world, 'os-2', 2)
  await fleet.age('old')
  await fleet.roll('young', rolloutSpec('os-2', progressive({ maxConcurrency: 1 })))
  await fleet.world.look(rollout)
  // `b` is not sent the younger rollout's image yet: its row shows nothing of the older assignment.
  expect(await fleet.stateOf('young', 'b')).toMatchObject({ state: 'NotStarted' })
  expect(await fleet.stateOf('young', 'b')).not.toHaveProperty('assignedAt')
  expect(await fleet.stateOf('young', 'b')).not.toHaveProperty('position')
  await fleet.rest()
  const { status: after } = await fleet.rolloutOf('old')
  expect(after).toMatchObject({ phase: 'Completed', counts: done?.counts, completedAt: done?.completedAt })
  expect(await fleet.stateOf('old', 'a')).toEqual({
    ...done?.clusters?.[0],
    reason: 'AssignedElsewhere',
    message: 'succeeded; the rollout young has had this cluster since',
  })
  expect((await listAssignments(fleet.world.store.sql)).map((a) => [a.cluster, a.rolloutName])).toEqual([
    ['a', 'young'],
    ['b', 'old'],
  ])
})

test('a deleted rollout commands nobody: what no site confirmed falls back to the one before it, what one confirmed stays', async () => {
  const fleet = await fleetOf('confirmed', 'dark', 'held')
  await fleet.roll('old', rolloutSpec('os-1'))
  await fleet.rest()
  for (const name of ['confirmed', 'dark', 'held']) {
    await fleet.accepts(name)
    await fleet.confirms(name, 'os-1', `boot-${name}`)
  }
  await fleet.rest()
  await addImage(fleet.world, 'os-2', 2)
  await fleet.age('old')
  await fleet.roll('young', rolloutSpec('os-2', { windows: { activation: [night] } }))
  await fleet.rest()
  for (const name of ['confirmed', 'dark', 'held']) await fleet.accepts(name)
  await fleet.confirms('confirmed', 'os-2', 'boot-2')
  fleet.world.pass(LIMITS.offlineMs)
  for (const name of ['confirmed', 'held']) await fleet.site(name).heartbeat()
  await fleet.world.store
    .sql`update cluster_head set last_heard_at = last_heard_at + interval '300 s' where cluster <> 'dark'`
  await fleet.rest()

  await write(fleet.world.store, (tx) => deleteObject(tx, 'Rollout', 'fleet', 'young'))
  await fleet.rest()
  expect(await fleet.owners()).toEqual({ confirmed: 'young', dark: 'young', held: 'old' })
  expect(await fleet.documentOf('held')).toMatchObject({ image: { sha256: sha('manifest os-1') }, generation: 3 })
  expect(await fleet.documentOf('held')).toMatchObject({ windows: { activation: [] } })
  expect(await generations(fleet.world)).toEqual({ confirmed: 2, dark: 2, held: 3 })
  expect(await fleet.stateOf('old', 'held')).toMatchObject({ state: 'Sent' })
  const { status } = await fleet.rolloutOf('old')
  expect(status?.phase).toBe('Completed')
  expect(status?.conditions?.find(({ type }) => type === 'Completed')?.message).toBe(
    '1 cluster is under way since it completed',
  )
  for (const name of ['confirmed', 'dark'])
    expect(await fleet.stateOf('old', name)).toMatchObject({
      state: 'Succeeded',
      message: 'succeeded; the rollout young sent it another image since, and has it no more',
    })
  expect((await events(fleet.world)).filter((event) => event.startsWith('SentAgain'))).toEqual([
    'SentAgain held: the rollout that had it since has it no more, and its image was not confirmed there',
  ])

  // It runs that image already, and nothing is booted anew.
  await fleet.accepts('held')
  await fleet.rest()
  expect(await fleet.stateOf('old', 'held')).toMatchObject({ state: 'Succeeded', reason: 'Confirmed' })
  await fleet.rest()
  expect(await generations(fleet.world)).toEqual({ confirmed: 2, dark: 2, held: 3 })
})

test('an older rollout that never reached a site sends it no lower image than one that was confirmed there; a higher one it does', async () => {
  for (const [image, releaseCounter, owner, reason] of [
    ['os-low', 1, 'young', 'NewerImageConfirmed'],
    ['os-high', 3, 'old', 'AwaitingAcceptance'],
  ] as const) {
    const fleet = await fleetOf('a')
    await addImage(fleet.world, image, releaseCounter)
    await addImage(fleet.world, 'os-2', 2)
    await fleet.roll('old', rolloutSpec(image))
    await fleet.age('old')
    await fleet.roll('young', rolloutSpec('os-2'))
    await fleet.rest()
    await fleet.accepts('a')
    await fleet.confirms('a', 'os-2', 'boot-a')
    await fleet.rest()
    expect(await fleet.owners()).toEqual({ a: 'young' })
    await write(fleet.world.store, (tx) => deleteObject(tx, 'Rollout', 'fleet', 'young'))
    await fleet.rest()
    expect([image, await fleet.owners()]).toEqual([image, { a: owner }])
    expect([image, (await fleet.stateOf('old', 'a'))?.reason]).toEqual([image, reason])
  }
})

test('a newer rollout that selects a cluster no more lets an older one have it', async () => {
  const fleet = await fleetOf('a')
  const { world } = fleet
  const cluster = (labels: Record<string, string>) =>
    write(world.store, (tx) =>
      updateObject(tx, 'ManagedCluster', { metadata: { name: 'a', labels }, spec: { hubAcceptsClient: true } }),
    )
  const early = { requiredClusterSelector: { labelSelector: { matchLabels: { ring: 'early' } } } }
  await world.create('Placement', 'early', { predicates: [early] }, { namespace: 'fleet' })
  await cluster({ ring: 'early' })
  await world.look(placementController())
  await addImage(world, 'os-2', 2)
  await fleet.roll('old', rolloutSpec('os-1'))
  await fleet.age('old')
  await fleet.roll('young', rolloutSpec('os-2', { placementRef: { name: 'early' } }))
  await fleet.rest()
  expect(await fleet.owners()).toEqual({ a: 'young' })
  await cluster({})
  await fleet.rest()
  // The placement is not decided anew yet.
  expect(await fleet.owners()).toEqual({ a: 'young' })
  await world.look(placementController())
  await fleet.rest()
  expect(await fleet.owners()).toEqual({ a: 'old' })
  expect(await fleet.stateOf('young', 'a')).toMatchObject({ state: 'Removed', reason: 'Deselected' })
  await fleet.rest()
  expect(await fleet.owners()).toEqual({ a: 'old' })
})

test('a newer rollout has whom it selects before it sends them anything, and an older one goes on when it is deleted', async () => {
  const { world, roll, age, owners, stateOf, does } = await fleetOf('a', 'b')
  await addImage(world, 'os-2')
  await roll('old', rolloutSpec('os-1', { approvals: { start: 1 } }))
  await age('old')
  await roll('new', rolloutSpec('os-2', { approvals: { start: 1 } }))
  await world.edit('Rollout', 'old', 'fleet', rolloutSpec('os-1'))
  await world.look(rollout)
  expect(await owners()).toEqual({})
  expect(await stateOf('old', 'b')).toMatchObject({
    state: 'Removed',
    reason: 'AssignedElsewhere',
    message: 'the newer rollout new has this cluster, and has not sent it its image yet',
  })
  expect(await stateOf('new', 'b')).toMatchObject({ state: 'NotStarted', reason: 'WaitingForApproval' })
  // One that was aborted leaves clusters what they have, and says how the older one goes on.
  await does('new', 'abort')
  await world.look(rollout)
  await world.look(rollout)
  expect(await owners()).toEqual({})
  expect((await stateOf('old', 'b'))?.message).toBe(
    'the newer rollout new has this cluster, and was aborted before it sent it anything: delete it, and the rollout before it goes on',
  )

  await write(world.store, (tx) => deleteObject(tx, 'Rollout', 'fleet', 'new'))
  await world.look(rollout)
  expect(await owners()).toEqual({ a: 'old', b: 'old' })
})

test('what was planned of a rollout that was deleted and made anew meanwhile is not written under the new one', async () => {
  const fleet = await fleetOf('a')
  const { world } = fleet
  await addImage(world, 'os-2', 2)
  await fleet.roll('r', rolloutSpec('os-1'))
  const mirrors = openMirrors(world.store)
  let replaced = false
  // Between what the look read of rollouts and what it writes of them.
  const clusters = async () => {
    await write(world.store, async (tx) => {
      await deleteObject(tx, 'Rollout', 'fleet', 'r')
      await createObject(tx, 'Rollout', { metadata: { name: 'r', namespace: 'fleet' }, spec: rolloutSpec('os-2') })
    })
    replaced = true
    return mirrors.clusters()
  }
  const { store, lease, now } = world
  const context = { store, lease, now, log: pino({ level: 'silent' }), signal: AbortSignal.timeout(60_000) }
  await rolloutController(LIMITS).reconcile({ ...context, mirrors: { ...mirrors, clusters } })
  expect(replaced).toBe(true)
  expect(await listAssignments(store.sql)).toEqual([])
  await fleet.rest()
  const [assigned] = await listAssignments(store.sql)
  expect(assigned?.imageSha256).toBe(sha('os-2'))
})

test('of two rollouts of one second the later one has the cluster, whatever their names', async () => {
  const fleet = await fleetOf('a')
  const { world } = fleet
  await addImage(world, 'os-2', 2)
  await fleet.roll('a-first', rolloutSpec('os-1'))
  await fleet.roll('b-second', rolloutSpec('os-2'))
  for (const [name, ms] of [
    ['a-first', '100'],
    ['b-second', '900'],
  ])
    await world.store
      .sql`update resource set created_at = ${`2026-01-01T00:00:00.${ms}Z`} where kind = 'Rollout' and name = ${name ?? ''}`
  await fleet.rest()
  expect(await fleet.owners()).toEqual({ a: 'b-second' })
})

test('two rollouts of one moment: one of them has the cluster, the same one at each look', async () => {
  const fleet = await fleetOf('a')
  const { world } = fleet
  await world.create('ManagedClusterSetBinding', 'everyone', { clusterSet: 'everyone' }, { namespace: 'another' })
  await world.create('Placement', 'all', {}, { namespace: 'another' })
  await world.look(placementController())
  await addImage(world, 'os-2')
  await world.create('Rollout', 'z', rolloutSpec('os-2'), { namespace: 'another' })
  await fleet.roll('b', rolloutSpec('os-1'))
  await world.store.sql`update resource set created_at = '2026-01-01T00:00:00Z' where kind = 'Rollout'`
  const seen: unknown[] = []
  for (let n = 0; n < 4; n += 1) {
    await fleet.rest()
    seen.push([await fleet.owners(), await generations(world)])
  }
  expect(seen).toEqual(Array.from({ length: 4 }, () => [{ a: 'b' }, { a: 1 }]))
  const { status } = await world.get('Rollout', 'z', 'another')
  expect(status?.clusters?.[0]).toMatchObject({ state: 'Removed', reason: 'AssignedElsewhere' })
})

test('who leaves says since when and why; who is late says since when', async () => {
  const fleet = await fleetOf('a', 'b', 'c', 'd')
  const { world } = fleet
  await fleet.roll('r', rolloutSpec('os-1'))
  await fleet.rest()
  const sentAt = (await fleet.stateOf('r', 'a'))?.since
  world.pass(LIMITS.lateMs)
  await fleet.rest()
  const late = await fleet.stateOf('r', 'a')
  expect(late).toMatchObject({
    state: 'Sent',
    since: sentAt,
    message: expect.stringContaining('; late, last heard 20'),
  })
  expect(Date.parse(late?.recheckAt ?? '')).toBeGreaterThan(world.now())

  await world.edit('ManagedCluster', 'a', '', { hubAcceptsClient: false })
  await write(world.store, (tx) => deleteObject(tx, 'ManagedCluster', '', 'b'))
  await world.edit('Placement', 'all', 'fleet', { numberOfClusters: 2 })
  await world.look(placementController())
  const leftMs = world.now()
  await fleet.rest()
  const left = async () =>
    ((await fleet.rolloutOf('r')).status?.clusters ?? []).map(({ name, state, reason }) => [name, state, reason])
  const wanted = [
    ['a', 'Removed', 'Denied'],
    ['b', 'Removed', 'Deleted'],
    ['c', 'Sent', 'AwaitingAcceptance'],
    ['d', 'Removed', 'Deselected'],
  ]
  expect(await left()).toEqual(wanted)
  expect(Date.parse((await fleet.stateOf('r', 'a'))?.since ?? '')).toBeGreaterThanOrEqual(leftMs)
  await fleet.rest()
  expect(await left()).toEqual(wanted)
})

test('who holds an old lease writes neither assignments nor status', async () => {
  const { world, roll, rolloutOf } = await fleetOf('a')
  await roll('r', rolloutSpec('os-1'))
  await world.lease.release()
  const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(60_000))
  await expect(world.look(rollout)).rejects.toThrow(LeaseLost)
  expect([...(await listAssignments(world.store.sql))]).toEqual([])
  expect((await rolloutOf('r')).status).toBeUndefined()
  await world.look(rollout, fresh)
  expect(await listAssignments(world.store.sql)).toHaveLength(1)
  await fresh.release()
})

test('a hub that dies between assignment and desired state goes on: a fresh controller composes what is due', async () => {
  const fleet = await fleetOf('a')
  await fleet.roll('r', rolloutSpec('os-1'))
  await fleet.world.look(rollout)
  expect(await generations(fleet.world)).toEqual({})
  await fleet.world.look(desiredController())
  await fleet.world.look(rolloutController(LIMITS))
  expect(await generations(fleet.world)).toEqual({ a: 1 })
  expect(await fleet.stateOf('r', 'a')).toMatchObject({ state: 'Sent', position: { timeline: 0, generation: 1 } })
})
