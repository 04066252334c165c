import { type KindRow, objectSchema } from '@skerry/api'
import { UsageError } from '../errors.ts'
import { didYouMean } from '../nearby.ts'

// What `explain` reads: the JSON Schemas that the hub judges by, so that the two cannot differ.

export type Schema = {
  readonly type?: string
  readonly description?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly items?: Schema
  readonly additionalProperties?: boolean | Schema
  readonly patternProperties?: Readonly<Record<string, Schema>>
  readonly anyOf?: readonly Schema[]
  readonly enum?: readonly string[]
  readonly pattern?: string
  readonly format?: string
  readonly minimum?: number
  readonly maximum?: number
}

/** The schema at a path of a kind, through lists as kubectl does. UsageError names near members. */
export function schemaAt(row: KindRow, path: readonly string[]): Schema {
  let at: Schema = objectSchema(row.kind) as unknown as Schema
  path.forEach((member, index) => {
    const inside = members(at)
    const found = inside?.[member]
    if (found) {
      at = found
      return
    }
    const known = Object.keys(inside ?? {})
    const where = [row.singular, ...path.slice(0, index)].join('.')
    throw new UsageError(
      known.length === 0
        ? `${where} has no fields`
        : `${where} has no field "${member}"${didYouMean(member, known)}; there are: ${known.join(', ')}`,
    )
  })
  return at
}

/** The fields of an object, or of the objects in a list. */
export function members(schema: Schema): Readonly<Record<string, Schema>> | undefined {
  const plain = schema.items ?? schema
  return plain.properties
}

/** `string`, `[]Object`, `map[string]string`, as kubectl writes types. */
export function typeOf(schema: Schema): string {
  if (schema.items) return `[]${typeOf(schema.items)}`
  const values = schema.patternProperties ? Object.values(schema.patternProperties)[0] : undefined
  if (values) return `map[string]${typeOf(values)}`
  if (schema.properties || schema.type === 'object') return 'Object'
  if (schema.anyOf) return [...new Set(schema.anyOf.map(typeOf))].filter((type) => type !== 'null').join(' or ')
  return schema.type ?? 'any'
}

/** What a value must be beyond its type. */
export function limitsOf(schema: Schema): string[] {
  const plain = schema.items ?? schema
  return [
    ...(plain.enum ? [`one of ${plain.enum.join(', ')}`] : []),
    ...(plain.format ? [`format ${plain.format}`] : []),
    ...(plain.pattern ? [`matches ${plain.pattern}`] : []),
    ...(plain.minimum !== undefined ? [`at least ${plain.minimum}`] : []),
    ...(plain.maximum !== undefined && plain.maximum < Number.MAX_SAFE_INTEGER ? [`at most ${plain.maximum}`] : []),
  ]
}
