import { describe, expect, test } from 'vitest'
import { declared, LAST_APPLIED, lastApplied, threeWayPatch } from './merge.ts'

type Case = { last?: object; wanted: object; current: object; patch: object | undefined }

describe('a three-way merge patch', () => {
  test.each<[string, Case]>([
    ['is none when all is so', { wanted: { a: 1 }, current: { a: 1, b: 2 }, patch: undefined }],
    ['sets what differs and what is missing', { wanted: { a: 1, b: 2 }, current: { a: 0 }, patch: { a: 1, b: 2 } }],
    [
      'takes away what was declared and is not any more',
      { last: { a: 1, b: 2 }, wanted: { a: 1 }, current: { a: 1, b: 2 }, patch: { b: null } },
    ],
    ['leaves what others wrote', { last: { a: 1 }, wanted: { a: 1 }, current: { a: 1, theirs: 2 }, patch: undefined }],
    ['does not take away what is gone already', { last: { b: 2 }, wanted: {}, current: {}, patch: undefined }],
    [
      'goes into objects',
      {
        last: { s: { x: 1, y: 1 } },
        wanted: { s: { x: 2 } },
        current: { s: { x: 1, y: 1, z: 1 } },
        patch: { s: { x: 2, y: null } },
      },
    ],
    ['takes a whole object away', { last: { s: { x: 1 } }, wanted: {}, current: { s: { x: 1 } }, patch: { s: null } }],
    ['takes a list as one value', { wanted: { l: [1, 2] }, current: { l: [1] }, patch: { l: [1, 2] } }],
    ['replaces a value by an object', { wanted: { s: { x: 1 } }, current: { s: 1 }, patch: { s: { x: 1 } } }],
  ])('%s', (_, { last = {}, wanted, current, patch }) => {
    expect(threeWayPatch({ ...last }, { ...wanted }, { ...current })).toEqual(patch)
  })
})

describe('what is declared', () => {
  const object = {
    apiVersion: 'skerry.dev/v1alpha1',
    kind: 'Rollout',
    metadata: { name: 'a', uid: 'u', creationTimestamp: null, generation: 3, annotations: { mine: 'x' } },
    spec: { image: { name: 'i' } },
    status: { phase: 'Running' },
  }

  test('leaves out what the hub writes and carries itself as kubectl’s annotation', () => {
    const sent = declared(object, 'fleet')
    expect(sent).toMatchObject({
      metadata: { name: 'a', namespace: 'fleet', annotations: { mine: 'x' } },
      spec: object.spec,
    })
    expect(Object.keys(sent)).not.toContain('status')
    expect(Object.keys(sent.metadata)).toEqual(['name', 'annotations', 'namespace'])
    expect(lastApplied({ metadata: { annotations: { ...sent.metadata.annotations } } })).toEqual({
      apiVersion: object.apiVersion,
      kind: 'Rollout',
      metadata: { name: 'a', namespace: 'fleet', annotations: { mine: 'x' } },
      spec: object.spec,
    })
  })

  test('does not grow when an exported object is applied again', () => {
    const once = declared(object, 'fleet')
    expect(declared(once, 'fleet')).toEqual(once)
  })

  test('an annotation that nobody can read is as if there were none', () => {
    expect(lastApplied({ metadata: { annotations: { [LAST_APPLIED]: '{' } } })).toEqual({})
  })
})
