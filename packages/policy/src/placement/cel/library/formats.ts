import { type Overload, overload } from '../overload.ts'
import { CelError, type Opaque, Optional } from '../values.ts'
import { parseTimestamp } from './time.ts'
import { isUrl } from './url.ts'

// The format library of Kubernetes: a named format validates a text, and says what is wrong with it.

class NamedFormat implements Opaque {
  readonly kind = 'kubernetes.NamedFormat'
  readonly name: string
  readonly faults: (text: string) => readonly string[]
  constructor(name: string, faults: (text: string) => readonly string[]) {
    this.name = name
    this.faults = faults
  }
  equals(other: Opaque): boolean {
    return other instanceof NamedFormat && this.name === other.name
  }
}

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const LABEL_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const NAME = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/
const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$/

/** Lengths are in bytes. */
const length = (text: string): number => new TextEncoder().encode(text).length
function shaped(pattern: RegExp, longest: number, what: string): (text: string) => string[] {
  return (text) => [
    ...(length(text) > longest ? [`must be no more than ${longest} bytes`] : []),
    ...(pattern.test(text) ? [] : [`must be ${what}`]),
  ]
}
const holds =
  (what: string, test: (text: string) => boolean): ((text: string) => string[]) =>
  (text) =>
    test(text) ? [] : [what]
/** A prefix may end in a dash: it goes on. */
const prefix =
  (faults: (text: string) => string[]): ((text: string) => string[]) =>
  (text) =>
    faults(text.length > 1 && text.endsWith('-') ? `${text.slice(0, -2)}a` : text)

const label = shaped(LABEL, 63, 'a lowercase RFC 1123 label')
const label1035 = shaped(LABEL_1035, 63, 'a DNS-1035 label')
const subdomain = shaped(SUBDOMAIN, 253, 'a lowercase RFC 1123 subdomain')

function qualifiedName(text: string): string[] {
  const parts = text.split('/')
  if (parts.length > 2) return ['must be a name with an optional prefix']
  const name = parts.at(-1) ?? ''
  const before = parts.length === 2 ? (parts[0] ?? '') : undefined
  return [
    ...(before === undefined ? [] : before === '' ? ['the prefix must not be empty'] : subdomain(before)),
    ...(name === ''
      ? ['the name must not be empty']
      : length(name) > 63
        ? ['the name must have at most 63 bytes']
        : []),
    ...(NAME.test(name) ? [] : ['the name must be alphanumeric at both ends']),
  ]
}

const isDate = (text: string): boolean =>
  // The year 0 is a date, if no timestamp; 2000 has the same days.
  /^\d{4}-\d\d-\d\d$/.test(text) && !(parseTimestamp(`${text.replace(/^0000/, '2000')}T00:00:00Z`) instanceof CelError)

function isDateTime(text: string): boolean {
  const [date = '', clock] = text.toLowerCase().split('t')
  if (clock === undefined || !isDate(date)) return false
  const match = /^(\d\d):(\d\d):(\d\d)(.\d+)?(z|[+-]\d\d:\d\d)$/.exec(clock)
  return match !== null && Number(match[1]) <= 23 && Number(match[2]) <= 59 && Number(match[3]) <= 59
}

const NAMED: ReadonlyMap<string, NamedFormat> = new Map(
  Object.entries({
    dns1123Label: label,
    dns1123Subdomain: subdomain,
    dns1035Label: label1035,
    qualifiedName,
    dns1123LabelPrefix: prefix(label),
    dns1123SubdomainPrefix: prefix(subdomain),
    dns1035LabelPrefix: prefix(label1035),
    labelValue: (text: string) => (text === '' ? [] : shaped(NAME, 63, 'empty or alphanumeric at both ends')(text)),
    uri: holds('is no URI', isUrl),
    uuid: holds('is no UUID', (text) => UUID.test(text)),
    byte: holds('is no base64', (text) => BASE64.test(text)),
    date: holds('is no date', isDate),
    datetime: holds('is no date and time', isDateTime),
  }).map(([name, faults]) => [name, new NamedFormat(name, faults)]),
)

export const formats: readonly Overload[] = [
  ...[...NAMED].map(([name, one]) => overload(`format::${name}(): kubernetes.NamedFormat`, () => one)),
  overload('format::named(string): optional_type(kubernetes.NamedFormat)', (name: string) => {
    return new Optional(NAMED.get(name))
  }),
  overload(
    'kubernetes.NamedFormat.validate(string): optional_type(list(string))',
    ({ faults }: NamedFormat, text: string) => {
      const found = faults(text)
      return found.length === 0 ? Optional.none : new Optional(found)
    },
  ),
]
