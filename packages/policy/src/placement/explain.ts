import type { ObjectOf } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import type { Decided } from './decide.ts'
import type { Fleet } from './fleet.ts'
import type { PlacementOutcome } from './schedule.ts'
import { claimsOf, labelsOf, mismatch } from './selectors.ts'
import { taintsFor, tolerates } from './taints.ts'
import { passedFilters, VERDICTS } from './verdicts.ts'

// What became of each cluster, in a sentence. Nothing is decided here: the verdicts are decide()'s.

type Cluster = ObjectOf<'ManagedCluster'>

export type ClusterReason = {
  readonly cluster: string
  readonly reason: Exclude<(typeof VERDICTS)[number], 'Unknown'> | 'Frozen' | 'HeldByGuard' | 'Misconfigured'
  readonly message: string
  /** Of those that passed the filters: the place by score and name, from 1; the sum; and each prioritizer's score × weight. */
  readonly rank?: number
  readonly score?: number
  readonly scores?: readonly { readonly name: string; readonly score: number; readonly weight: number }[]
}

/**
 * A line for every cluster of the fleet by name, or for one: `outcome` is what schedule() said of this fleet. Expressions may be
 * asked once more for a line, so whoever goes through them can do something else in between.
 */
export function* explain(
  fleet: Fleet,
  placement: ObjectOf<'Placement'>,
  outcome: PlacementOutcome,
  nowMs: number,
  only?: string,
): Generator<ClusterReason> {
  if (outcome.kind === 'Skipped') return
  const telling = tellingOf(fleet, placement, outcome, nowMs)
  const slots = only === undefined ? fleet.byName() : [fleet.slotOf(only) ?? -1]
  for (const slot of slots) {
    const cluster = fleet.clusterAt(slot)
    if (cluster) yield { cluster: cluster.metadata.name, ...telling(slot, cluster) }
  }
}

function tellingOf(
  fleet: Fleet,
  placement: ObjectOf<'Placement'>,
  outcome: Exclude<PlacementOutcome, { kind: 'Skipped' }>,
  nowMs: number,
): Telling {
  if (outcome.kind === 'Frozen') return frozen(fleet, outcome)
  const plain = told(fleet, placement, outcome.found, nowMs)
  return outcome.kind === 'Held' ? held(fleet, outcome, plain) : plain
}

type Telling = (slot: number, cluster: Cluster) => Omit<ClusterReason, 'cluster'>

const deleting = ({ metadata }: Cluster) =>
  ({ reason: 'Deleting', message: `is being deleted since ${metadata.deletionTimestamp}` }) as const

function frozen(fleet: Fleet, { message, selected }: Extract<PlacementOutcome, { kind: 'Frozen' }>): Telling {
  const stays = slotsOf(fleet, selected)
  return (slot, cluster) =>
    cluster.metadata.deletionTimestamp
      ? deleting(cluster)
      : { reason: 'Frozen', message: `stays ${stays.has(slot) ? 'selected' : 'unselected'}: ${message}` }
}

// Whoever would be selected, or would be no more, says what keeps it from that; of all others the look stands.
function held(
  fleet: Fleet,
  { found, selected, heldRemoval }: Extract<PlacementOutcome, { kind: 'Held' }>,
  plain: Telling,
): Telling {
  const until = heldRemoval?.until === undefined ? '' : `, or until ${heldRemoval.until}`
  const stays = slotsOf(fleet, selected)
  const wanted = new Set(found.groups.flatMap(({ members }) => [...members]))
  return (slot, cluster) => {
    const line = plain(slot, cluster)
    if (stays.has(slot) === wanted.has(slot) || cluster.metadata.deletionTimestamp) return line
    const state = stays.has(slot) ? 'selected' : 'unselected'
    return {
      ...line,
      reason: 'HeldByGuard',
      message: `stays ${state} until the removal is approved${until}: ${line.message}`,
    }
  }
}

