import assert from 'node:assert/strict'
import { FAMILY, type Release } from '@skerry/demo'
import { assertChain, transitionsOf } from '../chain.ts'
import { listEsp } from '../machine/disk.ts'
import { bootsFolder, keepingBoots, verifyKept } from '../machine/kept.ts'
import { findParts } from '../machine/parts.ts'
import { HOST } from '../machine/site.ts'
import type { World } from '../world.ts'
import {
  assertSaid,
  type Depot,
  imageOf,
  NAME,
  openDepot,
  registers,
  runs,
  STEP_MS,
  said,
  TERMS,
  WORTH,
} from './depot.ts'
import type { Story } from './story.ts'

/** As many boots in which an image may prove itself: one is spent by the watchdog, and one more shows that it is counted. */
const TRIES = 2

export const upgradeAndRollback: Story = {
  name: 'upgrade-and-rollback',
  tells:
    'a UEFI machine takes a signed image, proves it and keeps it; the next one is never healthy, the firmware falls back, and its bytes are not tried again',
  async play(world) {
    const parts = findParts(world.say)
    await world.raise(0, [], [HOST])
    const images = {
      one: imageOf(world, parts, 1),
      two: imageOf(world, parts, 2),
      three: imageOf(world, parts, 3, { healthy: false }),
    }
    const machine = await openDepot(world, parts, images.one, { args: ['--boot-tries', String(TRIES)] })
    const manifests = Object.values(images).map(({ manifest }) => manifest)
    await keepingBoots(world, machine, { manifests, profile: machine.profile }, () => unfold(world, machine, images))
    const kept = verifyKept(bootsFolder(world))
    for (const folder of ['1-1', '2-2', '5-2']) assert.ok(kept.has(folder), `there is evidence of boot ${folder}`)
    for (const [folder, { verdict, findings, secondOpinion }] of kept) {
      assert.equal(verdict, WORTH.verdict, `kept of boot ${folder}: ${JSON.stringify(findings)}`)
      assert.deepEqual(secondOpinion, [], `tpm2-tools find nothing in what is kept of boot ${folder}`)
    }
    const folders = [...kept.keys()].join(', ')
    world.say(`the kept evidence of ${folders} is ${WORTH.verdict} with no hub, and tpm2-tools agree with it`)
  },
}

type Images = Readonly<Record<'one' | 'two' | 'three', Release>>

async function unfold(world: World, machine: Depot, { one, two, three }: Images): Promise<void> {
  await registers(world, machine, one)
  await upgrade(world, machine, two)
  await rollback(world, machine, two, three)
  await again(world, machine, three)
  const doubts = (await world.client().list('Event')).filter(({ spec }) => spec.reason === 'BootBlockDoubted')
  assert.deepEqual(doubts, [], 'the hub computed each promise anew from the image, and it holds')
  await machine.turnOff(STEP_MS)
  const outbox = machine.outbox()
  await assertChain(world.client(), { name: NAME, outbox: () => outbox })
  world.say('every statement is at the hub once, in order, each following from the one before')
  assert.deepEqual(
    machine.boots().map(({ version }) => version),
    ['1', '2', '3', '3', '2'],
    'nothing else was ever booted',
  )
  world.say(`it was turned off; on its ESP are ${listEsp(machine.espDisk).join(', ')}`)
}

async function upgrade(world: World, machine: Depot, two: Release): Promise<void> {
  await world.publish(two)
  const name = await world.rollOut(2, TERMS)
  const boot = await machine.boot(2, STEP_MS)
  assert.equal(boot.version, '2')
  world.say(`${NAME} staged ${name}, armed it and booted ${boot.entry}, inside one power-on`)
  const done = await world.rolloutUntil(name, 'Completed', ({ phase }) => phase === 'Completed', STEP_MS)
  const [cluster] = done.clusters ?? []
  assert.deepEqual([cluster?.name, cluster?.state], [NAME, 'Succeeded'])
  await assertSaid(world, cluster?.statement)
  await runs(world, machine, two.manifest, name, boot.bootId)
  const steps = transitionsOf(await said(world), two.manifest.image.sha256)
  assert.equal(steps.filter(({ to }) => to === 'Activating').length, 1, 'it was activated once')
  assert.deepEqual([steps.at(-1)?.to, steps.at(-1)?.reason, steps.at(-1)?.bootId], ['Idle', 'Confirmed', boot.bootId])
  world.say(`${name} is confirmed in that boot, and its rollout Completed by a statement that the hub holds`)
}

