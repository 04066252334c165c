import { type ObjectOf, PLACEMENT_LABEL, type RolloutAct, type RolloutStatus } from '@skerry/api'
import { decidedBy, imageFacts, type RolloutFacts } from '@skerry/policy'
import { listActs } from './acts.ts'
import { type Assignment, listAssignments } from './assignments.ts'
import { loadOrdered, type Ordered } from './desired-states.ts'
import { type FleetNode, loadClusters } from './fleet.ts'
import type { Mirrors } from './mirrors.ts'
import { getObjects, listCreationTimes, listObjects, listObjectsIn, listSpecAuthors } from './resources.ts'
import type { Reader, Tx } from './store.ts'

// What rollouts are planned from, as rows: for all of them, or for one that somebody asks about before it is stored.

type Rollout = ObjectOf<'Rollout'>
export type Image = NonNullable<RolloutStatus['image']>

/** A rollout and whom it selects. `place`: among all of them; the newest is 0. */
export type Entry = {
  readonly rollout: Rollout
  readonly place: number
  readonly decided: RolloutFacts['decided']
  readonly selected: ReadonlySet<string> | undefined
}

export type RolloutFleet = {
  /** By uid, newest first. */
  readonly entries: ReadonlyMap<string, Entry>
  /** Of each cluster that a rollout selects, the newest one that does. */
  readonly newest: ReadonlyMap<string, Entry>
  /** What was assigned when it was read, and what this look assigned since. */
  readonly assignments: Map<string, Assignment>
  readonly images: ReadonlyMap<string, ObjectOf<'OSImage'>>
  /** Of each image's bytes, the signed image with the highest release counter that names them. */
  readonly byBytes: ReadonlyMap<string, Image>
  /** Release counters by the digest of the manifest. */
  readonly counters: ReadonlyMap<string, number>
  readonly ordered: ReadonlyMap<string, Ordered>
  readonly nodes: ReadonlyMap<string, readonly FleetNode[]>
  /** Of every cluster, whether the hub accepts it. */
  readonly accepted: ReadonlyMap<string, boolean>
  /** What people did to each rollout, by its uid, oldest first. */
  readonly acts: ReadonlyMap<string, readonly RolloutAct[]>
  /** Who changed the spec of each rollout last, by its uid. */
  readonly authors: ReadonlyMap<string, string>
}

/** Where the larger part is read from: kept between two looks, or read once for one rollout. */
type Sources = {
  readonly [K in 'ordered' | 'fleet' | 'acts']: Mirrors[K]
} & { readonly clusters: () => Promise<ReadonlyMap<string, Pick<ObjectOf<'ManagedCluster'>, 'spec'>>> }

/** Everything that rollouts are planned from; undefined when there is none. */
export async function loadRolloutFleet(sql: Reader, mirrors: Mirrors): Promise<RolloutFleet | undefined> {
  const entries = await loadEntries(sql)
  return entries.size === 0 ? undefined : loadRest(sql, entries, mirrors)
}

/**
 * What a rollout is planned from as it would be stored, with the status that is stored: in the place of the one of its name,
 * or as the newest. Only its own clusters are read of the fleet, so a transaction that sees one moment is given.
 */
export async function loadFleetOf(tx: Tx, asked: Rollout): Promise<{ fleet: RolloutFleet; entry: Entry }> {
  const { uid } = asked.metadata
  const entries = await loadEntries(tx, asked)
  const entry = entries.get(uid)
  if (!entry) throw new Error(`rollout ${uid} is not among its own entries`)
  const had = (entry.rollout.status?.clusters ?? []).map(({ name }) => name)
  const clusters = [...new Set([...(entry.selected ?? []), ...had])]
  const fleet = await loadRest(tx, entries, {
    ordered: () => loadOrdered(tx, clusters),
    fleet: () => loadClusters(tx, clusters),
    acts: async () => new Map([[uid, await listActs(tx, uid)]]),
    clusters: async () => new Map((await clustersIn(tx, clusters)).map((found) => [found.metadata.name, found])),
  })
  return { fleet, entry }
}

async function clustersIn(tx: Tx, names: readonly string[]): Promise<ObjectOf<'ManagedCluster'>[]> {
  const places = names.map((name) => ({ namespace: '', name }))
  return [...(await getObjects(tx, 'ManagedCluster', places)).values()]
}

