import { DOCUMENTS, parse } from '@skerry/api'
import { expect, test } from 'vitest'
import { type Appraisal, appraise } from './appraise.ts'
import { evidenceOf, makeTpm, NONCE, referenceOf } from './fixture.ts'
import { appraisalPolicyId, attestationResult } from './result.ts'

const tpm = makeTpm()
const evidence = evidenceOf(tpm, 'secure-boot-off')
const statement = { cluster: 'shop', node: 'till', incarnation: 2, seq: 7, digest: 'd'.repeat(64) }
const policyId = appraisalPolicyId({ manifestSha256: 'a'.repeat(64), profileSha256: undefined })
const resultOf = (appraisal: Appraisal) =>
  attestationResult(appraisal, { evidence, statement, policyId, nowMs: 1_700_000_000_999 })

test('a result is an EAR that names the statement, the boot, the rules and the files, and is what its schema says', () => {
  const made = resultOf(appraise(evidence, { nonce: NONCE, tpm: referenceOf(tpm) }))
  expect(parse(DOCUMENTS.AttestationResult.schema, made, 'result')).toMatchObject({
    iat: 1_700_000_000,
    eat_nonce: NONCE,
    submods: {
      'shop/till': {
        'ear.status': 'affirming',
        'ear.appraisal-policy-id': policyId,
        'skerry.statement': { incarnation: 2, seq: 7 },
        'skerry.boot': { bootId: 'boot-1' },
        'skerry.findings': [],
      },
    },
  })
})

test('the rules and each file have their own part in the policy’s digest', () => {
  const [a, b] = ['a'.repeat(64), 'b'.repeat(64)]
  const ids = [
    { manifestSha256: a, profileSha256: undefined },
    { manifestSha256: undefined, profileSha256: a },
    { manifestSha256: a, profileSha256: b },
    { manifestSha256: b, profileSha256: a },
    { manifestSha256: undefined, profileSha256: undefined },
  ].map(appraisalPolicyId)
  expect(new Set(ids).size).toBe(ids.length)
})

test('of findings without measure the first are told, and how many are not, so that the verdict is never lost', () => {
  const found = appraise(evidence, { nonce: NONCE, tpm: referenceOf(tpm) })
  const long = { code: 'X', tier: 'contraindicated', message: 'm'.repeat(900), expected: ['e'.repeat(500)] } as const
  const before = { code: 'FindingsLeftOut', tier: 'warning', message: 'm', actual: '7' } as const
  const made = resultOf({
    ...found,
    verdict: 'contraindicated',
    findings: [...Array.from({ length: 63 }, () => ({ ...long, expected: [...long.expected] })), before],
  })
  const told = made.submods['shop/till']?.['skerry.findings'] ?? []
  expect(told.length).toBeGreaterThan(20)
  expect(told.length).toBeLessThan(64)
  const leftOut = 63 + 7 - (told.length - 1)
  expect(told.at(-1)).toEqual({
    code: 'FindingsLeftOut',
    tier: 'contraindicated',
    message: `${leftOut} more findings are left out here`,
    actual: `${leftOut}`,
  })
  expect(parse(DOCUMENTS.AttestationResult.schema, made, 'result')).toEqual(made)
  expect(Buffer.byteLength(JSON.stringify(made))).toBeLessThanOrEqual(DOCUMENTS.AttestationResult.maxBytes)
})
