import { kindRow, type ObjectOf } from '@skerry/api'
import type { Client } from '@skerry/client'
import type { ClusterFacts, ReachabilityLimits, SimulationInput, StandingRollout } from '@skerry/policy'
import { NotFound, UsageError } from '../errors.ts'

// A rollout and its fleet as a hub has them now: what a simulation begins with, or goes on from.

const { group, version, plural } = kindRow('Rollout')

export type FoundFleet = {
  /** Whom the placement selects, by its groups. */
  readonly groups: SimulationInput['groups']
  readonly clusters: ReadonlyMap<string, ClusterFacts>
  readonly limits: ReachabilityLimits
}

export type Found = { readonly standing: StandingRollout; readonly fleet: FoundFleet }

/**
 * Where a rollout stands; with `edited`, as if that were its spec. NotFound without the placement, UsageError where it
 * selects nobody or is not decided: then there is nothing to play.
 */
export async function findStanding(
  client: Client,
  { metadata }: ObjectOf<'Rollout'>,
  edited: ObjectOf<'Rollout'>['spec'] | undefined,
): Promise<Found> {
  const namespace = metadata.namespace ?? ''
  const asked = new URLSearchParams(edited ? { image: edited.image.name, placement: edited.placementRef.name } : {})
  const one = `/apis/${group}/${version}/namespaces/${namespace}/${plural}/${metadata.name}`
  const standing = await client.call<StandingRollout>(`${one}/facts?${asked}`)
  const { decided, limits } = standing
  const { name } = (edited ?? standing.rollout.spec).placementRef
  const which = `Placement ${name} in namespace ${namespace}`
  if (decided === 'Missing')
    throw new NotFound(`there is no ${which}, which rollout ${metadata.name} names in spec.placementRef.name: apply it`)
  if (decided === 'Undecided')
    throw new UsageError(`${which} is not decided yet, which the hub does by itself: try again in a moment`)
  if (decided.every(({ clusters }) => clusters.length === 0))
    throw new UsageError(`${which} selects no cluster: "skerry explain placement ${name} -n ${namespace}" says why`)
  const groups = decided.map(({ name: of, clusters }) => ({ name: of, clusters }))
  const clusters = new Map(standing.clusters.map((cluster) => [cluster.name, cluster]))
  return { standing, fleet: { groups, clusters, limits } }
}
