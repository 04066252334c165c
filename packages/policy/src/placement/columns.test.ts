import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Columns } from './columns.ts'
import { mismatch } from './selectors.ts'

const NONE: ReadonlyMap<string, string> = new Map()

test('a key that nobody has any more takes no room', () => {
  const columns = new Columns(4)
  let before = NONE
  for (let day = 0; day < 1_000; day += 1) {
    const after = new Map([
      ['site', 'a'],
      [`seen-${day}`, 'yes'],
    ])
    columns.put(day % 4, NONE, after)
    columns.put((day + 3) % 4, before, NONE)
    before = after
  }
  expect(columns.size).toBe(2)
  columns.put(999 % 4, before, NONE)
  expect(columns.size).toBe(0)
})

test('whatever comes and goes, columns say what the plain rule says', () => {
  const keys = ['a', 'b', '__proto__', 'constructor']
  const labels = fc
    .dictionary(fc.constantFrom(...keys), fc.constantFrom('x', 'y', ''), { noNullPrototype: false })
    .map((given) => new Map(Object.entries(given)))
  const requirement = fc.record({
    key: fc.constantFrom(...keys),
    operator: fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist'),
    values: fc.subarray(['x', 'y', '', 'z'], { minLength: 1 }),
  })
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(5), labels)), fc.array(requirement), (changes, requirements) => {
      const columns = new Columns(8)
      const held = Array.from({ length: 6 }, () => NONE)
      const selector = { matchExpressions: requirements }
      for (const [slot, after] of changes) {
        columns.put(slot, held[slot] ?? NONE, after)
        held[slot] = after
        const mask = new Uint8Array(8).fill(1)
        columns.narrow(mask, selector)
        const wanted = held.map((own) => mismatch(selector, own, 'label') === undefined)
        expect(held.map((_, at) => mask[at] === 1)).toEqual(wanted)
        expect(held.map((_, at) => columns.meets(at, selector))).toEqual(wanted)
      }
      expect(columns.size).toBe(new Set(held.flatMap((own) => [...own.keys()])).size)
    }),
  )
})
