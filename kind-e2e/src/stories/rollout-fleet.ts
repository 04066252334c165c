import assert from 'node:assert/strict'
import type { RolloutCluster, RolloutSpec, RolloutStatus } from '@skerry/api'
import { ensure, eventually, FAMILY } from '@skerry/demo'
import { assertChain, transitionsOf } from '../chain.ts'
import { chance } from '../chance.ts'
import { mostAtOnce, openFleet } from '../fleet/fleet.ts'
import type { Fate } from '../fleet/machine.ts'
import { pooled } from '../fleet/pooled.ts'
import { NAMESPACE, type World } from '../world.ts'
import type { Story } from './story.ts'

const SITES = 200
const PLACEMENT = 'fleet'
const CANARY = 'canary'
const CANARIES_IN_EACH_THIRD = 3
const CLUSTERS_IN_A_GROUP = 100
/** What this rollout may cost: so many at once, so many who return at once, so many failures. */
const BUDGET = { maxConcurrency: 12, catchUp: 6, maxFailures: 4 }
const GATES = { healthySeconds: 1, timeoutSeconds: 3 }
const DEADLINE_MS = 180_000
const LOOK_MS = 250
/** Statements of so many sites are read at a time. */
const READ_AT_ONCE = 8

const FAILED: ReadonlySet<string> = new Set(['Failed', 'TimeOut', 'RolledBack'])
const FINISHED: ReadonlySet<string> = new Set([...FAILED, 'Succeeded', 'Removed'])
const HOLDS_A_SLOT: ReadonlySet<string> = new Set(['Sent', 'Delivered', 'Staging', 'Activating', 'Soaking'])

export const rolloutFleet: Story = {
  name: 'rollout-fleet',
  tells:
    'two hundred simulated sites, a third of them dark at any time: a good image reaches all, a bad one stops inside its budget and is taken back, a good one brings all to the end, and every hold says why',
  async play(world) {
    const { SKERRY_SEED: asked = '20261126' } = process.env
    const seed = asked === 'random' ? Math.floor(Math.random() * 2 ** 31) : Number.parseInt(asked, 10)
    world.say(`who is dark when, and what fails how, is by seed ${seed} (SKERRY_SEED)`)
    await world.raise(4)
    const cast = await enter(world, seed)
    await goodImage(cast)
    await badImage(cast)
    await anotherGoodImage(cast)
    await assertWhole(cast)
  },
}

type Cast = Awaited<ReturnType<typeof enter>>
type Limits = { readonly maxConcurrency: number; readonly catchUp: number }

async function enter(world: World, seed: number) {
  const client = world.client()
  const [order, moments] = [chance(seed), chance(seed + 1)]
  const names = Array.from({ length: SITES }, (_, index) => `site-${String(index + 1).padStart(3, '0')}`)
  const images = await Promise.all(
    [1, 2, 3, 4].map(async (n) => (await client.get('OSImage', undefined, `${FAMILY}-${n}`)).spec.image.sha256),
  )
  const [factory = '', , bad = ''] = images
  const canaries = new Set<string>()
  // The bad image is one that does well on the machines it was tried on.
  const fateOf = (name: string, imageSha256: string): Fate => {
    if (imageSha256 !== bad || canaries.has(name)) return 'well'
    return Number(name.slice(-3)) % 2 === 0 ? 'never well' : 'does not come up'
  }
  const fleet = world.take(await openFleet({ world, names, factory, fateOf, random: order }))
  for (const third of fleet.thirds)
    for (const name of third.toSorted().slice(0, CANARIES_IN_EACH_THIRD)) canaries.add(name)
  for (const name of canaries)
    await client.mergePatch('ManagedCluster', undefined, name, { metadata: { labels: { tier: CANARY } } })
  await ensure(client, 'Placement', {
    metadata: { name: PLACEMENT, namespace: NAMESPACE },
    spec: {
      clusterSets: ['default'],
      decisionStrategy: {
        groupStrategy: {
          decisionGroups: [
            { groupName: CANARY, groupClusterSelector: { labelSelector: { matchLabels: { tier: CANARY } } } },
          ],
          clustersPerDecisionGroup: CLUSTERS_IN_A_GROUP,
        },
      },
    },
  })
  await eventually(
    async () => {
      const clusters = await client.list('ManagedCluster')
      const away = clusters.filter(({ status }) =>
        status?.conditions?.some(({ type, reason }) => type === 'Reachable' && reason === 'Offline'),
      )
      return away.length === fleet.dark().size
    },
    'the hub knowing who is dark',
    DEADLINE_MS,
  )
  world.say(`${SITES} sites run ${FAMILY}-1; ${fleet.dark().size} of them are dark, ${canaries.size} are canaries`)
  /** A number of [from, to) that the seed gave. */
  const draw = (from: number, to: number) => Math.floor(from + moments() * (to - from))
  const looked = { samples: 0, holds: new Set<string>() }
  return { world, client, fleet, images, canaries, draw, looked }
}

