import { APPROVED_REMOVAL_ANNOTATION, APPROVED_REMOVAL_BY_ANNOTATION } from '@skerry/api'
import { expect, test } from 'vitest'
import { listAudit } from '../../store/audit.ts'
import { saveStatus } from '../../store/resources.ts'
import { write } from '../../store/store.ts'
import { testApi } from '../testing.ts'

const PLACEMENTS = '/apis/cluster.open-cluster-management.io/v1beta1/namespaces/fleet/placements'
const [HELD, OTHER] = ['a'.repeat(64), 'b'.repeat(64)]
const placement = (annotations: Record<string, string> = {}) => ({
  apiVersion: 'cluster.open-cluster-management.io/v1beta1',
  kind: 'Placement',
  metadata: { name: 'all', annotations },
  spec: {},
})

test('[deviation] D-06 a removal that is held is approved by its hash alone, with who did it in placement, audit and event', async () => {
  const { ask, store } = await testApi()
  await ask('POST', PLACEMENTS, { body: placement() })
  const approve = (removal: string, query = '') =>
    ask('PUT', `${PLACEMENTS}/all/approval${query}`, { body: { removal, reason: 'the store is closed' } })
  const annotations = async () => (await ask('GET', `${PLACEMENTS}/all`)).body.metadata.annotations ?? {}

  expect(await approve(HELD)).toMatchObject({
    code: 409,
    body: { message: expect.stringContaining('holds no removal') },
  })
  await write(store, (tx) =>
    saveStatus(tx, 'Placement', 'fleet', 'all', { heldRemoval: { hash: HELD, count: 5, of: 20, sample: ['x'] } }),
  )
  expect(await approve(OTHER)).toMatchObject({ code: 409, body: { message: expect.stringContaining(HELD) } })
  expect((await approve('x')).code).toBe(422)
  expect((await approve(HELD, '?dryRun=All')).code).toBe(200)
  expect(await annotations()).toEqual({})

  expect((await approve(HELD)).code).toBe(200)
  const by = { [APPROVED_REMOVAL_ANNOTATION]: HELD, [APPROVED_REMOVAL_BY_ANNOTATION]: expect.any(String) }
  expect(await annotations()).toEqual(by)
  const audited = (await listAudit(store.sql, 0, 100)).at(-1)
  expect(audited).toMatchObject({ verb: 'approve', kind: 'Placement', namespace: 'fleet', name: 'all' })
  expect((await annotations())[APPROVED_REMOVAL_BY_ANNOTATION]).toBe(audited?.actor)
  const events = (await ask('GET', '/apis/skerry.dev/v1alpha1/namespaces/fleet/events')).body.items
  expect(events.at(-1)).toMatchObject({
    spec: {
      reason: 'RemovalMayGo',
      message: `${audited?.actor} approved that 5 of 20 clusters leave (removal ${HELD}): the store is closed`,
    },
  })
})

test('an approval is written by nothing else, and by nobody who only looks', async () => {
  const { ask, store } = await testApi()
  const forged = placement({ [APPROVED_REMOVAL_ANNOTATION]: HELD })
  expect(await ask('POST', PLACEMENTS, { body: forged })).toMatchObject({
    code: 422,
    body: { details: { causes: [{ field: `metadata.annotations[${APPROVED_REMOVAL_ANNOTATION}]` }] } },
  })
  await ask('POST', PLACEMENTS, { body: placement() })
  expect((await ask('PUT', `${PLACEMENTS}/all`, { body: forged })).code).toBe(422)
  await write(store, (tx) =>
    saveStatus(tx, 'Placement', 'fleet', 'all', { heldRemoval: { hash: HELD, count: 5, of: 20, sample: ['x'] } }),
  )
  await ask('PUT', `${PLACEMENTS}/all/approval`, { body: { removal: HELD } })
  // What is there may stay in a write of something else, and be taken back.
  const held = (await ask('GET', `${PLACEMENTS}/all`)).body
  expect((await ask('PUT', `${PLACEMENTS}/all`, { body: { ...held, spec: { numberOfClusters: 1 } } })).code).toBe(200)
  expect((await ask('PUT', `${PLACEMENTS}/all`, { body: placement() })).code).toBe(200)
  expect((await ask('GET', `${PLACEMENTS}/all`)).body.metadata.annotations ?? {}).toEqual({})
})
