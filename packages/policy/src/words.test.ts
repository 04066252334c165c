import { expect, test } from 'vitest'
import { counted, firstOf } from './words.ts'

test.each([
  [['a'], 2, undefined, 'a'],
  [['a', 'b'], 2, undefined, 'a, b'],
  [['a', 'b', 'c', 'd'], 2, undefined, 'a, b and 2 more'],
  [['a', 'b'], 2, 40, 'a, b and 38 more'],
] as const)('of %j at most %i are named, and the others are a number', (names, most, count, text) => {
  expect(firstOf(names, most, count)).toBe(text)
})

test.each([
  [0, '0 clusters are'],
  [1, '1 cluster is'],
  [2, '2 clusters are'],
])('%i is counted as "%s"', (count, text) => {
  expect(counted(count, 'cluster is', 'clusters are')).toBe(text)
  expect(counted(count, 'cluster')).toBe(text.replace(/ (is|are)$/, ''))
})
