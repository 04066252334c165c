import { Type } from 'typebox'
import { describe, expect, test } from 'vitest'
import { apiVersionOf, kindRow, objectSchema } from './kinds.ts'
import { soundPart } from './sound-part.ts'

// What of an object with faults is judged further, and what of that is said of the whole.

const Names = Type.Object({
  names: Type.Array(Type.String()),
  pairs: Type.Optional(Type.Array(Type.String(), { minItems: 2 })),
  lists: Type.Optional(Type.Array(Type.Array(Type.String()))),
})

function soundOf(object: Record<string, unknown>) {
  const sound = soundPart(Names, object)
  if (!sound) throw new Error('nothing of it is sound')
  return sound
}

describe('a list that faulty items were taken out of', () => {
  test('is judged as it is then, and its items are told where they were', () => {
    const { rest, placeOf, isLeftOut } = soundOf({ names: [1, 'a', 2, 'b'] })
    expect(rest).toEqual({ names: ['a', 'b'] })
    expect(placeOf('names[1]')).toBe('names[3]')
    expect(isLeftOut('names[3]')).toBe(false)
    expect(isLeftOut('names[0]')).toBe(true)
    // What is said of the list is true of the whole one, too.
    expect(isLeftOut('names')).toBe(false)
  })

  test('is taken out itself where nothing is left of it, or too little', () => {
    const { rest, isLeftOut } = soundOf({ names: [1], pairs: ['a', 1], lists: [[1], ['a']] })
    expect(rest).toEqual({ lists: [['a']] })
    for (const field of ['names', 'names[0]', 'pairs', 'lists[0]'])
      expect([field, isLeftOut(field)]).toEqual([field, true])
    for (const field of ['lists', 'lists[1]']) expect([field, isLeftOut(field)]).toEqual([field, false])
    expect(soundOf({ names: [], lists: [[1]] })).toMatchObject({ rest: { names: [] } })
    expect(soundOf({ names: [], lists: [[1]] }).isLeftOut('lists')).toBe(true)
    // One that was empty is as it was.
    expect(soundOf({ names: [], lists: [[1]] }).isLeftOut('names')).toBe(false)
  })
})

describe('what is judged by another part of a kind', () => {
  const restOf = (kind: 'Placement' | 'Rollout', spec: object) => {
    const object = { apiVersion: apiVersionOf(kind), kind, metadata: { name: 'x' }, spec }
    return soundPart(objectSchema(kind), object, kindRow(kind).judged)?.rest['spec']
  }

  test('goes with it where the kind says so', () => {
    const waves = [
      { startAfter: '1h', percent: 10 },
      { startAfter: 2, percent: 100 },
    ]
    expect(restOf('Rollout', { placementRef: { name: 'p' }, image: { name: 'i' }, waves })).toEqual({
      ...{ placementRef: { name: 'p' }, image: { name: 'i' } },
    })
    const tolerations = [{ key: 'k', operator: 1 }, { operator: 'Exists' }]
    expect(restOf('Placement', { tolerations })).toEqual({ tolerations: [{ operator: 'Exists' }] })
  })
})
