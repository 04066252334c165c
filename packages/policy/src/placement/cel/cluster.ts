import type { ObjectOf } from '@skerry/api'
import type { Score } from './library/ocm.ts'
import { parseQuantity } from './quantity.ts'
import { CelError, type Value } from './values.ts'

// A ManagedCluster as OCM's Go types write it: what expressions see. Made once for each cluster, not for each placement.

/** Scores of an AddOnPlacementScore in a cluster's namespace; undefined where there is no such object. */
export type ScoresOf = (cluster: string, name: string) => readonly Score[] | undefined

export type PreparedCluster = { readonly object: ReadonlyMap<string, Value>; readonly scoresOf: ScoresOf }

type Fields = Map<string, Value>

export function celCluster(cluster: ObjectOf<'ManagedCluster'>, scoresOf: ScoresOf): PreparedCluster {
  const object: Fields = new Map<string, Value>([
    ['metadata', metadataOf(cluster.metadata)],
    ['spec', specOf(cluster.spec)],
    ['status', statusOf(cluster.status ?? {})],
  ])
  return { object, scoresOf }
}

function metadataOf(metadata: Readonly<Record<string, unknown>>): Value {
  const fields: Fields = new Map()
  for (const name of ['name', 'generateName', 'namespace', 'selfLink', 'uid', 'resourceVersion'])
    put(fields, name, metadata[name])
  put(fields, 'generation', metadata['generation'])
  putTime(fields, 'creationTimestamp', metadata['creationTimestamp'])
  putTime(fields, 'deletionTimestamp', metadata['deletionTimestamp'])
  // A grace of no seconds is there: upstream it is a pointer.
  const grace = metadata['deletionGracePeriodSeconds']
  if (typeof grace === 'number') fields.set('deletionGracePeriodSeconds', BigInt(grace))
  for (const name of ['labels', 'annotations', 'ownerReferences', 'finalizers']) put(fields, name, metadata[name])
  return fields
}

function specOf(spec: Readonly<Record<string, unknown>> | undefined): Value {
  const fields: Fields = new Map()
  putList(fields, 'managedClusterClientConfigs', spec?.['managedClusterClientConfigs'], (config) => {
    const own: Fields = new Map<string, Value>([['url', text(config['url'])]])
    put(own, 'caBundle', config['caBundle'])
    return own
  })
  fields.set('hubAcceptsClient', spec?.['hubAcceptsClient'] === true)
  put(fields, 'leaseDurationSeconds', spec?.['leaseDurationSeconds'])
  putList(fields, 'taints', spec?.['taints'], (taint) => {
    const own: Fields = new Map<string, Value>([['key', text(taint['key'])]])
    put(own, 'value', taint['value'])
    own.set('effect', text(taint['effect']))
    own.set('timeAdded', timeText(taint['timeAdded']))
    return own
  })
  return fields
}

function statusOf(status: Readonly<Record<string, unknown>>): Value {
  const fields: Fields = new Map()
  const conditions = status['conditions']
  fields.set('conditions', Array.isArray(conditions) ? conditions.map(conditionOf) : null)
  for (const name of ['capacity', 'allocatable']) {
    const amounts = Object.entries(record(status[name])).map(([key, amount]): [string, Value] => {
      const quantity = parseQuantity(String(amount))
      return [key, quantity instanceof CelError ? String(amount) : quantity.toString()]
    })
    if (amounts.length > 0) fields.set(name, new Map(amounts))
  }
  const version: Fields = new Map()
  put(version, 'kubernetes', record(status['version'])['kubernetes'])
  fields.set('version', version)
  putList(fields, 'clusterClaims', status['clusterClaims'], (claim) => {
    const own: Fields = new Map<string, Value>([['name', text(claim['name'])]])
    put(own, 'value', claim['value'])
    return own
  })
  return fields
}

function conditionOf(condition: Readonly<Record<string, unknown>>): Value {
  const own: Fields = new Map<string, Value>([
    ['type', text(condition['type'])],
    ['status', text(condition['status'])],
  ])
  put(own, 'observedGeneration', condition['observedGeneration'])
  own.set('lastTransitionTime', timeText(condition['lastTransitionTime']))
  own.set('reason', text(condition['reason']))
  own.set('message', text(condition['message']))
  return own
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null
const record = (value: unknown): Readonly<Record<string, unknown>> => (isRecord(value) ? value : {})
const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Go's omitempty: no empty text, list, map, and no zero. */
function put(fields: Fields, name: string, value: unknown): void {
  const own = celValue(value)
  if (own === null || own === '' || own === 0n) return
  if (Array.isArray(own) ? own.length > 0 : !(own instanceof Map) || own.size > 0) fields.set(name, own)
}

function putList(
  fields: Fields,
  name: string,
  items: unknown,
  of: (item: Readonly<Record<string, unknown>>) => Value,
): void {
  if (Array.isArray(items) && items.length > 0)
    fields.set(
      name,
      items.map((item) => of(record(item))),
    )
}

function putTime(fields: Fields, name: string, value: unknown): void {
  const time = timeText(value)
  if (time !== null) fields.set(name, time)
}

/** UTC in whole seconds; null for none. */
function timeText(value: unknown): string | null {
  const ms = typeof value === 'string' ? Date.parse(value) : Number.NaN
  if (Number.isNaN(ms)) return null
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

/** Numbers of objects are integers: a ManagedCluster has no other ones. */
function celValue(value: unknown): Value {
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value
  if (Array.isArray(value)) return value.map(celValue)
  if (typeof value !== 'object' || value === null) return null
  return new Map(Object.entries(value).map(([key, item]) => [key, celValue(item)]))
}
