import { type Cause, causes, type KindRow, objectSchema } from '@skerry/api'
import type { NewMeta } from '../../store/resources.ts'
import { StatusError } from '../status-error.ts'

// A client's object: unknown in, judged object out.

export type Submitted = { metadata: NewMeta & { resourceVersion?: string; generateName?: string }; spec?: unknown }

/**
 * The object a client sent, judged against the kind's schema. `mode` is Kubernetes' fieldValidation: Strict (the default
 * here) refuses unknown fields; Warn and Ignore drop them, Warn says which.
 */
export function readObject(
  row: KindRow,
  body: unknown,
  path: { namespace: string; name?: string },
  mode: string,
): { object: Submitted; warnings: string[] } {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new StatusError(400, `a ${row.kind} object is needed as JSON`)
  const copy = structuredClone(body) as Record<string, unknown>
  // An empty spec may be left out, as with Kubernetes' own types.
  if (row.spec && copy['spec'] === undefined) copy['spec'] = {}
  const warnings = mode === 'Strict' ? [] : prune(row, copy)
  const faults = causes(objectSchema(row.kind), copy)
  if (faults.length > 0) throw invalid(row, nameOf(copy), faults)
  const { metadata, spec } = copy as { metadata: Submitted['metadata']; spec?: unknown }
  if (metadata.namespace !== undefined && metadata.namespace !== path.namespace) {
    throw new StatusError(
      400,
      row.namespaced
        ? `the namespace of the object (${metadata.namespace}) does not match the namespace of the request (${path.namespace})`
        : `${row.kind} is cluster-scoped and has no namespace`,
    )
  }
  if (path.name !== undefined && metadata.name !== undefined && metadata.name !== path.name)
    throw new StatusError(
      400,
      `the name of the object (${metadata.name}) does not match the name in the URL (${path.name})`,
    )
  const name =
    path.name ??
    metadata.name ??
    (metadata.generateName ? `${metadata.generateName}${Math.random().toString(36).slice(2, 7)}` : undefined)
  if (name === undefined)
    throw invalid(row, '', [{ field: 'metadata.name', message: 'is required', reason: 'FieldValueRequired' }])
  return { object: { metadata: { ...metadata, name, namespace: path.namespace }, spec }, warnings }
}

/** 422 in Kubernetes' words: one cause a fault. */
export function invalid(row: KindRow, name: string, faults: readonly Cause[]): StatusError {
  const text = faults.map(({ field, message }) => `${field}: ${message}`).join(', ')
  return new StatusError(422, `${row.kind}.${row.group} "${name}" is invalid: ${text}`, {
    name,
    group: row.group,
    kind: row.kind,
    causes: faults,
  })
}

/** RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const merged: Record<string, unknown> =
    typeof target === 'object' && target !== null && !Array.isArray(target) ? { ...target } : {}
  for (const [member, value] of Object.entries(patch)) {
    if (value === null) delete merged[member]
    else merged[member] = mergePatch(merged[member], value)
  }
  return merged
}

function prune(row: KindRow, copy: Record<string, unknown>): string[] {
  const unknown = causes(objectSchema(row.kind), copy).filter(({ reason }) => reason === 'FieldValueForbidden')
  for (const { field } of unknown) {
    const parts = field.split(/\.|\[(\d+)\]/).filter((part) => part !== undefined && part !== '')
    const last = parts.pop()
    let at: unknown = copy
    for (const part of parts) at = typeof at === 'object' && at !== null ? Reflect.get(at, part) : undefined
    if (last !== undefined && typeof at === 'object' && at !== null) Reflect.deleteProperty(at, last)
  }
  return unknown.map(({ field }) => `unknown field "${field}"`)
}

function nameOf(copy: Record<string, unknown>): string {
  const metadata = copy['metadata']
  return typeof metadata === 'object' && metadata !== null && 'name' in metadata ? String(metadata.name) : ''
}
