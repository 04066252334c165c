import { X509Certificate } from 'node:crypto'
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
    if (value.every((item) => typeof item !== 'object')) {
      const items = value.map((item) => brief(String(item)))
      return items.join(items.some((item) => item.includes(' ')) ? '\n' : ', ')
    }
    return value.map((item, index) => ({ label: String(index + 1), entries: members(item) }))
  }
  return typeof value === 'object' ? members(value) : brief(String(value))
}

/** A certificate by its name, and what only programs read by its beginning: a screen of base64 hides the rest. */
function brief(text: string): string {
  if (text.startsWith('-----BEGIN CERTIFICATE-----'))
    try {
      const { subject, fingerprint256 } = new X509Certificate(text)
      return `certificate of ${subject.replaceAll('\n', ', ')}, sha256 ${fingerprint256.replaceAll(':', '').toLowerCase()}`
    } catch {
      return 'a certificate that cannot be read'
    }
  return /^\S{200,}$/.test(text) ? `${text.slice(0, 48)}… (${text.length} characters)` : text
}
