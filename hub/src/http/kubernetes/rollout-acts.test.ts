import type { RolloutAct, RolloutActAnswer, RolloutSpec } from '@skerry/api'
import { expect, test } from 'vitest'
import { desiredController } from '../../controllers/desired.ts'
import { addCluster, addImage, addPlacement, LIMITS, openWorld, rolloutSpec, sha } from '../../controllers/fixture.ts'
import { placementController } from '../../controllers/placement.ts'
import { rolloutController } from '../../controllers/rollout.ts'
import { updateObject } from '../../store/resources.ts'
import { write } from '../../store/store.ts'
import { onWake } from '../../store/wake.ts'
import { type TestApi, testApi } from '../testing.ts'

const ROLLOUTS = '/apis/skerry.dev/v1alpha1/namespaces/fleet/rollouts'
const TOKENS = '/apis/skerry.dev/v1alpha1/apitokens'

/** An API with a fleet of these sites, a rollout `r` of `os-1` that nobody has changed over the API, and its people. */
async function fleetOf(names: readonly string[], more: Partial<RolloutSpec> = {}) {
  const api = await testApi({ now: () => world.now() })
  const world = await openWorld(api.store)
  await addImage(world, 'os-1')
  await addPlacement(world)
  const sites = new Map<string, Awaited<ReturnType<typeof addCluster>>>()
  for (const name of names) sites.set(name, await addCluster(world, name))
  for (const site of sites.values()) await site.heartbeat()
  const { metadata } = await world.create('Rollout', 'r', rolloutSpec('os-1', more), { namespace: 'fleet' })
  const controllers = [placementController(), rolloutController(LIMITS), desiredController()]
  return {
    ...api,
    world,
    uid: metadata.uid,
    site(name: string) {
      const site = sites.get(name)
      if (!site) throw new Error(`there is no site ${name}`)
      return site
    },
    async rest() {
      for (let n = 0; n < 2; n += 1) for (const controller of controllers) await world.look(controller)
    },
    /** An administrator's token of this name. */
    person: (name: string) => person(api, name),
    async act(verb: string, body: object = { reason: 'because' }, token?: string, query = '') {
      const answer = await api.ask('POST', `${ROLLOUTS}/r/${verb}${query}`, { body, ...(token ? { token } : {}) })
      return { ...answer, body: answer.body as unknown as RolloutActAnswer & typeof answer.body }
    },
    async acts() {
      const { body } = await api.ask('GET', `${ROLLOUTS}/r/acts`)
      return body.items as unknown as RolloutAct[]
    },
    audit: () => api.store.sql`select verb, actor, kind, name from audit_record where kind = 'Rollout' order by id`,
  }
}
async function person({ ask }: TestApi, name: string): Promise<string> {
  return (await ask('POST', TOKENS, { body: { name, role: 'platform-admin' } })).body.token
}

test('an act is written once, with who, when and why, its audit record, its event and a hint; what stands is answered again', async () => {
  const fleet = await fleetOf(['shop'])
  const hints: string[] = []
  const waking = await onWake(fleet.store.sql, (topic) => hints.push(topic))
  hints.length = 0
  const anna = await fleet.person('anna')
  const made = await fleet.act('pause', { reason: 'the tills are open' }, anna)
  expect(made).toMatchObject({
    code: 201,
    body: {
      act: {
        verb: 'pause',
        by: 'anna',
        reason: 'the tills are open',
        rolloutUid: fleet.uid,
        manifestSha256: sha('manifest os-1'),
      },
      heldInTheDark: { count: 0, sample: [] },
    },
  })
  const again = await fleet.act('pause', { reason: 'the tills are open' }, anna)
  expect(again).toMatchObject({ code: 200, body: { act: made.body.act } })
  expect(await fleet.acts()).toEqual([made.body.act])
  expect(await fleet.audit()).toEqual([{ verb: 'pause', actor: 'anna', kind: 'Rollout', name: 'r' }])
  const told = (await fleet.world.list('Event')).map(({ spec }) => [spec.reason, spec.message])
  expect(told).toEqual([['PauseAsked', 'anna pauses the rollout: the tills are open']])
  await expect.poll(() => hints, { timeout: 30_000 }).toContain('rollout-act')
  await waking.stop()
})

test('a dry run judges and answers the same, and writes nothing', async () => {
  const fleet = await fleetOf(['shop'])
  expect(await fleet.act('pause', undefined, undefined, '?dryRun=All')).toMatchObject({
    code: 201,
    body: { act: { verb: 'pause' }, heldInTheDark: { count: 0 } },
  })
  expect(await fleet.act('resume', undefined, undefined, '?dryRun=All')).toMatchObject({ code: 409 })
  expect(await fleet.acts()).toEqual([])
  expect(await fleet.audit()).toEqual([])
  expect(await fleet.world.list('Event')).toEqual([])
})

