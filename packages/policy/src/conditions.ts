import type { Condition } from '@skerry/api'

export type NewCondition = Omit<Condition, 'lastTransitionTime'>

/** Conditions with one of them set. Its time moves when its status does, and not otherwise. */
export function setCondition(conditions: readonly Condition[], next: NewCondition, nowMs: number): Condition[] {
  const before = conditions.find(({ type }) => type === next.type)
  const lastTransitionTime = before?.status === next.status ? before.lastTransitionTime : new Date(nowMs).toISOString()
  return [...conditions.filter(({ type }) => type !== next.type), { ...next, lastTransitionTime }].toSorted((a, b) =>
    a.type < b.type ? -1 : 1,
  )
}
