import fastify from 'fastify'
import { expect, onTestFinished, test } from 'vitest'
import { attestationController } from '../controllers/attestation.ts'
import {
  addCluster,
  addImage,
  addPlacement,
  LIMITS,
  openWorld,
  RESULT_KEY,
  rolloutSpec,
  sha,
} from '../controllers/fixture.ts'
import { placementController } from '../controllers/placement.ts'
import { rolloutController } from '../controllers/rollout.ts'
import { reportRoutes } from './report.ts'

type Claims = { claim: string; result: string; message: string; statements: { seq: number }[] }[]

test('after a rollback every claim rests on the boot after it, also when the node says again what it ran before', async () => {
  const world = await openWorld()
  const app = fastify()
  onTestFinished(() => app.close())
  reportRoutes(app, { store: world.store, now: world.now, reachability: LIMITS })
  const claims = async () => {
    const answer = await app.inject('/apis/skerry.dev/v1alpha1/report')
    const { clusters } = answer.json<{ clusters: { nodes: { claims: Claims }[] }[] }>()
    return Object.fromEntries(
      (clusters[0]?.nodes[0]?.claims ?? []).map(({ claim, result, statements }) => [
        claim,
        [result, ...statements.map(({ seq }) => seq)],
      ]),
    )
  }
  await addImage(world, 'os-1')
  await addPlacement(world)
  const site = await addCluster(world, 'shop')
  await site.heartbeat()
  await world.create('Rollout', 'r', rolloutSpec('os-1'), { namespace: 'fleet' })
  await world.look(placementController())
  await world.look(rolloutController(LIMITS))

  await site.says(site.boot('b1', 'os-1'))
  const confirmed = {
    from: 'Idle',
    to: 'Idle',
    reason: 'AlreadyRunning',
    message: 'runs',
    imageSha256: sha('os-1'),
  } as const
  await site.says({ kind: 'transition', body: { ...confirmed, bootId: 'b1' } })
  await world.look(attestationController(RESULT_KEY))
  expect(await claims()).toEqual({
    HeardFrom: ['pass', 2],
    RunsAssignedImage: ['pass', 1, 2],
    BootAttested: ['not-assessed', 1],
    ChainComplete: ['pass', 1, 2],
  })

  // b2 tried other bytes, b3 fell back; then the node is asked for what it ran before, and names the boot that proved it.
  await site.says(site.boot('b2', 'os-2'))
  await site.says(site.boot('b3', 'os-1'))
  await site.says({
    kind: 'transition',
    body: {
      from: 'RollingBack',
      to: 'Failed',
      reason: 'FellBack',
      message: 'fell back',
      imageSha256: sha('os-2'),
      outcome: 'RolledBack',
    },
  })
  await site.says({ kind: 'transition', body: { ...confirmed, from: 'Failed', bootId: 'b1' } })
  expect(await claims()).toMatchObject({ BootAttested: ['not-assessed', 4], RunsAssignedImage: ['pass', 4, 6] })
  await world.look(attestationController(RESULT_KEY))
  const answer = await app.inject('/apis/skerry.dev/v1alpha1/report')
  expect(answer.body).toContain('warning (SoftwareKey) for boot b3')
  expect(await claims()).toEqual({
    HeardFrom: ['pass', 6],
    RunsAssignedImage: ['pass', 4, 6],
    BootAttested: ['not-assessed', 4],
    ChainComplete: ['pass', 4, 6],
  })
})
