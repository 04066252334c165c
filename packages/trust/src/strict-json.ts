import { Refusal } from '@skerry/api'

// JSON.parse keeps the last of two members of one name. Whoever signs a document for one reader and shows it to another
// lives off that, so here a document that names a member twice is no document (reference: trust, "parser differential").

export type JsonLimits = { readonly maxBytes: number; readonly maxDepth?: number }

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The value of a JSON text in strict UTF-8. Refusals: TooLarge, MalformedJson (also: a byte order mark, deeper than 32,
 * a number that a double cannot hold exactly), DuplicateMember with the member's path.
 */
export function parseStrictJson(bytes: Uint8Array, { maxBytes, maxDepth = 32 }: JsonLimits): unknown {
  if (bytes.byteLength > maxBytes)
    throw new Refusal('TooLarge', `${bytes.byteLength} bytes, where ${maxBytes} are allowed`)
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch (cause) {
    throw new Refusal('MalformedJson', 'not valid UTF-8', { cause })
  }
  if (text.charCodeAt(0) === 0xfeff) throw new Refusal('MalformedJson', 'begins with a byte order mark')
  scan(text, maxDepth)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new Refusal('MalformedJson', cause instanceof Error ? cause.message : 'not JSON', { cause })
  }
}

// Walks the text once, before parsing, so that neither depth nor doubled members reach the parser. It trusts the parser
// for everything else: on broken JSON it may stop anywhere, and JSON.parse then says what is wrong.
function scan(text: string, maxDepth: number): void {
  const open: { members: Set<string> | undefined; path: string; index: number }[] = []
  let expectName = false
  let path = ''
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i]
    if (c === '"') {
      const end = endOfString(text, i)
      const top = open.at(-1)
      if (expectName && top?.members) {
        const name = decodeName(text.slice(i, end + 1))
        path = top.path === '' ? name : `${top.path}.${name}`
        if (top.members.has(name)) throw new Refusal('DuplicateMember', `"${path}" stands twice`, { field: path })
        top.members.add(name)
        expectName = false
      }
      i = end
    } else if (c === '{' || c === '[') {
      if (open.length >= maxDepth) throw new Refusal('MalformedJson', `nested deeper than ${maxDepth}`)
      const top = open.at(-1)
      const here = top && !top.members ? `${top.path}[${top.index}]` : path
      open.push({ members: c === '{' ? new Set() : undefined, path: here, index: 0 })
      expectName = c === '{'
    } else if (c === '}' || c === ']') {
      path = open.pop()?.path ?? ''
      expectName = false
    } else if (c === ',') {
      const top = open.at(-1)
      if (top) top.index += 1
      expectName = top?.members !== undefined
    } else if (c === '-' || (c !== undefined && c >= '0' && c <= '9')) {
      const number = /^-?[0-9.eE+-]+/.exec(text.slice(i, i + 64))?.[0] ?? c
      checkNumber(number)
      i += number.length - 1
    }
  }
}

function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i += 1) {
    if (text[i] === '\\') i += 1
    else if (text[i] === '"') return i
  }
  return text.length
}

// "a" is "a": names are compared as the parser will read them.
function decodeName(quoted: string): string {
  try {
    return String(JSON.parse(quoted))
  } catch {
    return quoted
  }
}

function checkNumber(number: string): void {
  if (/^-?\d+$/.test(number) && !Number.isSafeInteger(Number(number))) {
    throw new Refusal('MalformedJson', `${number} is beyond what a double holds exactly`)
  }
  if (!Number.isFinite(Number(number)) && !Number.isNaN(Number(number)))
    throw new Refusal('MalformedJson', `${number} is out of range`)
}
