import { type KindName, type ObjectOf, PLACEMENT_LABEL } from '@skerry/api'
import { foreseenStatus, paced, schedule } from '@skerry/policy'
import { decidedStatus } from '../../store/placement-status.ts'
import { listObjectsIn } from '../../store/resources.ts'
import { factsOf } from '../../store/rollout-facts.ts'
import { loadFleetOf } from '../../store/rollout-fleet.ts'
import { read } from '../../store/store.ts'
import type { Changed } from '../change.ts'
import { fleetFor } from '../placement-fleet.ts'
import type { KubernetesOptions } from './call.ts'

// What a dry run answers of objects that a controller looks at: with the status that its next look would give. What that is
// made of is read when the write has let go of the lock of all writers: it may be a whole fleet.

type Stored = ObjectOf<KindName>
/** `told`: what a client is told beside the object. */
type Foreseen = { readonly after: Stored | undefined; readonly told: readonly string[] }

/** Clusters that a sentence names; of more it says how many. */
const NAMED = 5

export async function foreseen(
  options: KubernetesOptions,
  done: Changed<Stored>,
  by: string,
  signal: AbortSignal,
): Promise<Foreseen> {
  const { after } = done
  if (after?.kind === 'Rollout') return { after: await foreseenRollout(options, done, by), told: [] }
  if (after?.kind === 'Placement') return foreseenPlacement(options, after as unknown as ObjectOf<'Placement'>, signal)
  return { after, told: [] }
}

async function foreseenRollout(
  { store, reachability, now }: KubernetesOptions,
  { before, after }: Changed<Stored>,
  by: string,
): Promise<Stored> {
  const rollout = after as unknown as ObjectOf<'Rollout'>
  const { fleet, entry } = await read(store, (tx) => loadFleetOf(tx, rollout))
  const nowMs = now()
  const facts = factsOf(fleet, entry, reachability, nowMs)
  // The generation rises with the spec alone, and whoever changes that may not approve it alone.
  const isChanged = before?.metadata.generation !== rollout.metadata.generation
  const status = foreseenStatus(isChanged ? { ...facts, changedBy: by } : facts, nowMs)
  return { ...rollout, status } as unknown as Stored
}

async function foreseenPlacement(
  { store, removalGuard, now }: KubernetesOptions,
  placement: ObjectOf<'Placement'>,
  signal: AbortSignal,
): Promise<Foreseen> {
  const { namespace = '', name } = placement.metadata
  const fleet = await fleetFor(store.sql, placement, signal)
  const slices = await listObjectsIn(store.sql, 'PlacementDecision', [namespace])
  const stored = slices.filter(({ metadata }) => metadata.labels?.[PLACEMENT_LABEL] === name)
  const nowMs = now()
  const outcome = paced(schedule(fleet, placement, nowMs, removalGuard), placement, stored, nowMs)
  if (outcome.kind === 'Skipped') return { after: placement as unknown as Stored, told: [] }
  const status = decidedStatus(placement, stored, outcome, nowMs)
  const before = stored.flatMap((slice) => (slice.status?.decisions ?? []).map(({ clusterName }) => clusterName))
  return { after: { ...placement, status } as unknown as Stored, told: [difference(before, outcome.selected)] }
}

function difference(before: readonly string[], selected: readonly string[]): string {
  const [was, is] = [new Set(before), new Set(selected)]
  const of = (names: readonly string[]) => {
    const shown = names.toSorted().slice(0, NAMED).join(', ')
    return names.length > NAMED ? `${shown} and ${names.length - NAMED} more` : shown
  }
  const [joining, leaving] = [selected.filter((one) => !was.has(one)), before.filter((one) => !is.has(one))]
  const changes = [
    ...(joining.length > 0 ? [`${joining.length} would come: ${of(joining)}`] : []),
    ...(leaving.length > 0 ? [`${leaving.length} would leave: ${of(leaving)}`] : []),
  ]
  return `dry run: ${is.size} clusters would be selected, ${was.size} are now; ${changes.length > 0 ? changes.join('; ') : 'nobody would come or leave'}`
}
