import type { ObjectOf } from '@skerry/api'
import { type Fleet, fleetOf } from '@skerry/policy'
import { loadFleetFacts } from '../store/placements.ts'
import type { Reader } from '../store/store.ts'
import { turns } from '../turns.ts'

/**
 * The fleet that a placement is judged over, its expressions asked already: these may take minutes, so others have their turn
 * in between, and nobody is asked any more once the client has gone or its time is over.
 */
export async function fleetFor(reader: Reader, { spec }: ObjectOf<'Placement'>, signal: AbortSignal): Promise<Fleet> {
  const fleet = fleetOf(await loadFleetFacts(reader))
  const letOthers = turns(signal)
  for (const { requiredClusterSelector: required } of spec.predicates ?? [])
    for (const _ of fleet.askCel(required?.celSelector?.celExpressions ?? [])) await letOthers()
  return fleet
}
