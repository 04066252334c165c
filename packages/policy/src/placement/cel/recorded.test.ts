import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { compileCel, evaluate, PREDICATE_BUDGET, type Score } from './index.ts'
import { Uint, type Value } from './values.ts'

// What cel-go 0.26.1 with the libraries of k8s.io/apiserver 0.34.1 made of 35,000 expressions (DESIGN.md, "CEL"): whether they
// compile, whether they end in an error, their value, and their cost to the unit.

type World = { cluster: unknown; scores: Record<string, Score[]> }
type Case = { e: string; is: string; cost?: number; value?: string }

const [first = '', ...lines] = gunzipSync(readFileSync(new URL('recorded/cases.jsonl.gz', import.meta.url)))
  .toString('utf8')
  .trim()
  .split('\n')
const { world }: { world: World } = JSON.parse(first)
const cases = lines.map((line): Case => JSON.parse(line))
const object = new Map(Object.entries(asRecord(world.cluster)).map(([key, value]) => [key, celValue(value)]))
const scoresOf = (_: string, name: string) => world.scores[name]

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {}
}
function celValue(value: unknown): Value {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (Array.isArray(value)) return value.map(celValue)
  if (typeof value !== 'object' || value === null) return null
  return new Map(Object.entries(value).map(([key, item]) => [key, celValue(item)]))
}

/** What differs from the recording, as a sentence. */
function difference({ e, is, cost, value }: Case): string | undefined {
  const compiled = compileCel(e)
  if ('fault' in compiled) return is === 'fault' ? undefined : `${e}: does not compile (${compiled.fault})`
  if (is === 'fault') return `${e}: compiles`
  const made = evaluate(compiled, { object, scoresOf }, PREDICATE_BUDGET)
  if (made.cost !== cost) return `${e}: costs ${made.cost}, not ${cost}`
  const failed = made.why !== undefined && made.why !== 'is false' && !made.why.startsWith('is no bool')
  if (failed !== (is === 'error')) return `${e}: ${made.why ?? 'no error'}`
  if (value === undefined) return undefined
  const own = compiled.step({ cost: 0, limit: Number.POSITIVE_INFINITY, effort: 0, variables: [object], scoresOf })
  const shown = String(own instanceof Uint ? own.n : own)
  return shown === value ? undefined : `${e}: is ${shown}, not ${value}`
}

describe('[conformance: ocm] P-22, P-24: recorded expressions', () => {
  const kinds = [...new Set(cases.map(({ is }) => is))]

  test('there are faults, errors and values among them', () => {
    expect(cases.length).toBeGreaterThan(30_000)
    expect(kinds).toEqual(expect.arrayContaining(['fault', 'error', 'bool', 'int', 'string', 'map', 'list']))
  })

  test.each(kinds)('all that are %s agree', (kind) => {
    const differences = cases.filter(({ is }) => is === kind).flatMap((one) => difference(one) ?? [])
    expect(differences).toEqual([])
  })
})
