import type { ObjectOf, SpreadConstraint } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { type Decision, decide } from './decide.ts'
import { type AddOnScores, type DecidedBy, Fleet } from './fleet.ts'
import type { GroupSelector } from './groups.ts'
import { REMOVAL_GUARD, type RemovalGuard } from './guard.ts'
import { weights } from './prioritizers.ts'
import { letsScoresGoStale, outcomeOf, type PlacementOutcome, scoresEndAtMs } from './schedule.ts'
import { claimsOf, labelsOf, mismatch } from './selectors.ts'
import { Sieve } from './sieve.ts'
import { isStrict, topologiesOf } from './spread.ts'
import { MATCHES } from './verdicts.ts'

// Decides again what a change can touch, and nothing else: the same as deciding everything (a property test holds that).

type Cluster = ObjectOf<'ManagedCluster'>
type Placement = ObjectOf<'Placement'>

/** What is kept of a placement between two looks. */
type Entry = {
  readonly placement: Placement
  sieve: Sieve | undefined
  isDue: boolean
  /** When time alone makes another look worth it. */
  dueAtMs: number
  /** Whether its condition tells how many clusters did not make it. */
  tellsCounts: boolean
  readonly looksAt: {
    /** Whether totals choose. */
    readonly number: boolean
    readonly spread: readonly SpreadConstraint[]
    readonly balance: boolean
    readonly resources: boolean
    readonly celScores: boolean
    /** Names of AddOnPlacementScores that rank. */
    readonly addOns: ReadonlySet<string>
  }
}

export class Scheduler {
  readonly fleet = new Fleet()
  readonly #guard: RemovalGuard
  readonly #entries = new Map<string, Entry>()

  constructor(guard: RemovalGuard = REMOVAL_GUARD) {
    this.#guard = guard
  }

