import { kindRow, type ObjectOf } from '@skerry/api'
import type { Client } from '@skerry/client'
import type { ClusterFacts, ReachabilityLimits, SimulationInput, StandingRollout } from '@skerry/policy'
import { NotFound, UsageError } from '../errors.ts'

// A rollout and its fleet as a hub has them now: what a simulation begins with, or goes on from.

const { group, version, plural } = kindRow('Rollout')

type Named = { readonly name?: string }

export type FoundFleet = {
  /** Whom the placement selects, by its groups. */
  readonly groups: SimulationInput['groups']
  readonly clusters: ReadonlyMap<string, ClusterFacts>
  readonly limits: ReachabilityLimits
}

/** Where a rollout stands, as if its spec named what this one names. */
export async function findStanding(
  client: Client,
  { metadata }: ObjectOf<'Rollout'>,
  { image, placementRef }: { readonly image?: Named; readonly placementRef?: Named },
): Promise<StandingRollout> {
  const one = `/apis/${group}/${version}/namespaces/${metadata.namespace ?? ''}/${plural}/${metadata.name}`
  const asked = new URLSearchParams()
  if (image?.name !== undefined) asked.set('image', image.name)
  if (placementRef?.name !== undefined) asked.set('placement', placementRef.name)
  return client.call<StandingRollout>(`${one}/facts?${asked}`)
}

/**
 * Whom the placement of this name selects, as a rollout stands. NotFound without the placement, UsageError where it selects
 * nobody or is not decided: then there is nothing to play.
 */
export function fleetIn(
  { rollout: { metadata }, decided, limits, ...standing }: StandingRollout,
  name: string,
): FoundFleet {
  const namespace = metadata.namespace ?? ''
  const which = `Placement ${name} in namespace ${namespace}`
  if (decided === 'Missing')
    throw new NotFound(`there is no ${which}, which rollout ${metadata.name} names in spec.placementRef.name: apply it`)
  if (decided === 'Undecided')
    throw new UsageError(`${which} is not decided yet, which the hub does by itself: try again in a moment`)
  if (decided.every(({ clusters }) => clusters.length === 0))
    throw new UsageError(`${which} selects no cluster: "skerry explain placement ${name} -n ${namespace}" says why`)
  const groups = decided.map(({ name: of, clusters }) => ({ name: of, clusters }))
  const clusters = new Map(standing.clusters.map((cluster) => [cluster.name, cluster]))
  return { groups, clusters, limits }
}
