import type { ObjectOf, SpreadConstraint } from '@skerry/api'
import { claimsOf, labelsOf } from './selectors.ts'

// Clusters are picked one at a time, each from where the fewest were picked before (P-70 to P-73). Topologies are a tree:
// those of a term lie within one topology of the term before, so that two regions may each have a zone "a". Within one
// leaf the order is that of the totals and never changes, so that only the heads of the leaves are compared.

/** Who may be picked; they come by name. */
export type Candidate = {
  readonly slot: number
  /** What the prioritizers sum up to. */
  readonly total: number
  /** The value of the key of each term; undefined where the cluster does not have it. */
  readonly values: readonly (string | undefined)[]
}

export type Spread = {
  /** The slots in the order in which they were picked. */
  readonly picked: readonly number[]
  /** By slot, the score in [-100, 100] in the round that picked it; of the others in the last round. */
  readonly values: ReadonlyMap<number, number>
  /** Of whom a DoNotSchedule term kept out in the last round, and of whom a key of one is missing: why, as a sentence. */
  readonly limited: ReadonlyMap<number, string>
  readonly keyless: ReadonlyMap<number, string>
}

/** A term's score; also how far apart two terms' are, so that the earlier one always counts more. */
const [MOST, BASE] = [63, 64] as const

class Topology {
  picked = 0
  readonly children = new Map<string, Topology>()
  readonly parent: Topology | undefined
  readonly value: string
  /** Of a leaf: who is left of it, the best last. */
  readonly queue: { readonly candidate: Candidate; readonly place: number }[] = []
  score = 0
  /** The topology, itself or one around it, that may not have one more. */
  limit: Topology | undefined

  constructor(parent?: Topology, value = '') {
    this.parent = parent
    this.value = value
  }

  child(value: string): Topology {
    const known = this.children.get(value)
    if (known) return known
    const made = new Topology(this, value)
    this.children.set(value, made)
    return made
  }

  /** The least and the most that were picked in any topology below. */
  range(): readonly [number, number] {
    let [min, max] = [Number.POSITIVE_INFINITY, 0]
    for (const { picked } of this.children.values()) {
      if (picked < min) min = picked
      if (picked > max) max = picked
    }
    return [min, max]
  }
}

/** Whether a term may keep clusters out. */
export const isStrict = ({ whenUnsatisfiable }: SpreadConstraint) => whenUnsatisfiable === 'DoNotSchedule'

/** The value of the key of each term; undefined where the cluster does not have it. */
export function topologiesOf(
  terms: readonly SpreadConstraint[],
  cluster: ObjectOf<'ManagedCluster'>,
): readonly (string | undefined)[] {
  const [labels, claims] = [labelsOf(cluster), claimsOf(cluster)]
  return terms.map(({ topologyKey, topologyKeyType }) =>
    (topologyKeyType === 'Claim' ? claims : labels).get(topologyKey),
  )
}

/** Picks `number` clusters, or fewer where a term allows no more: by total and, `weight` times, by what spreads them. */
export function spread(
  candidates: Iterable<Candidate>,
  terms: readonly SpreadConstraint[],
  weight: number,
  number: number,
): Spread {
  const root = new Topology()
  const leaves = new Set<Topology>()
  const keyless = new Map<number, string>()
  let place = 0
  for (const candidate of candidates) {
    const missing = terms.find((term, at) => isStrict(term) && candidate.values[at] === undefined)
    if (missing) keyless.set(candidate.slot, `${nameOf(missing)} is missing`)
    else {
      const leaf = candidate.values.reduce((at: Topology, value = '') => at.child(value), root)
      leaves.add(leaf)
      leaf.queue.push({ candidate, place })
    }
    place += 1
  }
  for (const { queue } of leaves) queue.sort((a, b) => a.candidate.total - b.candidate.total || b.place - a.place)

  const picked: number[] = []
  const values = new Map<number, number>()
  let scoreOf = (_: Topology) => 0
  while (picked.length < number) {
    look(root, terms)
    scoreOf = normalised(leaves)
    const best = bestOf(leaves, weight, scoreOf)
    const slot = best?.queue.pop()?.candidate.slot
    if (!best || slot === undefined) break
    values.set(slot, scoreOf(best))
    picked.push(slot)
    // What is told of the others is what stood before the last pick: it is what they were not picked by.
    if (picked.length === number) break
    for (let at: Topology | undefined = best; at; at = at.parent) at.picked += 1
  }
  const limited = new Map<number, string>()
  for (const leaf of leaves)
    for (const { candidate } of leaf.queue) {
      values.set(candidate.slot, scoreOf(leaf))
      if (leaf.limit) limited.set(candidate.slot, limitText(leaf.limit, terms))
    }
  return { picked, values, limited, keyless }
}

/** Gives every leaf below `at` its score by the present counts, and what keeps it from having one more. */
function look(at: Topology, terms: readonly SpreadConstraint[], depth = 0, score = 0, limit?: Topology): void {
  const term = terms[depth]
  if (!term) {
    at.score = score
    at.limit = limit
    return
  }
  const [min, max] = at.range()
  const allowed = isStrict(term) ? min + (term.maxSkew ?? 1) : Number.POSITIVE_INFINITY
  for (const child of at.children.values()) {
    const own = max === min ? 0 : Math.trunc((MOST * (max - child.picked)) / (max - min))
    // Not by shifts: those have 32 bits, and eight terms need 48.
    look(child, terms, depth + 1, score * BASE + own, limit ?? (child.picked + 1 > allowed ? child : undefined))
  }
}

const isOpen = ({ queue, limit }: Topology) => queue.length > 0 && limit === undefined

function normalised(leaves: Iterable<Topology>): (leaf: Topology) => number {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const leaf of leaves) {
    if (!isOpen(leaf)) continue
    if (leaf.score < low) low = leaf.score
    if (leaf.score > high) high = leaf.score
  }
  return ({ score, limit }) =>
    // `+ 0`: no -0.
    limit !== undefined || low >= high ? 0 : Math.trunc(((score - low) / (high - low) - 0.5) * 200) + 0
}

function bestOf(leaves: Iterable<Topology>, weight: number, scoreOf: (leaf: Topology) => number): Topology | undefined {
  let best: { leaf: Topology; total: number; place: number } | undefined
  for (const leaf of leaves) {
    const head = leaf.queue.at(-1)
    if (!head || !isOpen(leaf)) continue
    const total = head.candidate.total + weight * scoreOf(leaf)
    if (!best || total > best.total || (total === best.total && head.place < best.place))
      best = { leaf, total, place: head.place }
  }
  return best?.leaf
}

const nameOf = ({ topologyKey, topologyKeyType }: SpreadConstraint) => `${topologyKeyType.toLowerCase()} ${topologyKey}`

function limitText(limit: Topology, terms: readonly SpreadConstraint[]): string {
  const path: string[] = []
  for (let at = limit; at.parent; at = at.parent) path.unshift(at.value)
  const where = path.map((value, at) => `${terms[at]?.topologyKey}=${value}`).join(', ')
  const [least] = limit.parent?.range() ?? [0]
  const most = terms[path.length - 1]?.maxSkew ?? 1
  return `${where} has ${limit.picked} where the least has ${least}: one more would exceed maxSkew ${most}`
}
