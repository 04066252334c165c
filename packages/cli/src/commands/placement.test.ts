import { ensure, eventually } from '@skerry/demo'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openWorld, type World } from '../test-world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
  world.write('ca.pem', world.hub.caPem)
})
afterAll(() => world?.close())

async function ok(...args: string[]): Promise<string> {
  const { code, out, err } = await world.run(args)
  if (code !== 0) throw new Error(`skerry ${args.join(' ')} ended with ${code}:\n${err}${out}`)
  return out
}

test('a removal that a placement holds is shown, explained and approved by its hash', async () => {
  await ok('login', '--server', world.hub.apiUrl, '--ca', 'ca.pem', '--token', world.hub.adminToken)
  const { client } = world.hub
  for (const name of ['a', 'b', 'c', 'd'])
    await ensure(client, 'ManagedCluster', {
      metadata: { name, labels: { env: 'prod', size: name === 'd' ? 'large' : 'small' } },
      spec: {},
    })
  await ensure(client, 'ManagedClusterSetBinding', {
    metadata: { name: 'default', namespace: 'default' },
    spec: { clusterSet: 'default' },
  })
  const choose = async (key: string, value: string) => {
    const stdin = `apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: { name: shops, namespace: default }
spec: { predicates: [{ requiredClusterSelector: { labelSelector: { matchLabels: { ${key}: ${value} } } } }] }
`
    const { code, err } = await world.run(['apply', '-f', '-'], { stdin })
    expect([code, err]).toEqual([0, ''])
  }
  await choose('env', 'prod')
  const selected = async () =>
    (
      JSON.parse(await ok('get', 'placement', 'shops', '-n', 'default', '-o', 'json')) as {
        status?: { numberOfSelectedClusters?: number; heldRemoval?: { hash: string } }
      }
    ).status
  await eventually(async () => (await selected())?.numberOfSelectedClusters === 4, 'all are selected', 60_000)
  const approve = ['placement', 'approve', 'shops', '-n', 'default']
  expect(await ok(...approve)).toBe('Placement default/shops holds no removal\n')

  await choose('size', 'large')
  await eventually(async () => (await selected())?.heldRemoval !== undefined, 'the removal is held', 60_000)
  const hash = (await selected())?.heldRemoval?.hash ?? ''
  expect(await ok(...approve)).toBe(
    `3 of 4 selected clusters would leave: a, b, c\nskerry placement approve shops -n default --removal ${hash}\n`,
  )
  expect(await ok('explain', 'placement', 'shops', '-n', 'default', '--cluster', 'a')).toMatch(
    /RemovalHeld=True \(TooManyRemovals\)[\s\S]*a +HeldByGuard +stays selected until the removal is approved/,
  )
  expect(await world.run([...approve, '--removal', 'f'.repeat(64)])).toMatchObject({
    code: 4,
    err: expect.stringContaining(`holds removal ${hash}`),
  })
  expect(await ok(...approve, '--removal', hash, '--reason', 'closed')).toBe(
    'Placement default/shops: removal approved\n',
  )
  await eventually(async () => (await selected())?.numberOfSelectedClusters === 1, 'they left', 60_000)
})
