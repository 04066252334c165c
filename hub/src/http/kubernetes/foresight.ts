import type { KindName, ObjectOf } from '@skerry/api'
import { counted, firstOf, foreseenStatus, paced } from '@skerry/policy'
import { decidedStatus } from '../../store/placement-status.ts'
import { factsOf } from '../../store/rollout-facts.ts'
import { loadFleetOf } from '../../store/rollout-fleet.ts'
import { read } from '../../store/store.ts'
import type { Changed } from '../change.ts'
import { type Look, lookAtAsked } from '../placement-look.ts'
import type { KubernetesOptions } from './call.ts'

// What a dry run answers of objects that a controller looks at: with the status that its next look would give. What that is
// made of is read when the write has let go of the lock of all writers: it may be a whole fleet.

type Stored = ObjectOf<KindName>
/** `told`: what a client is told beside the object. */
type Foreseen = { readonly after: Stored | undefined; readonly told: readonly string[] }

/** Clusters that a sentence names. */
const NAMED = 5

/** Whether a dry run of a kind looks at a fleet. */
export function isForeseen(kind: KindName): kind is 'Rollout' | 'Placement' {
  return kind === 'Rollout' || kind === 'Placement'
}

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
  options: KubernetesOptions,
  asked: ObjectOf<'Placement'>,
  signal: AbortSignal,
): Promise<Foreseen> {
  const look = await lookAtAsked(options, asked, signal)
  const { placement, stored, outcome, nowMs } = look
  const made = paced(outcome, placement, stored, nowMs)
  if (made.kind === 'Skipped') return { after: asked as unknown as Stored, told: [] }
  const status = decidedStatus(placement, stored, made, nowMs)
  return { after: { ...placement, status } as unknown as Stored, told: [differenceBy(look)] }
}

/** In a sentence, whom a placement would choose and lose. */
export function differenceBy({ stored, outcome }: Look): string {
  const { selected } = outcome
  const before = stored.flatMap(({ status }) => (status?.decisions ?? []).map(({ clusterName }) => clusterName))
  const [was, is] = [new Set(before), new Set(selected)]
  const of = (names: readonly string[]) => firstOf(names.toSorted(), NAMED)
  const [joining, leaving] = [selected.filter((one) => !was.has(one)), before.filter((one) => !is.has(one))]
  const changes = [
    ...(joining.length > 0 ? [`${joining.length} would come: ${of(joining)}`] : []),
    ...(leaving.length > 0 ? [`${leaving.length} would leave: ${of(leaving)}`] : []),
  ]
  return `dry run: ${counted(is.size, 'cluster')} would be selected, ${counted(was.size, 'is', 'are')} now; ${changes.length > 0 ? changes.join('; ') : 'nobody would come or leave'}`
}
