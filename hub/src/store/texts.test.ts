import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { shareTexts } from './texts.ts'

const said = () => ({ at: new Date(0), n: null, list: [{ message: 'x'.repeat(1_000) }], none: undefined })

test('a value means what it meant, its dates, gaps and lists too', () => {
  const share = shareTexts()
  share(said())
  expect(share(said())).toEqual(said())
  expect(share('text')).toBe('text')
})

test('a thousand values in the same words need the memory of one', () => {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  const used = () => {
    collect()
    return getHeapStatistics().used_heap_size
  }
  const text = JSON.stringify(said())
  const many = (share: <T>(value: T) => T) => Array.from({ length: 1_000 }, () => share(JSON.parse(text)))
  const before = used()
  const apart = many((value) => value)
  const between = used()
  const together = many(shareTexts())
  const after = used()
  expect([apart.length, together.length]).toEqual([1_000, 1_000])
  expect(between - before).toBeGreaterThan(1_000_000)
  expect(after - between).toBeLessThan(500_000)
})

test('what nobody repeats is forgotten', () => {
  const share = shareTexts(2)
  for (const text of ['a', 'b', 'c', 'a']) expect(share([text])).toEqual([text])
})
