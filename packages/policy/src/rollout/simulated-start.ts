import { comparePositions, type RolloutCluster, type Waves } from '@skerry/api'
import { AT_WORK, deliveryOf, isHeldByPause } from './cluster-state.ts'
import type { ClusterFacts } from './facts.ts'
import type { Pace, World } from './simulated-world.ts'

// What a site holds and does when a simulation goes on from what the hub knows of it; what the hub does not know has just begun.

/** `order`: later terms of one order are no new one. `isBack`: it is to keep what it runs. */
export type Terms = {
  readonly generation: number
  readonly order: number
  readonly isBack: boolean
  readonly paused: boolean
  readonly waves?: Waves
}
export type Doing =
  | { readonly at: 'Rest' }
  | { readonly at: 'Staging'; readonly leftMs: number }
  | { readonly at: 'Staged'; readonly looksAtMs?: number }
  | { readonly at: 'Activating'; readonly endsAtMs: number }

/** `Due`: its order was not composed yet, and is now. */
export type Started =
  | { readonly kind: 'Due'; readonly terms: Omit<Terms, 'generation'> }
  | {
      readonly kind: 'Ordered'
      readonly ordered: Terms
      readonly held?: Terms
      /** When the newest order comes to it, where it does not have that. */
      readonly arrivesAtMs?: number
      readonly doing: Doing
      /** Every node has confirmed the image. */
      readonly isConfirmed: boolean
    }

/** What it does with what it was sent before; undefined where that was nothing. */
export function startedAs(
  facts: ClusterFacts,
  { rollout, image, stored }: World,
  pace: Pace,
  isLinked: boolean,
  startMs: number,
): Started | undefined {
  const { assignment, position, accepted, refused, nodes } = facts
  if (assignment?.rolloutUid !== rollout.uid) return undefined
  const { waves } = stored
  const isBack = assignment.manifestSha256 !== image.manifestSha256
  const terms = { order: 1, isBack, paused: assignment.paused, ...(waves ? { waves } : {}) }
  if (!position) return { kind: 'Due', terms }
  const row = stored.rows.get(facts.name)
  const ordered = { ...terms, generation: position.generation }
  const isNewest = refused !== undefined || (accepted && comparePositions(accepted.position, position) >= 0)
  const delivered = deliveryOf(facts, true, row)
  const holds = isNewest || delivered !== undefined
  // Later terms of what it holds may be on their way: whether those that it has hold it, it says itself.
  const held = isNewest ? ordered : { ...ordered, generation: -1, paused: nodes.some(isHeldByPause) }
  const arrives = !isNewest && isLinked
  const goesOn = holds && !isBack && !refused && !nodes.some(({ failure }) => failure)
  return {
    ...{ kind: 'Ordered', ordered },
    ...(holds ? { held } : {}),
    ...(arrives ? { arrivesAtMs: Math.max(startMs, (holds ? startMs : assignment.atMs) + pace.deliveryMs) } : {}),
    doing: goesOn ? begun(facts, pace, row, delivered?.atMs ?? startMs, startMs) : { at: 'Rest' },
    isConfirmed: goesOn && nodes.every(({ confirmed }) => confirmed),
  }
}

// How far its nodes are with the image by now. Bytes are taken to have come since it was delivered.
function begun(
  { nodes }: ClusterFacts,
  { stagingMs, activationMs }: Pace,
  row: RolloutCluster | undefined,
  deliveredAtMs: number,
  nowMs: number,
): Doing {
  if (nodes.some(({ phase }) => AT_WORK.has(phase))) {
    const sinceMs = row?.state === 'Activating' ? Date.parse(row.since) : nowMs
    return { at: 'Activating', endsAtMs: Math.max(nowMs, sinceMs + activationMs) }
  }
  if (nodes.every(({ confirmed }) => confirmed)) return { at: 'Rest' }
  if (nodes.some(({ phase }) => phase === 'Staged')) return { at: 'Staged', looksAtMs: nowMs }
  return { at: 'Staging', leftMs: Math.max(0, stagingMs - (nowMs - deliveredAtMs)) }
}
