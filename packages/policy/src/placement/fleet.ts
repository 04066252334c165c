import { CLUSTER_SET_LABEL, type LabelSelector, type ObjectOf } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import {
  approximate,
  type CelExpression,
  celCluster,
  celMismatch,
  compileCel,
  type PreparedCluster,
} from './cel/index.ts'
import { Columns, resized } from './columns.ts'
import type { GroupSelector } from './groups.ts'
import { widenBy } from './masks.ts'
import { claimsOf, labelsOf } from './selectors.ts'

// All that placements are decided by, prepared once and changed piece by piece. A cluster has a slot, a number by which
// everything about it is found; a name that a decision alone still has keeps one, too.

/** Scores of one cluster by an add-on; `namespace` is the cluster. */
export type AddOnScores = {
  readonly namespace: string
  readonly name: string
  readonly validUntil: string | undefined
  readonly scores: readonly { readonly name: string; readonly value: number }[]
}

type Cluster = ObjectOf<'ManagedCluster'>
type ClusterSet = ObjectOf<'ManagedClusterSet'>
type Binding = ObjectOf<'ManagedClusterSetBinding'>

/** The clusters that a placement has decided; one that stands there twice counts twice. */
export type DecidedBy = { readonly namespace: string; readonly placement: string; readonly clusters: readonly string[] }

/** What a fleet is made of, as it is stored; `decisions` are those of all placements. */
export type FleetFacts = {
  readonly sets: readonly ClusterSet[]
  readonly bindings: readonly Binding[]
  readonly clusters: readonly Cluster[]
  readonly scores: readonly AddOnScores[]
  readonly decisions: readonly Decision[]
}
/** One decision of any placement. */
export type Decision = { readonly namespace: string; readonly placement: string; readonly cluster: string }

export function fleetOf({ sets, bindings, clusters, scores, decisions }: FleetFacts): Fleet {
  const fleet = new Fleet()
  for (const cluster of clusters) fleet.putCluster(cluster)
  for (const set of sets) fleet.putSet(set)
  for (const binding of bindings) fleet.putBinding(binding)
  for (const one of scores) fleet.putScores(one)
  for (const made of Map.groupBy(decisions, (one) => `${one.namespace}/${one.placement}`).values()) {
    const [{ namespace, placement } = { namespace: '', placement: '' }] = made
    fleet.putDecisions({ namespace, placement, clusters: made.map(({ cluster }) => cluster) })
  }
  return fleet
}

const NO_VALUES: ReadonlyMap<string, string> = new Map()
const RESOURCES = ['cpu', 'memory'] as const
type Resource = (typeof RESOURCES)[number]

