import { createHash } from 'node:crypto'
import { DOCUMENTS, KINDS, type KindRow, objectSchema } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import { GROUP_VERSIONS } from './discovery.ts'

// /openapi/v3 is what kubectl apply, diff and explain read; /openapi.json is OpenAPI 3.1 for everybody else. Both are
// made from the table of kinds, so that they cannot differ from what is served.

type Json = Record<string, unknown>

export function openApiRoutes(app: FastifyInstance): void {
  const config = { access: 'authenticated' } as const
  const documents = new Map(
    GROUP_VERSIONS.map(({ group, version, rows }) => [`apis/${group}/${version}`, document(rows, '3.0.0')]),
  )
  const paths = Object.fromEntries(
    [...documents].map(([path, body]) => [path, { serverRelativeURL: `/openapi/v3/${path}?hash=${hash(body)}` }]),
  )
  app.get('/openapi/v3', { config }, () => ({ paths }))
  for (const [path, body] of documents) app.get(`/openapi/v3/${path}`, { config }, () => body)
  const whole = document(KINDS, '3.1.0')
  app.get('/openapi.json', { config }, () => whole)
}

function document(rows: readonly KindRow[], openapi: '3.0.0' | '3.1.0'): Json {
  const schemas: Json = {}
  const paths: Json = {}
  for (const row of rows) {
    schemas[schemaName(row)] = { ...described(objectSchema(row.kind)), 'x-kubernetes-group-version-kind': [gvk(row)] }
    Object.assign(paths, pathsOf(row))
  }
  if (openapi === '3.1.0')
    for (const [name, { schema }] of Object.entries(DOCUMENTS)) schemas[`dev.skerry.wire.${name}`] = schema
  return { openapi, info: { title: 'Skerry hub', version: '0.1.0' }, paths, components: { schemas } }
}

function pathsOf(row: KindRow): Json {
  const scope = row.namespaced ? '/namespaces/{namespace}' : ''
  const collection = `/apis/${row.group}/${row.version}${scope}/${row.plural}`
  const $ref = `#/components/schemas/${schemaName(row)}`
  const named = [...(row.namespaced ? [parameter('namespace')] : []), parameter('name')]
  const query = ['dryRun', 'fieldManager', 'fieldValidation'].map((name) => ({
    name,
    in: 'query',
    schema: { type: 'string' },
  }))
  const operation = (verb: string, action: string, parameters: Json[], body?: string) => ({
    operationId: `${verb}${row.kind}`,
    description: row.description,
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': gvk(row),
    parameters,
    ...(body ? { requestBody: { content: { [body]: { schema: { $ref } } } } } : {}),
    responses: { 200: { description: 'OK', content: { 'application/json': { schema: { $ref } } } } },
  })
  const can = (verb: KindRow['verbs'][number]) => row.verbs.includes(verb)
  return {
    [collection]: {
      get: operation('list', 'list', named.slice(0, -1)),
      ...(can('create')
        ? { post: operation('create', 'post', [...named.slice(0, -1), ...query], 'application/json') }
        : {}),
    },
    [`${collection}/{name}`]: {
      get: operation('read', 'get', named),
      ...(can('update') ? { put: operation('replace', 'put', [...named, ...query], 'application/json') } : {}),
      ...(can('patch')
        ? { patch: operation('patch', 'patch', [...named, ...query], 'application/merge-patch+json') }
        : {}),
      ...(can('delete') ? { delete: operation('delete', 'delete', named) } : {}),
    },
  }
}

function parameter(name: string): Json {
  return { name, in: 'path', required: true, schema: { type: 'string' } }
}

/** kubectl explain prints descriptions; TypeBox's own marks are dropped by the copy. */
function described(schema: object): Json {
  return JSON.parse(JSON.stringify(schema)) as Json
}

function schemaName(row: KindRow): string {
  return `${row.group.split('.').toReversed().join('.')}.${row.version}.${row.kind}`
}

function gvk(row: KindRow): Json {
  return { group: row.group, version: row.version, kind: row.kind }
}

function hash(body: Json): string {
  return createHash('sha256').update(JSON.stringify(body)).digest('hex').slice(0, 32).toUpperCase()
}
