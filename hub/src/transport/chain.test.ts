import { Refusal } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import type { NewStatement } from '../store/statements.ts'
import { type Batch, bridge, fitBatches, MAX_ABOVE } from './chain.ts'

// What is stored above a gap is bounded, whoever says what. Digests of a chain of its own: `prev` is the number below.

const of = (first: number, last: number, bytes = 1, digest = (seq: number) => `d${seq}`): Batch => {
  const one = (seq: number): NewStatement => ({
    ...{ cluster: 'shop', node: 'n1', incarnation: 1, seq, kind: 'accepted', phase: '' },
    prev: digest(seq - 1),
    digest: digest(seq),
    text: 'x'.repeat(bytes),
  })
  return [one(first), ...Array.from({ length: last - first }, (_, n) => one(first + 1 + n))]
}
const NOTHING = { digests: new Map<number, string>(), abovePrev: undefined }
const fit = (batches: readonly Batch[], place: Partial<Parameters<typeof fitBatches>[1]> = {}) =>
  fitBatches(
    batches.map((batch) => ({ batch, stored: NOTHING })),
    { watermark: 10, above: { count: 0, gaps: 0, bytes: 0 }, ...place },
  ).map((one) => (one instanceof Refusal ? one.code : one.length))

const FULL = { count: MAX_ABOVE.count, gaps: 0, bytes: 0 }
describe('above a gap', () => {
  test.each([
    ['what follows the watermark is always taken', [of(11, 20)], { above: FULL }, [10]],
    [
      'what follows something that comes with it too, in any order',
      [of(21, 30), of(11, 20)],
      { above: FULL },
      [10, 10],
    ],
    ['what two bring is taken once', [of(11, 20), of(15, 25)], { above: FULL }, [10, 5]],
    ['the last one that has room is taken', [of(12, 12)], { above: { ...FULL, count: MAX_ABOVE.count - 1 } }, [1]],
    ['one more is not', [of(12, 12)], { above: FULL }, ['ChainGap']],
    ['nor more bytes', [of(12, 12, 2)], { above: { count: 1, gaps: 0, bytes: MAX_ABOVE.bytes - 1 } }, ['ChainGap']],
    [
      'those of one commit are counted together',
      [of(12, 12), of(14, 14), of(16, 16)],
      { above: { ...FULL, count: MAX_ABOVE.count - 2 } },
      [1, 1, 'ChainGap'],
    ],
    [
      'a bridge that is refused itself closes nothing',
      [of(20, 30), of(11, 19, 1, (seq) => `other${seq}`), of(31, 40)],
      { above: FULL },
      ['ChainGap', 'BrokenChain', 'ChainGap'],
    ],
  ] as const)('%s', (_, batches, place, wanted) => {
    expect(fit(batches, place)).toEqual(wanted)
  })
})

test('what stands above a gap is counted in words', () => {
  const [refusal] = fitBatches([{ batch: of(12, 12, 2), stored: NOTHING }], {
    ...{ watermark: 10, above: { count: 1, gaps: 0, bytes: MAX_ABOVE.bytes - 1 } },
  })
  expect(refusal).toMatchObject({
    message: `shop/n1 has 1 statement (${MAX_ABOVE.bytes - 1} bytes) above a gap after 10; 11 has to come first`,
  })
})

test('what held a batch for stored that is refused is looked at again without it: nothing is taken in part', () => {
  // The second one has room for what the first did not bring, and none for all of it.
  const place = { above: { ...FULL, count: MAX_ABOVE.count - 5 } }
  expect(fit([of(20, 29), of(24, 31)], place)).toEqual(['ChainGap', 'ChainGap'])
  expect(fit([of(20, 29), of(27, 31)], place)).toEqual(['ChainGap', 5])
})

describe('over what a node has no more', () => {
  test.each<[string, [number, number][], [number, number, number][], number, [number, number, number][]]>([
    ['nothing is closed', [[15, 20]], [], 10, []],
    ['one gap is', [[15, 20]], [[20, 11, 14]], 20, [[11, 14, 20]]],
    ['a part of it is', [[15, 20]], [[20, 11, 13]], 13, [[11, 13, 20]]],
    ['but not its lowest', [[15, 20]], [[20, 12, 14]], 10, []],
    [
      'two close it together',
      [[15, 20]],
      [
        [19, 11, 12],
        [20, 13, 14],
      ],
      20,
      [
        [11, 12, 19],
        [13, 14, 20],
      ],
    ],
    [
      'the widest closes all',
      [[15, 20]],
      [
        [19, 11, 12],
        [20, 5, 14],
      ],
      20,
      [[11, 14, 20]],
    ],
    [
      'what is there is not lost',
      [
        [13, 13],
        [16, 20],
      ],
      [[20, 1, 19]],
      20,
      [
        [11, 12, 20],
        [14, 15, 20],
      ],
    ],
    [
      'beyond what it closes is a gap',
      [
        [13, 13],
        [16, 20],
      ],
      [[20, 1, 13]],
      13,
      [[11, 12, 20]],
    ],
    [
      'no more than so many',
      [
        [13, 13],
        [16, 16],
        [20, 20],
      ],
      [[20, 1, 19]],
      16,
      [
        [11, 12, 20],
        [14, 15, 20],
      ],
    ],
  ])('%s', (_, runs, said, watermark, closed) => {
    const found = bridge(
      10,
      runs.map(([first, last]) => ({ first, last })),
      said.map(([seq, fromSeq, toSeq]) => ({ seq, fromSeq, toSeq })),
      2,
    )
    expect([found.watermark, found.closed.map(({ first, last, by }) => [first, last, by])]).toEqual([watermark, closed])
  })
})
