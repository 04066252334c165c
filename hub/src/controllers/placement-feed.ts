import type { ObjectOf } from '@skerry/api'
import { type RemovalGuard, Scheduler } from '@skerry/policy'
import type { Mirror, Mirrors } from '../store/mirrors.ts'
import { type StoredSlice, scoresIn } from '../store/placements.ts'

// What the mirrors show, put into a scheduler as it changes. An object that a mirror still shows is the one that the
// scheduler has; any other is put. So nothing rests on a version, which a database that was put back may give twice.

type Seen = {
  readonly placements: ReadonlyMap<string, ObjectOf<'Placement'>>
  readonly slices: ReadonlyMap<string, StoredSlice>
  readonly sets: ReadonlyMap<string, ObjectOf<'ManagedClusterSet'>>
  readonly bindings: ReadonlyMap<string, ObjectOf<'ManagedClusterSetBinding'>>
  readonly scores: ReadonlyMap<string, ObjectOf<'AddOnPlacementScore'>>
  readonly clusters: ReadonlyMap<string, ObjectOf<'ManagedCluster'>>
}

const NONE: ReadonlyMap<string, never> = new Map<string, never>()
const NOTHING: Seen = { placements: NONE, slices: NONE, sets: NONE, bindings: NONE, scores: NONE, clusters: NONE }
/** Where more clusters than that are new, deciding everything is less work than finding out what is touched. */
const few = (clusters: number) => Math.max(clusters / 8, 64)

export class PlacementFeed {
  scheduler: Scheduler
  readonly #guard: RemovalGuard
  #seen = NOTHING
  /** The stored slices, by placement (`namespace/name`) and name. */
  readonly #slices = new Map<string, Map<string, StoredSlice>>()

  constructor(guard: RemovalGuard) {
    this.#guard = guard
    this.scheduler = new Scheduler(guard)
  }

  /** The slices that are stored of a placement, by name. */
  slicesOf({ metadata }: ObjectOf<'Placement'>): ReadonlyMap<string, StoredSlice> {
    return this.#slices.get(`${metadata.namespace}/${metadata.name}`) ?? NONE
  }

  /** Slices of placements that are gone. */
  orphans(): StoredSlice[] {
    const alive = new Set([...this.#seen.placements.values()].map(({ metadata }) => metadata.uid))
    return [...this.#seen.slices.values()].filter(({ owner }) => !alive.has(owner))
  }

  /** Brings the scheduler to what is stored now; `whole`: by reading everything anew. A feed that this threw out of is to be thrown away. */
  async follow(mirrors: Mirrors, how?: 'whole'): Promise<void> {
    const now = await seenIn(mirrors, how)
    const { put, gone } = changesOf(this.#seen.clusters, now.clusters)
    if (how === 'whole' || put.length + gone.length > few(now.clusters.size)) this.#forget()
    const { scheduler } = this
    const was = this.#seen
    this.#seen = now

    const clusters = changesOf(was.clusters, now.clusters)
    for (const { metadata } of clusters.gone) scheduler.removeCluster(metadata.name)
    for (const cluster of clusters.put) scheduler.putCluster(cluster)
    const sets = changesOf(was.sets, now.sets)
    for (const { metadata } of sets.gone) scheduler.removeSet(metadata.name)
    for (const set of sets.put) scheduler.putSet(set)
    const bindings = changesOf(was.bindings, now.bindings)
    for (const { metadata } of bindings.gone) scheduler.removeBinding(metadata.namespace ?? '', metadata.name)
    for (const binding of bindings.put) scheduler.putBinding(binding)
    const scores = changesOf(was.scores, now.scores)
    for (const { metadata } of scores.gone) scheduler.removeScores(metadata.namespace ?? '', metadata.name)
    for (const score of scores.put) scheduler.putScores(scoresIn(score))
    const placements = changesOf(was.placements, now.placements)
    for (const { metadata } of placements.gone) scheduler.removePlacement(metadata.namespace ?? '', metadata.name)
    for (const placement of placements.put) scheduler.putPlacement(placement)
    this.#takeSlices(was.slices, now.slices)
  }

  /** Asks what the placements' expressions in CEL were not asked of, a cluster at a time. */
  *askCel(): Generator<void> {
    for (const { spec } of this.#seen.placements.values())
      for (const { requiredClusterSelector: required } of spec.predicates ?? []) {
        const expressions = required?.celSelector?.celExpressions ?? []
        if (expressions.length > 0) yield* this.scheduler.fleet.askCel(expressions)
      }
  }

  #forget(): void {
    this.scheduler = new Scheduler(this.#guard)
    this.#seen = NOTHING
    this.#slices.clear()
  }

  #takeSlices(was: Seen['slices'], now: Seen['slices']): void {
    const touched = new Map<string, { namespace: string; placement: string }>()
    const of = (slice: StoredSlice) => {
      const key = `${slice.namespace}/${slice.placement}`
      touched.set(key, slice)
      const known = this.#slices.get(key) ?? new Map<string, StoredSlice>()
      this.#slices.set(key, known)
      return known
    }
    const { put, gone } = changesOf(was, now)
    for (const slice of gone) of(slice).delete(slice.name)
    for (const slice of put) {
      // Its label may have been another placement's.
      const before = was.get(`${slice.namespace}/${slice.name}`)
      if (before) of(before).delete(slice.name)
      of(slice).set(slice.name, slice)
    }
    for (const [key, { namespace, placement }] of touched) {
      const slices = [...(this.#slices.get(key)?.values() ?? [])]
      if (slices.length === 0) this.#slices.delete(key)
      this.scheduler.putDecisions({ namespace, placement, clusters: slices.flatMap(({ clusters }) => clusters) })
      this.scheduler.lookAgain(namespace, placement)
    }
  }
}

async function seenIn(mirrors: Mirrors, how: 'whole' | undefined): Promise<Seen> {
  const read = <V>(mirror: Mirror<V>) => mirror(how)
  return {
    // Before placements: a slice is of one that was there, or is gone.
    slices: await read(mirrors.slices),
    placements: await read(mirrors.placements),
    sets: await read(mirrors.sets),
    bindings: await read(mirrors.bindings),
    scores: await read(mirrors.scores),
    clusters: await read(mirrors.clusters),
  }
}

function changesOf<V>(was: ReadonlyMap<string, V>, now: ReadonlyMap<string, V>): { put: V[]; gone: V[] } {
  if (was === now) return { put: [], gone: [] }
  return {
    put: [...now].filter(([key, one]) => was.get(key) !== one).map(([, one]) => one),
    gone: [...was].filter(([key]) => !now.has(key)).map(([, one]) => one),
  }
}
