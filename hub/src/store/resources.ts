import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { apiVersionOf, type KindName, type ObjectOf, type StoredMeta } from '@skerry/api'
import { asStored } from './as-stored.ts'
import type { Reader, Tx } from './store.ts'

// Every kind lives in one table. These functions are its only writers.

type Row = {
  kind: KindName
  namespace: string
  name: string
  uid: string
  generation: string
  resource_version: string
  labels: Record<string, string>
  annotations: Record<string, string>
  meta: Pick<StoredMeta, 'ownerReferences' | 'finalizers'>
  spec: unknown
  status: unknown
  created_at: Date
  deletion_at: Date | null
}

/** What a writer says of a new object's metadata. */
export type NewMeta = {
  name: string
  namespace?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
  ownerReferences?: StoredMeta['ownerReferences']
}

/** Another writer was quicker, or the object is already there. */
export class WriteConflict extends Error {
  readonly code: 'AlreadyExists' | 'Conflict' | 'PreconditionFailed'
  constructor(code: WriteConflict['code'], message: string) {
    super(message)
    this.name = 'WriteConflict'
    this.code = code
  }
}

/** The channel on which a commit announces of which kinds it made versions. */
export const CHANGE_CHANNEL = 'skerry_change'

export async function getObject<K extends KindName>(
  tx: Reader,
  kind: K,
  namespace: string,
  name: string,
): Promise<ObjectOf<K> | undefined> {
  const [row] = await tx<
    Row[]
  >`select * from resource where kind = ${kind} and namespace = ${namespace} and name = ${name}`
  return row && toObject<K>(row)
}

/** Where an object is; a cluster-scoped one has the namespace ''. */
export type ObjectAt = { readonly namespace: string; readonly name: string }

/** The objects at these places by `namespace/name`; what is not there is not in the map. */
export async function getObjects<K extends KindName>(
  tx: Reader,
  kind: K,
  places: readonly ObjectAt[],
): Promise<Map<string, ObjectOf<K>>> {
  if (places.length === 0) return new Map()
  const rows = await tx<Row[]>`
    select r.* from resource r join (select distinct * from ${placesOf(tx, places)}) u on r.namespace = u.namespace and r.name = u.name
    where r.kind = ${kind}`
  return new Map(rows.map((row) => [`${row.namespace}/${row.name}`, toObject<K>(row)]))
}

/** The objects in these namespaces, in the order of `listObjects`. */
export async function listObjectsIn<K extends KindName>(
  tx: Reader,
  kind: K,
  namespaces: readonly string[],
): Promise<ObjectOf<K>[]> {
  if (namespaces.length === 0) return []
  const rows = await tx<Row[]>`
    select * from resource where kind = ${kind} and namespace = any(${[...new Set(namespaces)]}::text[])
    order by namespace collate "C", name collate "C"`
  return rows.map((row) => toObject<K>(row))
}

function placesOf(tx: Reader, places: readonly ObjectAt[]) {
  return tx`unnest(${places.map(({ namespace }) => namespace)}::text[], ${places.map(({ name }) => name)}::text[]) as p(namespace, name)`
}

export type ListOptions = {
  namespace?: string | undefined
  name?: string | undefined
  /** Only what comes behind this one in the list's order. */
  after?: { namespace: string; name: string } | undefined
  limit?: number | undefined
}

/** Objects of a kind in the order of namespace and name, byte by byte. */
export async function listObjects<K extends KindName>(
  tx: Reader,
  kind: K,
  options: ListOptions = {},
): Promise<ObjectOf<K>[]> {
  const { limit } = options
  const rows = await tx<Row[]>`
    select * from resource where ${among(tx, kind, options)}
    order by namespace collate "C", name collate "C" ${limit === undefined ? tx`` : tx`limit ${limit}`}`
  return rows.map((row) => toObject<K>(row))
}

/** When each object of a kind was made, in ms since the epoch, by uid: `creationTimestamp` tells whole seconds. */
export async function listCreationTimes(tx: Reader, kind: KindName): Promise<Map<string, number>> {
  const rows = await tx<{ uid: string; at: Date }[]>`select uid, created_at as at from resource where kind = ${kind}`
  return new Map(rows.map(({ uid, at }) => [uid, at.getTime()]))
}

