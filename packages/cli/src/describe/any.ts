import type { Condition } from '@skerry/api'
import { type Entry, entries, entry } from '../output/sections.ts'
import { classText, conditionTable } from './parts.ts'

/** Any object: its members as they are, conditions as a table, and a class never without what it cannot prove. */
export function describeAny(object: { readonly spec?: unknown; readonly status?: unknown }, nowMs: number): Entry[] {
  const { conditions, ...status } = (object.status ?? {}) as { conditions?: readonly Condition[] } & Record<
    string,
    unknown
  >
  return entries(
    entry('Spec', members(object.spec)),
    entry('Status', members(status)),
    conditions ? conditionTable(conditions, nowMs) : undefined,
  )
}

function members(value: unknown): Entry[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, member]) => {
    const label = name.charAt(0).toUpperCase() + name.slice(1)
    if (name === 'class' && (member === 'tpm' || member === 'software-key'))
      return [{ label, value: classText(member) }]
    const found = entry(label, shown(member))
    return found ? [found] : []
  })
}

function shown(value: unknown): string | readonly Entry[] | undefined {
  if (value === undefined || value === null) return undefined
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== 'object')) return value.join(', ')
    return value.map((item, index) => ({ label: String(index + 1), entries: members(item) }))
  }
  return typeof value === 'object' ? members(value) : String(value)
}