// A good image, group after group. Nobody waits for who is dark: that comes after the end, in slots of its own.
async function goodImage(cast: Cast): Promise<void> {
  const { world, fleet, draw } = cast
  const limits = { maxConcurrency: SITES, catchUp: 20 }
  const away = fleet.dark()
  const name = await rollOut(
    cast,
    2,
    limits,
    {
      type: 'ProgressivePerGroup',
      progressivePerGroup: {
        maxFailures: 0,
        progressDeadline: '10m',
        mandatoryDecisionGroups: [{ groupName: CANARY }],
      },
    },
    'Skip',
  )
  const first = await until(cast, name, limits, 'Completed', ({ phase }) => phase === 'Completed')
  const told = conditionOf(first, 'Completed')
  assert.equal(told?.reason, 'CompletedPendingCatchUp', told?.message)
  assert.match(told?.message ?? '', new RegExp(`^${away.size} clusters are out of reach, to catch up on return`))
  for (const { name: who, state, message } of first.clusters ?? [])
    assert.equal(state, away.has(who) ? 'Offline' : 'Succeeded', `${who}: ${message}`)
  world.say(`${FAMILY}-2 went through three groups: ${told?.message}`)
  await fleet.turn()
  const some = SITES - away.size + draw(10, 40)
  await until(cast, name, limits, `${some} done`, ({ counts }) => (counts?.succeeded ?? 0) >= some)
  await fleet.turn()
  await turnUntilAll(cast, name, limits)
  world.say(`all ${SITES} run ${FAMILY}-2: who was dark has caught up`)
}

