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

/** One thing wrong: where, from the value that was asked about, and what. */
export type Fault = { readonly field: string; readonly message: string }

/** Everything wrong with a selector, each at its path in it (`matchExpressions[1].operator`); empty for a good one. */
export function selectorFaults(selector: LabelSelector | ClaimSelector | undefined): Fault[] {
  const labels = selector && 'matchLabels' in selector ? (selector.matchLabels ?? {}) : {}
  return [
    ...Object.entries(labels).flatMap(([key, value]) =>
      [keyFault(key), valueFault(value)].flatMap((fault) => at(`matchLabels.${key}`, fault)),
    ),
    ...(selector?.matchExpressions ?? []).flatMap((requirement, index) =>
      requirementFaults(requirement).map(({ field, message }) => ({
        field: `matchExpressions[${index}].${field}`,
        message,
      })),
    ),
  ]
}

/** What OCM would say of a selector: the first thing that is wrong with it; undefined for a good one. What is missing is empty to Go. */
export function selectorFault(selector: LabelSelector | ClaimSelector | undefined): string | undefined {
  const { matchExpressions, ...rest } = selector ?? {}
  const whole = matchExpressions?.map((one: Partial<SelectorRequirement>) => ({ key: '', operator: '', ...one }))
  return selectorFaults({ ...rest, ...(whole ? { matchExpressions: whole } : {}) } as LabelSelector)[0]?.message
}

// What is missing is at fault by itself, and nothing is judged by it.
function requirementFaults({ key, operator, values = [] }: Partial<SelectorRequirement>): Fault[] {
  const isSet = operator === 'In' || operator === 'NotIn'
  const isBare = operator === 'Exists' || operator === 'DoesNotExist'
  const isUnknown = operator !== undefined && !isSet && !isBare
  const on = key === undefined ? '' : ` on "${key}"`
  return [
    ...at('operator', isUnknown ? `"${operator}" is not a valid label selector operator` : undefined),
    ...at('values', isSet && values.length === 0 ? `operator ${operator}${on} needs values` : undefined),
    ...at('values', isBare && values.length > 0 ? `operator ${operator}${on} takes no values` : undefined),
    ...values.flatMap((value, index) => at(`values[${index}]`, valueFault(value))),
    ...at('key', key === undefined ? undefined : keyFault(key)),
  ]
}

function at(field: string, message: string | undefined): Fault[] {
  return message === undefined ? [] : [{ field, message }]
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
