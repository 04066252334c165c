import { createHash } from 'node:crypto'
import { APPROVED_REMOVAL_ANNOTATION, MAX_REMOVAL_PERCENT_ANNOTATION, type ObjectOf } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import type { Fleet } from './fleet.ts'

// D-06: however it came about (labels, sets, bindings, claims, an edit), one evaluation takes no more than so many of those
// that are selected, unless a person has approved exactly these.

/** `minimum`: so few are never held. */
export type RemovalGuard = { readonly maxRemovalPercent: number; readonly minimum: number }
export const REMOVAL_GUARD: RemovalGuard = { maxRemovalPercent: 20, minimum: 3 }

/** What would leave, of how many that are selected and still there; by name. */
export type Removal = {
  readonly clusters: readonly string[]
  readonly of: number
  readonly maxPercent: number
  /** Stands for exactly these clusters. */
  readonly hash: string
}

const SAMPLE = 10

/**
 * What is to be held of an evaluation that leaves `staying` selected; undefined where it may be carried out. Who is gone or
 * going does not count, nor do additions.
 */
export function heldRemoval(
  fleet: Fleet,
  placement: ObjectOf<'Placement'>,
  staying: ReadonlySet<number>,
  guard: RemovalGuard,
): Removal | undefined {
  const { annotations = {} } = placement.metadata
  const there = stillThere(fleet, placement)
  const leaving = there.filter((slot) => !staying.has(slot))
  const asked = annotations[MAX_REMOVAL_PERCENT_ANNOTATION]
  const maxPercent = asked !== undefined && isPercent(asked) ? Number(asked) : guard.maxRemovalPercent
  if (leaving.length < guard.minimum || leaving.length * 100 <= maxPercent * there.length) return undefined
  const clusters = leaving.map((slot) => fleet.nameOf(slot)).toSorted(byCodeUnit)
  const hash = createHash('sha256').update(clusters.join('\n')).digest('hex')
  if (annotations[APPROVED_REMOVAL_ANNOTATION] === hash) return undefined
  return { clusters, of: there.length, maxPercent, hash }
}

/** Who is selected and neither gone nor going. */
export function stillThere(fleet: Fleet, { metadata: { namespace = '', name } }: ObjectOf<'Placement'>): number[] {
  return [...new Set(fleet.decidedBy(namespace, name))].filter(
    (slot) => fleet.present[slot] === 1 && fleet.deleting[slot] === 0,
  )
}

/** Whether a text is a whole number from 0 to 100. */
export const isPercent = (text: string) => /^(100|[1-9]?[0-9])$/.test(text)

/** As it stands in a placement's status: `sample` are the first by name. */
export function removalStatus({ clusters, of, hash }: Removal) {
  return { hash, count: clusters.length, of, sample: clusters.slice(0, SAMPLE) }
}

export function removalText(removal: Removal): string {
  const { clusters, of, maxPercent, hash } = removal
  const { sample } = removalStatus(removal)
  const more = clusters.length > sample.length ? ` and ${clusters.length - sample.length} more` : ''
  return `${clusters.length} of ${of} selected clusters would leave, more than ${maxPercent} %: ${sample.join(', ')}${more}; approve removal ${hash} to let them go`
}
