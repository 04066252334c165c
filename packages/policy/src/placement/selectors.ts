import type { ClaimSelector, LabelSelector, ObjectOf, SelectorRequirement } from '@skerry/api'

// Kubernetes label selectors, over labels and over claims alike.

export function labelsOf({ metadata }: ObjectOf<'ManagedCluster'>): ReadonlyMap<string, string> {
  return new Map(Object.entries(metadata.labels ?? {}))
}

/** What a cluster says of itself, by name; of a name that stands twice the last one. */
export function claimsOf({ status }: ObjectOf<'ManagedCluster'>): ReadonlyMap<string, string> {
  return new Map((status?.clusterClaims ?? []).map(({ name, value }) => [name, value]))
}

const NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/
const PREFIX = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/

/** What makes a selector bad, as a sentence; undefined when it is good. */
export function selectorFault(selector: LabelSelector | ClaimSelector | undefined): string | undefined {
  const labels = selector && 'matchLabels' in selector ? (selector.matchLabels ?? {}) : {}
  for (const [key, value] of Object.entries(labels)) {
    const fault = keyFault(key) ?? valueFault(value)
    if (fault) return fault
  }
  for (const requirement of selector?.matchExpressions ?? []) {
    const fault = requirementFault(requirement)
    if (fault) return fault
  }
  return undefined
}

function requirementFault({ key, operator, values = [] }: SelectorRequirement): string | undefined {
  if (operator === 'In' || operator === 'NotIn') {
    if (values.length === 0) return `operator ${operator} on "${key}" needs values`
  } else if (operator === 'Exists' || operator === 'DoesNotExist') {
    if (values.length > 0) return `operator ${operator} on "${key}" takes no values`
  } else return `"${operator}" is not a valid label selector operator`
  for (const value of values) {
    const fault = valueFault(value)
    if (fault) return fault
  }
  return keyFault(key)
}

function keyFault(key: string): string | undefined {
  const [name, prefix, ...more] = key.split('/').reverse()
  const good =
    more.length === 0 &&
    NAME.test(name ?? '') &&
    (prefix === undefined || (prefix.length <= 253 && PREFIX.test(prefix)))
  return good ? undefined : `"${key}" is no qualified name`
}

function valueFault(value: string): string | undefined {
  return value === '' || NAME.test(value) ? undefined : `"${value}" is no label value`
}

/** The first term of a good selector that `values` does not meet, as a sentence; undefined when it matches. Empty matches all. */
export function mismatch(
  selector: LabelSelector | ClaimSelector | undefined,
  values: ReadonlyMap<string, string>,
  what: 'label' | 'claim',
): string | undefined {
  const labels = selector && 'matchLabels' in selector ? (selector.matchLabels ?? {}) : {}
  for (const [key, value] of Object.entries(labels)) {
    if (values.get(key) !== value) return `${what} ${key} is ${shown(values.get(key))}, not ${value}`
  }
  for (const { key, operator, values: wanted = [] } of selector?.matchExpressions ?? []) {
    const has = values.get(key)
    if (operator === 'In' && (has === undefined || !wanted.includes(has)))
      return `${what} ${key} is ${shown(has)}, not one of ${wanted.join(', ')}`
    if (operator === 'NotIn' && has !== undefined && wanted.includes(has))
      return `${what} ${key} is ${has}, which is excluded`
    if (operator === 'Exists' && has === undefined) return `${what} ${key} is missing`
    if (operator === 'DoesNotExist' && has !== undefined) return `${what} ${key} is present`
  }
  return undefined
}

function shown(value: string | undefined): string {
  return value === undefined ? 'missing' : value === '' ? 'empty' : value
}