/** Who changed the spec of each object of a kind last, by uid; of whom that was not kept is not there. */
export async function listSpecAuthors(tx: Reader, kind: KindName): Promise<Map<string, string>> {
  const rows = await tx<{ uid: string; by: string }[]>`
    select uid, spec_by as by from resource where kind = ${kind} and spec_by is not null`
  return new Map(rows.map(({ uid, by }) => [uid, by]))
}

/** Who changed the spec of the object of this uid last; undefined where that was not kept. */
export async function specAuthorOf(tx: Reader, kind: KindName, uid: string): Promise<string | undefined> {
  const [row] = await tx<{ by: string | null }[]>`
    select spec_by as by from resource where kind = ${kind} and uid = ${uid}`
  return row?.by ?? undefined
}

/** Keeps who changed an object's spec, in the transaction that did. It is no member of the object, and makes no version. */
export async function saveSpecAuthor(tx: Tx, kind: KindName, { namespace, name }: ObjectAt, by: string): Promise<void> {
  await tx`update resource set spec_by = ${by} where kind = ${kind} and namespace = ${namespace} and name = ${name}`
}

/** How many objects `listObjects` would give without a limit. */
export async function countObjects(
  tx: Reader,
  kind: KindName,
  options: Omit<ListOptions, 'limit'> = {},
): Promise<number> {
  const [row] = await tx<{ n: number }[]>`select count(*)::int as n from resource where ${among(tx, kind, options)}`
  return row?.n ?? 0
}

function among(tx: Reader, kind: KindName, { namespace, name, after }: ListOptions) {
  return tx`kind = ${kind}
    ${namespace === undefined ? tx`` : tx`and namespace = ${namespace}`}
    ${name === undefined ? tx`` : tx`and name = ${name}`}
    ${after === undefined ? tx`` : tx`and (namespace collate "C", name collate "C") > (${after.namespace}, ${after.name})`}`
}

/** What a writer says of an object that it makes. */
export type NewObject = { readonly metadata: NewMeta; readonly spec?: unknown; readonly status?: unknown }

/** Makes an object. WriteConflict AlreadyExists when its name is taken. */
export async function createObject<K extends KindName>(tx: Tx, kind: K, object: NewObject): Promise<ObjectOf<K>> {
  const [row] = await insert(tx, kind, [object])
  if (!row) throw new WriteConflict('AlreadyExists', `${kind} "${object.metadata.name}" already exists`)
  return toObject<K>(row)
}

/** Makes many objects of a kind at once. WriteConflict AlreadyExists when one of their names is taken. */
export async function createObjects(tx: Tx, kind: KindName, objects: readonly NewObject[]): Promise<void> {
  const rows = await insert(tx, kind, objects)
  if (rows.length === objects.length) return
  const made = new Set(rows.map(({ namespace, name }) => `${namespace}/${name}`))
  const taken = objects.find(({ metadata }) => !made.has(`${metadata.namespace ?? ''}/${metadata.name}`))
  throw new WriteConflict('AlreadyExists', `${kind} "${taken?.metadata.name}" already exists`)
}

async function insert(tx: Tx, kind: KindName, objects: readonly NewObject[]): Promise<Row[]> {
  if (objects.length === 0) return []
  const rows = await tx<Row[]>`
    insert into resource (kind, namespace, name, uid, generation, resource_version, labels, annotations, meta, spec, status, created_at)
    select ${kind}, ns, n, u, 1, nextval('resource_version'), l::jsonb, a::jsonb, m::jsonb, sp::jsonb, st::jsonb, now() from unnest(
      ${objects.map(({ metadata }) => metadata.namespace ?? '')}::text[], ${objects.map(({ metadata }) => metadata.name)}::text[],
      ${objects.map(() => randomUUID())}::text[], ${objects.map(({ metadata }) => JSON.stringify(metadata.labels ?? {}))}::text[],
      ${objects.map(({ metadata }) => JSON.stringify(metadata.annotations ?? {}))}::text[],
      ${objects.map(({ metadata }) => JSON.stringify(metaOf(metadata)))}::text[],
      ${objects.map(({ spec }) => JSON.stringify(spec ?? null))}::text[],
      ${objects.map(({ status }) => JSON.stringify(status ?? null))}::text[]) as o(ns, n, u, l, a, m, sp, st)
    on conflict do nothing returning *`
  await record(
    tx,
    'ADDED',
    rows.map((row) => ({ row, labelsBefore: {} })),
  )
  return rows
}

