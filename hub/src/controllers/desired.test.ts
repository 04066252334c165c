import { comparePositions, type Position } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { type Assignment, saveAssignments, saveTerms, type Terms } from '../store/assignments.ts'
import { newestDesired } from '../store/desired-states.ts'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { write } from '../store/store.ts'
import { desiredController } from './desired.ts'
import { addCluster, openWorld, sha, type World } from './fixture.ts'

const ACT = '0b7e4d6e-6c0a-4a5c-9b57-0d6a4b1f2c3d'
const terms: Terms = {
  windows: [],
  gates: { healthySeconds: 1, timeoutSeconds: 60 },
  attestation: 'warning',
  paused: false,
}
const waves = (percent: number) => ({
  startsAt: '2026-06-01T12:00:00.000Z',
  schedule: [{ startAfterSeconds: 60, spreadSeconds: 60, percent }],
})
const order = (image: string, more: Partial<Terms> = {}): Omit<Assignment, 'cluster' | 'assignedAt'> => ({
  rolloutNamespace: 'fleet',
  rolloutName: 'r',
  rolloutUid: 'uid-of-r',
  target: `images/os/${image}.json`,
  manifestSha256: sha(`manifest ${image}`),
  imageSha256: sha(image),
  terms: { ...terms, ...more },
})
const assign = ({ store }: World, clusters: string[], image: string, more: Partial<Terms> = {}) =>
  write(store, (tx) => saveAssignments(tx, clusters, order(image, more)))
const stored = ({ store }: World) => newestDesired(store.sql)
const count = async ({ store }: World) =>
  (await store.sql<{ n: number }[]>`select count(*)::int as n from desired_state`)[0]?.n

test('a change, and nothing else, is a new generation', async () => {
  const world = await openWorld()
  const changes: [string, () => Promise<void>, number][] = [
    ['the first image', () => assign(world, ['a'], 'os-1'), 1],
    ['nothing', async () => {}, 1],
    ['the same assigned once more', () => assign(world, ['a'], 'os-1'), 1],
    [
      'a pause',
      () =>
        write(world.store, (tx) => saveTerms(tx, 'uid-of-r', [{ cluster: 'a', terms: { ...terms, paused: true } }])),
      2,
    ],
    ['time', async () => world.pass(3_600_000), 2],
    [
      'terms of a rollout that does not have the cluster',
      () => write(world.store, (tx) => saveTerms(tx, 'other', [{ cluster: 'a', terms }])),
      2,
    ],
    ['a release', () => write(world.store, (tx) => saveTerms(tx, 'uid-of-r', [{ cluster: 'a', terms }])), 3],
    ['another image', () => assign(world, ['a'], 'os-2'), 4],
    ['other gates', () => assign(world, ['a'], 'os-2', { gates: { healthySeconds: 2, timeoutSeconds: 60 } }), 5],
    ['a retry', () => assign(world, ['a'], 'os-2', { retry: { imageSha256: sha('os-2'), act: ACT } }), 6],
    ['the same retry', () => assign(world, ['a'], 'os-2', { retry: { act: ACT, imageSha256: sha('os-2') } }), 6],
    ['waves', () => assign(world, ['a'], 'os-2', { waves: waves(100) }), 7],
    ['the same waves', () => assign(world, ['a'], 'os-2', { waves: waves(100) }), 7],
    ['other waves', () => assign(world, ['a'], 'os-2', { waves: waves(99) }), 8],
  ]
  for (const [what, change, generation] of changes) {
    await change()
    await world.look(desiredController())
    const [state] = await stored(world)
    expect([what, state?.position]).toEqual([what, { timeline: 0, generation }])
  }
  expect(await count(world)).toBe(8)
})

test('the stored bytes say what is assigned, and their digest is theirs', async () => {
  const world = await openWorld()
  await assign(world, ['a'], 'os-1', { paused: true })
  await world.look(desiredController())
  const [state] = await stored(world)
  expect(state?.document).toMatchObject({
    cluster: 'a',
    generation: 1,
    image: { sha256: sha('manifest os-1'), rollout: 'fleet/r' },
    paused: true,
    attestation: 'warning',
  })
  // A document without a retry and waves is, byte for byte, what it was before there were any.
  for (const member of ['retry', 'waves']) expect(Object.keys(state?.document ?? {})).not.toContain(member)
  expect(sha(Buffer.from(state?.payload ?? '').toString('utf8'))).toBe(state?.digest)
})

