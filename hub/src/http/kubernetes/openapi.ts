import { createHash } from 'node:crypto'
import { DOCUMENTS, KINDS, type KindRow, objectSchema } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import { GROUP_VERSIONS } from './discovery.ts'
import { OTHER_ROUTES } from './openapi-others.ts'

// /openapi/v3 is what kubectl apply, diff and explain read; /openapi.json is OpenAPI 3.1 for everybody else. Both are
// made from the table of kinds, so that they cannot differ from what is served.

export type Json = Record<string, unknown>

export function openApiRoutes(app: FastifyInstance): void {
  const config = { access: 'authenticated' } as const
  const documents = new Map(
    GROUP_VERSIONS.map(({ group, version, rows }) => [`apis/${group}/${version}`, kubernetesDocument(rows)]),
  )
  const paths = Object.fromEntries(
    [...documents].map(([path, body]) => [path, { serverRelativeURL: `/openapi/v3/${path}?hash=${hash(body)}` }]),
  )
  app.get('/openapi/v3', { config }, () => ({ paths }))
  for (const [path, body] of documents) app.get(`/openapi/v3/${path}`, { config }, () => body)
  // kubectl asks here about kinds that version 3 does not know, in protobuf: a document of no bytes knows none either, and
  // kubectl then says that there is no such kind.
  app.get('/openapi/v2', { config }, (_, reply) =>
    reply.type('application/com.github.proto-openapi.spec.v2@v1.0+protobuf').send(Buffer.alloc(0)),
  )
  const whole = wholeDocument()
  app.get('/openapi.json', { config }, () => whole)
}

const INFO = { title: 'Skerry hub', version: '0.1.0', license: { name: 'Apache-2.0' } }

/** One group and version for Kubernetes' clients, whose reader knows OpenAPI 3.0. */
export function kubernetesDocument(rows: readonly KindRow[]): Json {
  const schemas = Object.fromEntries(
    Object.entries(schemasOf(rows)).map(([name, schema]) => [name, asOpenApi30(schema) as Json]),
  )
  return { openapi: '3.0.0', info: INFO, paths: pathsOfAll(rows), components: { schemas } }
}

/** Everything this hub serves. */
export function wholeDocument(): Json {
  const wire = Object.entries(DOCUMENTS).map(
    ([name, { schema }]) => [`dev.skerry.wire.${name}`, plain(schema)] as const,
  )
  return {
    openapi: '3.1.0',
    info: INFO,
    security: [{ bearer: [] }],
    paths: { ...pathsOfAll(KINDS), ...otherPaths() },
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
      schemas: { ...schemasOf(KINDS), ...Object.fromEntries(wire) },
    },
  }
}

function schemasOf(rows: readonly KindRow[]): Record<string, Json> {
  const schemas: Record<string, Json> = { [STATUS]: STATUS_SCHEMA }
  for (const row of rows) {
    const type = { 'x-kubernetes-group-version-kind': [gvk(row)] }
    schemas[schemaName(row)] = { ...plain(objectSchema(row.kind)), ...type }
    schemas[`${schemaName(row)}List`] = {
      type: 'object',
      required: ['apiVersion', 'kind', 'metadata', 'items'],
      properties: {
        apiVersion: { type: 'string' },
        kind: { type: 'string' },
        metadata: LIST_META,
        items: { type: 'array', items: refTo(schemaName(row)) },
      },
      'x-kubernetes-group-version-kind': [gvk(row, 'List')],
    }
  }
  return schemas
}

const STATUS = 'io.k8s.apimachinery.v1.Status'
const STATUS_SCHEMA: Json = {
  type: 'object',
  description: 'the form of every answer that is no success',
  required: ['kind', 'apiVersion', 'status', 'message', 'reason', 'code'],
  properties: {
    kind: { type: 'string', enum: ['Status'] },
    apiVersion: { type: 'string', enum: ['v1'] },
    metadata: { type: 'object' },
    status: { type: 'string', enum: ['Success', 'Failure'] },
    message: { type: 'string' },
    reason: { type: 'string' },
    code: { type: 'integer' },
    details: { type: 'object' },
  },
}
const LIST_META: Json = {
  type: 'object',
  properties: {
    resourceVersion: { type: 'string' },
    continue: { type: 'string' },
    remainingItemCount: { type: 'integer' },
  },
}

const WRITE_PARAMETERS = ['dryRun', 'fieldManager', 'fieldValidation']
const SELECT_PARAMETERS = ['labelSelector', 'fieldSelector', 'limit', 'continue']
const WATCH_PARAMETERS = [
  'watch',
  'resourceVersion',
  'resourceVersionMatch',
  'sendInitialEvents',
  'allowWatchBookmarks',
  'timeoutSeconds',
]

function pathsOfAll(rows: readonly KindRow[]): Json {
  return Object.assign({}, ...rows.map(pathsOf)) as Json
}