/** What a writer says of an object that is there. */
export type ChangedObject = { readonly metadata: NewMeta; readonly spec?: unknown }

/** Replaces metadata and spec. The generation rises with the spec alone. WriteConflict when `ifVersion` is not the stored one. */
export async function updateObject<K extends KindName>(
  tx: Tx,
  kind: K,
  object: ChangedObject,
  ifVersion?: string,
): Promise<ObjectOf<K> | undefined> {
  const [updated] = await updateObjects(tx, kind, [object], ifVersion)
  return updated
}

/** Replaces metadata and spec of many objects of a kind, each named once. Returns them; those that are gone are passed over. */
export async function updateObjects<K extends KindName>(
  tx: Tx,
  kind: K,
  objects: readonly ChangedObject[],
  ifVersion?: string,
): Promise<ObjectOf<K>[]> {
  if (objects.length === 0) return []
  const places = objects.map(({ metadata }) => ({ namespace: metadata.namespace ?? '', name: metadata.name }))
  const found = await tx<Row[]>`
    select r.* from resource r join ${placesOf(tx, places)} on r.namespace = p.namespace and r.name = p.name
    where r.kind = ${kind} for update of r`
  const before = new Map(found.map((row) => [`${row.namespace}/${row.name}`, row]))
  const same: Row[] = []
  const due: { was: Row; to: ChangedObject; sameSpec: boolean }[] = []
  for (const to of objects) {
    const { name, namespace = '', labels = {}, annotations = {} } = to.metadata
    const was = before.get(`${namespace}/${name}`)
    if (!was) continue
    if (ifVersion !== undefined && ifVersion !== was.resource_version) {
      throw new WriteConflict(
        'Conflict',
        `Operation cannot be fulfilled on ${kind} "${name}": the object has been modified; please apply your changes to the latest version and try again`,
      )
    }
    const sameSpec = isDeepStrictEqual(was.spec, asStored(to.spec ?? null))
    if (
      sameSpec &&
      isDeepStrictEqual(was.labels, labels) &&
      isDeepStrictEqual(was.annotations, annotations) &&
      isDeepStrictEqual(was.meta, metaOf(to.metadata))
    )
      same.push(was)
    else due.push({ was, to, sameSpec })
  }
  if (due.length === 0) return same.map((row) => toObject<K>(row))
  const rows = await tx<Row[]>`
    update resource r set labels = o.l::jsonb, annotations = o.a::jsonb, meta = o.m::jsonb, spec = o.sp::jsonb,
      generation = r.generation + o.rise, resource_version = nextval('resource_version')
    from unnest(${due.map(({ was }) => was.namespace)}::text[], ${due.map(({ was }) => was.name)}::text[],
      ${due.map(({ to }) => JSON.stringify(to.metadata.labels ?? {}))}::text[],
      ${due.map(({ to }) => JSON.stringify(to.metadata.annotations ?? {}))}::text[],
      ${due.map(({ to }) => JSON.stringify(metaOf(to.metadata)))}::text[],
      ${due.map(({ to }) => JSON.stringify(to.spec ?? null))}::text[], ${due.map(({ sameSpec }) => (sameSpec ? 0 : 1))}::int[]) as o(ns, n, l, a, m, sp, rise)
    where r.kind = ${kind} and r.namespace = o.ns and r.name = o.n returning r.*`
  await record(
    tx,
    'MODIFIED',
    rows.map((row) => ({ row, labelsBefore: before.get(`${row.namespace}/${row.name}`)?.labels ?? {} })),
  )
  return [...same, ...rows].map((row) => toObject<K>(row))
}