// A bad one that did well on the canaries: what fails, what is sent after it, and what becomes of those who had it.
async function badImage(cast: Cast): Promise<void> {
  const { world, client, fleet, images, canaries, draw } = cast
  const [, good = '', bad = ''] = images
  const name = await rollOut(cast, 3, BUDGET, progressive(BUDGET), 'Skip')
  const field = () => fleet.taken(bad).filter((one) => !canaries.has(one.name))
  const some = draw(4, 10)
  const sentDark = new Set<string>()
  const note = ({ clusters = [] }: RolloutStatus) => {
    for (const one of clusters) if (one.state === 'Offline' && one.assignedAt !== undefined) sentDark.add(one.name)
  }
  await until(cast, name, BUDGET, `${some} sites having taken it`, (status) => {
    note(status)
    return field().length >= some
  })
  await fleet.turn()
  const breached = await until(cast, name, BUDGET, 'Paused by a breach', (status) => {
    note(status)
    return status.phase === 'Paused' && conditionOf(status, 'Breached')?.status === 'True'
  })
  const at = Date.parse(conditionOf(breached, 'Breached')?.lastTransitionTime ?? '')
  const sent = assigned(breached, canaries)
  const failed = (breached.clusters ?? []).filter(({ state }) => FAILED.has(state)).length
  assert.ok(failed > BUDGET.maxFailures, `${failed} failed when it stopped`)
  const most = BUDGET.maxFailures + BUDGET.maxConcurrency + BUDGET.catchUp
  const inReach = [...sent].filter((one) => !sentDark.has(one)).length
  assert.ok(inReach <= most, `${inReach} sites were sent it, and ${most} are within the budget`)
  world.say(`${failed} failed, ${BUDGET.maxFailures} tolerated: Paused, ${sent.size} were sent it outside the canaries`)

  // Everybody is dark once and returns: nobody new is sent it, and who had it is done with it.
  for (let turn = 0; turn < 3; turn += 1) {
    await fleet.turn()
    await until(cast, name, BUDGET, 'all who return being heard, and nothing under way in reach', (status) =>
      (status.clusters ?? []).every(
        (one) =>
          fleet.dark().has(one.name) ||
          FINISHED.has(one.state) ||
          (one.state === 'NotStarted' && one.reason === 'Breached') ||
          one.reason === 'Paused',
      ),
    )
  }
  const after = (await world.rollout(name)).status ?? {}
  assert.equal(after.phase, 'Paused')
  assert.deepEqual(assigned(after, canaries), sent, 'nobody was sent it after the breach')
  for (const { name: who, assignedAt = '' } of after.clusters ?? [])
    assert.ok(!(Date.parse(assignedAt) > at), `${who} was sent it at ${assignedAt}, after the breach`)

  const took = field()
  assert.ok(
    took.every((one) => sent.has(one.name)),
    'who took it had been sent it',
  )
  const [light, late] = [took.filter((one) => !one.sentInTheDark), took.filter((one) => one.sentInTheDark)]
  assert.ok(light.length <= most, `${light.length} sites really took it, and ${most} are within the budget`)
  const atOnce = mostAtOnce(light)
  assert.ok(atOnce <= BUDGET.maxConcurrency + BUDGET.catchUp, `${atOnce} were really under way at once`)
  for (const { name: who } of took) {
    const { machine, state } = fleet.node(who)
    const tried = machine.boots().some(({ imageSha256 }) => imageSha256 === bad)
    const row = after.clusters?.find((one) => one.name === who)
    assert.equal(machine.status()?.imageSha256, good, `${who} runs the image before`)
    if (tried) {
      assert.equal(row?.state, 'RolledBack', `${who}: ${row?.message}`)
      assert.ok(row?.statement, `the rollback of ${who} names its statement`)
      assert.equal(state().memory.failures[0]?.outcome, 'RolledBack')
      const [node] = await client.list('EdgeNode', { namespace: who })
      assert.equal(node?.status?.image?.name, `${FAMILY}-2`, `${who} says what it runs`)
    } else assert.deepEqual([state().stage.phase, state().reason], ['Staged', 'Paused'], `${who} holds`)
  }
  const rolledBack = took.filter(({ name: who }) => fleet.node(who).state().memory.failures.length > 0).length
  world.say(
    `${took.length} sites took it, ${late.length} of them on their return and ${atOnce} at most at once; ${rolledBack} ran it and are back on ${FAMILY}-2, ${took.length - rolledBack} hold it; nobody got it after the breach`,
  )
}

