import { expect, test } from 'vitest'
import { type Assignment, saveAssignments, saveTerms, type Terms } from '../store/assignments.ts'
import { newestDesired } from '../store/desired-states.ts'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { write } from '../store/store.ts'
import { desiredController } from './desired.ts'
import { openWorld, sha, type World } from './fixture.ts'

const terms: Terms = {
  windows: [],
  gates: { healthySeconds: 1, timeoutSeconds: 60 },
  attestation: 'warning',
  paused: false,
}
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
  ]
  for (const [what, change, generation] of changes) {
    await change()
    await world.look(desiredController())
    const [state] = await stored(world)
    expect([what, state?.position]).toEqual([what, { timeline: 0, generation }])
  }
  expect(await count(world)).toBe(5)
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
  const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(10_000))
  await expect(world.look(desiredController())).rejects.toThrow(LeaseLost)
  expect(await count(world)).toBe(0)
  await world.look(desiredController(), fresh)
  expect(await count(world)).toBe(1)
  await fresh.release()
})