function metaOf({ ownerReferences }: NewMeta): Row['meta'] {
  return ownerReferences ? { ownerReferences } : {}
}

/** Writes a status. Returns whether anything changed: an equal status is no write and no new version. */
export async function saveStatus<K extends KindName>(
  tx: Tx,
  kind: K,
  namespace: string,
  name: string,
  status: NonNullable<ObjectOf<K>['status']>,
): Promise<boolean> {
  return (await saveStatuses(tx, kind, [{ namespace, name, status }])).size > 0
}

export type NewStatus<K extends KindName> = {
  readonly namespace: string
  readonly name: string
  readonly status: NonNullable<ObjectOf<K>['status']>
}

/** Writes many statuses of a kind at once. Returns the versions of those that changed, by `namespace/name`; objects that are gone are passed over. */
export async function saveStatuses<K extends KindName>(
  tx: Tx,
  kind: K,
  statuses: readonly NewStatus<K>[],
): Promise<Map<string, string>> {
  if (statuses.length === 0) return new Map()
  const rows = await tx<Row[]>`
    update resource r set status = u.status::jsonb, resource_version = nextval('resource_version')
    from unnest(${statuses.map(({ namespace }) => namespace)}::text[], ${statuses.map(({ name }) => name)}::text[],
      ${statuses.map(({ status }) => JSON.stringify(status))}::text[]) as u(namespace, name, status)
    where r.kind = ${kind} and r.namespace = u.namespace and r.name = u.name and r.status is distinct from u.status::jsonb
    returning r.*`
  await record(
    tx,
    'MODIFIED',
    rows.map((row) => ({ row, labelsBefore: row.labels })),
  )
  return new Map(rows.map((row) => [`${row.namespace}/${row.name}`, row.resource_version]))
}

/** Removes an object and returns what it was; undefined when there was none. */
export async function deleteObject<K extends KindName>(
  tx: Tx,
  kind: K,
  namespace: string,
  name: string,
): Promise<ObjectOf<K> | undefined> {
  const [deleted] = await deleteObjects(tx, kind, [{ namespace, name }])
  return deleted
}

/** Deletes many objects of a kind, the oldest version first. Returns them; those that are gone are passed over. */
export async function deleteObjects<K extends KindName>(
  tx: Tx,
  kind: K,
  places: readonly { namespace: string; name: string }[],
): Promise<ObjectOf<K>[]> {
  if (places.length === 0) return []
  // A deletion is a version of its own, so that a watch orders it.
  const rows = await tx<(Row & { next: string })[]>`
    with gone as (delete from resource r using ${placesOf(tx, places)}
      where r.kind = ${kind} and r.namespace = p.namespace and r.name = p.name returning r.*)
    select o.*, nextval('resource_version') as next from (select * from gone order by resource_version) o`
  const made = rows.map(({ next, ...row }) => ({
    row: { ...row, resource_version: next },
    labelsBefore: row.labels,
  }))
  await record(tx, 'DELETED', made)
  return made.map(({ row }) => toObject<K>(row))
}

/** The newest version that is committed. */
export async function newestVersion(tx: Reader): Promise<number> {
  return (await historyOf(tx)).newest
}

/** From which version on changes are kept, and the newest one. */
export async function historyOf(tx: Reader): Promise<{ compacted: number; newest: number }> {
  const [row] = await tx<{ compacted: string; newest: string }[]>`${history(tx)} select compacted, newest from history`
  return { compacted: Number(row?.compacted ?? 0), newest: Number(row?.newest ?? 0) }
}

function history(tx: Reader) {
  return tx`with gone as (select coalesce((select (value #>> '{}')::bigint from hub_state where key = 'compacted'), 0) as compacted),
    history as (select compacted, greatest(compacted, coalesce((select max(resource_version) from resource_change), 0)) as newest from gone)`
}

