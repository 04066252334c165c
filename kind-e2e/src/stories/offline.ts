import assert from 'node:assert/strict'
import { eventually, FAMILY, type Release } from '@skerry/demo'
import { assertChain, statementsOf, transitionsOf } from '../chain.ts'
import { listEsp } from '../machine/disk.ts'
import { claimsOf, resultsOf } from '../machine/judged.ts'
import { bootsFolder, keepingBoots, verifyKept } from '../machine/kept.ts'
import { findParts } from '../machine/parts.ts'
import { HOST } from '../machine/site.ts'
import type { World } from '../world.ts'
import { assertSaid, type Depot, imageOf, NAME, openDepot, registers, runs, STEP_MS, TERMS, WORTH } from './depot.ts'
import type { Story } from './story.ts'

const WINDOW_S = 1_800

export const offline: Story = {
  name: 'offline',
  tells:
    "a UEFI machine's link is cut after staging and before its window: it activates and proves itself in the dark, and its evidence comes later, is placed in time, and counts",
  async play(world) {
    const parts = findParts(world.say)
    await world.raise(0, [], [HOST])
    const [one, two] = [imageOf(world, parts, 1), imageOf(world, parts, 2)]
    const depot = await openDepot(world, parts, one)
    const reference = { manifests: [one.manifest, two.manifest], profile: depot.profile }
    await keepingBoots(world, depot, reference, () => unfold(world, depot, one, two))
    const kept = verifyKept(bootsFolder(world))
    assert.deepEqual(
      [...kept].map(([folder, { exitCode, verdict, secondOpinion }]) => [folder, exitCode, verdict, ...secondOpinion]),
      ['1-1', '2-2'].map((folder) => [folder, 0, WORTH.verdict]),
    )
    world.say(`the kept evidence of both boots is ${WORTH.verdict} with no hub, and tpm2-tools agree with it`)
  },
}

/** What is known of the time in the dark. */
type Dark = {
  readonly bootId: string
  /** How many statements the hub had when the link was cut. */
  readonly known: number
  readonly opensMs: number
  readonly cutMs: number
}

async function unfold(world: World, depot: Depot, one: Release, two: Release): Promise<void> {
  const startedMs = Date.now()
  await registers(world, depot, one)
  // Staging takes less time than the first boot and registering do, on a slow computer too.
  const opens = nextMinute(Date.now() + (Date.now() - startedMs))
  await world.publish(two)
  const at = `${opens.getUTCMinutes()} ${opens.getUTCHours()} * * *`
  const name = await world.rollOut(2, {
    ...TERMS,
    windows: { activation: [{ at, timeZone: 'UTC', durationSeconds: WINDOW_S }] },
  })
  const dark = await goesOnAlone(world, depot, name, opens.getTime())
  await comesBack(world, depot, two, name, dark)
  await depot.turnOff(STEP_MS)
  const outbox = depot.outbox()
  await assertChain(world.client(), { name: NAME, outbox: () => outbox })
  assert.deepEqual(listEsp(depot.espDisk), [`${FAMILY}_1.efi`, `${FAMILY}_2.efi`])
  assert.equal(depot.boots().length, 2, 'nothing else was ever booted')
  world.say('every statement is at the hub once, in order, each following from the one before')
}

