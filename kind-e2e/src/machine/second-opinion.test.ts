import { spawnSync } from 'node:child_process'
import type { EvidenceBody } from '@skerry/api'
import { evidenceOf, makeTpm, valuesOf } from '@skerry/policy/testing'
import { describe, expect, test } from 'vitest'
import { secondOpinion } from './second-opinion.ts'

const lacksTools = spawnSync('tpm2_checkquote', ['--version']).error !== undefined

describe.skipIf(lacksTools)('tpm2-tools (needs tpm2-tools)', () => {
  const tpm = makeTpm()
  const good = evidenceOf(tpm, 'secure-boot-off')
  const other = '0'.repeat(64)
  const { quote: _, ...word } = good

  test('hold nothing against evidence of a recorded boot', () => {
    expect(secondOpinion(good)).toEqual([])
  })

  test.each<[string, EvidenceBody, string]>([
    ['that answers another nonce', { ...good, nonce: other }, 'tpm2_checkquote'],
    [
      'signed by another key',
      { ...good, signature: evidenceOf(makeTpm(), 'retry').signature ?? '' },
      'tpm2_checkquote',
    ],
    ['with another value of a PCR', { ...good, pcrs: { sha256: { ...good.pcrs?.sha256, 9: other } } }, 'PCR 9 is'],
    [
      'whose quote is of what the log does not lead to',
      evidenceOf(tpm, 'secure-boot-off', { values: new Map([...valuesOf('secure-boot-off'), [11, other]]) }),
      'PCR 11 is',
    ],
    ['with no log that can be read', { ...good, eventLog: 'AAAA' }, 'tpm2_eventlog'],
    ['without a quote', word, 'there is no quote'],
  ])('tell evidence %s', (_, evidence, why) => {
    expect(secondOpinion(evidence).join('\n')).toContain(why)
  })
})