// What ends it: a good image under a rollout of its own, which takes over whom the bad one had.
async function anotherGoodImage(cast: Cast): Promise<void> {
  const { world, client, fleet, canaries, draw } = cast
  const bad = `${FAMILY}-3`
  await client.act(NAMESPACE, bad, 'abort', { reason: 'it does not come up in the field' })
  const over = await until(cast, bad, BUDGET, 'Aborted', ({ phase }) => phase === 'Aborted')
  for (const { name: who, state, reason, message } of over.clusters ?? [])
    if (state === 'NotStarted') assert.deepEqual([reason, message.includes('aborted by')], ['Aborted', true], who)
  const limits = { maxConcurrency: 40, catchUp: 20 }
  const name = await rollOut(cast, 4, limits, progressive({ ...limits, maxFailures: 0 }), 'Wait')
  const isCanary = (one: RolloutCluster) => canaries.has(one.name)
  const waits = await until(cast, name, limits, 'the canaries in reach done', ({ clusters = [] }) =>
    clusters.filter(isCanary).every((one) => one.state === 'Succeeded' || one.state === 'Offline'),
  )
  for (const { name: who, reason, message, state } of (waits.clusters ?? []).filter((one) => !isCanary(one))) {
    assert.ok(state === 'NotStarted' || state === 'Offline', `${who} is ${state} while canaries are waited for`)
    if (state === 'NotStarted')
      assert.deepEqual([reason, /canary.*out of reach/.test(message)], ['GroupWaits', true], `${who}: ${message}`)
  }
  world.say(`the canaries in reach run ${FAMILY}-4; all others wait for those that are dark`)
  await fleet.turn()
  await pausedByHand(cast, name, limits, draw(20, 50))
  const some = draw(90, 120)
  await until(cast, name, limits, `${some} done`, ({ counts }) => (counts?.succeeded ?? 0) >= some)
  await fleet.turn()
  await turnUntilAll(cast, name, limits)
  world.say(`all ${SITES} run ${FAMILY}-4`)
}

// A person pauses it in the midst: what is not activated holds, nobody new is sent it, whoever returns; until it is resumed.
async function pausedByHand(cast: Cast, name: string, limits: Limits, some: number): Promise<void> {
  const { world, client, fleet, canaries } = cast
  await until(cast, name, limits, `${some} done`, ({ counts }) => (counts?.succeeded ?? 0) >= some)
  const { heldInTheDark } = await client.act(NAMESPACE, name, 'pause', { reason: 'the shops are full' })
  const paused = await until(cast, name, limits, 'Paused', ({ phase }) => phase === 'Paused')
  const sent = assigned(paused, canaries)
  await fleet.turn()
  const held = await until(cast, name, limits, 'nothing under way in reach', ({ clusters = [] }) =>
    clusters.every((one) => fleet.dark().has(one.name) || FINISHED.has(one.state) || one.reason === 'Paused'),
  )
  assert.equal(held.phase, 'Paused')
  assert.deepEqual(assigned(held, canaries), sent, 'nobody was sent it while it was paused')
  const done = held.counts?.succeeded
  world.say(
    `paused by hand: ${done} run ${name}, ${sent.size} were sent it, the pause did not reach ${heldInTheDark?.count} in the dark at once`,
  )
  await client.act(NAMESPACE, name, 'resume', { reason: 'they are closed' })
}

// Site and hub hold the same chains; no image was activated twice anywhere.
async function assertWhole({ world, client, fleet, images, looked }: Cast): Promise<void> {
  await fleet.turn()
  await fleet.turn()
  let statements = 0
  await pooled(fleet.sites(), READ_AT_ONCE, async (site) => {
    const chain = await assertChain(client, site)
    statements += chain.length
    for (const imageSha256 of images) {
      const begun = transitionsOf(chain, imageSha256).filter(({ to }) => to === 'Activating').length
      assert.ok(begun <= 1, `${site.name} activated an image ${begun} times`)
    }
    const { machine } = fleet.node(site.name)
    assert.equal(machine.status()?.imageSha256, images[3], `${site.name} runs ${FAMILY}-4`)
  })
  assert.deepEqual(fleet.faults, [], 'no site met anything unforeseen')
  world.say(
    `${statements} statements are at the hub once and in order; ${looked.samples} looks found no hold without its reason: ${[...looked.holds].toSorted().join(', ')}`,
  )
}

function progressive({ maxConcurrency, maxFailures }: Limits & { maxFailures: number }): RolloutSpec['strategy'] {
  return {
    type: 'Progressive',
    progressive: {
      ...{ maxConcurrency, maxFailures, progressDeadline: '10m' },
      mandatoryDecisionGroups: [{ groupName: CANARY }],
    },
  }
}

