import { randomInt } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import {
  type Cause,
  causes,
  type KindName,
  type KindRow,
  type ObjectMeta,
  type ObjectOf,
  objectSchema,
  soundPart,
  takeOut,
} from '@skerry/api'
import { type NewMeta, WriteConflict } from '../../store/resources.ts'
import { StatusError } from '../status-error.ts'

// A client's object: unknown in, judged object out.

export type Submitted = { metadata: NewMeta & { resourceVersion?: string; generateName?: string }; spec?: unknown }

/** Kubernetes' fieldValidation. Strict (the default here) refuses unknown fields; Warn and Ignore drop them, Warn says which. */
export type FieldValidation = 'Strict' | 'Warn' | 'Ignore'

/** What is wrong with an object of the kind's schema. */
type Judge = (object: Submitted) => readonly Cause[]

/**
 * The object a client sent, judged against the kind's schema. `before` is what is stored under the name in the path, and
 * undefined for a new object. What a client may not set (generation, creationTimestamp, status) is left aside, as
 * Kubernetes does; what it could not know and got wrong (uid) is a conflict.
 */
export function readObject(
  row: KindRow,
  body: unknown,
  path: { namespace: string; before?: ObjectOf<KindName> | undefined },
  mode: FieldValidation,
  judge: Judge = () => [],
): { object: Submitted; status: unknown; warnings: string[] } {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new StatusError(400, `a ${row.kind} object is needed as JSON`)
  const copy = structuredClone(body) as Record<string, unknown>
  // An empty spec may be left out, as with Kubernetes' own types.
  if (row.spec && copy['spec'] === undefined) copy['spec'] = {}
  const warnings = mode === 'Strict' ? [] : prune(row, copy)
  const faults = causes(objectSchema(row.kind), copy)
  if (faults.length > 0) throw invalid(row, nameOf(copy), [...faults, ...faultsBeside(row, copy, judge, path.before)])

  const { metadata, spec, status } = copy as {
    metadata: ObjectMeta
    spec?: unknown
    status?: unknown
  }
  checkNamespace(row, metadata.namespace, path.namespace)
  const { labels, annotations, ownerReferences } = metadata
  const kept = {
    namespace: path.namespace,
    ...(labels ? { labels } : {}),
    ...(annotations ? { annotations } : {}),
    ...(ownerReferences ? { ownerReferences } : {}),
  }
  const submitted = (named: Submitted['metadata']) => {
    const object = { metadata: { ...kept, ...named }, spec }
    const others = [...metadataFaults(metadata, path.before), ...judge(object)]
    if (others.length > 0) throw invalid(row, named.name, others)
    return { object, status, warnings }
  }
  if (path.before) {
    const { name, uid } = path.before.metadata
    if (metadata.name !== undefined && metadata.name !== name) throw otherName(metadata.name, name)
    if (metadata.uid !== undefined && metadata.uid !== uid)
      throw new WriteConflict(
        'Conflict',
        `${row.kind} "${name}" has the uid ${uid}, not ${metadata.uid}: it was deleted and made anew`,
      )
    // "0" and "" are Kubernetes' ways to say "whatever is there".
    const { resourceVersion = '' } = metadata
    return submitted({ name, ...(resourceVersion === '' || resourceVersion === '0' ? {} : { resourceVersion }) })
  }
  if (metadata.resourceVersion)
    throw new StatusError(400, 'metadata.resourceVersion should not be set on an object that is to be created')
  const { name = '', generateName } = metadata
  if (name === '' && generateName) return submitted({ name: generatedName(generateName), generateName })
  return submitted({ name })
}

export function otherName(given: string, wanted: string): StatusError {
  return new StatusError(400, `the name of the object (${given}) does not match the name in the URL (${wanted})`)
}

/** 422 in Kubernetes' words: one cause a fault. */
function invalid(row: KindRow, name: string, faults: readonly Cause[]): StatusError {
  const text = faults.map(({ field, message }) => `${field}: ${message}`).join(', ')
  return new StatusError(422, `${row.kind}.${row.group} "${name}" is invalid: ${text}`, {
    name,
    group: row.group,
    kind: row.kind,
    causes: faults,
  })
}

const SUFFIX = 8
const LETTERS = 'bcdfghjklmnpqrstvwxz2456789'

/** Kubernetes' way: a random end without vowels, cut so that the whole is still one label. */
export function generatedName(prefix: string): string {
  const end = Array.from({ length: SUFFIX }, () => LETTERS[randomInt(LETTERS.length)]).join('')
  return `${prefix.slice(0, 63 - SUFFIX)}${end}`
}

function checkNamespace(row: KindRow, given: string | undefined, wanted: string): void {
  if (given === undefined || given === wanted) return
  throw new StatusError(
    400,
    row.namespaced
      ? `the namespace of the object (${given}) does not match the namespace of the request (${wanted})`
      : `${row.kind} is cluster-scoped and has no namespace`,
  )
}

// Finalizers would have to hold a deletion back, and owners would have to take what they own with them. This hub does
// neither for what clients write, so it says so instead of storing a promise.
function metadataFaults(
  { name, generateName, finalizers = [], ownerReferences = [] }: ObjectMeta,
  before: ObjectOf<KindName> | undefined,
): Cause[] {
  const faults: Cause[] = []
  if (!before && !name && !generateName)
    faults.push({ field: 'metadata.name', message: 'is required', reason: 'FieldValueRequired' })
  const reason = 'FieldValueForbidden'
  if (finalizers.length > 0)
    faults.push({ field: 'metadata.finalizers', message: 'this hub holds no deletion back; leave it out', reason })
  if (ownerReferences.length > 0 && !isDeepStrictEqual(ownerReferences, before?.metadata.ownerReferences))
    faults.push({
      field: 'metadata.ownerReferences',
      message: 'this hub deletes nothing with its owner; leave it out',
      reason,
    })
  return faults
}

function prune(row: KindRow, copy: Record<string, unknown>): string[] {
  const unknown = causes(objectSchema(row.kind), copy).filter(({ reason }) => reason === 'FieldValueForbidden')
  for (const { field } of unknown) takeOut(copy, field)
  return unknown.map(({ field }) => `unknown field "${field}"`)
}

// What is wrong beyond the schema is told in the same answer, as far as there is something to be judged by itself.
function faultsBeside(
  row: KindRow,
  object: Record<string, unknown>,
  judge: Judge,
  before: ObjectOf<KindName> | undefined,
): readonly Cause[] {
  const sound = soundPart(objectSchema(row.kind), object, row.judged)
  if (!sound) return []
  const { metadata = {}, spec = {} } = sound.rest as { metadata?: ObjectMeta; spec?: unknown }
  const { name = before?.metadata.name ?? '', ...named } = metadata
  return [...metadataFaults(metadata, before), ...judge({ metadata: { ...named, name }, spec })]
    .map((fault) => ({ ...fault, field: sound.placeOf(fault.field) }))
    .filter(({ field }) => !sound.isLeftOut(field))
}

function nameOf(copy: Record<string, unknown>): string {
  const metadata = copy['metadata']
  return typeof metadata === 'object' && metadata !== null && 'name' in metadata && typeof metadata.name === 'string'
    ? metadata.name
    : ''
}
