import { causes, type Static, type TSchema } from '@skerry/api'
import { StatusError } from './status-error.ts'

/** A request's body as the schema's type, or StatusError 422 with one cause for each fault. */
export function readBody<S extends TSchema>(schema: S, body: unknown, what: string): Static<S> {
  const faults = causes(schema, body ?? {})
  if (faults.length === 0) return (body ?? {}) as Static<S>
  const text = faults.map(({ field, message }) => `${field || 'the body'}: ${message}`).join(', ')
  throw new StatusError(422, `${what} is invalid: ${text}`, { causes: faults })
}
