import { type Query, single } from '../query.ts'
import { StatusError } from '../status-error.ts'

// The query parameters labelSelector and fieldSelector, in Kubernetes' syntax.

type Selectable = { metadata: { name: string; namespace?: string; labels?: Readonly<Record<string, string>> } }
type Test = (object: Selectable) => boolean

/** Which objects of a kind are meant. */
export type Selection = {
  /** Nothing is left out. */
  readonly everything: boolean
  /** The one name that can match, where the selectors say one. */
  readonly name: string | undefined
  matches(object: Selectable): boolean
}

/** labelSelector and fieldSelector of a query; 400 names the part that cannot be read. */
export function readSelection(query: Query): Selection {
  const [labels, fields] = [single(query, 'labelSelector') ?? '', single(query, 'fieldSelector') ?? '']
  const tests = [...labelTests(labels), ...fieldTests(fields)]
  return {
    everything: tests.length === 0,
    name: split(fields)
      .map((part) => /^\s*metadata\.name\s*==?\s*([^=\s]+)\s*$/.exec(part)?.[1])
      .find((name) => name !== undefined),
    matches: (object) => tests.every((test) => test(object)),
  }
}

const REQUIREMENT =
  /^\s*(?:(?<not>!)\s*(?<absent>[^\s=!<>,()]+)|(?<key>[^\s=!<>,()]+)(?:\s*(?<operator>==|=|!=)\s*(?<value>[^\s,()]*)|\s+(?<set>in|notin)\s*\((?<values>[^)]*)\))?)\s*$/

function labelTests(text: string): Test[] {
  return split(text).map((part) => {
    const groups = REQUIREMENT.exec(part)?.groups
    if (!groups) throw new StatusError(400, `unable to parse requirement "${part.trim()}" of labelSelector`)
    const test = requirement(groups)
    return ({ metadata }) => test(metadata.labels ?? {})
  })
}

function requirement(
  groups: Record<string, string | undefined>,
): (labels: Readonly<Record<string, string>>) => boolean {
  const { absent, key = '', operator, value = '', set } = groups
  // A label may be called "constructor": only an object's own members are labels.
  const of = (labels: Readonly<Record<string, string>>, name: string) =>
    Object.hasOwn(labels, name) ? labels[name] : undefined
  if (absent !== undefined) return (labels) => of(labels, absent) === undefined
  if (set !== undefined) {
    const values = new Set((groups['values'] ?? '').split(',').map((item) => item.trim()))
    const among = (found: string | undefined) => found !== undefined && values.has(found)
    return set === 'in' ? (labels) => among(of(labels, key)) : (labels) => !among(of(labels, key))
  }
  if (operator === undefined) return (labels) => of(labels, key) !== undefined
  return operator === '!=' ? (labels) => of(labels, key) !== value : (labels) => of(labels, key) === value
}

// What Kubernetes offers for custom resources.
function fieldTests(text: string): Test[] {
  return split(text).map((part) => {
    const [, field = '', operator, value = ''] = /^\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*$/.exec(part) ?? []
    if (field !== 'metadata.name' && field !== 'metadata.namespace')
      throw new StatusError(
        400,
        `field label not supported: "${field || part}"; supported are metadata.name and metadata.namespace`,
      )
    return ({ metadata }) => {
      const found = field === 'metadata.name' ? metadata.name : (metadata.namespace ?? '')
      return (found === value) === (operator !== '!=')
    }
  })
}

// At commas that are not inside the brackets of "in (a, b)".
function split(text: string): string[] {
  return text.trim() === '' ? [] : text.split(/,(?![^(]*\))/)
}
