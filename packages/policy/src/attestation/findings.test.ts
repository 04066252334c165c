import { expect, test } from 'vitest'
import { made } from './findings.ts'

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
