import type { EvidenceBody } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { appraise } from './appraise.ts'
import { type Bit, bitsThatCount, bitsThatDoNot, flipped, recordedEvidence } from './fixture.ts'

// What a single flipped bit does to evidence that a TPM signed (`recorded/`).

describe.each(['secure-boot-off', 'secure-boot-on'] as const)('a recorded boot, %s', (boot) => {
  const { evidence, nonce, tpm } = recordedEvidence(boot)
  const judged = (given: EvidenceBody) => appraise(given, { nonce, tpm })
  const good = judged(evidence)
  const { whole, ofLogs } = bitsThatCount(evidence)
  const places = (bits: readonly Bit[], member: Bit['member']) => bits.filter((one) => one.member === member).length / 8

  test('is affirming as it is, and every byte that counts is looked at', () => {
    expect(good).toMatchObject({ verdict: 'affirming', findings: [] })
    const [quote, signature] = [evidence.quote, evidence.signature].map(
      (one) => Buffer.from(one ?? '', 'base64').length,
    )
    expect([places(whole, 'quote'), places(whole, 'signature'), places(whole, 'nonce')]).toEqual([quote, signature, 32])
    expect(places(whole, 'PCR 11')).toBe(32)
    expect(places(ofLogs, 'eventLog')).toBeGreaterThan(2_000)
    // Four phases, each with its digest in hex.
    const words = evidence.measurementLog === undefined ? 0 : 4 * 64 + 'enter-initrdleave-initrdsysinitready'.length
    expect(places(ofLogs, 'measurementLog')).toBe(words)
  })

  test('never is with another bit in quote, signature, key, nonce or a value: each of them', () => {
    expect(whole.filter((bit) => judged(flipped(evidence, bit)).verdict === 'affirming')).toEqual([])
  })

  test('never is with another bit in a digest, or in what a digest covers, though the node signed for it', () => {
    fc.assert(
      fc.property(fc.constantFrom(...ofLogs), (bit) => {
        expect(judged(flipped(evidence, bit)).verdict).not.toBe('affirming')
      }),
      { numRuns: 600 },
    )
  })

  test('never is with another bit in the log than the node signed for', () => {
    const { eventLogSha256 } = evidence
    fc.assert(
      fc.property(fc.constantFrom(...ofLogs, ...bitsThatDoNot(evidence)), (bit) => {
        const { verdict } = judged({ ...flipped(evidence, bit), ...(eventLogSha256 && { eventLogSha256 }) })
        expect(verdict).not.toBe('affirming')
      }),
      { numRuns: 200 },
    )
  })

  test('says the same of every PCR with another bit where no digest reaches, or nothing can be read from its log', () => {
    fc.assert(
      fc.property(fc.constantFrom(...bitsThatDoNot(evidence)), (bit) => {
        const { pcrs, checks, verdict } = judged(flipped(evidence, bit))
        if (checks.every(({ ok }) => ok)) expect(pcrs).toEqual(good.pcrs)
        else expect(verdict).toBe('contraindicated')
      }),
      { numRuns: 400 },
    )
  })

  test('of another image is contraindicated whatever the bits say that no digest reaches', () => {
    const { sha256: mine } = tpm.image.measured
    if (!mine) throw new Error('no bank')
    const applications = { ...mine.applications, uki: '0'.repeat(64) }
    const other = { ...tpm, image: { ...tpm.image, measured: { sha256: { ...mine, applications } } } }
    fc.assert(
      fc.property(fc.constantFrom(...bitsThatDoNot(evidence)), (bit) => {
        expect(appraise(flipped(evidence, bit), { nonce, tpm: other }).verdict).toBe('contraindicated')
      }),
      { numRuns: 300 },
    )
  })
})

test('a bit of systemd’s log that no digest covers changes no value that is judged', () => {
  const { evidence, nonce, tpm } = recordedEvidence('secure-boot-off')
  const good = appraise(evidence, { nonce, tpm })
  const { length } = Buffer.from(evidence.measurementLog ?? '', 'base64')
  fc.assert(
    fc.property(fc.nat(length * 8 - 1), (bit) => {
      const { verdict, pcrs } = appraise(flipped(evidence, { member: 'measurementLog', bit }), { nonce, tpm })
      if (verdict === 'affirming') expect(pcrs).toEqual(good.pcrs)
      else expect(verdict).toBe('contraindicated')
    }),
    { numRuns: 400 },
  )
})