  putPlacement(placement: Placement): void {
    const key = keyOf(placement.metadata)
    const known = this.#entries.get(key)
    // A status is part of what is decided when a choice is frozen; what sets and predicates make of the fleet it is not.
    const same = known && JSON.stringify(known.placement.spec) === JSON.stringify(placement.spec) ? known : undefined
    this.#entries.set(key, {
      placement,
      sieve: same?.sieve,
      isDue: true,
      dueAtMs: Number.POSITIVE_INFINITY,
      tellsCounts: same?.tellsCounts ?? false,
      looksAt: same?.looksAt ?? lookOf(placement),
    })
  }

  removePlacement(namespace: string, name: string): void {
    this.#entries.delete(`${namespace}/${name}`)
  }

  putCluster(cluster: Cluster): void {
    const before = this.#clusterOf(cluster.metadata.name)
    this.fleet.putCluster(cluster)
    this.#clusterChanged(cluster.metadata.name, before, cluster)
  }

  removeCluster(name: string): void {
    const before = this.#clusterOf(name)
    if (!before) return
    this.fleet.removeCluster(name)
    this.#clusterChanged(name, before, undefined)
  }

  putSet(set: ObjectOf<'ManagedClusterSet'>): void {
    this.fleet.putSet(set)
    this.#setChanged(set.metadata.name)
  }

  removeSet(name: string): void {
    this.fleet.removeSet(name)
    this.#setChanged(name)
  }

  putBinding(binding: ObjectOf<'ManagedClusterSetBinding'>): void {
    this.fleet.putBinding(binding)
    this.#setChanged(binding.metadata.name, binding.metadata.namespace ?? '')
  }

  removeBinding(namespace: string, name: string): void {
    this.fleet.removeBinding(namespace, name)
    this.#setChanged(name, namespace)
  }

  putScores(scores: AddOnScores): void {
    this.fleet.putScores(scores)
    this.#scoresChanged(scores.namespace, scores.name)
  }

  removeScores(namespace: string, name: string): void {
    this.fleet.removeScores(namespace, name)
    this.#scoresChanged(namespace, name)
  }

  /** What a placement has decided: it stands in the fleet from now on, also for the others. */
  putDecisions(decided: DecidedBy): void {
    const { namespace, placement } = decided
    const before = [...this.fleet.decidedBy(namespace, placement)].map((slot) => this.fleet.nameOf(slot))
    if (isSame(before, decided.clusters)) return
    this.fleet.putDecisions(decided)
    const own = `${namespace}/${placement}`
    // Of others, how often a cluster is decided; and only a number of clusters makes a choice of that.
    for (const [key, entry] of this.#entries)
      if (key === own || (entry.looksAt.number && entry.looksAt.balance)) entry.isDue = true
  }

  /**
   * A placement is decided again, at once or at the latest at a time, although nothing that it is decided by has changed: for
   * what is stored of it has, or may.
   */
  lookAgain(namespace: string, placement: string, atMs?: number): void {
    const entry = this.#entries.get(`${namespace}/${placement}`)
    if (!entry) return
    if (atMs === undefined) entry.isDue = true
    else entry.dueAtMs = Math.min(entry.dueAtMs, atMs)
  }

  /** When the first placement is due by time alone; undefined where none is. */
  get dueAtMs(): number | undefined {
    let first = Number.POSITIVE_INFINITY
    for (const { dueAtMs } of this.#entries.values()) first = Math.min(first, dueAtMs)
    return first === Number.POSITIVE_INFINITY ? undefined : first
  }

  /**
   * Every placement that something touched since it was last looked at, or that time has come for, and what was decided;
   * `outcome` says what is to be stored of it, as long as nothing else is put; without it, what is held waits for a change.
   */
  *due(nowMs: number): Generator<{
    readonly placement: Placement
    readonly found: Decision
    readonly outcome: () => PlacementOutcome
  }> {
    for (const entry of this.#entries.values()) {
      if (!entry.isDue && nowMs < entry.dueAtMs) continue
      const { placement } = entry
      entry.isDue = false
      entry.sieve ??= new Sieve(this.fleet, placement)
      const found = decide(this.fleet, placement, nowMs, entry.sieve)
      const times =
        found.kind === 'Decided' ? [found.recheckAtMs, scoresEndAtMs(placement, found), found.changesAtMs] : []
      entry.dueAtMs = Math.min(...times.map((ms) => ms ?? Number.POSITIVE_INFINITY), Number.POSITIVE_INFINITY)
      entry.tellsCounts = found.kind === 'Decided' && found.satisfied.status === 'False'
      const outcome = () => {
        const made = outcomeOf(this.fleet, placement, found, nowMs, this.#guard)
        entry.dueAtMs = Math.min(entry.dueAtMs, made.recheckAtMs ?? Number.POSITIVE_INFINITY)
        return made
      }
      yield { placement, found, outcome }
    }
  }

  #clusterOf(name: string): Cluster | undefined {
    const slot = this.fleet.slotOf(name)
    return slot === undefined ? undefined : this.fleet.clusterAt(slot)
  }

  #clusterChanged(name: string, before: Cluster | undefined, after: Cluster | undefined): void {
    const slot = this.fleet.slotOf(name)
    if (slot === undefined) return
    const taints = JSON.stringify(before?.spec.taints ?? []) !== JSON.stringify(after?.spec.taints ?? [])
    const going = before?.metadata.deletionTimestamp !== after?.metadata.deletionTimestamp
    const isThere = (before === undefined) !== (after === undefined)
    const resources = ['allocatable', 'capacity'] as const
    const amounts = resources.some(
      (member) => JSON.stringify(before?.status?.[member]) !== JSON.stringify(after?.status?.[member]),
    )
    const movesIn = moving(before, after)
    for (const entry of this.#entries.values()) {
      // Also of a cluster that is in none of its sets any more: what was decided of it has its time, and a frozen choice loses it.
      if ((taints || going || isThere) && this.#hasDecided(entry, slot)) entry.isDue = true
      if (!entry.sieve) continue
      const was = entry.sieve.mend(slot)
      if (was.before === was.after) {
        const { looksAt } = entry
        if (was.after !== MATCHES) continue
        const moves = movesIn(entry.sieve.selectors)
        if (moves) entry.sieve.partition.touch(slot)
        if (
          moves ||
          taints ||
          (looksAt.resources && amounts) ||
          topologyOf(looksAt.spread, before) !== topologyOf(looksAt.spread, after)
        )
          entry.isDue = true
      } else if (was.before === MATCHES || was.after === MATCHES || entry.tellsCounts) entry.isDue = true
    }
  }

  #hasDecided({ placement: { metadata } }: Entry, slot: number): boolean {
    return this.fleet.decidedBy(metadata.namespace ?? '', metadata.name).includes(slot)
  }

  #setChanged(name: string, namespace?: string): void {
    for (const entry of this.#entries.values()) {
      const { metadata, spec } = entry.placement
      if (namespace !== undefined && metadata.namespace !== namespace) continue
      const wanted = spec.clusterSets ?? []
      if (wanted.length > 0 && !wanted.includes(name) && this.fleet.boundSets(metadata.namespace ?? '').length > 0) {
        // Another of the namespace: whether there is a set at all may have changed, and nothing else.
        if (entry.sieve?.isBound === true) continue
      }
      entry.sieve = undefined
      entry.isDue = true
    }
  }

  #scoresChanged(cluster: string, name: string): void {
    const slot = this.fleet.slotOf(cluster)
    if (slot === undefined) return
    for (const entry of this.#entries.values()) {
      const { looksAt, sieve } = entry
      if (!sieve) continue
      if (looksAt.celScores) {
        const was = sieve.mend(slot)
        if (was.before !== was.after && !letsScoresGoStale(entry.placement)) entry.isDue = true
      }
      if (looksAt.addOns.has(name) && sieve.verdicts[slot] === MATCHES) entry.isDue = true
    }
  }
}

