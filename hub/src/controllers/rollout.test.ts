import type { ActivationWindow, ObjectOf, RolloutSpec } from '@skerry/api'
import { expect, test } from 'vitest'
import { listAssignments } from '../store/assignments.ts'
import { newestDesired } from '../store/desired-states.ts'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { deleteObject } from '../store/resources.ts'
import { write } from '../store/store.ts'
import { attestationController } from './attestation.ts'
import { desiredController } from './desired.ts'
import {
  addCluster,
  addImage,
  addPlacement,
  LIMITS,
  newest,
  openWorld,
  rolloutSpec,
  sha,
  type World,
} from './fixture.ts'
import { placementController } from './placement.ts'
import { rolloutController } from './rollout.ts'

const rollout = rolloutController(LIMITS)
const desired = desiredController()
const night: ActivationWindow = { at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3600 }

/** Clusters with these names, heard of, under a decided placement. */
async function fleetOf(...names: string[]) {
  const world = await openWorld()
  await addImage(world, 'os-1')
  await addPlacement(world)
  const sites: Record<string, Awaited<ReturnType<typeof addCluster>>> = {}
  for (const name of names) sites[name] = await addCluster(world, name)
  for (const site of Object.values(sites)) await site.heartbeat()
  await world.look(placementController())
  const site = (name: string) => {
    const found = sites[name]
    if (!found) throw new Error(`there is no site ${name}`)
    return found
  }
  return {
    world,
    site,
    roll: (name: string, spec: RolloutSpec) => world.create('Rollout', name, spec, { namespace: 'fleet' }),
    reroll: (name: string, spec: RolloutSpec) => world.edit('Rollout', name, 'fleet', spec),
    /** What the hub does by itself until it rests. */
    async settle() {
      for (let n = 0; n < 3; n += 1) {
        await world.look(attestationController())
        await world.look(rollout)
        await world.look(desired)
      }
    },
    rolloutOf: (name: string): Promise<ObjectOf<'Rollout'>> => world.get('Rollout', name, 'fleet'),
    async stateOf(name: string, cluster: string) {
      const { status } = await world.get('Rollout', name, 'fleet')
      return status?.clusters?.find((found) => found.name === cluster)
    },
    async documentOf(cluster: string) {
      return (await newestDesired(world.store.sql)).find((found) => found.cluster === cluster)?.document
    },
    /** The site takes its newest desired state. */
    async accepts(cluster: string) {
      const state = (await newestDesired(world.store.sql)).find((found) => found.cluster === cluster)
      if (!state) throw new Error(`${cluster} has no desired state`)
      await site(cluster).says({ kind: 'accepted', body: { ...state.position, digest: state.digest } })
    },
    async stages(cluster: string, image: string) {
      await this.goes(cluster, 'Staging', 'Staged', { imageSha256: sha(image) })
    },
    async goes(
      cluster: string,
      from: 'Staging' | 'Confirming' | 'RollingBack',
      to: 'Staged' | 'Idle' | 'Failed',
      more: object,
    ) {
      await site(cluster).says({
        kind: 'transition',
        body: { from, to, reason: to, message: `went to ${to}`, ...more },
      })
    },
    /** The site boots the image, shows its evidence and confirms it. */
    async confirms(cluster: string, image: string, bootId: string) {
      await site(cluster).says(site(cluster).boot(bootId, image))
      await this.goes(cluster, 'Confirming', 'Idle', { imageSha256: sha(image), bootId })
    },
    async fails(cluster: string, image: string) {
      await this.goes(cluster, 'RollingBack', 'Failed', { imageSha256: sha(image), outcome: 'RolledBack' })
    },
  }
}

const generations = async ({ store }: World) =>
  Object.fromEntries((await newestDesired(store.sql)).map(({ cluster, position }) => [cluster, position.generation]))
const events = async (world: World) =>
  (await world.list('Event')).map(({ spec }) => `${spec.reason} ${spec.message}`).toSorted()
const progressive = (p: NonNullable<NonNullable<RolloutSpec['strategy']>['progressive']>): Partial<RolloutSpec> => ({
  strategy: { type: 'Progressive', progressive: p },
})

test('assignments and status are written together, and a look without news writes nothing', async () => {
  const { world, roll, settle, rolloutOf } = await fleetOf('a', 'b', 'c')
  await roll('r', rolloutSpec('os-1', progressive({ maxConcurrency: 2 })))
  await world.look(rollout)
  expect((await listAssignments(world.store.sql)).map(({ cluster }) => cluster)).toEqual(['a', 'b'])
  expect((await rolloutOf('r')).status).toMatchObject({ phase: 'Running', observedGeneration: 1 })
  await settle()
  const before = [await newest(world), await generations(world)]
  await settle()
  expect([await newest(world), await generations(world)]).toEqual(before)
})

