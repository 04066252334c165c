import { createHash } from 'node:crypto'
import {
  APPROVED_REMOVAL_ANNOTATION,
  MAX_REMOVAL_PERCENT_ANNOTATION,
  type ObjectOf,
  type PlacementStatus,
  REMOVAL_WINDOW_ANNOTATION,
} from '@skerry/api'
import { durationMs } from '../duration.ts'
import { byCodeUnit } from '../order.ts'
import { counted, firstOf } from '../words.ts'
import type { Fleet } from './fleet.ts'

// D-06: however it came about (labels, sets, bindings, claims, an edit), and at once or one after the other, no more than so
// many of those that are selected leave within a time, unless a person has approved exactly these.

/** `minimum`: so few are never held. `windowMs`: what left within that time counts together; with 0 each look by itself. */
export type RemovalGuard = { readonly maxRemovalPercent: number; readonly minimum: number; readonly windowMs: number }
/** An hour: a script that goes through a fleet, or an update of an agent, is one removal; what leaves over days is none. */
export const REMOVAL_GUARD: RemovalGuard = { maxRemovalPercent: 20, minimum: 3, windowMs: 3_600_000 }

/** What would leave, of how many that are selected and still there; by name. */
export type Removal = {
  readonly clusters: readonly string[]
  readonly of: number
  readonly maxPercent: number
  /** Stands for exactly these clusters. */
  readonly hash: string
  /** Who left before, within the window: how many, since when, and how many there were then that are not deleted. */
  readonly recent?: { readonly count: number; readonly since: string; readonly of: number }
  /** When the first of those that left before counts no more; and when time alone lets these go. */
  readonly changesAtMs?: number
  readonly untilMs?: number
}

type RecentRemovals = NonNullable<PlacementStatus['recentRemovals']>

const SAMPLE = 10
/** Of those that left so many are known by name; of others, the earliest, only how many they were. */
const NAMED = 1_000
/** What leaves within such a part of the window is one entry. */
const PARTS = 60
/** A week. */
export const LONGEST_REMOVAL_WINDOW_MS = 7 * 24 * 3_600_000

/**
 * What is to be held of an evaluation that leaves `staying` selected (by slot: 1), nothing where it may be carried out; and what is then to be
 * remembered of those that left. Who is gone or going does not count, nor who has come back, nor additions.
 */
export function judgeRemoval(
  fleet: Fleet,
  placement: ObjectOf<'Placement'>,
  staying: Uint8Array,
  guard: RemovalGuard,
  nowMs: number,
): { readonly held?: Removal; readonly recentRemovals: RecentRemovals } {
  const { annotations = {} } = placement.metadata
  const there = stillThere(fleet, placement)
  const leaving = there.filter((slot) => staying[slot] !== 1)
  const asked = annotations[MAX_REMOVAL_PERCENT_ANNOTATION]
  const maxPercent = asked !== undefined && isPercent(asked) ? Number(asked) : guard.maxRemovalPercent
  // Whoever lets any number go has nothing to count.
  const windowMs = maxPercent === 100 ? 0 : windowOf(annotations[REMOVAL_WINDOW_ANNOTATION], guard)
  const stored = placement.status?.recentRemovals ?? []
  const counted = countedAgain(fleet, stored, { there, staying }, nowMs - windowMs)
  const recent = counted.map(({ entry }) => entry)
  if (leaving.length === 0) return { recentRemovals: recent }

  // With the removals that are left of those before.
  const judged = (rest: typeof counted) => {
    const left = rest.reduce((sum, { entry }) => sum + entry.count, 0)
    const back = rest.reduce((sum, one) => sum + one.back, 0)
    // So many there were before the first of them left, and fewer where some have been deleted since.
    const of = Math.min(rest[0]?.entry.of ?? Number.POSITIVE_INFINITY, there.length + left + back)
    const count = left + leaving.length
    return { left, of, isHeld: count >= guard.minimum && count * 100 > maxPercent * of }
  }
  const { left, of, isHeld } = judged(counted)
  const clusters = leaving.map((slot) => fleet.nameOf(slot)).toSorted(byCodeUnit)
  if (!isHeld)
    return { recentRemovals: windowMs === 0 ? [] : withThese(recent, clusters, there.length, nowMs, windowMs) }
  const hash = createHash('sha256').update(clusters.join('\n')).digest('hex')
  // What a person let go does not count again.
  if (annotations[APPROVED_REMOVAL_ANNOTATION] === hash) return { recentRemovals: recent }
  const over = counted.findIndex((_, at) => !judged(counted.slice(at + 1)).isHeld)
  const [first, last] = [recent[0], recent[over]]
  return {
    held: {
      ...{ clusters, of: there.length, maxPercent, hash },
      ...(first && left > 0 ? { recent: { count: left, since: first.at, of } } : {}),
      ...(first ? { changesAtMs: Date.parse(first.at) + windowMs } : {}),
      ...(last ? { untilMs: Date.parse(last.at) + windowMs } : {}),
    },
    recentRemovals: stored,
  }
}