const keyOf = ({ namespace = '', name }: Placement['metadata']) => `${namespace}/${name}`

function lookOf({ spec }: Placement): Entry['looksAt'] {
  const terms = spec.spreadPolicy?.spreadConstraints ?? []
  const weighted = weights(spec.prioritizerPolicy, terms.length > 0)
  const coordinates = 'fault' in weighted ? [] : weighted.map(({ coordinate }) => coordinate)
  const expressions = (spec.predicates ?? []).flatMap(
    ({ requiredClusterSelector: required }) => required?.celSelector?.celExpressions ?? [],
  )
  return {
    number: (spec.numberOfClusters ?? undefined) !== undefined || spec.sortBy === 'Score' || terms.some(isStrict),
    spread: terms,
    balance: coordinates.some(({ builtIn, addOn }) => builtIn === 'Balance' && !addOn) || coordinates.some(isBuiltIn),
    resources: coordinates.some(({ builtIn }) => builtIn?.startsWith('ResourceAllocatable') === true),
    celScores: expressions.some((text) => text.includes('scores')),
    addOns: new Set(coordinates.flatMap(({ addOn }) => addOn?.resourceName ?? [])),
  }
}

/** Tells of a list of groups whether a cluster has come into another one: once for each list, which many placements may have. */
function moving(
  before: Cluster | undefined,
  after: Cluster | undefined,
): (groups: readonly (GroupSelector | undefined)[]) => boolean {
  const known = new Map<string, boolean>()
  return (groups) => {
    if (groups.length === 0) return false
    const key = JSON.stringify(groups)
    const moves = known.get(key) ?? groupOf(groups, before) !== groupOf(groups, after)
    known.set(key, moves)
    return moves
  }
}

// The first group that takes a cluster; the number of groups where none does.
function groupOf(groups: readonly (GroupSelector | undefined)[], cluster: Cluster | undefined): number {
  if (!cluster || groups.length === 0) return groups.length
  const [labels, claims] = [labelsOf(cluster), claimsOf(cluster)]
  const found = groups.findIndex(
    (selector) =>
      mismatch(selector?.labelSelector, labels, 'label') === undefined &&
      mismatch(selector?.claimSelector, claims, 'claim') === undefined,
  )
  return found < 0 ? groups.length : found
}

// The topology of each term that a cluster lies in.
function topologyOf(terms: readonly SpreadConstraint[], cluster: Cluster | undefined): string {
  if (!cluster || terms.length === 0) return ''
  return JSON.stringify(topologiesOf(terms, cluster))
}

// A built-in that carries an add-on by mistake is the built-in.
const isBuiltIn = ({ type = 'BuiltIn', builtIn }: { type?: string; builtIn?: string }) =>
  type === 'BuiltIn' && builtIn === 'Balance'

function isSame(one: readonly string[], other: readonly string[]): boolean {
  if (one.length !== other.length) return false
  const [a, b] = [one.toSorted(byCodeUnit), other.toSorted(byCodeUnit)]
  return a.every((name, place) => name === b[place])
}
