import { KINDS } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { testApi } from '../testing.ts'
import { GROUP_VERSIONS } from './discovery.ts'
import { asOpenApi30, type Json, kubernetesDocument, wholeDocument } from './openapi.ts'

const METHODS = ['get', 'put', 'post', 'delete', 'patch']
/** What OpenAPI 3.0.3 ("Schema Object") knows, and Kubernetes' own marks. */
const KEYWORDS_30 = new Set(
  `title multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern maxItems minItems
  uniqueItems maxProperties minProperties required enum type allOf oneOf anyOf not items properties additionalProperties
  description format default nullable discriminator readOnly writeOnly xml externalDocs example deprecated $ref
  x-kubernetes-group-version-kind x-kubernetes-int-or-string`.split(/\s+/),
)
const TYPES_30 = ['string', 'number', 'integer', 'boolean', 'array', 'object']

type Operation = {
  operationId: string
  parameters: { name: string; in: string }[]
  responses: object
  requestBody?: Json
}
const operations = (document: Json) =>
  Object.entries(document['paths'] as Record<string, Record<string, Operation>>).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
  )

function* schemasIn(schema: unknown): Generator<Json> {
  if (typeof schema !== 'object' || schema === null) return
  const one = schema as Json
  yield one
  for (const inner of Object.values((one['properties'] ?? {}) as Json)) yield* schemasIn(inner)
  for (const member of ['items', 'additionalProperties', 'not']) yield* schemasIn(one[member])
  for (const member of ['anyOf', 'oneOf', 'allOf'])
    for (const inner of (one[member] ?? []) as unknown[]) yield* schemasIn(inner)
}

/** Rules of both versions that can be checked without their authors' files. */
function expectSound(document: Json): void {
  const text = JSON.stringify(document)
  const schemas = (document['components'] as { schemas: Json }).schemas
  for (const [, name = ''] of text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g))
    expect(schemas).toHaveProperty([name])
  expect(text.match(/"\$ref":"(?!#\/components\/schemas\/)/)).toBeNull()
  const ids = operations(document).map(({ operation }) => operation.operationId)
  expect(new Set(ids).size).toBe(ids.length)
  for (const { path, method, operation } of operations(document)) {
    expect(METHODS).toContain(method)
    const inPath = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name)
    const declared = operation.parameters.filter((parameter) => parameter.in === 'path').map(({ name }) => name)
    expect({ path, declared }).toEqual({ path, declared: inPath })
    const names = operation.parameters.map((parameter) => `${parameter.in} ${parameter.name}`)
    expect(new Set(names).size).toBe(names.length)
    expect(Object.keys(operation.responses).length).toBeGreaterThan(0)
    expect(operation.requestBody !== undefined).toBe(['put', 'post', 'patch'].includes(method))
  }
}

describe('/openapi.json', () => {
  test('is sound: references resolve, path parameters are declared, operation ids differ', () => {
    const document = wholeDocument()
    expect(document['openapi']).toBe('3.1.0')
    expectSound(document)
  })

  test('holds every route that is served, and no other', async () => {
    const served: string[] = []
    await testApi({
      watchRoutes: (app) =>
        app.addHook('onRoute', ({ method, url }) => {
          const path = url.replace(/:([a-z0-9]+)/gi, '{$1}').replace('*', '{path}')
          for (const one of [method].flat()) if (one !== 'HEAD') served.push(`${one} ${path}`)
        }),
    })
    const told = operations(wholeDocument()).map(({ method, path }) => `${method.toUpperCase()} ${path}`)
    expect(told.toSorted()).toEqual([...new Set(served)].toSorted())
  })

  test('says of every kind what its schema is, and of every document on the wire', () => {
    const { schemas } = wholeDocument()['components'] as { schemas: Record<string, Json> }
    const kinds = Object.values(schemas).flatMap(
      (schema) => (schema['x-kubernetes-group-version-kind'] ?? []) as { kind: string }[],
    )
    for (const { kind } of KINDS) expect(kinds.map((row) => row.kind)).toContain(kind)
    expect(Object.keys(schemas)).toContain('dev.skerry.wire.DesiredState')
  })
})

describe('/openapi/v3', () => {
  test.each(GROUP_VERSIONS.map(({ group, version, rows }) => [`${group}/${version}`, rows] as const))(
    '%s is sound and holds nothing that OpenAPI 3.0 does not know',
    (_, rows) => {
      const document = kubernetesDocument(rows)
      expect(document['openapi']).toBe('3.0.0')
      expectSound(document)
      for (const root of Object.values((document['components'] as { schemas: Json }).schemas))
        for (const schema of schemasIn(root)) {
          for (const keyword of Object.keys(schema)) expect(KEYWORDS_30).toContain(keyword)
          if (schema['type'] !== undefined) expect(TYPES_30).toContain(schema['type'])
        }
      for (const row of rows.filter(({ verbs }) => verbs.includes('patch'))) {
        const patch = operations(document).find(
          ({ method, operation }) => method === 'patch' && operation.operationId === `patch${row.kind}`,
        )
        // Without this parameter kubectl would validate by itself, and otherwise.
        expect(patch?.operation.parameters).toContainEqual(expect.objectContaining({ name: 'fieldValidation' }))
      }
    },
  )

  test.each([
    [{ anyOf: [{ type: 'integer' }, { type: 'null' }] }, { type: 'integer', nullable: true }],
    [
      { anyOf: [{ type: 'integer' }, { type: 'string' }] },
      { anyOf: [{ type: 'integer' }, { type: 'string' }], 'x-kubernetes-int-or-string': true },
    ],
    [
      { type: 'object', patternProperties: { '^.*$': { type: 'string' } } },
      { type: 'object', additionalProperties: { type: 'string' } },
    ],
    [
      { anyOf: [{ type: 'string' }, { type: 'null' }], description: 'when' },
      { type: 'string', description: 'when', nullable: true },
    ],
  ])('%j becomes %j', (schema, expected) => {
    expect(asOpenApi30(schema)).toEqual(expected)
  })

  test('the index names every document, and its hash changes with the document alone', async () => {
    const { ask } = await testApi()
    const { text } = await ask('GET', '/openapi/v3')
    const { paths } = JSON.parse(text) as { paths: Record<string, { serverRelativeURL: string }> }
    expect(Object.keys(paths)).toEqual(GROUP_VERSIONS.map(({ group, version }) => `apis/${group}/${version}`))
    for (const { serverRelativeURL } of Object.values(paths))
      expect((await ask('GET', serverRelativeURL)).code).toBe(200)
    expect((await ask('GET', '/openapi/v3')).text).toBe(text)
  })
})
