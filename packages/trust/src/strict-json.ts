import { Refusal } from '@skerry/api'

// JSON.parse keeps the last of two members of one name. Whoever signs a document for one reader and shows it to another
// lives off that, so here a document that names a member twice is no document.

/** `maxValues`: of an empty object two bytes tell, and a reader holds a hundred. */
export type JsonLimits = { readonly maxBytes: number; readonly maxDepth?: number; readonly maxValues?: number }

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The value of a JSON text in strict UTF-8. Refusals: TooLarge, MalformedJson (also: a byte order mark, deeper than 32,
 * a whole number past 2^53, U+0000 or half of a surrogate pair in a string), DuplicateMember with the member's path.
 */
export function parseStrictJson(bytes: Uint8Array, limits: JsonLimits): unknown {
  return readStrictJson(bytes, limits).value
}

/** What a strict reader reads, and whether the text is its plain spelling: what JSON.stringify makes of the value. */
export type StrictJson = { readonly value: unknown; readonly plain: boolean }

/** The same, and whether it is spelled plainly: false may also be said of a text that is. */
export function readStrictJson(bytes: Uint8Array, limits: JsonLimits): StrictJson {
  const { maxBytes } = limits
  if (bytes.byteLength > maxBytes)
    throw new Refusal('TooLarge', `${bytes.byteLength} bytes, where ${maxBytes} are allowed`)
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch (cause) {
    throw new Refusal('MalformedJson', 'not valid UTF-8', { cause })
  }
  return read(text, limits)
}

/** The same for a text that stood as a string in a document which was read strictly: it is valid UTF-8 by that. */
export function parseStrictText(text: string, limits: JsonLimits): unknown {
  const bytes = Buffer.byteLength(text)
  if (bytes > limits.maxBytes) throw new Refusal('TooLarge', `${bytes} bytes, where ${limits.maxBytes} are allowed`)
  return read(text, limits).value
}

const MAX_DEPTH = 32

function read(text: string, { maxDepth = MAX_DEPTH, maxValues }: JsonLimits): StrictJson {
  // Whoever counts values does so before the parser makes them.
  const plain = maxValues === undefined ? readPlain(text, maxDepth) : undefined
  return plain ?? { value: parse(text, maxDepth, maxValues ?? Number.POSITIVE_INFINITY), plain: false }
}

// Escapes that some readers cannot hold: U+0000, and halves of surrogate pairs, which only the scan tells from whole ones.
const UNREADABLE = /\\u(?:0000|d[89a-f])/i

// Nearly all that comes was written by JSON.stringify, and costs half when that is seen: a text that comes back as it was
// names no member twice and no number that a double does not hold. What is left to look for is little. Of all else, and
// of what is wrong, the scan tells; undefined leaves it to that.
function readPlain(text: string, maxDepth: number): StrictJson | undefined {
  if (text.includes('\\u') && UNREADABLE.test(text)) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return isWithin(value, maxDepth) && JSON.stringify(value) === text ? { value, plain: true } : undefined
  } catch {
    return undefined
  }
}

// No deeper than so, and no whole number past 2^53, which 9007199254740992 is and is spelled like.
function isWithin(value: unknown, depth: number): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value) || !Number.isInteger(value)
  if (typeof value !== 'object' || value === null) return true
  if (depth === 0) return false
  for (const member of Array.isArray(value) ? value : Object.values(value))
    if (!isWithin(member, depth - 1)) return false
  return true
}

function parse(text: string, maxDepth: number, maxValues: number): unknown {
  if (text.charCodeAt(0) === 0xfeff) throw new Refusal('MalformedJson', 'begins with a byte order mark')
  scan(text, maxDepth, maxValues)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new Refusal('MalformedJson', cause instanceof Error ? cause.message : 'not JSON', { cause })
  }
}

const [QUOTE, OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY, COMMA, MINUS, ZERO, NINE, U] = [...'"{}[],-09u'].map(
  (character) => character.charCodeAt(0),
)
/** No number we write is longer; a longer one is a way to make two readers see two numbers. */
const MAX_NUMBER_LENGTH = 63