const slotsOf = (fleet: Fleet, names: readonly string[]) => new Set(names.map((name) => fleet.slotOf(name) ?? -1))

function told(fleet: Fleet, placement: ObjectOf<'Placement'>, found: Decided, nowMs: number): Telling {
  const { metadata, spec } = placement
  const { verdicts, eligible, satisfied } = found
  const { totals, scores, spread } = found.ranking()
  const mine = new Set(fleet.decidedBy(metadata.namespace ?? '', metadata.name))
  const ranked = [...fleet.byName()].filter((slot) => passedFilters(verdicts[slot] ?? 0))
  // Who is spread was picked one after the other, each by the total that it had then; before all others.
  const picks = new Map(spread?.picked.map((slot, place) => [slot, place]))
  const pick = (slot: number) => picks.get(slot) ?? picks.size
  ranked.sort(
    (a, b) => pick(a) - pick(b) || (totals[b] ?? 0) - (totals[a] ?? 0) || byCodeUnit(fleet.nameOf(a), fleet.nameOf(b)),
  )
  const ranks = new Map(ranked.map((slot, place) => [slot, place + 1]))
  const last = ranked[found.selected - 1]
  const lastScore = last === undefined ? '' : `, the last one selected has score ${totals[last]}`
  return (slot, cluster) => {
    const verdict = VERDICTS[verdicts[slot] ?? 0]
    switch (verdict) {
      case 'NotInEligibleSet':
        return {
          reason: verdict,
          message: eligible.length === 0 ? satisfied.message : `in none of the sets ${eligible.join(', ')}`,
        }
      case 'Deleting':
        return deleting(cluster)
      case 'PredicateMismatch':
        return { reason: verdict, message: misses(fleet, slot, spec.predicates ?? []) }
      case 'TaintNotTolerated': {
        const { refusedBy } = tolerates(taintsFor(placement, cluster), spec.tolerations ?? [], mine.has(slot), nowMs)
        const { taint, expired } = refusedBy ?? {}
        const name = `${taint?.key}${taint?.value ? `=${taint.value}` : ''}:${taint?.effect}`
        return { reason: verdict, message: `taint ${name}${expired ? ', whose toleration has expired' : ''}` }
      }
      case 'Selected':
      case 'SpreadLimit':
      case 'TopologyKeyMissing':
      case 'OutOfNumber': {
        const [rank, total] = [ranks.get(slot) ?? 0, totals[slot] ?? 0]
        const message =
          verdict === 'Selected'
            ? `rank ${rank} of ${ranked.length}, score ${total}`
            : verdict === 'OutOfNumber'
              ? `rank ${rank}, score ${total}; ${spec.numberOfClusters} wanted${lastScore}`
              : ((verdict === 'SpreadLimit' ? spread?.limited : spread?.keyless)?.get(slot) ?? '')
        const each = scores.map(({ name, weight, values }) => ({ name, score: values[slot] ?? 0, weight }))
        return { reason: verdict, message, rank, score: total, scores: each }
      }
      default:
        // Where a placement asks for OCM's way: nobody was judged further, and nobody is selected.
        if (found.status === 'Misconfigured') return { reason: 'Misconfigured', message: found.message }
        throw new Error(`nothing was decided of ${cluster.metadata.name}`)
    }
  }
}

// With one predicate, the first of its terms that is not met; of several that are ORed, the first of each.
function misses(
  fleet: Fleet,
  slot: number,
  predicates: NonNullable<ObjectOf<'Placement'>['spec']['predicates']>,
): string {
  const cluster = fleet.clusterAt(slot)
  if (!cluster) return ''
  const [labels, claims] = [labelsOf(cluster), claimsOf(cluster)]
  return predicates
    .map(
      ({ requiredClusterSelector: required }) =>
        mismatch(required?.labelSelector, labels, 'label') ??
        mismatch(required?.claimSelector, claims, 'claim') ??
        fleet.celMismatch(required?.celSelector?.celExpressions ?? [], slot) ??
        '',
    )
    .join('; or ')
}
