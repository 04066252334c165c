import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { apiVersionOf, type KindName, type ObjectOf, type StoredMeta } from '@skerry/api'
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

/** The channel on which a committed version is announced, as its number. */
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

export type ListOptions = {
  namespace?: string | undefined
  after?: { namespace: string; name: string } | undefined
  limit?: number | undefined
}

/** Objects of a kind in the order of namespace and name. */
export async function listObjects<K extends KindName>(
  tx: Reader,
  kind: K,
  { namespace, after, limit }: ListOptions = {},
): Promise<ObjectOf<K>[]> {
  const rows = await tx<Row[]>`
    select * from resource where kind = ${kind}
    ${namespace === undefined ? tx`` : tx`and namespace = ${namespace}`}
    ${after === undefined ? tx`` : tx`and (namespace, name) > (${after.namespace}, ${after.name})`}
    order by namespace collate "C", name collate "C" ${limit === undefined ? tx`` : tx`limit ${limit}`}`
  return rows.map((row) => toObject<K>(row))
}

/** Makes an object. WriteConflict AlreadyExists when its name is taken. */
export async function createObject<K extends KindName>(
  tx: Tx,
  kind: K,
  { metadata, spec, status }: { metadata: NewMeta; spec?: unknown; status?: unknown },
): Promise<ObjectOf<K>> {
  const { name, namespace = '', labels = {}, annotations = {}, ownerReferences } = metadata
  const [row] = await tx<Row[]>`
    insert into resource (kind, namespace, name, uid, generation, resource_version, labels, annotations, meta, spec, status, created_at)
    values (${kind}, ${namespace}, ${name}, ${randomUUID()}, 1, nextval('resource_version'), ${tx.json(labels)}, ${tx.json(annotations)},
      ${json(tx, ownerReferences ? { ownerReferences } : {})}, ${json(tx, spec ?? null)}, ${json(tx, status ?? null)}, now())
    on conflict do nothing returning *`
  if (!row) throw new WriteConflict('AlreadyExists', `${kind} "${name}" already exists`)
  return announce<K>(tx, 'ADDED', row)
}

/** Replaces metadata and spec. The generation rises with the spec alone. WriteConflict when `ifVersion` is not the stored one. */
export async function updateObject<K extends KindName>(
  tx: Tx,
  kind: K,
  object: { metadata: NewMeta; spec?: unknown },
  ifVersion?: string,
): Promise<ObjectOf<K> | undefined> {
  const { name, namespace = '', labels = {}, annotations = {}, ownerReferences } = object.metadata
  const [was] = await tx<
    Row[]
  >`select * from resource where kind = ${kind} and namespace = ${namespace} and name = ${name} for update`
  if (!was) return undefined
  if (ifVersion !== undefined && ifVersion !== was.resource_version) {
    throw new WriteConflict(
      'Conflict',
      `Operation cannot be fulfilled on ${kind} "${name}": the object has been modified; please apply your changes to the latest version and try again`,
    )
  }
  const meta = ownerReferences ? { ownerReferences } : {}
  const sameSpec = isDeepStrictEqual(was.spec, plain(object.spec ?? null))
  if (
    sameSpec &&
    isDeepStrictEqual(was.labels, labels) &&
    isDeepStrictEqual(was.annotations, annotations) &&
    isDeepStrictEqual(was.meta, meta)
  )
    return toObject<K>(was)
  const [row] = await tx<Row[]>`
    update resource set labels = ${tx.json(labels)}, annotations = ${tx.json(annotations)}, meta = ${json(tx, meta)}, spec = ${json(tx, object.spec ?? null)},
      generation = generation + ${sameSpec ? 0 : 1}, resource_version = nextval('resource_version')
    where kind = ${kind} and namespace = ${namespace} and name = ${name} returning *`
  return row && announce<K>(tx, 'MODIFIED', row)
}

/** Writes a status. Returns whether anything changed: an equal status is no write and no new version. */
export async function saveStatus<K extends KindName>(
  tx: Tx,
  kind: K,
  namespace: string,
  name: string,
  status: NonNullable<ObjectOf<K>['status']>,
): Promise<boolean> {
  const [was] = await tx<
    Row[]
  >`select * from resource where kind = ${kind} and namespace = ${namespace} and name = ${name} for update`
  if (!was || isDeepStrictEqual(was.status, plain(status))) return false
  const [row] = await tx<Row[]>`
    update resource set status = ${json(tx, status)}, resource_version = nextval('resource_version')
    where kind = ${kind} and namespace = ${namespace} and name = ${name} returning *`
  if (row) await announce<K>(tx, 'MODIFIED', row)
  return true
}

/** Removes an object and returns what it was; undefined when there was none. */
export async function deleteObject<K extends KindName>(
  tx: Tx,
  kind: K,
  namespace: string,
  name: string,
): Promise<ObjectOf<K> | undefined> {
  const [row] = await tx<(Row & { next: string })[]>`
    delete from resource where kind = ${kind} and namespace = ${namespace} and name = ${name} returning *, nextval('resource_version') as next`
  // A deletion is a version of its own, so that a watch orders it.
  return row && announce<K>(tx, 'DELETED', { ...row, resource_version: row.next })
}

/** The newest version that is committed. */
export async function newestVersion(tx: Reader): Promise<number> {
  const [row] = await tx<{ max: string | null }[]>`select max(resource_version) as max from resource_change`
  return Number(row?.max ?? 0)
}

export type Change = {
  readonly version: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: ObjectOf<KindName>
}

/** Committed changes of a kind after a version, oldest first; undefined when that history was compacted. */
export async function changesSince(
  tx: Reader,
  kind: KindName,
  version: number,
  limit: number,
): Promise<Change[] | undefined> {
  const [oldest] = await tx<{ value: number }[]>`select value::int as value from hub_state where key = 'compacted'`
  if (version < (oldest?.value ?? 0)) return undefined
  const rows = await tx<{ resource_version: string; type: Change['type']; object: ObjectOf<KindName> }[]>`
    select resource_version, type, object from resource_change where kind = ${kind} and resource_version > ${version} order by resource_version limit ${limit}`
  return rows.map((row) => ({ version: Number(row.resource_version), type: row.type, object: row.object }))
}

/** Forgets history older than `keep` versions. A watch that asks for what is gone is told to list again. */
export async function compactChanges(tx: Tx, keep: number): Promise<void> {
  const upTo = (await newestVersion(tx)) - keep
  if (upTo <= 0) return
  await tx`delete from resource_change where resource_version <= ${upTo}`
  await tx`insert into hub_state (key, value, changed) values ('compacted', ${tx.json(upTo)}, now()) on conflict (key) do update set value = excluded.value, changed = now()`
}

async function announce<K extends KindName>(tx: Tx, type: Change['type'], row: Row): Promise<ObjectOf<K>> {
  const object = toObject<K>(row)
  await tx`insert into resource_change (resource_version, type, kind, namespace, name, object, at)
    values (${row.resource_version}, ${type}, ${row.kind}, ${row.namespace}, ${row.name}, ${json(tx, object)}, now())`
  await tx`select pg_notify(${CHANGE_CHANNEL}, ${row.resource_version})`
  return object
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

// What JSON makes of a value: members that are undefined are not there.
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

function json(tx: Tx, value: unknown) {
  return tx.json(plain(value) as Parameters<Tx['json']>[0])
}
