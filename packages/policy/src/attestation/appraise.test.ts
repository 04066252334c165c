import type { EvidenceBody, Verdict } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { appraise, asGoodAs } from './appraise.ts'

const nonce = 'a'.repeat(64)
const evidence: EvidenceBody = { class: 'software-key', bootId: 'b', slot: 'a', imageSha256: 'b'.repeat(64), nonce }

describe('appraise', () => {
  test.each<[string, Partial<EvidenceBody>, Verdict, string]>([
    ['a key in a file is never better than warning', {}, 'warning', 'SoftwareKey'],
    ['evidence made for another statement', { nonce: 'c'.repeat(64) }, 'contraindicated', 'NonceMismatch'],
    ['class tpm without a quote proves nothing', { class: 'tpm' }, 'none', 'NoQuote'],
  ])('%s', (_, more, verdict, reason) => {
    expect(appraise({ ...evidence, ...more }, { nonce })).toMatchObject({ verdict, reason })
  })

  test.each<[Verdict, boolean, boolean]>([
    ['affirming', true, true],
    ['warning', false, true],
    ['contraindicated', false, false],
    ['none', false, false],
  ])('%s is good enough for affirming: %s, for warning: %s', (verdict, affirming, warning) => {
    expect([asGoodAs(verdict, 'affirming'), asGoodAs(verdict, 'warning')]).toEqual([affirming, warning])
  })
})