/** Every rollout and whom it selects, by uid, newest first. */
async function loadEntries(sql: Reader, asked?: Rollout): Promise<ReadonlyMap<string, Entry>> {
  const stored = await listObjects(sql, 'Rollout')
  const createdAtMs = await listCreationTimes(sql, 'Rollout')
  // What is not stored yet is newer than all that is.
  if (asked && !createdAtMs.has(asked.metadata.uid)) createdAtMs.set(asked.metadata.uid, Number.POSITIVE_INFINITY)
  const rollouts = newestFirst(asked ? inPlaceOf(stored, asked) : stored, createdAtMs)
  const namespaces = rollouts.map(({ metadata }) => metadata.namespace ?? '')
  const [placements, slices] = await Promise.all([
    listObjectsIn(sql, 'Placement', namespaces),
    listObjectsIn(sql, 'PlacementDecision', namespaces),
  ])
  const placementOf = new Map(
    placements.map((placement) => [`${placement.metadata.namespace}/${placement.metadata.name}`, placement]),
  )
  const slicesOf = Map.groupBy(slices, ({ metadata }) => `${metadata.namespace}/${metadata.labels?.[PLACEMENT_LABEL]}`)
  return new Map(
    rollouts.map((rollout, place): [string, Entry] => {
      const key = `${rollout.metadata.namespace}/${rollout.spec.placementRef.name}`
      const decided = decidedBy(placementOf.get(key), slicesOf.get(key) ?? [])
      const selected = typeof decided === 'string' ? undefined : new Set(decided.flatMap(({ clusters }) => clusters))
      return [rollout.metadata.uid, { rollout, place, decided, selected }]
    }),
  )
}

// The hub goes on while somebody asks: how far it is stands in what is stored now.
function inPlaceOf(stored: readonly Rollout[], { status: _, ...asked }: Rollout): Rollout[] {
  const isOther = ({ metadata: { namespace, name } }: Rollout) =>
    namespace !== asked.metadata.namespace || name !== asked.metadata.name
  const same = stored.find(({ metadata }) => metadata.uid === asked.metadata.uid)
  return [...stored.filter(isOther), { ...asked, ...(same?.status ? { status: same.status } : {}) }]
}

async function loadRest(sql: Reader, entries: ReadonlyMap<string, Entry>, sources: Sources): Promise<RolloutFleet> {
  const [images, assignments, ordered, nodes, clusters, acts, authors] = await Promise.all([
    listObjects(sql, 'OSImage'),
    listAssignments(sql),
    sources.ordered(),
    sources.fleet(),
    sources.clusters(),
    sources.acts(),
    listSpecAuthors(sql, 'Rollout'),
  ])
  return {
    entries,
    newest: newestOf(entries),
    assignments: new Map(assignments.map((assignment) => [assignment.cluster, assignment])),
    images: new Map(images.map((image) => [image.metadata.name, image])),
    byBytes: new Map(
      images
        .map(imageFacts)
        .toSorted((a, b) => a.releaseCounter - b.releaseCounter)
        .map((image) => [image.imageSha256, image]),
    ),
    counters: new Map(images.map(({ spec }) => [spec.manifestSha256, spec.releaseCounter])),
    ordered,
    nodes: Map.groupBy(nodes, ({ cluster }) => cluster),
    accepted: new Map([...clusters].map(([name, { spec }]) => [name, spec.hubAcceptsClient === true])),
    acts,
    authors,
  }
}

function newestOf(entries: ReadonlyMap<string, Entry>): ReadonlyMap<string, Entry> {
  const newest = new Map<string, Entry>()
  for (const entry of entries.values())
    for (const cluster of entry.selected ?? []) if (!newest.has(cluster)) newest.set(cluster, entry)
  return newest
}

// Metadata tells whole seconds, and two rollouts are easily made in one: the later one is the newer. Of one moment any
// order will do, as long as it is the same whoever asks, or each would take a cluster back from the other for ever.
function newestFirst(rollouts: readonly Rollout[], createdAtMs: ReadonlyMap<string, number>): Rollout[] {
  const keyOf = ({ metadata: { name, namespace, uid } }: Rollout) => `${name}/${namespace}/${uid}`
  const at = ({ metadata }: Rollout) => createdAtMs.get(metadata.uid) ?? Date.parse(metadata.creationTimestamp)
  return rollouts.toSorted((a, b) => at(b) - at(a) || (keyOf(a) < keyOf(b) ? -1 : 1))
}