export type Change = {
  readonly version: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: ObjectOf<KindName>
  /** What its labels were until this version. */
  readonly labelsBefore: Readonly<Record<string, string>>
}

/**
 * Committed changes of a kind after a version, oldest first and at most `limit`, and the version up to which they are
 * complete. Undefined when the version is not in this hub's history: compacted, or of a time that a restore took back.
 */
export async function changesSince(
  tx: Reader,
  kind: KindName,
  version: number,
  limit: number,
): Promise<{ changes: Change[]; upTo: number } | undefined> {
  // One statement sees one moment, so nothing is compacted between the look at the marks and the look at the rows.
  const rows = await tx<
    {
      compacted: string
      newest: string
      resource_version: string | null
      type: Change['type']
      object: ObjectOf<KindName>
      labels_before: Record<string, string>
    }[]
  >`${history(tx)}
    select history.*, found.* from history left join lateral (
      select resource_version, type, object, labels_before from resource_change
      where kind = ${kind} and resource_version > ${version} order by resource_version limit ${limit}
    ) found on true order by found.resource_version`
  const [first] = rows
  if (!first || version < Number(first.compacted) || version > Number(first.newest)) return undefined
  const changes = rows
    .filter(({ resource_version }) => resource_version !== null)
    .map((row) => ({
      version: Number(row.resource_version),
      type: row.type,
      object: row.object,
      labelsBefore: row.labels_before,
    }))
  return { changes, upTo: changes.length < limit ? Number(first.newest) : (changes.at(-1)?.version ?? version) }
}

/** Forgets history older than `keep` versions. A watch that asks for what is gone is told to list again. */
export async function compactChanges(tx: Tx, keep: number): Promise<void> {
  const upTo = (await newestVersion(tx)) - keep
  if (upTo <= 0) return
  await tx`delete from resource_change where resource_version <= ${upTo}`
  await tx`insert into hub_state (key, value, changed) values ('compacted', ${tx.json(upTo)}, now()) on conflict (key) do update set value = excluded.value, changed = now()`
}

// Every version that was made, in the history, and one word that their kind has newer ones.
async function record(
  tx: Tx,
  type: Change['type'],
  made: readonly { row: Row; labelsBefore: Record<string, string> }[],
): Promise<void> {
  const [first] = made
  if (!first) return
  await tx`
    with change as (insert into resource_change (resource_version, type, kind, namespace, name, object, labels_before, at)
    select v, ${type}, k, ns, n, o::jsonb, l::jsonb, now() from unnest(
      ${made.map(({ row }) => row.resource_version)}::bigint[], ${made.map(({ row }) => row.kind)}::text[],
      ${made.map(({ row }) => row.namespace)}::text[], ${made.map(({ row }) => row.name)}::text[],
      ${made.map(({ row }) => JSON.stringify(toObject(row)))}::text[],
      ${made.map(({ labelsBefore }) => JSON.stringify(labelsBefore))}::text[]) as u(v, k, ns, n, o, l))
    select pg_notify(${CHANGE_CHANNEL}, ${first.row.kind})`
}

function toObject<K extends KindName>(row: Row): ObjectOf<K> {
  const metadata: StoredMeta = {
    name: row.name,
    ...(row.namespace === '' ? {} : { namespace: row.namespace }),
    uid: row.uid,
    resourceVersion: row.resource_version,
    generation: Number(row.generation),
    creationTimestamp: row.created_at.toISOString().replace(/\.\d+Z$/, 'Z'),
    ...(row.deletion_at ? { deletionTimestamp: row.deletion_at.toISOString() } : {}),
    ...(Object.keys(row.labels).length > 0 ? { labels: row.labels } : {}),
    ...(Object.keys(row.annotations).length > 0 ? { annotations: row.annotations } : {}),
    ...row.meta,
  }
  // The row was judged against the kind's schema when it was written; this is the only door back.
  return {
    apiVersion: apiVersionOf(row.kind),
    kind: row.kind,
    metadata,
    ...(row.spec === null ? {} : { spec: row.spec }),
    ...(row.status === null ? {} : { status: row.status }),
  } as unknown as ObjectOf<K>
}
