import stringWidth from 'string-width'
import { formatColumns, pad } from './columns.ts'

// What `describe` is made of: labelled lines, blocks below them, tables. Everything that has no value is left out.

export type Entry =
  | { readonly label: string; readonly value: string }
  | { readonly label: string; readonly entries: readonly Entry[] }
  | { readonly label: string; readonly rows: readonly (readonly string[])[] }

type Value = string | number | boolean | undefined | readonly Entry[]

/** A labelled line, or a block of entries; undefined and empty ones are left out by `entries()`. */
export function entry(label: string, value: Value): Entry | undefined {
  if (value === undefined || value === '') return undefined
  if (Array.isArray(value)) return value.length > 0 ? { label, entries: value } : undefined
  return { label, value: String(value) }
}

/** A table under a label; `<none>` when it has no rows. */
export function table(label: string, headers: readonly string[], rows: readonly (readonly string[])[]): Entry {
  return rows.length === 0 ? { label, value: '<none>' } : { label, rows: [headers, ...rows] }
}

export function entries(...found: readonly (Entry | undefined)[]): Entry[] {
  return found.filter((one) => one !== undefined)
}

/** Entries as text, values of one level in one column. */
export function formatEntries(list: readonly Entry[], indent = ''): string {
  const width = Math.max(0, ...list.map((one) => ('value' in one ? stringWidth(one.label) + 1 : 0))) + 2
  return list
    .map((one) => {
      const label = `${one.label}:`
      if ('rows' in one) return `${indent}${label}\n${formatColumns(one.rows, `${indent}  `)}`
      if ('entries' in one) return `${indent}${label}\n${formatEntries(one.entries, `${indent}  `)}`
      const [first = '', ...more] = one.value.split('\n')
      const rest = more.map((text) => `${indent}${' '.repeat(width)}${text}\n`).join('')
      return `${`${indent}${pad(label, width)}${first}`.trimEnd()}\n${rest}`
    })
    .join('')
}