export class Fleet {
  readonly #slots = new Map<string, number>()
  readonly #names: string[] = []
  readonly #clusters: (Cluster | undefined)[] = []
  readonly #sets = new Map<string, ClusterSet>()
  readonly #bound = new Map<string, Map<string, Binding>>()
  readonly #members = new Map<string, Uint8Array>()
  /** Of sets together, by their names: what #members has of each. */
  readonly #together = new Map<string, { readonly sets: readonly ClusterSet[]; readonly members: Uint8Array }>()
  /** Of lists of selectors, by slot, the first one that takes a cluster. */
  readonly #groupings = new Map<string, { readonly selectors: Selectors; readonly first: Int32Array }>()
  readonly #decided = new Map<string, Int32Array>()
  readonly #scores = new Map<string, Map<string, AddOnScores>>()
  readonly #cel = new Map<string, Asked>()
  readonly #prepared: (PreparedCluster | undefined)[] = []
  #room = 64
  #order: Int32Array | undefined
  #isInOrder = false
  readonly labels = new Columns(this.#room)
  readonly claims = new Columns(this.#room)
  /** By slot: how many decisions of all placements name it. */
  counts = new Int32Array(this.#room)
  /** By slot: 1 where a cluster is there; 1 where it is being deleted. */
  present = new Uint8Array(this.#room)
  deleting = new Uint8Array(this.#room)
  /** The slots of clusters that a taint may keep out. */
  readonly tainted = new Set<number>()
  /** By slot: what can be allocated, where the cluster tells that and its capacity; else NaN. */
  readonly allocatable: Record<Resource, Float64Array> = {
    cpu: new Float64Array(this.#room).fill(Number.NaN),
    memory: new Float64Array(this.#room).fill(Number.NaN),
  }

  /** By slot: 0. Whoever marks slots in it clears them before anybody else may look. */
  marks = new Uint8Array(this.#room)
  /** By slot: whatever the last one who needed a mask for a moment left. */
  scratch = new Uint8Array(this.#room)

  /** How many slots there is room for: a mask over the fleet is so long. */
  get room(): number {
    return this.#room
  }

  /** How many slots there are. */
  get size(): number {
    return this.#names.length
  }

  nameOf(slot: number): string {
    return this.#names[slot] ?? ''
  }

  clusterAt(slot: number): Cluster | undefined {
    return this.#clusters[slot]
  }

  slotOf(name: string): number | undefined {
    return this.#slots.get(name)
  }

  /** The slots by their names. */
  byName(): Int32Array {
    if (this.#order) return this.#order
    const order = Int32Array.from(
      [...this.#names.keys()].toSorted((a, b) => byCodeUnit(this.nameOf(a), this.nameOf(b))),
    )
    this.#order = order
    this.#isInOrder = order.every((slot, place) => slot === place)
    return order
  }

  /** Whether the slots themselves stand by their names. */
  get isInOrder(): boolean {
    this.byName()
    return this.#isInOrder
  }

  putCluster(cluster: Cluster): void {
    this.#setCluster(this.#slotFor(cluster.metadata.name), cluster)
  }

  removeCluster(name: string): void {
    const slot = this.#slots.get(name)
    if (slot !== undefined) this.#setCluster(slot, undefined)
  }

  #setCluster(slot: number, cluster: Cluster | undefined): void {
    const before = this.#clusters[slot]
    this.labels.put(slot, before ? labelsOf(before) : NO_VALUES, cluster ? labelsOf(cluster) : NO_VALUES)
    this.claims.put(slot, before ? claimsOf(before) : NO_VALUES, cluster ? claimsOf(cluster) : NO_VALUES)
    this.#clusters[slot] = cluster
    this.present[slot] = cluster ? 1 : 0
    this.deleting[slot] = cluster?.metadata.deletionTimestamp ? 1 : 0
    if (cluster?.spec.taints?.some(({ effect }) => effect !== 'PreferNoSelect')) this.tainted.add(slot)
    else this.tainted.delete(slot)
    for (const resource of RESOURCES) {
      const [has, of] = [cluster?.status?.allocatable?.[resource], cluster?.status?.capacity?.[resource]]
      this.allocatable[resource][slot] =
        has === undefined || of === undefined ? Number.NaN : (approximate(has) ?? Number.NaN)
    }
    for (const [name, members] of this.#members) {
      const set = this.#sets.get(name)
      const selector = set && selectorOf(set)
      members[slot] = cluster && selector && this.labels.meets(slot, selector) ? 1 : 0
    }
    for (const { sets, members } of this.#together.values())
      members[slot] = sets.some((set) => this.#members.get(set.metadata.name)?.[slot] === 1) ? 1 : 0
    for (const { selectors, first } of this.#groupings.values()) first[slot] = this.#firstTaking(slot, selectors)
    this.#forgetCel(slot)
  }

  #forgetCel(slot: number): void {
    this.#prepared[slot] = undefined
    for (const asked of this.#cel.values()) {
      asked.held[slot] = UNASKED
      asked.isOpen = true
    }
  }

  /** What is wrong with a list of expressions; undefined when they compile. */
  celFault(expressions: readonly string[]): string | undefined {
    const { compiled } = this.#celOf(expressions)
    return 'fault' in compiled ? compiled.fault : undefined
  }

  /** Clears in `mask` the slots for which not every expression holds. */
  narrowByCel(mask: Uint8Array, expressions: readonly string[]): void {
    const asked = this.#celOf(expressions)
    const { compiled } = asked
    if ('fault' in compiled) return
    if (asked.held.length < mask.length) asked.held = resized(asked.held, this.#room)
    const { held } = asked
    for (let slot = 0; slot < mask.length; slot += 1) {
      if (mask[slot] !== 1) continue
      if (held[slot] === UNASKED) held[slot] = this.#answer(asked.whys, compiled.expressions, slot)
      if (held[slot] !== HOLDS) mask[slot] = 0
    }
  }

  /** What narrowByCel() would say of one slot. */
  celHolds(slot: number, expressions: readonly string[]): boolean {
    const asked = this.#celOf(expressions)
    const { compiled } = asked
    if ('fault' in compiled) return true
    if (asked.held.length <= slot) asked.held = resized(asked.held, this.#room)
    if (asked.held[slot] === UNASKED) asked.held[slot] = this.#answer(asked.whys, compiled.expressions, slot)
    return asked.held[slot] === HOLDS
  }

  /**
   * Asks these expressions of every cluster that they were not asked of, one a step: each may cost what an evaluation may,
   * and whoever goes through it can do something else in between. celHolds() and narrowByCel() then know the answers.
   */
  *askCel(expressions: readonly string[]): Generator<void> {
    const asked = this.#celOf(expressions)
    if (!asked.isOpen || 'fault' in asked.compiled) return
    for (let slot = 0; slot < this.#names.length; slot += 1) {
      if (this.present[slot] !== 1 || asked.held[slot] !== UNASKED) continue
      this.celHolds(slot, expressions)
      yield
    }
    asked.isOpen = false
  }

  /** The first expression that does not hold for a cluster, as a sentence. */
  celMismatch(expressions: readonly string[], slot: number): string | undefined {
    const { compiled, held, whys } = this.#celOf(expressions)
    if ('fault' in compiled) return compiled.fault
    return whys[(held[slot] ?? UNASKED) - FIRST_WHY] ?? this.#mismatch(compiled.expressions, slot)
  }

  #answer(whys: string[], expressions: readonly CelExpression[], slot: number): number {
    const why = this.#mismatch(expressions, slot)
    if (why === undefined) return HOLDS
    const known = whys.indexOf(why)
    if (known >= 0) return FIRST_WHY + known
    return whys.length < WHYS ? FIRST_WHY + whys.push(why) - 1 : FAILS
  }

  #mismatch(expressions: readonly CelExpression[], slot: number): string | undefined {
    const cluster = this.#clusters[slot]
    if (!cluster) return 'there is no such cluster'
    this.#prepared[slot] ??= celCluster(cluster, (namespace, name) => this.#scores.get(name)?.get(namespace)?.scores)
    return celMismatch(expressions, this.#prepared[slot])
  }

  #celOf(expressions: readonly string[]): Asked {
    const key = JSON.stringify(expressions)
    const known = this.#cel.get(key)
    if (known) return known
    // Whoever edits a placement leaves one behind each time.
    if (this.#cel.size >= REMEMBERED) this.#cel.clear()
    const made: Asked = { compiled: compiledAll(expressions), held: new Uint8Array(this.#room), whys: [], isOpen: true }
    this.#cel.set(key, made)
    return made
  }

  putSet(set: ClusterSet): void {
    this.#sets.set(set.metadata.name, set)
    this.#forgetMembers()
  }

  removeSet(name: string): void {
    this.#sets.delete(name)
    this.#forgetMembers()
  }

  putBinding(binding: Binding): void {
    const { namespace = '', name } = binding.metadata
    const bound = this.#bound.get(namespace) ?? new Map<string, Binding>()
    this.#bound.set(namespace, bound.set(name, binding))
  }

  removeBinding(namespace: string, name: string): void {
    this.#bound.get(namespace)?.delete(name)
  }

  /** The sets that are bound to a namespace and exist, by name. */
  boundSets(namespace: string): ClusterSet[] {
    return [...(this.#bound.get(namespace)?.keys() ?? [])]
      .toSorted(byCodeUnit)
      .flatMap((name) => this.#sets.get(name) ?? [])
  }

  /** By slot: 1 for the members of any of these sets, none of which has a fault. Nobody may write to it. */
  membersOf(sets: readonly ClusterSet[]): Uint8Array {
    const key = sets.map(({ metadata }) => metadata.name).join(',')
    const known = this.#together.get(key)
    if (known) return known.members
    if (this.#together.size >= TOGETHER) this.#together.clear()
    const members = new Uint8Array(this.#room)
    for (const set of sets) widenBy(members, this.#membersOfOne(set))
    this.#together.set(key, { sets, members })
    return members
  }

  #membersOfOne(set: ClusterSet): Uint8Array {
    const { name } = set.metadata
    const known = this.#members.get(name)
    if (known) return known
    const members = this.present.slice()
    const selector = selectorOf(set)
    if (selector) this.labels.narrow(members, selector)
    else members.fill(0)
    this.#members.set(name, members)
    return members
  }

  /** By slot: the place of the first of these selectors, none of which has a fault, that takes a cluster; how many there are where none does. Nobody may write to it. */
  groupingOf(selectors: Selectors): Int32Array {
    const key = JSON.stringify(selectors)
    const known = this.#groupings.get(key)
    if (known) return known.first
    if (this.#groupings.size >= TOGETHER) this.#groupings.clear()
    const first = new Int32Array(this.#room).fill(selectors.length)
    for (const [place, selector] of [...selectors.entries()].toReversed()) {
      const mask = this.scratch.fill(1)
      this.labels.narrow(mask, selector?.labelSelector)
      this.claims.narrow(mask, selector?.claimSelector)
      for (let slot = 0; slot < mask.length; slot += 1) if (mask[slot] === 1) first[slot] = place
    }
    this.#groupings.set(key, { selectors, first })
    return first
  }

  #firstTaking(slot: number, selectors: Selectors): number {
    const place = selectors.findIndex(
      (selector) =>
        this.labels.meets(slot, selector?.labelSelector) && this.claims.meets(slot, selector?.claimSelector),
    )
    return place < 0 ? selectors.length : place
  }

  #forgetMembers(): void {
    this.#members.clear()
    this.#together.clear()
  }

  /** Takes the place of what this placement had decided. */
  putDecisions({ namespace, placement, clusters }: DecidedBy): void {
    const key = `${namespace}/${placement}`
    for (const slot of this.#decided.get(key) ?? []) this.counts[slot] = (this.counts[slot] ?? 0) - 1
    if (clusters.length === 0) {
      this.#decided.delete(key)
      return
    }
    const slots = Int32Array.from(clusters, (name) => this.#slotFor(name))
    for (const slot of slots) this.counts[slot] = (this.counts[slot] ?? 0) + 1
    this.#decided.set(key, slots)
  }

  decidedBy(namespace: string, placement: string): Int32Array {
    return this.#decided.get(`${namespace}/${placement}`) ?? NO_SLOTS
  }

  putScores(scores: AddOnScores): void {
    const of = this.#scores.get(scores.name) ?? new Map<string, AddOnScores>()
    this.#scores.set(scores.name, of.set(scores.namespace, scores))
    this.#scoresChanged(scores.namespace)
  }

  removeScores(namespace: string, name: string): void {
    this.#scores.get(name)?.delete(namespace)
    this.#scoresChanged(namespace)
  }

  #scoresChanged(cluster: string): void {
    const slot = this.#slots.get(cluster)
    if (slot !== undefined) this.#forgetCel(slot)
  }

  /** The scores of one name, by cluster. */
  scoresOf(name: string): ReadonlyMap<string, AddOnScores> {
    return this.#scores.get(name) ?? NO_SCORES
  }

  #slotFor(name: string): number {
    const known = this.#slots.get(name)
    if (known !== undefined) return known
    const slot = this.#names.length
    this.#slots.set(name, slot)
    this.#names.push(name)
    this.#clusters.push(undefined)
    this.#order = undefined
    if (slot >= this.#room) this.#grow(this.#room + Math.max(64, (this.#room >> 4) & ~3))
    return slot
  }

  #grow(room: number): void {
    this.#room = room
    this.labels.grow(room)
    this.claims.grow(room)
    this.counts = resized(this.counts, room)
    this.#forgetMembers()
    this.#groupings.clear()
    this.present = resized(this.present, room)
    this.marks = new Uint8Array(room)
    this.scratch = new Uint8Array(room)
    this.deleting = resized(this.deleting, room)
    for (const resource of RESOURCES) {
      const before = this.allocatable[resource]
      this.allocatable[resource] = resized(before, room).fill(Number.NaN, before.length)
    }
  }
}

type Compiled = { readonly expressions: readonly CelExpression[] } | { readonly fault: string }
type Selectors = readonly (GroupSelector | undefined)[]
/**
 * A list of expressions, compiled or as its fault. `held`: by slot whether it holds, and of most where it does not, which of
 * `whys` says so; FAILS alone where another sentence does. `isOpen`: whether somebody may not have been asked.
 */
type Asked = { readonly compiled: Compiled; held: Uint8Array; readonly whys: string[]; isOpen: boolean }
const [UNASKED, HOLDS, FAILS, FIRST_WHY] = [0, 1, 2, 3] as const
/** So many different sentences are kept of a list: nearly always it is one and the same, and some are of one cluster alone. */
const WHYS = 16
const REMEMBERED = 4_096
/** Of so many groups of sets the members are remembered, and of so many lists of selectors whom they take: a byte a slot, and four. */
const TOGETHER = 256

const selectors = new WeakMap<ClusterSet, LabelSelector | undefined>()

/** Whom a set without fault takes, by labels; undefined where it takes nobody. */
function selectorOf(set: ClusterSet): LabelSelector | undefined {
  if (selectors.has(set)) return selectors.get(set)
  const { selectorType, labelSelector } = set.spec.clusterSelector ?? {}
  const exclusive = { matchLabels: { [CLUSTER_SET_LABEL]: set.metadata.name } }
  const selector = selectorType === 'LabelSelector' ? labelSelector : exclusive
  selectors.set(set, selector)
  return selector
}

function compiledAll(texts: readonly string[]): Compiled {
  const expressions: CelExpression[] = []
  for (const text of texts) {
    const compiled = compileCel(text)
    if ('fault' in compiled) return compiled
    expressions.push(compiled)
  }
  return { expressions }
}

const NO_SLOTS = new Int32Array(0)
const NO_SCORES: ReadonlyMap<string, AddOnScores> = new Map()
