import { RE2JS } from 're2js'
import { flat } from '../effort.ts'
import { type EffortOf, type Overload, overload } from '../overload.ts'
import { CelError, fail, type Outcome, sizeOf, type Value } from '../values.ts'
import { COSTS } from './operators.ts'

// RE2's expressions, as Go's: no look-around and no back-references, and no time that explodes.

/** Instructions of all that are kept. */
const MAX_KEPT = 200_000
let keptSize = 0
const kept = new Map<string, RE2JS | CelError>()
// A counted repetition is written out when a pattern is read: `a{1000}` is a thousand instructions. RE2 takes no more than a
// thousand inside one another.
const MAX_REPEATS = 1000
const MAX_WRITTEN_OUT = 200_000

/** An expression that is read once, however many clusters it is asked about. */
export function regex(pattern: string): RE2JS | CelError {
  const known = kept.get(pattern)
  if (known) return known
  const read = readRegex(pattern)
  const size = sizeOfProgram(read) + pattern.length
  if (keptSize + size > MAX_KEPT) {
    kept.clear()
    keptSize = 0
  }
  keptSize += size
  kept.set(pattern, read)
  return read
}

const sizeOfProgram = (read: RE2JS | CelError): number => (read instanceof CelError ? 0 : read.programSize())

function readRegex(pattern: string): RE2JS | CelError {
  let repeats = 1
  for (const [, times] of pattern.slice(0, MAX_WRITTEN_OUT).matchAll(/(\d+)\}/g))
    repeats = Math.min(MAX_REPEATS, repeats * Math.max(1, Number(times)))
  if (pattern.length * repeats > MAX_WRITTEN_OUT) return fail('the regular expression is too large')
  try {
    return RE2JS.compile(pattern)
  } catch {
    return fail(`"${pattern}" is no regular expression`)
  }
}

function matches(text: string, pattern: string): Outcome {
  const read = regex(pattern)
  return read instanceof CelError ? read : read.test(text)
}

function find(text: string, pattern: string): Outcome {
  const found = findAll(text, pattern, 1n)
  return found instanceof CelError ? found : (found[0] ?? '')
}

function findAll(text: string, pattern: string, limit = -1n): readonly Value[] | CelError {
  const read = regex(pattern)
  if (read instanceof CelError) return read
  const found: string[] = []
  const matcher = read.matcher(text)
  let end = -1
  while ((limit < 0n || found.length < limit) && matcher.find()) {
    // Go leaves out an empty match right behind another one.
    if (matcher.end() > matcher.start() || matcher.start() !== end) found.push(matcher.group() ?? '')
    end = matcher.end()
  }
  return found
}

/** How many characters a program of so many instructions takes at once, and how often what was read for one match is read again. */
const [AT_ONCE, AGAIN] = [32, 16]
/** For each instruction of a pattern that has to be read first. */
const READ = 200

function toMatch(text: Outcome, pattern: Outcome): number {
  if (typeof text !== 'string' || typeof pattern !== 'string') return 0
  return (text.length + 1) * (1 + sizeOfProgram(regex(pattern)) / AT_ONCE)
}
const toMatchAll: EffortOf = (text, pattern) => toMatch(text, pattern) + flat(text) ** 2 / AGAIN

/** What it takes to read a pattern that is made while an expression is evaluated. */
export const toRead = (pattern: Outcome): number =>
  typeof pattern === 'string' ? (pattern.length + sizeOfProgram(regex(pattern))) * READ : 0

const cost: Overload['cost'] = (text, pattern) => COSTS.traversal(1 + sizeOf(text)) * Math.ceil(sizeOf(pattern) * 0.25)

export const regexes: readonly Overload[] = [
  // The global form costs 1: cel-go knows the price of the member alone.
  overload('matches(string, string): bool', matches, undefined, toMatch),
  overload('string.matches(string): bool', matches, cost, toMatch),
  overload('string.find(string): string', find, undefined, toMatch),
  overload(
    'string.findAll(string): list(string)',
    (text: string, pattern: string) => findAll(text, pattern),
    undefined,
    toMatchAll,
  ),
  overload(
    'string.findAll(string, int): list(string)',
    (text: string, pattern: string, limit: bigint) => findAll(text, pattern, limit),
    undefined,
    toMatchAll,
  ),
]
