import { type ObjectOf, PLACEMENT_LABEL, REACHABILITY, type Reachability } from '@skerry/api'
import { ApiError, type Client } from '@skerry/client'
import { decidedBy, imageFacts, type SimulationInput } from '@skerry/policy'
import { NotFound, UsageError } from '../errors.ts'

// The fleet of a rollout as a hub has it now: what a simulation begins with.

/** How a hub finds a cluster: in reach or not, or not accepted, so that nothing reaches it. */
export type Found = Reachability | 'Denied'

export type FoundFleet = {
  /** Of the rollout's image; undefined while there is no such OSImage. */
  readonly image: SimulationInput['image'] | undefined
  /** Whom the placement selects, by its groups. */
  readonly groups: SimulationInput['groups']
  readonly found: ReadonlyMap<string, Found>
}

/** NotFound without the placement, UsageError where it selects nobody or is not decided: then there is nothing to play. */
export async function findFleet(client: Client, { metadata, spec }: ObjectOf<'Rollout'>): Promise<FoundFleet> {
  const { namespace = '' } = metadata
  const { name } = spec.placementRef
  const slices = await client.list('PlacementDecision', { namespace, labelSelector: `${PLACEMENT_LABEL}=${name}` })
  const decided = decidedBy(await ifThere(client.get('Placement', namespace, name)), slices)
  const which = `Placement ${name} in namespace ${namespace}`
  if (decided === 'Missing')
    throw new NotFound(`there is no ${which}, which rollout ${metadata.name} names in spec.placementRef.name: apply it`)
  if (decided === 'Undecided')
    throw new UsageError(`${which} is not decided yet, which the hub does by itself: try again in a moment`)
  const names = new Set(decided.flatMap(({ clusters }) => clusters))
  if (names.size === 0)
    throw new UsageError(`${which} selects no cluster: "skerry explain placement ${name} -n ${namespace}" says why`)
  const clusters = (await client.list('ManagedCluster')).filter(({ metadata: of }) => names.has(of.name))
  const image = await ifThere(client.get('OSImage', undefined, spec.image.name))
  return {
    image: image && imageFacts(image),
    groups: decided.map(({ name: group, clusters: of }) => ({ name: group, clusters: of })),
    found: new Map([
      ...[...names].map((gone): [string, Found] => [gone, 'NeverSeen']),
      ...clusters.map((cluster): [string, Found] => [cluster.metadata.name, foundAs(cluster)]),
    ]),
  }
}

function foundAs({ spec, status }: ObjectOf<'ManagedCluster'>): Found {
  if (spec.hubAcceptsClient !== true) return 'Denied'
  const reason = status?.conditions?.find(({ type }) => type === 'Reachable')?.reason
  return REACHABILITY.find((one) => one === reason) ?? 'NeverSeen'
}

function ifThere<T>(answer: Promise<T>): Promise<T | undefined> {
  return answer.catch((error: unknown) => {
    if (error instanceof ApiError && error.code === 404) return undefined
    throw error
  })
}
