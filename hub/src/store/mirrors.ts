import type { KindName, ObjectOf, RolloutAct, StoredMeta } from '@skerry/api'
import { openActs } from './acts.ts'
import { type Ordered, openOrdered } from './desired-states.ts'
import { type FleetNode, openFleet } from './fleet.ts'
import { type StoredSlice, storedSlice } from './placements.ts'
import { changesSince, listObjects, newestVersion } from './resources.ts'
import { read, type Store } from './store.ts'
import { shareTexts } from './texts.ts'

// What loops read again and again, kept between two looks and brought up to date by what changed. Any of it may be
// forgotten at any time: the next look then reads it whole.

export type Mirrors = {
  readonly fleet: () => Promise<FleetNode[]>
  /** The newest order of every cluster that is assigned something and has one. */
  readonly ordered: () => Promise<ReadonlyMap<string, Ordered>>
  /** What people did to rollouts, by the rollout's uid, oldest first. */
  readonly acts: () => Promise<ReadonlyMap<string, readonly RolloutAct[]>>
  readonly clusters: Mirror<ObjectOf<'ManagedCluster'>>
  readonly images: Mirror<ObjectOf<'OSImage'>>
  readonly profiles: Mirror<ObjectOf<'HardwareProfile'>>
  /** The version of each EdgeNode, by `cluster/node`. */
  readonly nodeVersions: Mirror<string>
  readonly placements: Mirror<ObjectOf<'Placement'>>
  readonly slices: Mirror<StoredSlice>
  readonly sets: Mirror<ObjectOf<'ManagedClusterSet'>>
  readonly bindings: Mirror<ObjectOf<'ManagedClusterSetBinding'>>
  readonly scores: Mirror<ObjectOf<'AddOnPlacementScore'>>
}

/**
 * Every object of a kind, as it is kept, by name or `namespace/name`. One that did not change is the very same in the next
 * look; where everything was read whole, and when `whole` asks for that, each is another.
 */
export type Mirror<V> = (how?: 'whole') => Promise<ReadonlyMap<string, V>>

export function openMirrors(store: Store): Mirrors {
  const share = shareTexts()
  return {
    fleet: openFleet(store.sql),
    ordered: openOrdered(store.sql),
    acts: openActs(store.sql),
    clusters: openMirror(store, 'ManagedCluster', share),
    images: openMirror(store, 'OSImage', (image) => image),
    profiles: openMirror(store, 'HardwareProfile', (profile) => profile),
    nodeVersions: openMirror(store, 'EdgeNode', ({ metadata }) => metadata.resourceVersion),
    placements: openMirror(store, 'Placement', (placement) => placement),
    slices: openMirror(store, 'PlacementDecision', storedSlice(shareTexts(CLUSTER_NAMES))),
    sets: openMirror(store, 'ManagedClusterSet', (set) => set),
    bindings: openMirror(store, 'ManagedClusterSetBinding', (binding) => binding),
    scores: openMirror(store, 'AddOnPlacementScore', share),
  }
}

/** Changes read at a time. */
const PAGE = 1_000
/** So many are held once each, however many placements select them. */
const CLUSTER_NAMES = 100_000

/**
 * Every object of a kind as `keep` leaves it, by name or `namespace/name`. Each call sees at least what was committed
 * when it was made; what was not committed is never seen.
 */
export function openMirror<K extends KindName, V>(store: Store, kind: K, keep: (object: ObjectOf<K>) => V): Mirror<V> {
  const held = new Map<string, V>()
  let version: number | undefined
  let shown: ReadonlyMap<string, V> | undefined
  let before: Promise<unknown> = Promise.resolve()

  async function follow(from: number): Promise<number | undefined> {
    for (let at = from; ; ) {
      const found = await changesSince(store.sql, kind, at, PAGE)
      if (!found) return undefined
      if (found.changes.length > 0) shown = undefined
      for (const { type, object } of found.changes) {
        if (type === 'DELETED') held.delete(placeOf(object))
        // The history of a kind holds objects of this kind.
        else held.set(placeOf(object), keep(object as ObjectOf<K>))
      }
      at = found.upTo
      if (found.changes.length < PAGE) return at
    }
  }

  async function begin(): Promise<number> {
    return read(store, async (tx) => {
      const newest = await newestVersion(tx)
      held.clear()
      shown = undefined
      for (let after: { namespace: string; name: string } | undefined; ; ) {
        const page = await listObjects(tx, kind, { after, limit: PAGE })
        for (const object of page) held.set(placeOf(object), keep(object))
        const last = page.at(-1)?.metadata
        if (page.length < PAGE || !last) return newest
        after = { namespace: last.namespace ?? '', name: last.name }
      }
    })
  }

  return (how) => {
    const look = before.then(async () => {
      const from = how === 'whole' ? undefined : version
      // What is thrown half way leaves no version: the next look begins anew.
      version = undefined
      version = (from === undefined ? undefined : await follow(from)) ?? (await begin())
      // Nobody's look changes under another's hands.
      shown ??= new Map(held)
      return shown
    })
    before = look.catch(() => undefined)
    return look
  }
}

function placeOf({ metadata: { namespace, name } }: { readonly metadata: StoredMeta }): string {
  return namespace === undefined ? name : `${namespace}/${name}`
}
