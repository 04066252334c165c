import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { REFUSALS, Refusal } from './refusals.ts'

describe('refusals', () => {
  test('the table of DESIGN.md is the table of the code', () => {
    const page = readFileSync(join(import.meta.dirname, '..', 'DESIGN.md'), 'utf8')
    const rows = [...page.matchAll(/^\| `(\w+)`\s*\| (never|later)\s*\| (.*?)\s*\|$/gm)]
    const documented = Object.fromEntries(rows.map(([, code, retry, means]) => [code, { retry, means }]))
    expect(documented).toEqual(REFUSALS)
  })

  test('a refusal carries its code, its place and whether trying again can help', () => {
    const cause = new Error('x')
    expect(new Refusal('UnknownKey', 'm', { field: 'a.b', cause })).toMatchObject({
      code: 'UnknownKey',
      field: 'a.b',
      retry: 'later',
      cause,
    })
    expect(new Refusal('TooLarge', 'm')).toMatchObject({ field: '', retry: 'never' })
  })
})