test.each([
  ['resume', {}, 409, 'NotPaused', 'nobody has paused it'],
  ['retry', {}, 409, 'NothingFailed', 'no cluster has failed'],
  ['retry', { clusters: ['shop'] }, 409, 'NothingFailed', 'cluster shop is Sent'],
  ['approve', { gate: 'Start' }, 409, 'GateNotAsked', 'spec.approvals.start'],
] as const)('%s %j is refused with %i %s', async (verb, more, code, refusal, text) => {
  const fleet = await fleetOf(['shop'])
  await fleet.rest()
  const { code: got, body } = await fleet.act(verb, { reason: 'because', ...more })
  expect({ got, body }).toMatchObject({ got: code, body: { kind: 'Status', details: { code: refusal } } })
  expect(body.message).toContain(text)
  expect(body.message).toContain('rollout fleet/r')
  expect(await fleet.audit()).toEqual([])
})

test.each([
  ['pause', {}, 'reason'],
  ['abort', { reason: ' ' }, 'reason'],
  ['pause', { reason: 'x', clusters: ['shop'] }, 'clusters'],
  ['retry', { reason: 'x', clusters: [] }, 'clusters'],
  ['retry', { reason: 'x', clusters: ['Not A Label'] }, 'clusters[0]'],
  ['approve', { reason: 'x' }, 'gate'],
  ['approve', { reason: 'x', gate: 'Group/01' }, 'gate'],
] as const)('the body of %s %j is refused at %s', async (verb, body, field) => {
  const fleet = await fleetOf([])
  expect(await fleet.act(verb, body)).toMatchObject({ code: 422, body: { details: { causes: [{ field }] } } })
})

test('after an abort nothing more can be done to a rollout; one that is made anew under its name has no acts', async () => {
  const fleet = await fleetOf(['shop'])
  const aborted = await fleet.act('abort')
  expect(aborted.code).toBe(201)
  expect(await fleet.act('abort')).toMatchObject({ code: 200, body: { act: { id: aborted.body.act.id } } })
  for (const verb of ['pause', 'resume', 'retry'])
    expect(await fleet.act(verb)).toMatchObject({ code: 409, body: { details: { code: 'RolloutAborted' } } })
  expect((await fleet.ask('DELETE', `${ROLLOUTS}/r`)).code).toBe(200)
  expect((await fleet.ask('GET', `${ROLLOUTS}/r/acts`)).code).toBe(404)
  expect((await fleet.act('pause')).code).toBe(404)
  await fleet.world.create('Rollout', 'r', rolloutSpec('os-1'), { namespace: 'fleet' })
  expect(await fleet.acts()).toEqual([])
  expect(await fleet.store.sql`select 1 from rollout_act`).toHaveLength(1)
})

test('an approval is by somebody else than whoever changed the spec last, over the API and as it was stored', async () => {
  const approvals = { start: 2, expireAfter: '1h' }
  const fleet = await fleetOf(['shop'], { approvals })
  const [anna, bert] = [await fleet.person('anna'), await fleet.person('bert')]
  const approve = (token: string) => fleet.act('approve', { reason: 'seen', gate: 'Start' }, token)
  // Whoever made it is not known.
  expect(await approve(anna)).toMatchObject({ code: 403, body: { details: { code: 'SecondPersonNeeded' } } })

  const patch = (body: object, token: string) =>
    fleet.ask('PATCH', `${ROLLOUTS}/r`, { body, token, type: 'application/merge-patch+json' })
  // Gates that nobody keeps yet cannot be written; all else of this rollout can.
  expect((await patch({ spec: { approvals: null, gates: { healthySeconds: 1, timeoutSeconds: 9 } } }, anna)).code).toBe(
    200,
  )
  await fleet.world.edit('Rollout', 'r', 'fleet', rolloutSpec('os-1', { approvals }))
  expect(await approve(anna)).toMatchObject({ code: 403, body: { details: { code: 'SecondPersonNeeded' } } })
  const mine = await approve(bert)
  expect(mine).toMatchObject({ code: 201, body: { act: { gate: 'Start', by: 'bert' } } })
  expect(Date.parse(mine.body.act.expiresAt ?? '') - Date.parse(mine.body.act.at)).toBe(3_600_000)
  expect(await approve(bert)).toMatchObject({ code: 200, body: { act: { id: mine.body.act.id } } })
  // Labels are no change of the spec, and an approval that has ended is given anew.
  await fleet.world.edit('Rollout', 'r', 'fleet', rolloutSpec('os-1'))
  expect((await patch({ metadata: { labels: { a: 'b' } } }, bert)).code).toBe(200)
  await fleet.world.edit('Rollout', 'r', 'fleet', rolloutSpec('os-1', { approvals }))
  fleet.world.pass(3_600_001)
  expect((await approve(bert)).code).toBe(201)
  expect((await fleet.acts()).map(({ verb, by }) => `${verb} ${by}`)).toEqual(['approve bert', 'approve bert'])
})

