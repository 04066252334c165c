import type { KindName, ObjectOf } from '@skerry/api'
import { foreseenStatus } from '@skerry/policy'
import { factsOf } from '../../store/rollout-facts.ts'
import { loadFleetOf } from '../../store/rollout-fleet.ts'
import { read } from '../../store/store.ts'
import type { Changed } from '../change.ts'
import type { KubernetesOptions } from './call.ts'

type Stored = ObjectOf<KindName>

/**
 * What a dry run answers. Of a Rollout it has the status that the hub's next look would give it: by the plan that the
 * controller makes, on what it is made of. That is read when the write has let go of the lock of all writers: it may be a
 * whole fleet.
 */
export async function foreseen(
  { store, reachability, now }: KubernetesOptions,
  { before, after }: Changed<Stored>,
  by: string,
): Promise<Stored | undefined> {
  if (after?.kind !== 'Rollout') return after
  const rollout = after as unknown as ObjectOf<'Rollout'>
  const { fleet, entry } = await read(store, (tx) => loadFleetOf(tx, rollout))
  const nowMs = now()
  const facts = factsOf(fleet, entry, reachability, nowMs)
  // The generation rises with the spec alone, and whoever changes that may not approve it alone.
  const isChanged = before?.metadata.generation !== rollout.metadata.generation
  const status = foreseenStatus(isChanged ? { ...facts, changedBy: by } : facts, nowMs)
  return { ...rollout, status } as unknown as Stored
}
