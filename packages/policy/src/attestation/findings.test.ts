import type { Verdict } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { listed, made } from './findings.ts'

test.each<[string, string, string]>([
  ['a text as it is', 'SetupMode', 'SetupMode'],
  ['U+0000', 'Secure\0Boot', 'Secure\ufffdBoot'],
  ['half of a surrogate pair', 'a\ud800b', 'a\ufffdb'],
  [
    'a line that begins anew, and one that runs backwards',
    'a\nVerdict: \u202eb\u2028',
    'a\ufffdVerdict: \ufffdb\ufffd',
  ],
  ['a pair that the limit would cut', `${'a'.repeat(511)}\u{1f600}`, `${'a'.repeat(511)}\ufffd`],
])('a finding holds %s so that everybody can', (_, text, held) => {
  const where = { expected: [text], actual: text }
  expect(made('X', 'warning', 'hardware', text, where)).toMatchObject({ message: held, expected: [held], actual: held })
})

describe('a list of at most four findings', () => {
  const of = (...codes: string[]) =>
    codes.map((code) => {
      const tiers: Record<string, Verdict> = { T: 'affirming', N: 'none', W: 'warning' }
      return { code, tier: tiers[code.charAt(0)] ?? 'contraindicated', message: 'm' }
    })
  const told = (...codes: string[]) => listed(of(...codes), 4).map(({ code, tier, actual }) => [code, tier, actual])

  test('that has room for all leaves them as they were found', () => {
    expect(told('T', 'W', 'T', 'C').map(([code]) => code)).toEqual(['T', 'W', 'T', 'C'])
  })

  test.each<[string, string[], string[], Verdict, number]>([
    ['what is held against nobody', ['T', 'T', 'T', 'T', 'T', 'W1'], ['W1', 'T', 'T'], 'affirming', 3],
    ['one code again and again', ['C1', 'C1', 'C1', 'C1', 'W1', 'N1'], ['C1', 'W1', 'N1'], 'contraindicated', 3],
    ['both', ['T', 'W1', 'W1', 'T', 'W1', 'W2'], ['W1', 'W2', 'W1'], 'warning', 3],
  ])('that is filled by %s still names every other code', (_, codes, kept, tier, leftOut) => {
    const shown = told(...codes)
    expect(shown.slice(0, 3).map(([code]) => code)).toEqual(kept)
    expect(shown[3]).toEqual(['FindingsLeftOut', tier, `${leftOut}`])
  })

  test('that is cut again counts what was left out before', () => {
    const once = listed(of('T', 'T', 'T', 'W1', 'W2', 'W3'), 5)
    expect(once.map(({ code }) => code)).toEqual(['W1', 'W2', 'W3', 'T', 'FindingsLeftOut'])
    const twice = listed(once, 4)
    expect(twice.map(({ code }) => code)).toEqual(['W1', 'W2', 'W3', 'FindingsLeftOut'])
    expect(twice[3]).toMatchObject({ tier: 'affirming', actual: '3' })
  })
})
