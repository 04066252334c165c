import { StatusError } from '../status-error.ts'

// The query parameters labelSelector and fieldSelector, in Kubernetes' syntax.

export type Selectable = { metadata: { name: string; namespace?: string; labels?: Record<string, string> } }
export type Filter = (object: Selectable) => boolean

const REQUIREMENT =
  /^\s*(?:(?<not>!)\s*(?<absent>[^\s=!<>,()]+)|(?<key>[^\s=!<>,()]+)(?:\s*(?<operator>==|=|!=)\s*(?<value>[^\s,()]*)|\s+(?<set>in|notin)\s*\((?<values>[^)]*)\))?)\s*$/

/** A filter out of a labelSelector; 400 names the part that cannot be read. */
export function labelFilter(text: string | undefined): Filter {
  const tests = split(text ?? '').map((part) => {
    const groups = REQUIREMENT.exec(part)?.groups
    if (!groups) throw new StatusError(400, `unable to parse requirement "${part.trim()}" of labelSelector`)
    return requirement(groups)
  })
  return (object) => tests.every((test) => test(object.metadata.labels ?? {}))
}

function requirement(groups: Record<string, string | undefined>): (labels: Record<string, string>) => boolean {
  const { absent, key = '', operator, value = '', set } = groups
  if (absent !== undefined) return (labels) => labels[absent] === undefined
  if (set !== undefined) {
    const values = (groups['values'] ?? '').split(',').map((item) => item.trim())
    return set === 'in'
      ? (labels) => values.includes(labels[key] ?? '\0')
      : (labels) => labels[key] === undefined || !values.includes(labels[key])
  }
  if (operator === undefined) return (labels) => labels[key] !== undefined
  return operator === '!=' ? (labels) => labels[key] !== value : (labels) => labels[key] === value
}

/** A filter out of a fieldSelector: metadata.name and metadata.namespace, as Kubernetes offers for its own custom resources. */
export function fieldFilter(text: string | undefined): Filter {
  const tests = split(text ?? '').map((part) => {
    const [, field = '', operator, value = ''] = /^\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*$/.exec(part) ?? []
    if (field !== 'metadata.name' && field !== 'metadata.namespace')
      throw new StatusError(
        400,
        `field label not supported: "${field || part}"; supported are metadata.name and metadata.namespace`,
      )
    const of = (object: Selectable) =>
      field === 'metadata.name' ? object.metadata.name : (object.metadata.namespace ?? '')
    return (object: Selectable) => (of(object) === value) === (operator !== '!=')
  })
  return (object) => tests.every((test) => test(object))
}

// At commas that are not inside the brackets of "in (a, b)".
function split(text: string): string[] {
  return text.trim() === '' ? [] : text.split(/,(?![^(]*\))/)
}
