import { Refusal } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import type { NewStatement } from '../store/statements.ts'
import { type Batch, fitBatches, MAX_ABOVE } from './chain.ts'

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
    { watermark: 10, above: { count: 0, bytes: 0 }, ...place },
  ).map((one) => (one instanceof Refusal ? one.code : one.length))

const FULL = { count: MAX_ABOVE.count, bytes: 0 }
describe('above a gap', () => {
  test.each([
    ['what follows the watermark is always taken', [of(11, 20)], { above: FULL }, [10]],
    [
      'what follows something that comes with it too, in any order',
      [of(21, 30), of(11, 20)],
      { above: FULL },
      [10, 10],
    ],
    ['the last one that has room is taken', [of(12, 12)], { above: { count: MAX_ABOVE.count - 1, bytes: 0 } }, [1]],
    ['one more is not', [of(12, 12)], { above: FULL }, ['ChainGap']],
    ['nor more bytes', [of(12, 12, 2)], { above: { count: 1, bytes: MAX_ABOVE.bytes - 1 } }, ['ChainGap']],
    [
      'those of one commit are counted together',
      [of(12, 12), of(14, 14), of(16, 16)],
      { above: { count: MAX_ABOVE.count - 2, bytes: 0 } },
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
