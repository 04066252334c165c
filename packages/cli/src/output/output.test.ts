import { describe, expect, test } from 'vitest'
import { visible } from './columns.ts'
import { toYaml } from './forms.ts'
import { lineDiff } from './line-diff.ts'
import { entries, entry, formatEntries, table } from './sections.ts'
import { tableWriter } from './table.ts'
import { ago, when } from './times.ts'

const served = (...rows: [name: string, phase: string, message: string][]) => ({
  metadata: {},
  columnDefinitions: [
    { name: 'Name', priority: 0 },
    { name: 'Phase', priority: 0 },
    { name: 'Message', priority: 1 },
  ],
  rows: rows.map((cells) => ({ cells, object: { metadata: { name: cells[0], namespace: 'shop' } } })),
})

describe('a table', () => {
  const style = { wide: false, headers: true, withNamespace: false }
  test('is borderless, with nothing behind the last column', () => {
    expect(tableWriter(style)(served(['tromsø', 'Idle', ''], ['a', 'Staging', '']))).toBe(
      'NAME     PHASE\ntromsø   Idle\na        Staging\n',
    )
  })
  test('wide ones have every column; a message stays on its line; an empty cell is told', () => {
    const text = tableWriter({ ...style, wide: true, withNamespace: true })(served(['a', '', 'one\n two']))
    expect(text).toBe('NAMESPACE   NAME   PHASE    MESSAGE\nshop        a      <none>   one two\n')
  })
  test('goes on under its headers when it is watched', () => {
    const write = tableWriter(style)
    write(served(['a-long-name', 'Idle', '']))
    expect(write(served(['b', 'Staging', '']))).toBe('b             Staging\n')
  })
  test('can leave its headers out, and of nothing writes nothing', () => {
    expect(tableWriter({ ...style, headers: false })(served(['a', 'Idle', '']))).toBe('a   Idle\n')
    expect(tableWriter(style)(served())).toBe('')
  })
})

test('sections put labels in one column, blocks below them, and leave out what has no value', () => {
  const text = formatEntries(
    entries(
      entry('Name', 'a'),
      entry('Missing', undefined),
      entry('Labels', 'x=1\ny=2'),
      entry('Block', entries(entry('Inner', 1))),
      table('Rows', ['K', 'V'], [['long', 'b']]),
      table('None', ['K'], []),
    ),
  )
  expect(text).toBe(
    'Name:    a\nLabels:  x=1\n         y=2\nBlock:\n  Inner:  1\nRows:\n  K      V\n  long   b\nNone:    <none>\n',
  )
})

test('a text that YAML 1.1 reads as something else is quoted: kubectl takes what is printed', () => {
  expect(toYaml({ a: 'yes', b: 'on', c: 'text' })).toBe('a: "yes"\nb: "on"\nc: text\n')
})

test('times are told with how far they are away', () => {
  const nowMs = Date.parse('2026-01-01T12:00:00Z')
  expect(when('2026-01-01T15:00:00Z', nowMs)).toBe('2026-01-01T15:00:00Z (in 3h)')
  expect(when('2026-01-01T11:59:00Z', nowMs)).toBe('2026-01-01T11:59:00Z (60s ago)')
  expect(ago('2025-12-25T12:00:00Z', nowMs)).toBe('7d')
  expect(ago(undefined, nowMs)).toBe('<unknown>')
})

describe('a diff of lines', () => {
  test.each<[what: string, before: string, after: string, diff: string]>([
    ['nothing', 'a\nb\n', 'a\nb\n', ''],
    ['a new text', '', 'a\n', '@@ -1 +1 @@\n+a\n'],
    ['a changed line', 'a\nb\nc\n', 'a\nx\nc\n', '@@ -1 +1 @@\n a\n-b\n+x\n c\n'],
    ['a line far down', '1\n2\n3\n4\n5\n6\n', '1\n2\n3\n4\n5\n7\n', '@@ -3 +3 @@\n 3\n 4\n 5\n-6\n+7\n'],
  ])('shows %s', (_, before, after, diff) => expect(lineDiff(before, after)).toBe(diff))
})

test('what a site says cannot steer the terminal', () => {
  expect(visible('a\tø\n\u001b[2Jb\u009bc\u202ed\r')).toBe('a\tø\n\\u001b[2Jb\\u009bc\\u202ed\\u000d')
  expect(JSON.parse(visible(JSON.stringify({ a: '\u009b' })))).toEqual({ a: '\u009b' })
})
