import type { ActVerb, ObjectOf, RolloutAct, RolloutSpec } from '@skerry/api'
import { appendAct } from '../store/acts.ts'
import { listAssignments } from '../store/assignments.ts'
import { newestDesired } from '../store/desired-states.ts'
import { write } from '../store/store.ts'
import { attestationController } from './attestation.ts'
import { desiredController } from './desired.ts'
import { addCluster, addImage, addPlacement, LIMITS, openWorld, RESULT_KEY, sha, type World } from './fixture.ts'
import { placementController } from './placement.ts'
import { rolloutController } from './rollout.ts'

// Rollouts over sites on a real database: what the hub does of itself, and what sites and people do, called by hand.

export const rollout = rolloutController(LIMITS)
export const desired = desiredController()

/** Clusters with these names, heard of, under a decided placement. */
export async function fleetOf(...names: string[]) {
  const world = await openWorld()
  await addImage(world, 'os-1')
  await addPlacement(world)
  const sites: Record<string, Awaited<ReturnType<typeof addCluster>>> = {}
  for (const name of names) sites[name] = await addCluster(world, name)
  return fleetOn(world, sites)
}

export async function fleetOn(world: World, sites: Record<string, Awaited<ReturnType<typeof addCluster>>>) {
  for (const site of Object.values(sites)) await site.heartbeat()
  await world.look(placementController())
  const site = (name: string) => {
    const found = sites[name]
    if (!found) throw new Error(`there is no site ${name}`)
    return found
  }
  return {
    world,
    site,
    roll: (name: string, spec: RolloutSpec) => world.create('Rollout', name, spec, { namespace: 'fleet' }),
    reroll: (name: string, spec: RolloutSpec) => world.edit('Rollout', name, 'fleet', spec),
    /** What the hub does by itself until it rests. */
    async rest() {
      for (let n = 0; n < 3; n += 1) {
        await world.look(attestationController(RESULT_KEY))
        await world.look(rollout)
        await world.look(desired)
      }
    },
    rolloutOf: (name: string): Promise<ObjectOf<'Rollout'>> => world.get('Rollout', name, 'fleet'),
    async stateOf(name: string, cluster: string) {
      const { status } = await world.get('Rollout', name, 'fleet')
      return status?.clusters?.find((found) => found.name === cluster)
    },
    /** Which rollout has each cluster. */
    async owners() {
      return Object.fromEntries((await listAssignments(world.store.sql)).map((a) => [a.cluster, a.rolloutName]))
    },
    /** Makes a rollout older than any that follows. */
    async age(name: string) {
      await world.store
        .sql`update resource set created_at = now() - interval '1 hour' where kind = 'Rollout' and name = ${name}`
    },
    async documentOf(cluster: string) {
      return (await newestDesired(world.store.sql)).find((found) => found.cluster === cluster)?.document
    },
    /** The site takes its newest desired state. */
    async accepts(cluster: string) {
      const state = (await newestDesired(world.store.sql)).find((found) => found.cluster === cluster)
      if (!state) throw new Error(`${cluster} has no desired state`)
      await site(cluster).says({ kind: 'accepted', body: { ...state.position, digest: state.digest } })
    },
    async stages(cluster: string, image: string) {
      await this.goes(cluster, 'Staging', 'Staged', { imageSha256: sha(image) })
    },
    async goes(
      cluster: string,
      from: 'Staging' | 'Confirming' | 'RollingBack',
      to: 'Staged' | 'Idle' | 'Failed',
      more: object,
    ) {
      await site(cluster).says({
        kind: 'transition',
        body: { from, to, reason: to, message: `went to ${to}`, ...more },
      })
    },
    /** The site boots the image, shows its evidence and confirms it. */
    async confirms(cluster: string, image: string, bootId: string) {
      await site(cluster).says(site(cluster).boot(bootId, image))
      await this.goes(cluster, 'Confirming', 'Idle', { imageSha256: sha(image), bootId })
    },
    async fails(cluster: string, image: string) {
      await this.goes(cluster, 'RollingBack', 'Failed', { imageSha256: sha(image), outcome: 'RolledBack' })
    },
    /** A person does something to a rollout. */
    async does(name: string, verb: ActVerb, more: Partial<RolloutAct> = {}) {
      const { metadata, spec } = await world.get('Rollout', name, 'fleet')
      return write(world.store, (tx) =>
        appendAct(tx, {
          ...{ verb, by: 'anna', reason: 'a loose cable', rolloutUid: metadata.uid },
          manifestSha256: sha(`manifest ${spec.image.name}`),
          at: new Date(world.now()).toISOString(),
          ...more,
        }),
      )
    },
  }
}

/** Where the newest desired state of each cluster stands. */
export const generations = async ({ store }: World) =>
  Object.fromEntries((await newestDesired(store.sql)).map(({ cluster, position }) => [cluster, position.generation]))
export const progressive = (
  p: NonNullable<NonNullable<RolloutSpec['strategy']>['progressive']>,
): Partial<RolloutSpec> => ({
  strategy: { type: 'Progressive', progressive: p },
})
