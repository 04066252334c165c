import { flat, LONGEST_TEXT, toSearch, weightOf } from '../effort.ts'
import { type EffortOf, type Overload, overload } from '../overload.ts'
import { fail, isError, type Outcome, sizeOf, type Value } from '../values.ts'
import { format } from './format.ts'
import { COSTS } from './operators.ts'

// The extended strings of cel-go. Positions and lengths are code points.

const bounded = (length: number, make: () => string): Outcome =>
  length > LONGEST_TEXT ? fail('the text is too long') : make()

const points = (text: string): readonly string[] => Array.from(text)
const outside = (index: bigint): Outcome => fail(`index out of range: ${index}`)

function indexOf(text: readonly string[], wanted: readonly string[], from: number, step: 1 | -1): bigint {
  for (let i = from; i >= 0 && i <= text.length - wanted.length; i += step)
    if (wanted.every((point, j) => text[i + j] === point)) return BigInt(i)
  return -1n
}

function indexFrom(text: string, wanted: string, offset: bigint): Outcome {
  if (wanted === '') return offset
  if (offset < 0n) return outside(offset)
  const whole = points(text)
  return offset >= whole.length ? -1n : indexOf(whole, points(wanted), Number(offset), 1)
}

function lastIndexFrom(text: string, wanted: string, offset: bigint): Outcome {
  if (wanted === '') return offset
  if (offset < 0n) return outside(offset)
  const [whole, part] = [points(text), points(wanted)]
  if (offset >= whole.length) return -1n
  return indexOf(whole, part, Math.min(Number(offset), whole.length - part.length), -1)
}

function substring(text: string, start: bigint, end?: bigint): Outcome {
  const whole = points(text)
  const to = end ?? BigInt(whole.length)
  if (start > to && end !== undefined) return fail(`start ${start} is after end ${to}`)
  if (start < 0n || start > whole.length) return outside(start)
  if (to < 0n || to > whole.length) return outside(to)
  return whole.slice(Number(start), Number(to)).join('')
}

/** Go's strings.Replace: an empty `old` matches before each code point and at the end. */
function replace(text: string, old: string, by: string, count: bigint): Outcome {
  if (count === 0n || old === by) return text
  const limit = count < 0n ? Number.POSITIVE_INFINITY : Number(count)
  const pieces = old === '' ? ['', ...points(text), ''] : text.split(old)
  const joints = Math.min(pieces.length - 1, limit)
  if (old === '') {
    // One joint before each code point and one at the end.
    const whole = points(text)
    const number = Math.min(whole.length + 1, limit)
    return bounded(text.length + number * by.length, () =>
      [...whole.map((point, i) => (i < number ? by + point : point)), number > whole.length ? by : ''].join(''),
    )
  }
  return bounded(text.length + joints * by.length, () =>
    pieces.map((piece, i) => (i === 0 ? piece : (i <= limit ? by : old) + piece)).join(''),
  )
}

function split(text: string, separator: string, count: bigint): Value {
  if (count === 0n) return []
  const all = separator === '' ? [...points(text)] : text.split(separator)
  if (count < 0n || all.length <= count) return all
  const kept = Number(count) - 1
  return [...all.slice(0, kept), all.slice(kept).join(separator)]
}

function join(list: readonly Value[], separator: string): Outcome {
  const texts: string[] = []
  let length = 0
  for (const item of list) {
    if (typeof item !== 'string') return fail('join() takes strings')
    texts.push(item)
    length += item.length + separator.length
  }
  return bounded(length, () => texts.join(separator))
}

const QUOTED: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
}

// What Go's unicode.IsSpace says, which is not what JavaScript's trim() does (U+FEFF).
const SPACES = '[\\t\\n\\v\\f\\r \\u0085\\u00A0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000]'
const SPACE = new RegExp(SPACES)
function trim(text: string): string {
  let [from, to] = [0, text.length]
  while (from < to && SPACE.test(text.charAt(from))) from++
  while (to > from && SPACE.test(text.charAt(to - 1))) to--
  return text.slice(from, to)
}

const toFormat: EffortOf = (text, args) => flat(text) + (isError(args) ? 0 : weightOf(args))
const containsCost: Overload['cost'] = (text, part) => COSTS.traversal(sizeOf(text)) * COSTS.traversal(sizeOf(part))

export const strings: readonly Overload[] = [
  overload('string.contains(string): bool', (text: string, part: string) => text.includes(part), containsCost),
  overload('string.startsWith(string): bool', (text: string, part: string) => text.startsWith(part), COSTS.ofFirst),
  overload('string.endsWith(string): bool', (text: string, part: string) => text.endsWith(part), COSTS.ofFirst),
  overload('string.charAt(int): string', (text: string, index: bigint): Outcome => {
    const whole = points(text)
    return index < 0n || index > whole.length ? outside(index) : (whole[Number(index)] ?? '')
  }),
  overload(
    'string.indexOf(string): int',
    (text: string, part: string) => indexFrom(text, part, 0n),
    undefined,
    toSearch,
  ),
  overload('string.indexOf(string, int): int', indexFrom, undefined, toSearch),
  overload(
    'string.lastIndexOf(string): int',
    (text: string, part: string): Outcome => {
      const length = BigInt(points(text).length)
      if (part === '') return length
      return points(part).length > length || length === 0n ? -1n : lastIndexFrom(text, part, length - 1n)
    },
    undefined,
    toSearch,
  ),
  overload('string.lastIndexOf(string, int): int', lastIndexFrom, undefined, toSearch),
  overload('string.lowerAscii(): string', (text: string) => text.replace(/[A-Z]/g, (c) => c.toLowerCase())),
  overload('string.upperAscii(): string', (text: string) => text.replace(/[a-z]/g, (c) => c.toUpperCase())),
  overload(
    'string.replace(string, string): string',
    (text: string, old: string, by: string) => replace(text, old, by, -1n),
    undefined,
    toSearch,
  ),
  overload('string.replace(string, string, int): string', replace, undefined, toSearch),
  overload('string.reverse(): string', (text: string) => points(text).toReversed().join('')),
  overload(
    'string.split(string): list(string)',
    (text: string, separator: string) => split(text, separator, -1n),
    undefined,
    toSearch,
  ),
  overload('string.split(string, int): list(string)', split, undefined, toSearch),
  overload('string.substring(int): string', (text: string, start: bigint) => substring(text, start)),
  overload('string.substring(int, int): string', (text: string, start: bigint, end: bigint) =>
    substring(text, start, end),
  ),
  overload('string.trim(): string', trim),
  overload('list(string).join(): string', (list: readonly Value[]) => join(list, '')),
  overload('list(string).join(string): string', join),
  overload('string.format(list(dyn)): string', format, COSTS.ofFirst, toFormat),
  overload(
    'strings::quote(string): string',
    (text: string) => `"${Array.from(text, (c) => QUOTED[c] ?? c).join('')}"`,
    COSTS.ofFirst,
  ),
]