// What counts of what left after a time, the earliest first; `back`: of each how many would come back now.
function countedAgain(
  fleet: Fleet,
  stored: RecentRemovals,
  { there, staying }: { readonly there: readonly number[]; readonly staying: Uint8Array },
  afterMs: number,
): readonly { readonly entry: RecentRemovals[number]; readonly back: number }[] {
  const isThere = new Set(stored.length > 0 ? there : [])
  const isAway = (name: string) => {
    const slot = fleet.slotOf(name) ?? -1
    return fleet.present[slot] === 1 && fleet.deleting[slot] === 0 && !isThere.has(slot)
  }
  return stored
    .filter(({ at }) => Date.parse(at) > afterMs)
    .map((one) => {
      const away = one.clusters.filter(isAway)
      const clusters = away.filter((name) => staying[fleet.slotOf(name) ?? -1] !== 1)
      const count = one.count - one.clusters.length + clusters.length
      return { entry: { ...one, clusters, count }, back: away.length - clusters.length }
    })
    .toSorted((a, b) => byCodeUnit(a.entry.at, b.entry.at))
}

// `of`: how many were there before these left.
function withThese(
  recent: RecentRemovals,
  clusters: readonly string[],
  of: number,
  nowMs: number,
  windowMs: number,
): RecentRemovals {
  const last = recent.at(-1)
  const joins = last !== undefined && nowMs < Date.parse(last.at) + windowMs / PARTS
  const known = joins ? last : { at: new Date(nowMs).toISOString(), of, count: 0, clusters: [] }
  const entry = {
    ...known,
    count: known.count + clusters.length,
    clusters: [...known.clusters, ...clusters].toSorted(byCodeUnit),
  }
  let named = NAMED
  return [...(joins ? recent.slice(0, -1) : recent), entry]
    .toReversed()
    .map((one) => {
      const kept = one.clusters.slice(0, named)
      named -= kept.length
      return { ...one, clusters: kept }
    })
    .toReversed()
}

/** Who is selected and neither gone nor going. */
export function stillThere(fleet: Fleet, { metadata: { namespace = '', name } }: ObjectOf<'Placement'>): number[] {
  const seen = new Uint8Array(fleet.room)
  const there: number[] = []
  for (const slot of fleet.decidedBy(namespace, name)) {
    if (seen[slot] === 1 || fleet.present[slot] !== 1 || fleet.deleting[slot] === 1) continue
    seen[slot] = 1
    there.push(slot)
  }
  return there
}

/** Whether a text is a whole number from 0 to 100. */
export const isPercent = (text: string) => /^(100|[1-9]?[0-9])$/.test(text)

const windowMs = (text: string) => durationMs(text) ?? 0

/** Whether a text is a time within which removals may count together. */
export const isWindow = (text: string) => /^[0-9]{1,6}[hms]$/.test(text) && windowMs(text) <= LONGEST_REMOVAL_WINDOW_MS

const windowOf = (asked: string | undefined, guard: RemovalGuard) =>
  asked !== undefined && isWindow(asked) ? windowMs(asked) : guard.windowMs

/** As it stands in a placement's status: `sample` are the first by name. */
export function removalStatus({
  clusters,
  of,
  hash,
  recent,
  untilMs,
}: Removal): NonNullable<PlacementStatus['heldRemoval']> {
  return {
    ...{ hash, count: clusters.length, of, sample: clusters.slice(0, SAMPLE) },
    ...(recent ? { recent: recent.count } : {}),
    ...(untilMs === undefined ? {} : { until: new Date(untilMs).toISOString() }),
  }
}

export function removalText(removal: Removal, { namespace, name }: { namespace?: string; name: string }): string {
  const { clusters, of, maxPercent, hash, recent } = removal
  const { until } = removalStatus(removal)
  const before = recent
    ? ` (${clusters.length + recent.count} of ${recent.of} with the ${recent.count} that left since ${recent.since})`
    : ''
  const wait = until === undefined ? '' : `, or wait until ${until}`
  return `${clusters.length} of ${counted(of, 'selected cluster')} would leave${before}, more than ${maxPercent} %: ${firstOf(clusters, SAMPLE)}; approve removal ${hash} to let them go ("skerry placement approve ${name} -n ${namespace}")${wait}`
}
