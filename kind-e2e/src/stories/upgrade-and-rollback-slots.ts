import assert from 'node:assert/strict'
import type { StatementRef } from '@skerry/api'
import { eventually, FAMILY } from '@skerry/demo'
import { assertChain, statementsOf, transitionsOf } from '../chain.ts'
import type { World } from '../world.ts'
import type { Story } from './story.ts'

const SITES = ['shop-a', 'shop-b', 'shop-c']
const ONE_AT_A_TIME = {
  type: 'Progressive',
  progressive: { maxConcurrency: 1, maxFailures: 0, minSuccessTime: '1s', progressDeadline: '2m' },
} as const
/** The states of one cluster come in this order; some may be too short to be seen. */
const ORDER = ['NotStarted', 'Sent', 'Delivered', 'Staging', 'WaitingForWindow', 'Activating', 'Soaking', 'Succeeded']

export const upgradeAndRollbackSlots: Story = {
  name: 'upgrade-and-rollback-slots',
  tells:
    'three sites take a signed image one by one; one gets an image that is never healthy and goes back, which stops that rollout',
  async play(world) {
    await world.raise(3, [3])
    const client = world.client()
    // A cluster that a person made and no machine has spoken for.
    await client.create('ManagedCluster', { metadata: { name: 'shop-never' }, spec: { hubAcceptsClient: true } })
    await world.join(SITES)
    for (const { metadata, status } of await client.list('EdgeNode')) {
      assert.equal(status?.class, 'software-key', `${metadata.name} is flagged by its class`)
      assert.deepEqual([status.attestation?.verdict, status.attestation?.reason], ['warning', 'SoftwareKey'])
    }

    await upgrade(world)
    await rollback(world)
    await report(world)
    for (const site of world.sites) await assertChain(client, site)
    world.say('every statement is at the hub once, in order, each following from the one before')
  },
}

async function upgrade(world: World): Promise<void> {
  const name = await world.rollOut(2, { strategy: ONE_AT_A_TIME, gates: { healthySeconds: 2, timeoutSeconds: 10 } })
  const seen = new Map<string, string[]>()
  let together = 0
  const done = await world.rolloutUntil(name, 'Completed on the three sites', (status) => {
    for (const { name, state } of status.clusters ?? []) {
      const states = seen.get(name) ?? []
      if (states.at(-1) !== state) seen.set(name, [...states, state])
    }
    const busy = (status.clusters ?? []).filter(
      ({ name, state }) => name !== 'shop-never' && state !== 'NotStarted' && state !== 'Succeeded',
    )
    together = Math.max(together, busy.length)
    return (status.counts?.succeeded ?? 0) === SITES.length
  })
  assert.equal(together, 1, 'one cluster is under way at a time')
  for (const site of SITES) {
    const places = (seen.get(site) ?? []).map((state) => ORDER.indexOf(state))
    assert.deepEqual(
      places,
      places.toSorted((a, b) => a - b),
      `${site} went through ${seen.get(site)?.join(', ')}`,
    )
    assert.ok(!places.includes(-1), `${site} went through ${seen.get(site)?.join(', ')}`)
    assert.ok(
      seen.get(site)?.includes('Activating') || seen.get(site)?.includes('Soaking'),
      `${site} was seen activating`,
    )
  }
  const never = done.clusters?.find(({ name }) => name === 'shop-never')
  assert.notEqual(never?.state, 'Succeeded', 'a cluster that was never heard from is never shown as upgraded')
  for (const cluster of done.clusters ?? []) {
    if (cluster.name === 'shop-never') continue
    assert.ok(cluster.statement, `${cluster.name} names the statement its success rests on`)
    await assertExists(world, cluster.statement)
  }
  for (const { status } of await world.client().list('EdgeNode')) assert.equal(status?.image?.name, `${FAMILY}-2`)
  world.say(`${FAMILY}-2 is on all three sites, one after the other, each by a statement that the hub holds`)
  await world.client().mergePatch('ManagedCluster', undefined, 'shop-never', {
    spec: { taints: [{ key: 'never-came', effect: 'NoSelect' }] },
  })
  await world.rolloutUntil(name, 'Completed', (status) => status.phase === 'Completed')
}