test('an assignment that was made before there was a pause is not paused', async () => {
  const world = await openWorld()
  await assign(world, ['a'], 'os-1')
  await world.store.sql`update assignment set terms = terms - 'paused'`
  await world.look(desiredController())
  expect((await stored(world))[0]?.document.paused).toBe(false)
})

test('many at once: one document each in one look, and a fresh look after a death in between writes only the rest', async () => {
  const world = await openWorld()
  const names = Array.from({ length: 1_201 }, (_, n) => `site-${n}`)
  await assign(world, names.slice(0, 700), 'os-1')
  await world.look(desiredController())
  await assign(world, names.slice(700), 'os-1')
  await world.look(desiredController())
  await world.look(desiredController())
  expect(await count(world)).toBe(1_201)
  expect(new Set((await stored(world)).map(({ position }) => position.generation))).toEqual(new Set([1]))
})

test('who holds an old lease composes nothing', async () => {
  const world = await openWorld()
  await assign(world, ['a'], 'os-1')
  await world.lease.release()
  const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(60_000))
  await expect(world.look(desiredController())).rejects.toThrow(LeaseLost)
  expect(await count(world)).toBe(0)
  await world.look(desiredController(), fresh)
  expect(await count(world)).toBe(1)
  await fresh.release()
})

describe('a database that was put back to an earlier state', () => {
  const MAX = Number.MAX_SAFE_INTEGER
  type Site = Awaited<ReturnType<typeof addCluster>>
  const warnings = async (world: World) =>
    (await world.list('Event')).map(({ metadata, spec }) => `${metadata.namespace} ${spec.reason}`)
  const look = (world: World) => world.look(desiredController())
  const claims = (site: Site, { timeline, generation }: Position, digest = sha('claimed')) =>
    site.says({ kind: 'accepted', body: { timeline, generation, digest } })
  const place = async (world: World, cluster = 'a') => {
    const state = (await stored(world)).find((found) => found.cluster === cluster)
    if (!state) throw new Error(`${cluster} has no desired state`)
    return { ...state.position, digest: state.digest }
  }
  /** Three orders, each taken by the site; the database then knows of the first alone. */
  async function restored() {
    const world = await openWorld()
    const site = await addCluster(world, 'a')
    const other = await addCluster(world, 'b')
    await assign(world, ['a', 'b'], 'os-1')
    await look(world)
    await claims(other, await place(world, 'b'), (await place(world, 'b')).digest)
    for (const image of ['os-2', 'os-3']) {
      await assign(world, ['a'], image)
      await look(world)
    }
    const held = await place(world)
    await world.store.sql`delete from desired_state where cluster = 'a' and generation > 1`
    await assign(world, ['a'], 'os-1')
    return { world, site, other, held }
  }

  test('a site that is ahead has its order again in a new timeline, which it takes; nobody else has', async () => {
    const { world, site, held } = await restored()
    await look(world)
    expect(await place(world)).toMatchObject({ timeline: 0, generation: 1 })
    const beforeMs = world.now()
    await claims(site, held, held.digest)
    await look(world)
    const issued = await place(world)
    expect(issued.timeline).toBeGreaterThanOrEqual(Math.floor(beforeMs / 1000))
    expect(issued.generation).toBe(2)
    // What the agent asks before it takes a document.
    expect(comparePositions(issued, held)).toBeGreaterThan(0)
    const [state] = await stored(world)
    expect(state?.document).toMatchObject({ ...state?.position, image: { sha256: sha('manifest os-1') } })
    expect(await place(world, 'b')).toMatchObject({ timeline: 0, generation: 1 })
    const [event] = await world.list('Event')
    expect(event?.spec).toMatchObject({ type: 'Warning', reason: 'TimelineBegun', regarding: { name: 'a' } })
    expect(event?.spec.message).toContain(
      'node a says that it holds desired state 0.3, and the newest that this hub has is 0.1',
    )
    expect(event?.spec.message).toContain(`is issued as ${issued.timeline}.2, above it`)

    // Taken or not yet: the same claim has its answer, and the timeline goes on.
    await look(world)
    await claims(site, issued, issued.digest)
    await look(world)
    expect(await count(world)).toBe(3)
    await assign(world, ['a'], 'os-2')
    await look(world)
    expect(await place(world)).toMatchObject({ timeline: issued.timeline, generation: 3 })
    expect(await warnings(world)).toEqual(['a TimelineBegun'])
  })

  test('the status alone tells it too, and a place that was given twice is none', async () => {
    const { world, held } = await restored()
    const holds = (of: Position & { digest: string }) =>
      world.store.sql`update cluster_head set status = ${world.store.sql.json({ holds: of })} where cluster = 'b'`
    await holds({ ...(await place(world, 'b')) })
    await look(world)
    expect(await place(world, 'b')).toMatchObject({ timeline: 0, generation: 1 })
    await holds({ ...(await place(world, 'b')), digest: held.digest })
    await look(world)
    expect((await place(world, 'b')).timeline).toBeGreaterThan(0)
  })

  test('nothing is left of a cluster’s desired states', async () => {
    const { world, site, held } = await restored()
    await claims(site, held, held.digest)
    await world.store.sql`delete from desired_state where cluster = 'a'`
    await look(world)
    expect(comparePositions(await place(world), held)).toBeGreaterThan(0)
  })

  test.each<[string, Position, string]>([
    ['the last place of all', { timeline: MAX, generation: MAX }, 'ImpossiblePosition'],
    [
      'a timeline of the day after tomorrow',
      { timeline: Math.floor(Date.now() / 1000) + 2 * 86_400, generation: 1 },
      'ImpossiblePosition',
    ],
  ])('a node that claims %s is told of and not believed, and changes reach its site', async (_, claim, reason) => {
    const { world, site } = await restored()
    await claims(site, claim)
    const controller = desiredController()
    for (let n = 0; n < 3; n += 1) {
      await world.look(controller)
      world.pass(10_000)
    }
    expect(await place(world)).toMatchObject({ timeline: 0, generation: 1 })
    expect(await warnings(world)).toEqual([`a ${reason}`])
    await assign(world, ['a', 'b'], 'os-2')
    await world.look(controller)
    expect(await place(world)).toMatchObject({ timeline: 0, generation: 2 })
    expect(await place(world, 'b')).toMatchObject({ timeline: 0, generation: 2 })
    world.pass(3_600_000)
    await world.look(controller)
    expect(await warnings(world)).toEqual([`a ${reason}`, `a ${reason}`])
  })

  test('a node that claims more again and again has one timeline, and the next one an hour later', async () => {
    const { world, site } = await restored()
    const controller = desiredController()
    const timelines = new Set<number>()
    for (let n = 0; n < 5; n += 1) {
      const { timeline } = await place(world)
      await claims(site, { timeline, generation: MAX - n })
      await world.look(controller)
      timelines.add((await place(world)).timeline)
      world.pass(10_000)
    }
    expect(timelines.size).toBe(1)
    expect(await warnings(world)).toEqual(['a TimelineBegun', 'a TimelineHeldBack'])
    await assign(world, ['a'], 'os-2')
    const { recheckAtMs } = await world.look(controller)
    expect((await place(world)).generation).toBe(3)
    world.pass((recheckAtMs ?? 0) - world.now() - 10_000)
    await world.look(controller)
    expect(timelines).toContain((await place(world)).timeline)
    world.pass(10_000)
    await world.look(controller)
    expect(timelines).not.toContain((await place(world)).timeline)
    expect(await place(world, 'b')).toMatchObject({ timeline: 0, generation: 1 })
  })

  test('a node that is not accepted claims nothing', async () => {
    const { world, site, held } = await restored()
    await claims(site, held, held.digest)
    await world.store.sql`update node_identity set state = 'Suspended' where cluster = 'a'`
    await look(world)
    expect(await place(world)).toMatchObject({ timeline: 0, generation: 1 })
  })

  test('who holds an old lease begins no timeline and tells of none', async () => {
    const { world, site, held } = await restored()
    await claims(site, held, held.digest)
    await world.lease.release()
    const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(60_000))
    await expect(look(world)).rejects.toThrow(LeaseLost)
    expect(await warnings(world)).toEqual([])
    await world.look(desiredController(), fresh)
    expect(await warnings(world)).toEqual(['a TimelineBegun'])
    await fresh.release()
  })
})