// Walks the text once, before parsing, so that neither depth nor doubled members reach the parser. It trusts the parser
// for everything else: on broken JSON it may stop anywhere, and JSON.parse then says what is wrong.
function scan(text: string, maxDepth: number, maxValues: number): void {
  const open: { members: Set<string> | undefined; path: string; index: number }[] = []
  const escapes = { next: -1 }
  let expectName = false
  let path = ''
  let values = 0
  const count = () => {
    values += 1
    if (values > maxValues) throw new Refusal('TooLarge', `more than ${maxValues} values`)
  }
  for (let i = 0; i < text.length; i += 1) {
    const c = text.charCodeAt(i)
    if (c === QUOTE) {
      const end = endOfString(text, i, escapes)
      const top = open.at(-1)
      if (expectName && top?.members) {
        const name = decodeName(text, i, end)
        path = top.path === '' ? name : `${top.path}.${name}`
        if (top.members.has(name)) throw new Refusal('DuplicateMember', `"${path}" stands twice`, { field: path })
        top.members.add(name)
        expectName = false
      }
      i = end
    } else if (c === OPEN_OBJECT || c === OPEN_ARRAY) {
      count()
      if (open.length >= maxDepth) throw new Refusal('MalformedJson', `nested deeper than ${maxDepth}`)
      const top = open.at(-1)
      const here = top && !top.members ? `${top.path}[${top.index}]` : path
      open.push({ members: c === OPEN_OBJECT ? new Set() : undefined, path: here, index: 0 })
      expectName = c === OPEN_OBJECT
    } else if (c === CLOSE_OBJECT || c === CLOSE_ARRAY) {
      path = open.pop()?.path ?? ''
      expectName = false
    } else if (c === COMMA) {
      count()
      const top = open.at(-1)
      if (top) top.index += 1
      expectName = top?.members !== undefined
    } else if (c === MINUS || (c >= Number(ZERO) && c <= Number(NINE))) {
      const number = /^-?[0-9.eE+-]+/.exec(text.slice(i, i + MAX_NUMBER_LENGTH + 1))?.[0] ?? '-'
      checkNumber(number)
      i += number.length - 1
    }
  }
}

// The closing quote's place. Characters that one reader keeps and another cannot hold (U+0000, half of a surrogate pair;
// RFC 7493 §2.1) reach a string only as escapes, because the text is valid UTF-8.
function endOfString(text: string, start: number, escapes: { next: number }): number {
  let i = start + 1
  let quote = -1
  for (;;) {
    // Looked for once, and again only behind an escape that hid it: a string of nothing but escapes is read once, too.
    if (quote < i) quote = text.indexOf('"', i)
    if (quote < 0) return text.length
    // Most strings have no escape, and then the next one in the text, found once, lies beyond all of them.
    if (escapes.next < i) escapes.next = nextOrEnd(text, i)
    if (quote < escapes.next) return quote
    i = escapes.next + 1
    if (text.charCodeAt(i) === U) i += checkEscape(text, i)
    i += 1
  }
}

function nextOrEnd(text: string, from: number): number {
  const next = text.indexOf('\\', from)
  return next < 0 ? text.length : next
}

// `at` is the place of the `u`; returns how many more characters the escape, or the pair of escapes, has.
function checkEscape(text: string, at: number): number {
  const unit = Number.parseInt(text.slice(at + 1, at + 5), 16)
  if (unit === 0) throw new Refusal('MalformedJson', 'a string holds U+0000')
  if (!(unit >= 0xd800 && unit <= 0xdfff)) return 0
  const next = text.startsWith('\\u', at + 5) ? Number.parseInt(text.slice(at + 7, at + 11), 16) : 0
  if (unit <= 0xdbff && next >= 0xdc00 && next <= 0xdfff) return 10
  throw new Refusal('MalformedJson', 'a string holds half of a surrogate pair')
}

// "\u0061" is "a": names are compared as the parser will read them.
function decodeName(text: string, start: number, end: number): string {
  const inner = text.slice(start + 1, end)
  if (!inner.includes('\\')) return inner
  try {
    return String(JSON.parse(text.slice(start, end + 1)))
  } catch {
    return inner
  }
}

function checkNumber(number: string): void {
  if (number.length > MAX_NUMBER_LENGTH) throw new Refusal('MalformedJson', `a number has too many digits`)
  const value = Number(number)
  // In whatever spelling: 9007199254740993.0 and 9e99 are whole numbers too.
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new Refusal('MalformedJson', `${number} is beyond what a double holds exactly`)
  }
  const vanished = value === 0 && /^[^eE]*[1-9]/.test(number)
  if ((!Number.isFinite(value) && !Number.isNaN(value)) || vanished)
    throw new Refusal('MalformedJson', `${number} is out of range`)
}