function pathsOf(row: KindRow): Json {
  const base = `/apis/${row.group}/${row.version}`
  const collection = `${base}${row.namespaced ? '/namespaces/{namespace}' : ''}/${row.plural}`
  const one = `${collection}/{name}`
  const object = schemaName(row)
  const make = (verb: string, action: string, path: string, query: string[], result: string, body?: string) => ({
    operationId: `${verb}${row.kind}`,
    description: row.description,
    tags: [row.group],
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': gvk(row),
    parameters: [...pathParameters(path), ...query.map(queryParameter)],
    ...(body ? { requestBody: { required: true, content: { [body]: { schema: refTo(object) } } } } : {}),
    responses: { [verb === 'create' ? 201 : 200]: answer(refTo(result)), default: answer(refTo(STATUS)) },
  })
  const read = [...SELECT_PARAMETERS, ...WATCH_PARAMETERS]
  const can = (verb: KindRow['verbs'][number]) => row.verbs.includes(verb)
  const write = WRITE_PARAMETERS
  const status = `${one}/status`
  const writeStatus = row.clientStatus
    ? {
        put: make('replaceStatusOf', 'put', status, write, object, 'application/json'),
        patch: make('patchStatusOf', 'patch', status, write, object, 'application/merge-patch+json'),
      }
    : {}
  return {
    [collection]: {
      get: make('list', 'list', collection, read, `${object}List`),
      ...(can('create') ? { post: make('create', 'post', collection, write, object, 'application/json') } : {}),
    },
    ...(row.namespaced
      ? {
          [`${base}/${row.plural}`]: {
            get: make('listAll', 'list', `${base}/${row.plural}`, read, `${object}List`),
          },
        }
      : {}),
    [one]: {
      get: make('read', 'get', one, [], object),
      ...(can('update') ? { put: make('replace', 'put', one, write, object, 'application/json') } : {}),
      ...(can('patch') ? { patch: make('patch', 'patch', one, write, object, 'application/merge-patch+json') } : {}),
      ...(can('delete') ? { delete: make('delete', 'delete', one, ['dryRun'], STATUS) } : {}),
    },
    ...(row.status ? { [status]: { get: make('readStatusOf', 'get', status, [], object), ...writeStatus } } : {}),
  }
}

function otherPaths(): Json {
  const paths: Record<string, Json> = {}
  for (const { method, path, summary, open, query = [], body, answer: says, type } of OTHER_ROUTES) {
    const name = `${method} ${path}`.replaceAll(/[^a-z0-9]+/gi, '_')
    paths[path] = {
      ...paths[path],
      [method.toLowerCase()]: {
        operationId: name.replace(/_$/, ''),
        summary,
        ...(open ? { security: [] } : {}),
        parameters: [...pathParameters(path), ...query.map(queryParameter)],
        ...(body ? { requestBody: { required: true, content: { [body.type]: { schema: plain(body.schema) } } } } : {}),
        responses: {
          200: answer(plain(says ?? { type: type === 'text/plain' ? 'string' : 'object' }), type),
          default: answer(refTo(STATUS)),
        },
      },
    }
  }
  return paths
}

function pathParameters(path: string): Json[] {
  return [...path.matchAll(/\{([a-zA-Z0-9]+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
}

function queryParameter(name: string): Json {
  return { name, in: 'query', schema: { type: 'string' } }
}

function answer(schema: Json, type = 'application/json'): Json {
  return { description: 'the answer', content: { [type]: { schema } } }
}

function refTo(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}

/** JSON Schema as OpenAPI 3.0 has it: no type null, no patternProperties, no propertyNames. */
export function asOpenApi30(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asOpenApi30)
  if (typeof value !== 'object' || value === null) return value
  const { anyOf, patternProperties, propertyNames: _, ...rest } = value as Json
  const schema: Json = Object.fromEntries(Object.entries(rest).map(([member, inner]) => [member, asOpenApi30(inner)]))
  if (typeof patternProperties === 'object' && patternProperties !== null)
    schema['additionalProperties'] = asOpenApi30(Object.values(patternProperties)[0])
  if (!Array.isArray(anyOf)) return schema
  const choices = (anyOf as Json[]).filter(({ type }) => type !== 'null')
  if (choices.length < anyOf.length) schema['nullable'] = true
  const [only] = choices
  if (choices.length === 1) return { ...(asOpenApi30(only) as Json), ...schema }
  const types = choices.map(({ type }) => type)
  if (types.includes('integer') && types.includes('string')) schema['x-kubernetes-int-or-string'] = true
  return { ...schema, anyOf: choices.map(asOpenApi30) }
}

// TypeBox's own marks do not survive the copy.
function plain(schema: object): Json {
  return JSON.parse(JSON.stringify(schema)) as Json
}

function schemaName(row: KindRow): string {
  return `${row.group.split('.').toReversed().join('.')}.${row.version}.${row.kind}`
}

function gvk(row: KindRow, suffix = ''): Json {
  return { group: row.group, version: row.version, kind: `${row.kind}${suffix}` }
}

function hash(body: Json): string {
  return createHash('sha256').update(JSON.stringify(body)).digest('hex').slice(0, 32).toUpperCase()
}
