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

test('a file is explained as what applying it would leave, in the same words, and nothing is written', async () => {
  const { client } = world.hub
  const file = (name: string, spec: string) =>
    world.write(
      `${name}.yaml`,
      `apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: { name: ${name}, namespace: default }
spec:
  prioritizerPolicy: { mode: Exact }
${spec}`,
    )
  const of = (key: string) =>
    `  predicates: [{ requiredClusterSelector: { labelSelector: { matchLabels: { ${key} } } } }]\n`
  const small = file('small', `${of('size: small')}  numberOfClusters: 2\n`)
  const foreseen = await world.run(['explain', 'placement', '-f', small])
  expect([foreseen.code, foreseen.err]).toEqual([
    0,
    'Warning: dry run: 2 clusters would be selected, 0 are now; 2 would come: a, b\n',
  ])
  expect(foreseen.out).toMatch(
    /^Placement default\/small: Decided, 2 selected\n[\s\S]*\nCLUSTER +REASON +RANK +SCORE +MESSAGE\na +Selected +1 +0 +rank 1 of 3, score 0\nb [\s\S]*\nc +OutOfNumber[\s\S]*\nd +PredicateMismatch +label size is large, not small\n$/,
  )
  await expect(client.get('Placement', 'default', 'small')).rejects.toMatchObject({ code: 404 })
  await ok('apply', '-f', small)
  expect(await ok('explain', 'placement', 'small', '-n', 'default')).toBe(foreseen.out)

  // What was declared before goes, and what somebody else has set besides stays, as when it is applied.
  const patched = (spec: object) => client.mergePatch('Placement', 'default', 'small', { spec })
  await patched({ numberOfClusters: 1 })
  file('small', of('env: prod'))
  const edited = ['explain', 'placement', '-f', small, '-o', 'json']
  expect(JSON.parse(await ok(...edited))).toMatchObject({ placement: 'default/small', selected: 4 })
  await patched({ clusterSets: ['nowhere'] })
  expect(JSON.parse(await ok(...edited, '--cluster', 'd'))).toMatchObject({
    conditions: [{ reason: 'NoIntersection' }, {}],
    clusters: [{ cluster: 'd', reason: 'NotInEligibleSet' }],
  })
  expect((await client.get('Placement', 'default', 'small')).spec).toMatchObject({ numberOfClusters: 1 })

  expect(await world.run([...edited, '--cluster', 'z'])).toMatchObject({ code: 3 })
  expect(await world.run(['explain', 'placement', 'small', '-f', small])).toMatchObject({
    code: 2,
    err: expect.stringContaining('skerry explain placement -f FILE'),
  })
  file('small', `  tolerations: [{ value: v }]\n`)
  expect(await world.run(['explain', 'placement', '-f', small])).toMatchObject({
    code: 1,
    err: expect.stringMatching(/small\.yaml:6:\d+: placement\.cluster[^:]*: spec\.tolerations\[0\]\.key /),
  })
})
