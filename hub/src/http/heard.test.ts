import { expect, test } from 'vitest'
import { lockHeads } from '../store/heads.ts'
import { testApi } from './testing.ts'

const CLUSTERS = '/apis/cluster.open-cluster-management.io/v1/managedclusters'

test('a cluster’s nodes are told with the time at which each was last heard; who was never heard has none', async () => {
  const { ask, store } = await testApi()
  const body = {
    apiVersion: 'cluster.open-cluster-management.io/v1',
    kind: 'ManagedCluster',
    metadata: { name: 'shop' },
  }
  expect((await ask('POST', CLUSTERS, { body: { ...body, spec: {} } })).code).toBe(201)
  expect(await ask('GET', `${CLUSTERS}/shop/heard`)).toMatchObject({ code: 200, body: { cluster: 'shop', nodes: [] } })
  const before = Date.now()
  await store.sql.begin((tx) =>
    lockHeads(tx, [
      { cluster: 'shop', node: 'till', incarnation: 1 },
      { cluster: 'other', node: 'till', incarnation: 1 },
    ]),
  )
  const { text } = await ask('GET', `${CLUSTERS}/shop/heard`)
  const { nodes } = JSON.parse(text) as { nodes: { node: string; lastHeardAt: string }[] }
  expect(nodes.map(({ node }) => node)).toEqual(['till'])
  expect(Date.parse(nodes[0]?.lastHeardAt ?? '')).toBeGreaterThan(before - 5_000)
  expect(await ask('GET', `${CLUSTERS}/nowhere/heard`)).toMatchObject({ code: 404, body: { kind: 'Status' } })
})
