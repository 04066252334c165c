import { type Overload, overload } from '../overload.ts'
import { CelError, fail, type Opaque, type Outcome, type Value } from '../values.ts'

// The URL library of Kubernetes, over what Go's net/url says of a text (WHATWG's URL, which JavaScript has, says otherwise).

type Parts = {
  readonly scheme: string
  readonly opaque: string
  readonly user: string
  readonly host: string
  /** As written. */
  readonly path: string
  readonly query: string
  readonly fragment: string
}

class Url implements Opaque {
  readonly kind = 'kubernetes.URL'
  readonly parts: Parts
  readonly weight: number
  constructor(parts: Parts, weight: number) {
    this.parts = parts
    this.weight = weight
  }
  equals(other: Opaque): boolean {
    return other instanceof Url && JSON.stringify(this.parts) === JSON.stringify(other.parts)
  }
}

const utf8 = new TextEncoder()
const bad = (text: string): CelError => fail(`"${text}" is no URL`)

/** `%41` → `A`; undefined where an escape is broken. `plus`: a plus is a space, as in a query. */
function unescaped(text: string, plus = false): string | undefined {
  if (/%(?![0-9a-fA-F]{2})/.test(text)) return undefined
  const spaced = plus ? text.replaceAll('+', ' ') : text
  if (!spaced.includes('%')) return spaced
  const bytes = new Uint8Array(spaced.length * 3)
  let [from, end] = [0, 0]
  for (const { index, 1: hex = '' } of spaced.matchAll(/%(..)/g)) {
    end += utf8.encodeInto(spaced.slice(from, index), bytes.subarray(end)).written
    bytes[end++] = Number.parseInt(hex, 16)
    from = index + 3
  }
  end += utf8.encodeInto(spaced.slice(from), bytes.subarray(end)).written
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(0, end))
}

/** Go's url.Parse and, with `request`, url.ParseRequestURI, which knows no fragment and no relative path. */
function parseUrl(text: string, request: boolean): Parts | CelError {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
  if (/[\x00-\x1f\x7f]/.test(text)) return bad(text)
  const hash = request ? -1 : text.indexOf('#')
  const [whole, fragment] = hash < 0 ? [text, ''] : [text.slice(0, hash), text.slice(hash + 1)]
  if (unescaped(fragment) === undefined || (whole === '' && request)) return bad(text)
  const none = { scheme: '', opaque: '', user: '', host: '', path: '', query: '', fragment }
  if (whole === '*') return { ...none, path: '*' }
  if (whole.startsWith(':')) return bad(text)
  const named = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(whole)
  const scheme = (named?.[1] ?? '').toLowerCase()
  let rest = named ? whole.slice(named[0].length) : whole
  const mark = rest.indexOf('?')
  const query = mark < 0 ? '' : rest.slice(mark + 1)
  if (mark >= 0) rest = rest.slice(0, mark)
  if (!rest.startsWith('/')) {
    if (scheme) return { ...none, scheme, opaque: rest, query }
    if (request || rest.split('/')[0]?.includes(':')) return bad(text)
  }
  let [user, host] = ['', '']
  if ((scheme !== '' || (!request && !rest.startsWith('///'))) && rest.startsWith('//')) {
    const slash = rest.indexOf('/', 2)
    const authority = slash < 0 ? rest.slice(2) : rest.slice(2, slash)
    rest = slash < 0 ? '' : rest.slice(slash)
    const sign = authority.lastIndexOf('@')
    user = sign < 0 ? '' : authority.slice(0, sign)
    if (!/^[A-Za-z0-9\-._:~!$&'()*+,;=%@]*$/.test(user) || unescaped(user) === undefined) return bad(text)
    const read = parseHost(authority.slice(sign + 1))
    if (read === undefined) return bad(text)
    host = read
  }
  if (unescaped(rest) === undefined) return bad(text)
  return { ...none, scheme, user, host, path: rest, query }
}

function parseHost(host: string): string | undefined {
  const close = host.lastIndexOf(']')
  if (host.startsWith('[')) {
    if (close < 0 || !/^(:\d*)?$/.test(host.slice(close + 1))) return undefined
    if (!/^[0-9A-Fa-f:.]+(%25.+)?$/.test(host.slice(1, close)) || !host.slice(1, close).includes(':')) return undefined
  } else {
    const colon = host.lastIndexOf(':')
    if (colon >= 0 && !/^\d*$/.test(host.slice(colon + 1))) return undefined
  }
  // A percent sign stands for other bytes than ASCII's alone; of ASCII these may stand as they are.
  if (/%(?!25)[0-7]/.test(host) && !host.startsWith('[')) return undefined
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant.
  if (/[\x00-\x7f]/.test(host.replace(/[A-Za-z0-9\-_.~!$&'()*+,;=:[\]<>"%]/g, ''))) return undefined
  return unescaped(host)
}

const UNRESERVED = /[A-Za-z0-9\-_.~$&+,/:;=@]/
/** The path as it was written, if that is a right way to write it; else escaped again. */
function escapedPath({ path }: Parts): string {
  if (/^[A-Za-z0-9\-_.~$&+,/:;=@!'()*[\]%]*$/.test(path)) return path
  const plain = unescaped(path) ?? path
  return Array.from(plain, (point) =>
    UNRESERVED.test(point)
      ? point
      : Array.from(utf8.encode(point), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  ).join('')
}

function queryOf({ query }: Parts): ReadonlyMap<string, Value> {
  const found = new Map<string, string[]>()
  for (const pair of query.split('&')) {
    if (pair === '' || pair.includes(';')) continue
    const sign = pair.indexOf('=')
    const key = unescaped(sign < 0 ? pair : pair.slice(0, sign), true)
    const value = unescaped(sign < 0 ? '' : pair.slice(sign + 1), true)
    if (key === undefined || value === undefined) continue
    const known = found.get(key)
    if (known) known.push(value)
    else found.set(key, [value])
  }
  return found
}

/** Host without port, and the port. */
function hostPort({ host }: Parts): [string, string] {
  const port = /:(\d*)$/.exec(host)
  const name = port ? host.slice(0, port.index) : host
  return [name.startsWith('[') && name.endsWith(']') ? name.slice(1, -1) : name, port?.[1] ?? '']
}

export const isUrl = (text: string): boolean => !(parseUrl(text, true) instanceof CelError)

function url(text: string): Outcome {
  const strict = parseUrl(text, true)
  if (strict instanceof CelError) return strict
  const parts = parseUrl(text, false)
  return parts instanceof CelError ? parts : new Url(parts, text.length)
}

export const urls: readonly Overload[] = [
  overload('url(string): kubernetes.URL', url),
  overload('isURL(string): bool', isUrl),
  overload('kubernetes.URL.getScheme(): string', ({ parts }: Url) => parts.scheme),
  overload('kubernetes.URL.getHost(): string', ({ parts }: Url) => parts.host),
  overload('kubernetes.URL.getHostname(): string', ({ parts }: Url) => hostPort(parts)[0]),
  overload('kubernetes.URL.getPort(): string', ({ parts }: Url) => hostPort(parts)[1]),
  overload('kubernetes.URL.getEscapedPath(): string', ({ parts }: Url) => escapedPath(parts)),
  overload('kubernetes.URL.getQuery(): map(string, list(string))', ({ parts }: Url) => queryOf(parts)),
]
