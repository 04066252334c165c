import { flat } from '../effort.ts'
import { type Overload, overload } from '../overload.ts'
import { CelError, fail, isError, isList, isMap, type Outcome, sizeOf, type Value } from '../values.ts'
import { COSTS } from './operators.ts'

// What Open Cluster Management adds. `scores` looks up what the cluster's own prepared form carries: plan.ts.

/** What a call made costs, to the bottom. */
function depth(value: Value): number {
  let cost = 0
  if (isMap(value)) for (const item of value.values()) cost += depth(item)
  else if (isList(value)) for (const item of value) cost += depth(item)
  else return 0
  return cost + (isMap(value) ? 30 : 10)
}

/** Deeper than any value that somebody writes; Go takes 10,000. */
const MAX_DEPTH = 1000

/** Any JSON value: numbers are doubles, of a repeated key the last wins. Undefined: nested too deep, or beyond a double. */
function fromJson(value: unknown, level = 0): Value | undefined {
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined
  if (typeof value !== 'object' || value === null) return null
  if (level >= MAX_DEPTH) return undefined
  if (Array.isArray(value)) {
    const items: Value[] = []
    for (const item of value) {
      const made = fromJson(item, level + 1)
      if (made === undefined) return undefined
      items.push(made)
    }
    return items
  }
  const fields = new Map<string, Value>()
  for (const [key, item] of Object.entries(value)) {
    const made = fromJson(item, level + 1)
    if (made === undefined) return undefined
    fields.set(key, made)
  }
  return fields
}

function parseJson(text: string): Outcome {
  try {
    const value = fromJson(JSON.parse(text))
    return value === undefined ? fail('the text is JSON that no value can hold') : value
  } catch {
    return fail('the text is no JSON')
  }
}

export const ocm: readonly Overload[] = [
  overload('dyn.scores(string): list(dyn)', () => fail('not called')),
  overload(
    'string.parseJSON(): dyn',
    parseJson,
    (text, _, result) => COSTS.traversal(sizeOf(text)) + (isError(result) ? 0 : depth(result)),
    (text) => 8 * flat(text),
  ),
]

export type Score = { readonly name: string; readonly value: number }

/** `cluster.scores(name)`: of the object of that name in the namespace of the cluster that the map on the left names. */
export function scoresIn(
  cluster: Value,
  name: Value,
  scoresOf: (cluster: string, name: string) => readonly Score[] | undefined,
): Outcome {
  const metadata = isMap(cluster) ? cluster.get('metadata') : undefined
  const clusterName = metadata !== undefined && isMap(metadata) ? metadata.get('name') : undefined
  if (typeof clusterName !== 'string' || typeof name !== 'string') return fail('scores() is for a cluster and a name')
  const scores = scoresOf(clusterName, name)
  if (!scores) return fail(`there is no AddOnPlacementScore ${name}`)
  return scores.map(
    (score) =>
      new Map<string, Value>([
        ['name', score.name],
        ['value', BigInt(score.value)],
      ]),
  )
}

export const scoresCost = (result: Outcome): number =>
  10 + (!(result instanceof CelError) && isList(result) ? 31 * result.length : 0)
