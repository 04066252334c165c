import type { Cause, KindName } from '@skerry/api'

/**
 * Fields that Open Cluster Management gives a meaning which this hub does not carry out yet. Whoever writes one is told
 * so, under every fieldValidation: a placement that ignores half of its own text chooses the wrong clusters.
 * `[]` stands for every item of a list.
 */
const NOT_YET: Partial<Record<KindName, readonly string[]>> = {
  Rollout: ['spec.strategy.progressivePerGroup', 'spec.strategy.progressive.mandatoryDecisionGroups'],
}

/** Every such field that an object holds. */
export function notCarriedOut(kind: KindName, object: object): Cause[] {
  return (NOT_YET[kind] ?? []).flatMap((path) =>
    find(object, path.split('.'), '').map((field) => ({
      field,
      message: 'is a field of Open Cluster Management that this hub does not carry out yet; leave it out',
      reason: 'FieldValueForbidden' as const,
    })),
  )
}

function find(value: unknown, [step = '', ...rest]: readonly string[], at: string): string[] {
  const list = step.endsWith('[]')
  const member = list ? step.slice(0, -2) : step
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, member)) return []
  const here = at === '' ? member : `${at}.${member}`
  const found: unknown = Reflect.get(value, member)
  if (rest.length === 0) return [here]
  if (!list) return find(found, rest, here)
  return Array.isArray(found) ? found.flatMap((item, index) => find(item, rest, `${here}[${index}]`)) : []
}
