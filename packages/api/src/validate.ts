import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import type { Static, TSchema } from 'typebox'
import { Refusal } from './refusals.ts'

// One validator for every door. AJV judges, TypeBox only builds the schemas: its texts name what is wrong.

// ajv-formats is CommonJS: under NodeNext its default export is the module object.
const addFormats = formats as unknown as typeof formats.default
const ajv = addFormats(
  new Ajv({ allErrors: true, discriminator: true, removeAdditional: false, coerceTypes: false, strict: false }),
)
const compiled = new WeakMap<TSchema, ValidateFunction>()

/** One thing wrong with a value: where (`spec.image.name`) and what. */
export type Cause = {
  readonly field: string
  readonly message: string
  readonly reason: 'FieldValueInvalid' | 'FieldValueRequired' | 'FieldValueForbidden'
}

/** Every member of `value` that is wrong against `schema`, each once; an empty list when none is. */
export function causes(schema: TSchema, value: unknown): readonly Cause[] {
  let validate = compiled.get(schema)
  if (!validate) {
    validate = ajv.compile(schema)
    compiled.set(schema, validate)
  }
  if (validate(value)) return []
  const found = new Map<string, Cause>()
  for (const error of validate.errors ?? []) {
    if (error.keyword === 'anyOf' || error.keyword === 'propertyNames') continue
    // A number or a text of some form: of a text the form is at fault, not that it is none.
    if (error.keyword === 'type' && isOther(error, validate.errors ?? [])) continue
    const cause = toCause(error)
    // One word a member: of several, the format says most.
    if (error.keyword === 'format' || !found.has(cause.field)) found.set(cause.field, cause)
  }
  return [...found.values()]
}

// Whether another branch of the same union takes values of this type, and finds another fault.
function isOther({ instancePath, schemaPath }: ErrorObject, errors: readonly ErrorObject[]): boolean {
  const union = /^(.*\/anyOf)\/\d+\/type$/.exec(schemaPath)?.[1]
  return (
    union !== undefined &&
    errors.some(
      (one) => one.instancePath === instancePath && one.keyword !== 'type' && one.schemaPath.startsWith(`${union}/`),
    )
  )
}

/** `value` as the schema's type, or a Refusal that names the first path at fault. */
export function parse<S extends TSchema>(schema: S, value: unknown, what: string): Static<S> {
  const [first, ...more] = causes(schema, value)
  if (!first) return value as Static<S>
  const others = more.length > 0 ? ` (and ${more.length} more)` : ''
  throw new Refusal('InvalidField', `${what}: ${first.field || 'the document'} ${first.message}${others}`, {
    field: first.field,
  })
}

function toCause(error: ErrorObject): Cause {
  const at = fieldPath(error.instancePath)
  // A fault in the name of a member, and in the member that says which kind a value is.
  if (error.propertyName !== undefined)
    return {
      field: join(at, error.propertyName),
      message: `has a name that ${error.message ?? 'is invalid'}`,
      reason: 'FieldValueInvalid',
    }
  if (error.keyword === 'discriminator') {
    const field = join(at, String(error.params['tag']))
    return { field, message: 'names no kind that is known here', reason: 'FieldValueInvalid' }
  }
  if (error.keyword === 'additionalProperties') {
    const member = String(error.params['additionalProperty'])
    return { field: join(at, member), message: 'is not a known field', reason: 'FieldValueForbidden' }
  }
  if (error.keyword === 'required') {
    return {
      field: join(at, String(error.params['missingProperty'])),
      message: 'is required',
      reason: 'FieldValueRequired',
    }
  }
  if (error.keyword === 'enum') {
    const allowed = (error.params['allowedValues'] as unknown[]).join(', ')
    return { field: at, message: `must be one of: ${allowed}`, reason: 'FieldValueInvalid' }
  }
  return { field: at, message: error.message ?? 'is invalid', reason: 'FieldValueInvalid' }
}

// /spec/predicates/0/x → spec.predicates[0].x, as kubectl prints it
function fieldPath(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : join(path, part)), '')
}

function join(path: string, member: string): string {
  return path === '' ? member : `${path}.${member}`
}