async function rollback(world: World): Promise<void> {
  const client = world.client()
  const name = await world.rollOut(3, { strategy: ONE_AT_A_TIME, gates: { healthySeconds: 2, timeoutSeconds: 5 } })
  const end = await world.rolloutUntil(name, 'Paused by a breach', (status) => status.phase === 'Paused')
  const condition = end.conditions?.find(({ type }) => type === 'Breached')
  assert.equal(condition?.status, 'True', 'the rollout says that it is Breached')
  const states = (end.clusters ?? []).map(({ state }) => state).toSorted()
  assert.deepEqual(states, ['NotStarted', 'NotStarted', 'RolledBack'], 'one tried it, the others were never sent it')
  const failed = end.clusters?.find(({ state }) => state === 'RolledBack')
  assert.ok(failed?.statement, 'the rollback names its statement')
  await assertExists(world, failed.statement)

  const bad = (await client.get('OSImage', undefined, `${FAMILY}-3`)).spec.image.sha256
  const site = world.sites.find((one) => one.name === failed.name)
  assert.ok(site)
  const transitions = transitionsOf(await assertChain(client, site), bad)
  assert.equal(transitions.filter(({ to }) => to === 'Activating').length, 1, 'it was activated once')
  assert.equal(transitions.filter(({ to }) => to === 'Confirming').length, 0, 'it was never confirmed')
  assert.equal(transitions.at(-1)?.outcome, 'RolledBack')
  // Its rollback is told, and then so is the boot of the image before.
  await eventually(
    async () => {
      const [node] = await client.list('EdgeNode', { namespace: failed.name })
      return (
        node?.status?.image?.name === `${FAMILY}-2` &&
        node.status.failed?.some(({ imageSha256 }) => imageSha256 === bad)
      )
    },
    `${failed.name} running ${FAMILY}-2 again and remembering what failed`,
    30_000,
  )
  for (const other of world.sites.filter((one) => one !== site))
    assert.equal(transitionsOf(await assertChain(client, other), bad).length, 0, `${other.name} never saw it`)
  world.say(`${FAMILY}-3 was tried by ${failed.name} alone, which went back; the rollout is Breached`)
}

type Report = {
  clusters: {
    cluster: string
    result: string
    nodes: {
      node: string
      class: string
      limitation?: string
      claims: { claim: string; result: string; statements: StatementRef[] }[]
    }[]
  }[]
}

async function report(world: World): Promise<void> {
  const { clusters } = (await world.client().report()) as Report
  assert.deepEqual(
    clusters.map(({ cluster }) => cluster),
    [...SITES, 'shop-never'],
  )
  const never = clusters.find(({ cluster }) => cluster === 'shop-never')
  assert.equal(never?.result, 'not-assessed', 'a site never heard from is not assessed')
  let rested = 0
  for (const { cluster, nodes } of clusters)
    for (const { node, limitation, claims } of nodes) {
      assert.ok(limitation, `${cluster}/${node} says what its class cannot prove`)
      for (const { claim, result, statements } of claims) {
        if (result === 'not-assessed') continue
        assert.ok(statements.length > 0, `${cluster}/${node} ${claim} names its statement`)
        for (const reference of statements) await assertExists(world, reference)
        rested += statements.length
      }
    }
  assert.ok(rested >= SITES.length * 3, `the report's claims rest on statements (${rested})`)
  world.say(`the report's claims rest on ${rested} statements, each of which the hub holds`)
}

async function assertExists(world: World, { cluster, seq, digest }: StatementRef): Promise<void> {
  const found = (await statementsOf(world.client(), cluster)).find(({ told }) => told.seq === seq)
  assert.equal(found?.told.digest, digest, `statement ${seq} of ${cluster} is the one that was named`)
}
