import { isDeepStrictEqual } from 'node:util'
import type { Declared } from './documents.ts'

// What kubectl's client-side apply does: of three states, the smallest merge patch (RFC 7386) that makes the present one
// what is declared, and takes away what was declared last time and is not any more. Lists are one value.

/** kubectl's own annotation, so that both may apply the same object in turn. */
export const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration'

type Json = { readonly [member: string]: unknown }

/** The declared object as it is sent: without what the hub writes, and with itself as its annotation. */
export function declared({ status: _, ...object }: Declared, namespace: string | undefined): Declared {
  const {
    uid: _uid,
    generation: _generation,
    creationTimestamp: _time,
    managedFields: _managed,
    ...metadata
  } = object.metadata
  const annotations = without(metadata.annotations ?? {}, LAST_APPLIED)
  const plain = {
    ...object,
    metadata: {
      ...metadata,
      ...(namespace === undefined ? {} : { namespace }),
      ...(Object.keys(annotations).length > 0 || metadata.annotations ? { annotations } : {}),
    },
  } as Declared
  return {
    ...plain,
    metadata: { ...plain.metadata, annotations: { ...annotations, [LAST_APPLIED]: `${JSON.stringify(plain)}\n` } },
  }
}

/** What was declared last time, as far as it can be read. */
export function lastApplied(current: { readonly metadata: { readonly annotations?: Record<string, string> } }): Json {
  try {
    const read: unknown = JSON.parse(current.metadata.annotations?.[LAST_APPLIED] ?? '{}')
    return isObject(read) ? read : {}
  } catch {
    return {}
  }
}

/** The merge patch from `current` to `wanted`, given what was declared before; undefined when nothing differs. */
export function threeWayPatch(last: Json, wanted: Json, current: Json): Json | undefined {
  const patch: Record<string, unknown> = {}
  for (const [member, value] of Object.entries(wanted)) {
    const is = current[member]
    if (isObject(value) && isObject(is)) {
      const was = last[member]
      const inner = threeWayPatch(isObject(was) ? was : {}, value, is)
      if (inner !== undefined) patch[member] = inner
    } else if (!isDeepStrictEqual(value, is)) {
      patch[member] = value
    }
  }
  for (const member of Object.keys(last)) {
    if (!Object.hasOwn(wanted, member) && Object.hasOwn(current, member)) patch[member] = null
  }
  return Object.keys(patch).length > 0 ? patch : undefined
}

function without(record: Record<string, string>, name: string): Record<string, string> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => key !== name))
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
