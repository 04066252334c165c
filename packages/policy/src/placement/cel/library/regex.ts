import { RE2JS } from 're2js'
import { type Overload, overload } from '../overload.ts'
import { CelError, fail, type Outcome, sizeOf, type Value } from '../values.ts'
import { COSTS } from './operators.ts'

// RE2's expressions, as Go's: no look-around and no back-references, and no time that explodes.

const MAX_KEPT = 256
const kept = new Map<string, RE2JS | CelError>()

/** An expression that is read once, however many clusters it is asked about. */
export function regex(pattern: string): RE2JS | CelError {
  const known = kept.get(pattern)
  if (known) return known
  if (kept.size >= MAX_KEPT) kept.clear()
  const read = readRegex(pattern)
  kept.set(pattern, read)
  return read
}

function readRegex(pattern: string): RE2JS | CelError {
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

const cost: Overload['cost'] = (text, pattern) => COSTS.traversal(1 + sizeOf(text)) * Math.ceil(sizeOf(pattern) * 0.25)

export const regexes: readonly Overload[] = [
  // The global form costs 1: cel-go knows the price of the member alone.
  overload('matches(string, string): bool', matches),
  overload('string.matches(string): bool', matches, cost),
  overload('string.find(string): string', find),
  overload('string.findAll(string): list(string)', (text: string, pattern: string) => findAll(text, pattern)),
  overload('string.findAll(string, int): list(string)', (text: string, pattern: string, limit: bigint) =>
    findAll(text, pattern, limit),
  ),
]