async function goesOnAlone(world: World, depot: Depot, name: string, opensMs: number): Promise<Dark> {
  const client = world.client()
  await world.rolloutUntil(
    name,
    `${NAME} staged and waiting for its window`,
    ({ clusters }) => clusters?.[0]?.state === 'WaitingForWindow',
    STEP_MS,
  )
  const known = (await statementsOf(client, NAME)).length
  depot.link.cut()
  const cutMs = Date.now()
  assert.ok(cutMs < opensMs, 'it had staged, and the link was cut, before the window opened')
  world.say(`${NAME} has staged ${name}; its link is cut ${Math.round((opensMs - cutMs) / 1000)} s before its window`)
  await eventually(
    async () => {
      const { status } = await client.get('ManagedCluster', undefined, NAME)
      return status?.conditions?.some(({ type, reason }) => type === 'Reachable' && reason === 'Offline')
    },
    `the hub saying that ${NAME} is Offline`,
    STEP_MS,
  )
  const boot = await depot.boot(2, opensMs - Date.now() + STEP_MS)
  assert.equal(boot.version, '2')
  assert.ok(Date.now() >= opensMs, 'it did not activate before its window')
  await depot.line((line) => line.includes('"reason":"Confirmed"') || undefined, `${name} confirmed`, STEP_MS)
  assert.equal((await statementsOf(client, NAME)).length, known, 'nothing came through the cut link')
  const { status } = await world.rollout(name)
  assert.notEqual(status?.phase, 'Completed', 'nothing is claimed of a site that is away')
  assert.equal(status?.clusters?.[0]?.state, 'WaitingForWindow')
  assert.ok(!(await resultsOf(client, NAME)).some(({ bootId }) => bootId === boot.bootId), 'and nothing was judged')
  world.say(`in its window and in the dark it booted ${boot.entry}, quoted that boot, and confirmed it`)
  return { bootId: boot.bootId, known, opensMs, cutMs }
}

async function comesBack(world: World, depot: Depot, two: Release, name: string, dark: Dark): Promise<void> {
  const client = world.client()
  const mendedMs = Date.now()
  depot.link.mend()
  const end = await world.rolloutUntil(name, 'Completed', ({ phase }) => phase === 'Completed', STEP_MS)
  const [cluster] = end.clusters ?? []
  assert.deepEqual([cluster?.state, end.counts?.succeeded], ['Succeeded', 1])
  await assertSaid(world, cluster?.statement)
  await runs(world, depot, two.manifest, name, dark.bootId)

  const late = (await statementsOf(client, NAME)).slice(dark.known)
  for (const { told } of late)
    assert.ok(Date.parse(told.receivedAt) >= mendedMs, `statement ${told.seq} came after the link was back`)
  const steps = transitionsOf(
    late.map(({ statement }) => statement),
    two.manifest.image.sha256,
  )
  assert.deepEqual(
    steps.map(({ to }) => to),
    ['Activating', 'Verifying', 'Confirming', 'Idle'],
    'it was activated once, proved itself and was confirmed',
  )
  const evidence = late.find(({ statement }) => statement.kind === 'evidence')
  assert.ok(evidence, 'its evidence is among what came late')
  const { told, statement } = evidence
  const saidMs = Date.parse(statement.time.wall)
  assert.ok(saidMs >= dark.opensMs && saidMs < mendedMs, 'by its own clock it was made in the dark')

  const result = (await resultsOf(client, NAME)).find(({ bootId }) => bootId === dark.bootId)
  assert.ok(result, 'the boot has a signed result')
  const { after, before } = result.said
  assert.ok(after !== undefined && Date.parse(after) < dark.cutMs, 'it was made after a marker seen before the cut')
  assert.equal(before, told.receivedAt, 'and before it came')
  const ear = claimsOf(result).submods[`${NAME}/${NAME}`]
  assert.equal(ear?.['ear.status'], WORTH.verdict)
  assert.deepEqual(ear?.['skerry.statement'], {
    incarnation: statement.incarnation,
    seq: told.seq,
    digest: told.digest,
  })
  assert.deepEqual(ear?.['skerry.boot'], { bootId: dark.bootId, imageSha256: two.manifest.image.sha256 })
  world.say(`the link is back: ${late.length} statements came, and ${name} is Completed by them`)
  world.say(
    `the EAR of that boot is ${ear?.['ear.status']}: quoted at ${statement.time.wall} by its own clock, between ${after} and ${before} by the hub's`,
  )
}

function nextMinute(afterMs: number): Date {
  return new Date(Math.ceil(afterMs / 60_000) * 60_000)
}
