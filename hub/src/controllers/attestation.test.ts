import { expect, test } from 'vitest'
import { unjudgedEvidence } from '../store/attestations.ts'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { attestationController } from './attestation.ts'
import { addCluster, openWorld, type World } from './fixture.ts'

const verdicts = ({ store }: World) =>
  store.sql<{ boot_id: string; verdict: string }[]>`select boot_id, verdict from attestation_result order by boot_id`

test('every boot’s evidence is judged once, and what was judged is not read again', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.says(site.boot('b1', 'os-1'))
  await site.says({ kind: 'accepted', body: { timeline: 0, generation: 1, digest: 'a'.repeat(64) } })
  await world.look(attestationController())
  expect([...(await verdicts(world))]).toEqual([{ boot_id: 'b1', verdict: 'warning' }])
  expect(await unjudgedEvidence(world.store.sql, 10)).toEqual([])

  await site.says(site.boot('b2', 'os-2'))
  expect((await unjudgedEvidence(world.store.sql, 10)).map(({ ref }) => ref.seq)).toEqual([3])
  await world.look(attestationController())
  await world.look(attestationController())
  expect((await verdicts(world)).map(({ boot_id }) => boot_id)).toEqual(['b1', 'b2'])
})

test('evidence that was made for another statement is contraindicated', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  const early = site.boot('b1', 'os-1')
  await site.says(site.boot('b0', 'os-1'))
  await site.says(early)
  await world.look(attestationController())
  expect((await verdicts(world)).map(({ verdict }) => verdict)).toEqual(['warning', 'contraindicated'])
})

test('an exception leaves no verdict, keeps the evidence, is told once, and keeps nobody behind it from being judged', async () => {
  const world = await openWorld()
  const [broken, whole] = [await addCluster(world, 'a'), await addCluster(world, 'b')]
  await broken.says(broken.boot('bad', 'os-1'), { text: '{"kind":"evidence"}' })
  await whole.says(whole.boot('good', 'os-1'))
  const controller = attestationController()
  const told = async () => (await world.list('Event')).map(({ spec }) => [spec.reason, spec.regarding.name])
  for (let look = 0; look < 3; look += 1) {
    await world.look(controller)
    expect(await told()).toEqual([['EvidenceUnjudged', 'a']])
  }
  expect((await verdicts(world)).map(({ boot_id }) => boot_id)).toEqual(['good'])
  expect((await unjudgedEvidence(world.store.sql, 10)).map(({ ref }) => ref.cluster)).toEqual(['a'])
})

test('who holds an old lease judges nothing', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.says(site.boot('b1', 'os-1'))
  await world.lease.release()
  const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(60_000))
  await expect(world.look(attestationController())).rejects.toThrow(LeaseLost)
  expect([...(await verdicts(world))]).toEqual([])
  await world.look(attestationController(), fresh)
  expect(await verdicts(world)).toHaveLength(1)
  await fresh.release()
})