async function rollOut(
  { world }: Cast,
  image: number,
  { catchUp }: Limits,
  strategy: RolloutSpec['strategy'],
  /** What becomes of canaries that are dark. */
  offlinePolicy: 'Wait' | 'Skip',
): Promise<string> {
  return world.rollOut(image, {
    placementRef: { name: PLACEMENT },
    ...(strategy ? { strategy } : {}),
    groupOfflinePolicies: [{ groupName: CANARY, offlinePolicy }],
    catchUp: { maxConcurrency: catchUp, jitter: '3s' },
    gates: GATES,
  })
}

/** The fleet turns, whenever all who are in reach are done, until all are. */
async function turnUntilAll(cast: Cast, name: string, limits: Limits): Promise<void> {
  const { fleet } = cast
  for (;;) {
    const status = await until(cast, name, limits, 'all who are in reach done', ({ clusters = [] }) =>
      clusters.every((one) => one.state === 'Succeeded' || fleet.dark().has(one.name)),
    )
    if (status.counts?.succeeded === SITES) break
    await fleet.turn()
  }
  const end = await until(cast, name, limits, 'Completed', ({ phase }) => phase === 'Completed')
  assert.equal(conditionOf(end, 'Completed')?.reason, 'Completed')
}

/** Looks until `holds`, and at every look at what must always be so. */
async function until(
  cast: Cast,
  name: string,
  limits: Limits,
  what: string,
  holds: (status: RolloutStatus) => boolean,
): Promise<RolloutStatus> {
  const { client } = cast
  const end = performance.now() + DEADLINE_MS
  for (;;) {
    const { status } = await client.get('Rollout', NAMESPACE, name)
    if (status?.clusters) {
      assertAlways(cast, status, limits)
      if (holds(status)) return status
    }
    if (performance.now() > end) {
      const open = (status?.clusters ?? []).filter(({ state }) => !FINISHED.has(state))
      const shown = open.slice(0, 20).map((one) => `${one.name} ${one.state} ${one.reason}: ${one.message}`)
      throw new Error(`rollout ${name}: ${what} did not come; still open: ${open.length}\n${shown.join('\n')}`)
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

function assertAlways({ fleet, looked }: Cast, status: RolloutStatus, { maxConcurrency, catchUp }: Limits): void {
  const { clusters = [], counts } = status
  looked.samples += 1
  assert.ok(fleet.dark().size >= Math.floor(SITES / 3), `${fleet.dark().size} sites are dark`)
  assert.equal(clusters.length, SITES)
  assert.equal(counts?.total, SITES)
  for (const { name, state, reason, message } of clusters) {
    assert.ok(reason !== '' && message !== '', `${name} is ${state} and does not say why`)
    if (!FINISHED.has(state) && !HOLDS_A_SLOT.has(state)) looked.holds.add(reason)
  }
  if (clusters.some(({ reason }) => reason === 'CatchUpDelay'))
    assert.ok(status.recheckAt, 'who waits for a moment is looked at again then')
  // A canary's group may be under way whole.
  const busy = clusters.filter(({ state, group }) => HOLDS_A_SLOT.has(state) && group !== 0)
  const regular = busy.filter(({ returnedAt }) => returnedAt === undefined)
  assert.ok(regular.length <= maxConcurrency, `${regular.length} are under way, ${maxConcurrency} may be`)
  // Who was sent it, went dark before it was there and returned, keeps what it was sent.
  const late = busy.filter(({ returnedAt = '', assignedAt = '' }) => returnedAt !== '' && assignedAt >= returnedAt)
  assert.ok(late.length <= catchUp, `${late.length} catch up, ${catchUp} may`)
}

function assigned({ clusters = [] }: RolloutStatus, canaries: ReadonlySet<string>): Set<string> {
  return new Set(clusters.flatMap((one) => (one.assignedAt && !canaries.has(one.name) ? [one.name] : [])))
}

function conditionOf({ conditions = [] }: RolloutStatus, wanted: string) {
  return conditions.find(({ type }) => type === wanted)
}