async function rollback(world: World, machine: Depot, two: Release, three: Release): Promise<void> {
  await world.publish(three)
  const name = await world.rollOut(3, TERMS)
  for (let tried = 1; tried <= TRIES; tried += 1) {
    const boot = await machine.boot(2 + tried, STEP_MS)
    assert.equal(boot.version, '3')
    await machine.line((line) => line.includes('"machine":"unhealthy"') || undefined, `try ${tried} unwell`, STEP_MS)
    world.say(`try ${tried} of ${name}, as ${boot.entry}: its userspace is not well`)
  }
  const boot = await machine.boot(3 + TRIES, STEP_MS)
  assert.equal(boot.version, '2')
  world.say(`the watchdog ended each try, and the firmware fell back to ${boot.entry}`)

  const end = await world.rolloutUntil(name, 'Paused by a breach', ({ phase }) => phase === 'Paused', STEP_MS)
  const breached = end.conditions?.find(({ type }) => type === 'Breached')
  assert.equal(breached?.status, 'True', 'the rollout says that it is Breached')
  const [cluster] = end.clusters ?? []
  assert.equal(cluster?.state, 'RolledBack')
  await assertSaid(world, cluster.statement)
  const bad = three.manifest.image.sha256
  const steps = transitionsOf(await said(world), bad)
  assert.equal(steps.filter(({ to }) => to === 'Activating').length, 1, 'it was activated once')
  assert.equal(steps.filter(({ to }) => to === 'Confirming').length, 0, 'it was never confirmed')
  const last = steps.at(-1)
  assert.deepEqual([last?.outcome, last?.reason], ['RolledBack', 'FellBack'])
  await runs(world, machine, two.manifest, `${FAMILY}-2`, boot.bootId)
  const failed = (await node(world))?.status?.failed?.find(({ imageSha256 }) => imageSha256 === bad)
  assert.deepEqual([failed?.outcome, failed?.reason], ['RolledBack', 'FellBack'], 'it remembers these bytes')
  world.say(`${name} is RolledBack ("${last?.message}") and Breached; ${FAMILY}-2 is attested in its new boot`)
}

/**
 * The bytes that failed, under another name, version and release counter. The hub knows them again by their digest and
 * orders them of nobody who failed with them, so the site's own refusal (ImageFailedBefore) is not come to.
 */
async function again(world: World, machine: Depot, three: Release): Promise<void> {
  const held = (await node(world))?.status?.holds
  const [family, version] = [`${FAMILY}-anew`, '4']
  await world.publish({ ...three, manifest: { ...three.manifest, family, version, releaseCounter: 4 } })
  const name = await world.rollOut(`${family}-${version}`, TERMS)
  const end = await world.rolloutUntil(name, 'Paused by a breach', ({ phase }) => phase === 'Paused', STEP_MS)
  const [cluster] = end.clusters ?? []
  assert.deepEqual([cluster?.state, cluster?.reason], ['RolledBack', 'FellBack'])
  assert.equal(cluster?.position, undefined, 'it was never ordered')
  await assertSaid(world, cluster?.statement)
  assert.deepEqual((await node(world))?.status?.holds, held, 'the site holds what it held')
  const tried = transitionsOf(await said(world), three.manifest.image.sha256).filter(({ to }) => to === 'Activating')
  assert.equal(tried.length, 1, 'it was not activated a second time')
  assert.equal(machine.boots().length, 3 + TRIES, 'nothing was booted for it')
  world.say(`${name} has the same bytes: by the statement of their failure it counts as failed here and is not sent`)
}

const node = async (world: World) => (await world.client().list('EdgeNode', { namespace: NAME }))[0]
