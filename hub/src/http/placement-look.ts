import { type ObjectOf, PLACEMENT_LABEL } from '@skerry/api'
import { type Fleet, fleetOf, type PlacementOutcome, type RemovalGuard, schedule } from '@skerry/policy'
import { loadFleetFacts } from '../store/placements.ts'
import { getObject } from '../store/resources.ts'
import { read, type Store } from '../store/store.ts'
import { turns } from '../turns.ts'

type Placement = ObjectOf<'Placement'>
type Options = { readonly store: Store; readonly now: () => number; readonly removalGuard?: RemovalGuard }

/** What the controller's next look would make of a placement, and of what. `stored`: its slices. */
export type Look = {
  readonly placement: Placement
  readonly stored: readonly ObjectOf<'PlacementDecision'>[]
  readonly fleet: Fleet
  readonly outcome: PlacementOutcome
  readonly nowMs: number
}

/**
 * Looks at what `choose` makes of the placement that is stored under a name. All that it is judged by is of one moment of the
 * database. Its expressions may take minutes, so others have their turn in between, and nobody is asked any more once the
 * client has gone or its time is over.
 */
export async function lookAt(
  { store, now, removalGuard }: Options,
  { namespace = '', name }: { readonly namespace?: string; readonly name: string },
  choose: (found: Placement | undefined) => Placement,
  signal: AbortSignal,
): Promise<Look> {
  const { placement, slices, facts } = await read(store, async (tx) => ({
    placement: choose(await getObject(tx, 'Placement', namespace, name)),
    ...(await loadFleetFacts(tx)),
  }))
  const fleet = fleetOf(facts)
  const letOthers = turns(signal)
  for (const { requiredClusterSelector: required } of placement.spec.predicates ?? [])
    for (const _ of fleet.askCel(required?.celSelector?.celExpressions ?? [])) await letOthers()
  const nowMs = now()
  const outcome = schedule(fleet, placement, nowMs, removalGuard)
  const isItsOwn = ({ metadata }: ObjectOf<'PlacementDecision'>) =>
    metadata.namespace === namespace && metadata.labels?.[PLACEMENT_LABEL] === name
  return { placement, stored: slices.filter(isItsOwn), fleet, outcome, nowMs }
}

/** A placement that is not stored so, looked at in the place of the one of its name: how far that is stands in its status. */
export function lookAtAsked(options: Options, { status: _, ...asked }: Placement, signal: AbortSignal): Promise<Look> {
  const goingOn = (found: Placement | undefined) => ({ ...asked, ...(found?.status ? { status: found.status } : {}) })
  return lookAt(options, asked.metadata, goingOn, signal)
}