test('each event is told once, in the look that saw it', async () => {
  const fleet = await fleetOf('a', 'b')
  await fleet.roll('r', rolloutSpec('os-1', progressive({ maxFailures: 1 })))
  await fleet.settle()
  await fleet.accepts('a')
  await fleet.accepts('b')
  await fleet.confirms('a', 'os-1', 'boot-a')
  await fleet.fails('b', 'os-1')
  await fleet.settle()
  await fleet.settle()
  expect(await events(fleet.world)).toEqual([
    'RolledBack b: node b: went to Failed',
    'RolloutCompleted the rollout is Completed',
    'RolloutRunning the rollout is Running',
    'Succeeded a: every node runs the image in a boot that is as good as asked',
  ])
})

test('edited windows, gates and attestation reach who is under way as the next generation, and who is finished not at all', async () => {
  const fleet = await fleetOf('done', 'soaking', 'staged')
  await fleet.roll('r', rolloutSpec('os-1', { attestation: 'warning' }))
  await fleet.settle()
  for (const name of ['done', 'soaking', 'staged']) await fleet.accepts(name)
  await fleet.confirms('done', 'os-1', 'boot-1')
  await fleet.stages('staged', 'os-1')
  await fleet.settle()
  const delivered = await fleet.stateOf('r', 'staged')
  expect(await fleet.stateOf('r', 'done')).toMatchObject({ state: 'Succeeded' })

  const edited = rolloutSpec('os-1', { attestation: 'warning', windows: { activation: [night] } })
  await fleet.reroll('r', edited)
  await fleet.settle()
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
  await fleet.settle()
  expect(await generations(fleet.world)).toEqual({ done: 1, soaking: 3, staged: 3 })
  expect(await fleet.documentOf('staged')).toMatchObject({ attestation: 'affirming', gates: { timeoutSeconds: 77 } })
  await fleet.settle()
  expect(await generations(fleet.world)).toEqual({ done: 1, soaking: 3, staged: 3 })
})

test('after a breach who was sent the image holds, dark or not; an edit that tolerates it lets them go', async () => {
  const fleet = await fleetOf('bad', 'dark', 'done', 'staged', 'waiting')
  const spec = rolloutSpec('os-1', progressive({ maxConcurrency: 4 }))
  await fleet.roll('r', spec)
  await fleet.settle()
  for (const name of ['bad', 'done', 'staged']) await fleet.accepts(name)
  await fleet.confirms('done', 'os-1', 'boot-1')
  await fleet.stages('staged', 'os-1')
  await fleet.fails('bad', 'os-1')
  await fleet.world.look(attestationController())
  await fleet.world.look(rollout)
  await fleet.world.look(desired)
  const paused = async () =>
    Object.fromEntries((await newestDesired(fleet.world.store.sql)).map((s) => [s.cluster, s.document.paused]))
  expect((await fleet.rolloutOf('r')).status?.phase).toBe('Paused')
  expect(await paused()).toEqual({ bad: false, dark: true, done: false, staged: true })
  await fleet.settle()
  expect(await generations(fleet.world)).toEqual({ bad: 1, dark: 2, done: 1, staged: 2 })

  await fleet.reroll('r', rolloutSpec('os-1', progressive({ maxConcurrency: 4, maxFailures: 1 })))
  await fleet.settle()
  expect(await paused()).toEqual({ bad: false, dark: false, done: false, staged: false, waiting: false })
  expect((await fleet.rolloutOf('r')).status?.phase).toBe('Running')
})

test('a newer rollout takes a cluster; the completed one keeps its counts, rows and phase, and is never begun again', async () => {
  const fleet = await fleetOf('a', 'b')
  await fleet.roll('old', rolloutSpec('os-1'))
  await fleet.settle()
  for (const name of ['a', 'b']) {
    await fleet.accepts(name)
    await fleet.confirms(name, 'os-1', `boot-${name}`)
  }
  await fleet.settle()
  const { status: done } = await fleet.rolloutOf('old')
  expect(done).toMatchObject({ phase: 'Completed', counts: { succeeded: 2 } })

  await addImage(fleet.world, 'os-2', 2)
  await fleet.world.store
    .sql`update resource set created_at = now() - interval '1 hour' where kind = 'Rollout' and name = 'old'`
  await fleet.roll('young', rolloutSpec('os-2', progressive({ maxConcurrency: 1 })))
  await fleet.world.look(rollout)
  // `b` is not sent the younger rollout's image yet: its row shows nothing of the older assignment.
  expect(await fleet.stateOf('young', 'b')).toMatchObject({ state: 'NotStarted' })
  expect(await fleet.stateOf('young', 'b')).not.toHaveProperty('assignedAt')
  expect(await fleet.stateOf('young', 'b')).not.toHaveProperty('position')
  await fleet.settle()
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
  await write(fleet.world.store, (tx) => deleteObject(tx, 'Rollout', 'fleet', 'young'))
  await fleet.settle()
  expect((await fleet.rolloutOf('old')).status).toMatchObject({ phase: 'Completed', counts: done?.counts })
  expect((await listAssignments(fleet.world.store.sql))[0]?.rolloutName).toBe('young')
})

test('who holds an old lease writes neither assignments nor status', async () => {
  const { world, roll, rolloutOf } = await fleetOf('a')
  await roll('r', rolloutSpec('os-1'))
  await world.lease.release()
  const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(10_000))
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
