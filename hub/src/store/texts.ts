/**
 * Gives equal texts in JSON values back as one: what thousands say in the same words is held once. At most `limit` texts
 * are remembered, so that words which nobody repeats do not pile up here; the value itself is changed, and nobody else may have it yet.
 */
export function shareTexts(limit = 2_000): <T>(value: T) => T {
  const known = new Map<string, string>()
  const one = (text: string): string => {
    const held = known.get(text)
    if (held !== undefined) return held
    if (known.size >= limit) known.clear()
    known.set(text, text)
    return text
  }
  const within = (value: unknown): unknown => {
    if (typeof value === 'string') return one(value)
    if (typeof value !== 'object' || value === null || value instanceof Date) return value
    // A list's places are its members too.
    const members = value as Record<string, unknown>
    for (const [name, member] of Object.entries(members)) {
      const shared = within(member)
      if (shared !== member || typeof member === 'string') members[name] = shared
    }
    return value
  }
  return (value) => within(value) as typeof value
}
