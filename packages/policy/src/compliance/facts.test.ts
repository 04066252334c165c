import { expect, test } from 'vitest'
import { sinceLoss } from './facts.ts'

const of = (seq: number, imageSha256 = 'a') => ({ body: { imageSha256 }, ref: { seq } })

test.each<[string, [booted: number, confirmed: number, failed: number, of?: string], number, (number | undefined)[]]>([
  ['nothing is lost: all counts', [1, 2, 3], 0, [1, 2, 3]],
  ['what was said below what is lost is not known to hold', [1, 2, 3], 5, [undefined, undefined, 3]],
  ['what was said since counts', [6, 7, 8], 5, [6, 7, 8]],
  ['an end of what is lost is lost', [5, 6, 3], 5, [undefined, 6, 3]],
  ['what failed and was confirmed before does not come back', [1, 4, 3], 5, [undefined, undefined, undefined]],
  ['another image that was confirmed mends nothing', [1, 4, 3, 'b'], 5, [undefined, undefined, 3]],
  ['what was confirmed since is told beside what failed', [6, 7, 3], 5, [6, 7, 3]],
])('%s', (_, [booted, confirmed, failed, image], lostUpTo, wanted) => {
  const found = sinceLoss({ booted: of(booted), confirmed: of(confirmed, image), failed: of(failed) }, lostUpTo)
  expect([found.booted, found.confirmed, found.failed].map((said) => said?.ref.seq)).toEqual(wanted)
})

test('who said nothing has nothing', () => {
  const nothing = { booted: undefined, confirmed: undefined, failed: undefined }
  expect(sinceLoss(nothing, 5)).toEqual(nothing)
})