test('whoever approves an image that is another one meanwhile has a conflict', async () => {
  const fleet = await fleetOf(['shop'], { approvals: { start: 1, fourEyes: false } })
  const approve = (manifestSha256: string) => fleet.act('approve', { reason: 'seen', gate: 'Start', manifestSha256 })
  expect(await approve(sha('manifest os-0'))).toMatchObject({ code: 409, body: { reason: 'Conflict' } })
  expect((await approve(sha('manifest os-1'))).code).toBe(201)
})

test('a pause tells who holds the order in the dark: those it may not reach in time', async () => {
  const fleet = await fleetOf(['dropped', 'held', 'sent', 'near', 'done', 'ran'])
  await fleet.rest()
  const accepts = async (name: string) => {
    const [row] = await fleet.store.sql<{ digest: string; timeline: string; generation: string }[]>`
      select digest, timeline, generation from desired_state where cluster = ${name} order by generation desc limit 1`
    const position = { timeline: Number(row?.timeline), generation: Number(row?.generation) }
    await fleet.site(name).says({ kind: 'accepted', body: { ...position, digest: row?.digest ?? '' } })
  }
  for (const name of ['dropped', 'held', 'near', 'done', 'ran']) await accepts(name)
  await fleet.site('done').says({
    kind: 'transition',
    body: {
      from: 'RollingBack',
      to: 'Failed',
      reason: 'x',
      message: 'x',
      imageSha256: sha('os-1'),
      outcome: 'RolledBack',
    },
  })
  const ran = { imageSha256: sha('os-1'), bootId: 'b1' }
  await fleet.site('ran').says({
    kind: 'transition',
    body: { from: 'Confirming', to: 'Idle', reason: 'Confirmed', message: 'x', ...ran },
  })
  await fleet.rest()
  // What the placement drops holds what it was sent, until something else is.
  const labelSelector = { matchExpressions: [{ key: 'dropped', operator: 'DoesNotExist' }] }
  await fleet.world.edit('Placement', 'all', 'fleet', {
    predicates: [{ requiredClusterSelector: { labelSelector } }],
    maxRemovalPercent: 100,
  })
  for (const name of ['dropped', 'ran'])
    await write(fleet.store, (tx) =>
      updateObject(tx, 'ManagedCluster', {
        metadata: { name, labels: { dropped: '' } },
        spec: { hubAcceptsClient: true },
      }),
    )
  await fleet.rest()
  const { status } = await fleet.world.get('Rollout', 'r', 'fleet')
  expect(status?.clusters?.filter(({ state }) => state === 'Removed').map(({ name }) => name)).toEqual([
    'dropped',
    'ran',
  ])
  await fleet.store
    .sql`update cluster_head set last_heard_at = last_heard_at - interval '1 hour' where cluster <> 'near'`
  const held = { heldInTheDark: { count: 2, sample: ['dropped', 'held'] } }
  expect(await fleet.act('pause')).toMatchObject({ code: 201, body: held })
  expect(await fleet.act('pause')).toMatchObject({ code: 200, body: held })
  expect(await fleet.act('abort')).toMatchObject({ code: 201, body: held })
  // What has failed can be retried until the abort; then not.
  expect(await fleet.act('retry')).toMatchObject({ code: 409 })
})

test('a retry names those that had failed', async () => {
  const fleet = await fleetOf(['bad', 'good'])
  await fleet.rest()
  await fleet.site('bad').says({
    kind: 'transition',
    body: {
      from: 'RollingBack',
      to: 'Failed',
      reason: 'x',
      message: 'x',
      imageSha256: sha('os-1'),
      outcome: 'RolledBack',
    },
  })
  await fleet.rest()
  const made = await fleet.act('retry')
  expect(made).toMatchObject({ code: 201, body: { act: { clusters: ['bad'], manifestSha256: sha('manifest os-1') } } })
  expect(made.body).not.toHaveProperty('heldInTheDark')
  expect(await fleet.act('retry', { reason: 'x', clusters: ['bad'] })).toMatchObject({
    code: 200,
    body: { act: { id: made.body.act.id } },
  })
})
