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

/** The longest selector that is read, in characters. */
const MAX_LENGTH = 4_096

/** labelSelector and fieldSelector of a query; 400 names the part that cannot be read. */
export function readSelection(query: Query): Selection {
  const [labels, fields] = [textOf(query, 'labelSelector'), textOf(query, 'fieldSelector')]
  const tests = [...labelTests(labels), ...fieldTests(fields)]
  return {
    everything: tests.length === 0,
    name: split(fields)
      .map((part) => /^metadata\.name\s*==?\s*([^=\s]+)$/.exec(part)?.[1])
      .find((name) => name !== undefined),
    matches: (object) => tests.every((test) => test(object)),
  }
}

function textOf(query: Query, name: string): string {
  const text = single(query, name) ?? ''
  if (text.length > MAX_LENGTH)
    throw new StatusError(400, `${name} has ${text.length} characters; at most ${MAX_LENGTH} are read`)
  if (/[\n\r\u2028\u2029]/.test(text)) throw new StatusError(400, `${name} holds a line break; write it on one line`)
  return text
}

// For a part without blanks at its ends. Each run of blanks has one place to match in, so that no text takes longer than
// its length allows.
const REQUIREMENT =
  /^(?:!\s*(?<absent>[^\s=!<>,()]+)|(?<key>[^\s=!<>,()]+)(?:\s*(?<operator>==|=|!=)(?:\s*(?<value>[^\s,()]+))?|\s+(?<set>in|notin)\s*\((?<values>[^)]*)\))?)$/

function labelTests(text: string): Test[] {
  return split(text).map((part) => {
    const groups = REQUIREMENT.exec(part)?.groups
    if (!groups) throw new StatusError(400, `unable to parse requirement "${part}" of labelSelector`)
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
    const [, field = '', operator, value = ''] = /^([^=!\s]+)\s*(==|=|!=)\s*(.*)$/.exec(part) ?? []
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

// At commas that are not inside the brackets of "in (a, b)": those whose next bracket is not a closing one. Parts come trimmed.
function split(text: string): string[] {
  if (text.trim() === '') return []
  const parts: string[] = []
  let end = text.length
  let inside = false
  for (let at = end - 1; at >= 0; at -= 1) {
    const character = text[at]
    if (character === ')') inside = true
    else if (character === '(') inside = false
    else if (character === ',' && !inside) {
      parts.push(text.slice(at + 1, end).trim())
      end = at
    }
  }
  return [...parts, text.slice(0, end).trim()].reverse()
}
