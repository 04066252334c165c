// The tokens of CEL, after the grammar that cel-go 0.26 is generated from.

export type Token = {
  readonly kind: 'name' | 'int' | 'uint' | 'double' | 'string' | 'bytes' | 'mark' | 'end'
  /** The text as written; of a string or bytes literal its contents. */
  readonly text: string
  readonly bytes?: Uint8Array
  readonly at: number
}

/** What is wrong with an expression, found before it is evaluated. */
export class CompileFault extends Error {
  override readonly name = 'CompileFault'
  readonly at: number
  constructor(message: string, at: number) {
    super(message)
    this.at = at
  }
}

const SPACE = /(?:[\t \r\n\f]+|\/\/[^\n]*)*/y
const NUMBER = /0x[0-9a-fA-F]+[uU]?|\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?|\d+[uU]?/y
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y
const QUOTE = /([rR]?)("""|'''|"|')/y
const BYTES_QUOTE = /[bB]([rR]?)("""|'''|"|')/y
const MARK = /==|!=|<=|>=|&&|\|\||[[\]{}().,\-!?:+*/%<>]/y

export function tokens(text: string): Token[] {
  const found: Token[] = []
  let at = 0
  const eat = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (match) at += match[0].length
    return match
  }
  for (;;) {
    eat(SPACE)
    const start = at
    if (at >= text.length) {
      found.push({ kind: 'end', text: '', at })
      return found
    }
    const bytesQuote = eat(BYTES_QUOTE)
    const quote = bytesQuote ?? eat(QUOTE)
    if (quote) {
      const raw = quote[1] !== ''
      const end = closing(text, at, quote[2] ?? '', raw)
      if (end === undefined) throw new CompileFault('a string literal is not closed', start)
      const body = text.slice(at, end).replaceAll('\r\n', '\n').replaceAll('\r', '\n')
      at = end + (quote[2] ?? '').length
      if (bytesQuote) found.push({ kind: 'bytes', text: '', bytes: bytesOf(body, raw, start), at: start })
      else found.push({ kind: 'string', text: raw ? body : unescaped(body, start), at: start })
      continue
    }
    const number = eat(NUMBER)
    if (number) {
      const kind = /^0x/.test(number[0])
        ? /[uU]$/.test(number[0])
          ? 'uint'
          : 'int'
        : /[.eE]/.test(number[0])
          ? 'double'
          : /[uU]$/.test(number[0])
            ? 'uint'
            : 'int'
      found.push({ kind, text: number[0], at: start })
      continue
    }
    const name = eat(NAME)
    if (name) {
      found.push({ kind: 'name', text: name[0], at: start })
      continue
    }
    const mark = eat(MARK)
    if (!mark) throw new CompileFault(`"${text[at]}" is no part of CEL`, at)
    found.push({ kind: 'mark', text: mark[0], at: start })
  }
}

/** Where the closing quote of a literal begins that opened before `at`. */
function closing(text: string, at: number, quote: string, raw: boolean): number | undefined {
  const long = quote.length === 3
  for (let i = at; i < text.length; i++) {
    if (text.startsWith(quote, i)) return i
    if (!long && (text[i] === '\n' || text[i] === '\r')) return undefined
    if (!raw && text[i] === '\\') i++
  }
  return undefined
}

const SIMPLE: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '"': '"',
  "'": "'",
  '\\': '\\',
  '?': '?',
  '`': '`',
}
const ESCAPE =
  /\\(?:([abfnrtv"'\\?`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([\s\S]?))/g

function unescaped(body: string, at: number): string {
  return body.replaceAll(ESCAPE, (all, simple?: string, hex?: string, u4?: string, u8?: string, octal?: string) => {
    if (simple !== undefined) return SIMPLE[simple] ?? ''
    const code = octal === undefined ? Number.parseInt(hex ?? u4 ?? u8 ?? 'x', 16) : Number.parseInt(octal, 8)
    if (Number.isNaN(code) || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
      throw new CompileFault(`"${all}" is no escape sequence`, at)
    return String.fromCodePoint(code)
  })
}

const utf8 = new TextEncoder()
function bytesOf(body: string, raw: boolean, at: number): Uint8Array {
  if (raw) return utf8.encode(body)
  const bytes = new Uint8Array(body.length * 3)
  let [from, end] = [0, 0]
  const write = (text: string) => {
    end += utf8.encodeInto(text, bytes.subarray(end)).written
  }
  for (const match of body.matchAll(ESCAPE)) {
    write(body.slice(from, match.index))
    from = match.index + match[0].length
    const [all, simple, hex, u4, u8, octal] = match
    if (simple !== undefined) write(SIMPLE[simple] ?? '')
    else if (hex !== undefined) bytes[end++] = Number.parseInt(hex, 16)
    else if (octal !== undefined) bytes[end++] = Number.parseInt(octal, 8)
    else throw new CompileFault(`"${all}" is no escape sequence of bytes${(u4 ?? u8) ? ': it is of text' : ''}`, at)
  }
  write(body.slice(from))
  return bytes.slice(0, end)
}
