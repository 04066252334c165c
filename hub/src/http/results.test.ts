import { HUB_TARGET } from '@skerry/api'
import { createKey, keyRing, makeTargets, verifyDocument } from '@skerry/trust'
import fastify from 'fastify'
import { expect, onTestFinished, test } from 'vitest'
import { attestationController } from '../controllers/attestation.ts'
import { addCluster, openWorld, RESULT_KEY, sha, type World } from '../controllers/fixture.ts'
import { write } from '../store/store.ts'
import { appendMetadata, saveTarget } from '../store/trust.ts'
import { resultRoutes } from './results.ts'
import { testApi } from './testing.ts'

type Told = {
  resultKey: string
  message: string
  items: {
    bootId: string
    verdict: string
    revision: number
    ear?: string
    unsigned?: string
    said: { after?: string; before: string }
  }[]
}

async function results(world: World, node: string): Promise<Told> {
  const app = fastify()
  onTestFinished(() => app.close())
  resultRoutes(app, world.store, RESULT_KEY)
  const answer = await app.inject(`/apis/skerry.dev/v1alpha1/namespaces/${node}/edgenodes/${node}/results`)
  expect(answer.statusCode, answer.body).toBe(200)
  return answer.json() as Told
}

/** hub.json as signers publish it, with this key for results. */
async function publish({ store }: World, version: number, result: typeof RESULT_KEY | undefined): Promise<void> {
  const listed = ({ jwk }: typeof RESULT_KEY) => [{ jwk, notBefore: '1970-01-01T00:00:00Z' }]
  const other = listed(createKey('EdDSA'))
  const keys = { desiredState: other, ack: other, acceptance: other, ...(result ? { result: listed(result) } : {}) }
  const hub = {
    kind: 'HubDescription',
    keys,
    caPem: 'pem',
    apiUrls: ['https://hub.example'],
    natsUrls: ['tls://hub.example'],
  }
  const bytes = Buffer.from(JSON.stringify(hub))
  const files = [{ path: HUB_TARGET, bytes }]
  await write(store, async (tx) => {
    await saveTarget(tx, HUB_TARGET, bytes)
    await appendMetadata(
      tx,
      'targets',
      version,
      makeTargets({ previous: undefined, files, expires: '2100-01-01T00:00:00Z' }),
    )
  })
}

test('a node’s verdicts are told as they were signed, the newest first; what was judged before that says that it is unsigned', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.says(site.boot('b1', 'os-1'))
  await site.says(site.boot('b2', 'os-2'))
  await world.look(attestationController(RESULT_KEY))
  await world.store.sql`update attestation_result set ear = null, policy_id = null where boot_id = 'b1'`
  const told = await results(world, 'shop')
  expect(told.items.map(({ bootId, verdict, unsigned }) => [bootId, verdict, unsigned])).toEqual([
    ['b2', 'warning', undefined],
    ['b1', 'warning', 'it was judged before results were signed'],
  ])
  const { payload } = await verifyDocument('AttestationResult', told.items[0]?.ear ?? '', keyRing([RESULT_KEY.jwk]))
  expect(payload.submods['shop/shop']).toMatchObject({ 'ear.status': 'warning', 'skerry.boot': { bootId: 'b2' } })
})

test('a boot is placed in time: after the epoch marker that its evidence answers, before it came; of one that answers none only the latter is told', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  const at = '2026-06-01T12:00:00.000Z'
  await world.store.sql`insert into epoch_marker (number, at, jws, digest) values (1, ${at}, 'jws', ${sha('jws')})`
  await site.says(site.boot('b1', 'os-1'))
  await site.says(site.boot('b2', 'os-2', sha('jws')), { marker: sha('jws') })
  await world.look(attestationController(RESULT_KEY))
  const [second, first] = (await results(world, 'shop')).items
  expect([second?.bootId, second?.verdict, second?.said.after]).toEqual(['b2', 'warning', at])
  expect([first?.bootId, first?.said.after]).toEqual(['b1', undefined])
  const [row] = await world.store.sql<{ at: Date }[]>`select received_at as at from statement where seq = 2`
  expect(second?.said.before).toBe(row?.at.toISOString())
})

test.each<[string, readonly (typeof RESULT_KEY | undefined)[], string]>([
  ['nothing is published', [], 'NotListed'],
  ['hub.json is from before there was one', [undefined], 'NotListed'],
  ['hub.json lists another', [createKey('EdDSA')], 'NotListed'],
  ['hub.json lists it', [RESULT_KEY], 'Listed'],
  ['an earlier hub.json did', [RESULT_KEY, undefined], 'NotListed'],
])('whether the key of results is listed is told: %s', async (_, published, expected) => {
  const world = await openWorld()
  await addCluster(world, 'shop')
  for (const [index, key] of published.entries()) await publish(world, index + 1, key)
  expect((await results(world, 'shop')).resultKey).toBe(expected)
})

test('of a node that is not there nothing is told', async () => {
  const { ask } = await testApi()
  const answer = await ask('GET', '/apis/skerry.dev/v1alpha1/namespaces/nowhere/edgenodes/n1/results')
  expect(answer).toMatchObject({ code: 404, body: { kind: 'Status' } })
})
