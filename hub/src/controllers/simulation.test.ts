import type { ActVerb, RolloutSpec } from '@skerry/api'
import { type ClusterFacts, type RolloutFacts, simulate } from '@skerry/policy'
import { describe, expect, test } from 'vitest'
import { factsOf } from '../store/rollout-facts.ts'
import { loadFleetOf } from '../store/rollout-fleet.ts'
import { read } from '../store/store.ts'
import { addImage, LIMITS, rolloutSpec } from './fixture.ts'
import { fleetOf, progressive } from './rollout-fixture.ts'

// A simulation that goes on from where a rollout stands orders at once what the controllers do, and nothing else.

type Fleet = Awaited<ReturnType<typeof fleetOf>>

/** What each cluster is ordered, as far as it may be activated. */
const ordered = (clusters: readonly ClusterFacts[]) =>
  Object.fromEntries(
    clusters.map(({ name, assignment, position }) => [
      name,
      assignment && { image: assignment.manifestSha256, paused: assignment.paused, generation: position?.generation },
    ]),
  )

async function factsNow({ world, rolloutOf }: Fleet): Promise<RolloutFacts> {
  const rollout = await rolloutOf('r')
  const { fleet, entry } = await read(world.store, (tx) => loadFleetOf(tx, rollout))
  return factsOf(fleet, entry, LIMITS, world.now())
}

/** What a simulation has ordered once its hub has nothing left to do at the instant from which it goes on. */
function simulated({ rollout, image, decided, clusters, acts = [], gone }: RolloutFacts, nowMs: number) {
  if (!image || typeof decided === 'string') throw new Error('the rollout lacks its image or its placement')
  let last: readonly ClusterFacts[] = []
  const outcome = simulate({
    ...{ rollout, image, groups: decided, done: acts, limits: LIMITS, startMs: nowMs, endMs: nowMs + 1 },
    ...(gone ? { gone } : {}),
    clusters: clusters.map((known) => ({ name: known.name, known })),
    onLook: (facts) => {
      last = facts.clusters
    },
  })
  if (outcome.kind === 'Refused') throw new Error(JSON.stringify(outcome.faults))
  return ordered(last)
}

/** All run os-1. Of os-2 `a` has staged it, `b` soaks, `c` has taken the order, and `d` waits for its turn. */
async function underWay(more: Partial<RolloutSpec> = {}) {
  const all = ['a', 'b', 'c', 'd']
  const fleet = await fleetOf(...all)
  await fleet.roll('before', rolloutSpec('os-1'))
  await fleet.rest()
  for (const name of all) {
    await fleet.accepts(name)
    await fleet.confirms(name, 'os-1', `first-${name}`)
  }
  await fleet.rest()
  await fleet.age('before')
  await addImage(fleet.world, 'os-2', 2)
  const limits = progressive({ maxConcurrency: 3, minSuccessTime: '1h' })
  await fleet.roll('r', rolloutSpec('os-2', { ...limits, ...more }))
  await fleet.rest()
  for (const name of ['a', 'b', 'c']) await fleet.accepts(name)
  await fleet.stages('a', 'os-2')
  await fleet.confirms('b', 'os-2', 'boot-b')
  await fleet.rest()
  return fleet
}

/** What sites and people do to it. `last`: the hub has not looked since. */
type Given = {
  readonly spec?: Partial<RolloutSpec>
  readonly before?: (fleet: Fleet) => Promise<unknown>
  readonly last?: (fleet: Fleet) => Promise<unknown>
}
const act =
  (verb: ActVerb) =>
  (fleet: Fleet): Promise<unknown> =>
    fleet.does('r', verb)
const breach = (fleet: Fleet) => fleet.fails('c', 'os-2')
const then =
  (...steps: readonly ((fleet: Fleet) => Promise<unknown>)[]) =>
  async (fleet: Fleet) => {
    for (const step of steps) {
      await step(fleet)
      await fleet.rest()
    }
  }

describe('a simulation that goes on from the hub', () => {
  test.each<[string, Given, string[]]>([
    ['under way', {}, []],
    ['paused', { before: act('pause') }, ['a', 'c']],
    ['paused, which nobody has looked at', { last: act('pause') }, ['a', 'c']],
    ['paused, and the site has it', { before: then(act('pause'), (fleet) => fleet.accepts('a')) }, ['a', 'c']],
    ['resumed', { before: then(act('pause'), act('resume')) }, []],
    ['resumed, which nobody has looked at', { before: act('pause'), last: act('resume') }, []],
    ['aborted', { before: act('abort') }, ['a', 'c']],
    ['stopped by a breach', { before: breach }, ['a']],
    ['stopped by a breach that nobody has looked at', { last: breach }, ['a']],
    ['stopped by a breach and resumed', { before: breach, last: act('resume') }, []],
    ['ordered back after a breach', { spec: { onBreach: 'RollbackAll' }, before: breach }, []],
    ['to be ordered back after a breach', { spec: { onBreach: 'RollbackAll' }, last: breach }, []],
  ])('orders what the controllers order: %s', async (_, { spec, before, last }, holding) => {
    const fleet = await underWay(spec)
    await before?.(fleet)
    await fleet.rest()
    await last?.(fleet)
    const stood = await factsNow(fleet)
    const nowMs = fleet.world.now()
    await fleet.rest()
    const after = ordered((await factsNow(fleet)).clusters)
    expect(after).toHaveProperty('b.generation', 2)
    expect(simulated(stood, nowMs)).toEqual(after)
    expect(Object.keys(after).filter((name) => after[name]?.paused)).toEqual(holding)
  })
})
