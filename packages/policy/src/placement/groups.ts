import { DECISIONS_PER_SLICE, type DecisionStrategy } from '@skerry/api'
import { selectorFault } from './selectors.ts'

// How the selected clusters are cut into groups, and groups into slices: by name, or where a placement asks for it by score.

export type Group = { readonly name: string; readonly index: number; readonly clusters: readonly string[] }
/** A group of numbers that stand for clusters. */
export type Cut = { readonly name: string; readonly index: number; readonly members: Int32Array }
export type GroupSelector = NonNullable<
  NonNullable<NonNullable<DecisionStrategy['groupStrategy']>['decisionGroups']>[number]['groupClusterSelector']
>
/** A PlacementDecision: a part of one group. */
export type Slice = {
  readonly name: string
  readonly groupName: string
  readonly groupIndex: number
  readonly clusters: readonly string[]
}

/** Of these groups the selectors, as far as none before has a fault: OCM cuts no further. */
export function selectorsOf({ groupStrategy }: DecisionStrategy = {}): readonly (GroupSelector | undefined)[] {
  const selectors = (groupStrategy?.decisionGroups ?? []).map((group) => group.groupClusterSelector)
  const bad = selectors.findIndex((selector) => faultOf(selector) !== undefined)
  return bad < 0 ? selectors : selectors.slice(0, bad)
}

const faultOf = (selector: GroupSelector | undefined) =>
  selectorFault(selector?.labelSelector) ?? selectorFault(selector?.claimSelector)

/** `all` by the number that each of them has in `at`, below `count`; in each part as they stood. */
export function parted(all: Int32Array, at: Int32Array, count: number): readonly Int32Array[] {
  // Where each part begins, and where its next one goes: they lie one behind the other.
  const begins = new Int32Array(count + 1)
  for (let place = 0; place < all.length; place += 1) {
    const behind = (at[all[place] ?? 0] ?? 0) + 1
    begins[behind] = (begins[behind] ?? 0) + 1
  }
  for (let part = 1; part <= count; part += 1) begins[part] = (begins[part] ?? 0) + (begins[part - 1] ?? 0)
  const next = begins.slice()
  const room = new Int32Array(all.length)
  for (let place = 0; place < all.length; place += 1) {
    const one = all[place] ?? 0
    const part = at[one] ?? 0
    const to = next[part] ?? 0
    room[to] = one
    next[part] = to + 1
  }
  return Array.from({ length: count }, (_, part) => room.subarray(begins[part], begins[part + 1]))
}

/**
 * The groups of `selected` clusters, in the order in which they come; with a fault those that OCM had cut before it met it.
 * `parts`: of each selector without fault whom it takes, and last whom none does.
 */
export function cutGroups(
  parts: readonly Int32Array[],
  selected: number,
  { groupStrategy }: DecisionStrategy = {},
): { readonly groups: readonly Cut[]; readonly fault?: string } {
  const { decisionGroups = [], clustersPerDecisionGroup } = groupStrategy ?? {}
  const length = groupLength(clustersPerDecisionGroup, selected)
  if (typeof length === 'object') return { groups: [], ...length }
  const groups: Cut[] = []
  const divide = (name: string, part: Int32Array = NOBODY) => {
    for (let from = 0; from < part.length; from += length)
      groups.push({ name, index: groups.length, members: part.subarray(from, from + length) })
  }
  for (const [at, { groupName = '', groupClusterSelector }] of decisionGroups.entries()) {
    const fault = faultOf(groupClusterSelector)
    if (fault) return { groups, fault }
    divide(groupName, parts[at])
  }
  divide('', parts[decisionGroups.length])
  return { groups: groups.length > 0 ? groups : [{ name: '', index: 0, members: NOBODY }] }
}

const NOBODY = new Int32Array(0)

// Go's float arithmetic, in its order: 7 % of 100 clusters are 8.
function groupLength(per: string | number | undefined, selected: number): number | { fault: string } {
  let length = typeof per === 'number' ? per : selected
  if (typeof per === 'string') {
    const percentage = per.endsWith('%') ? goFloat(per.slice(0, -1)) : undefined
    if (percentage === undefined) return { fault: `${per} invalid type: string is not a percentage` }
    length = Math.ceil((percentage / 100) * selected)
  }
  // Not a number, endless, none, or more than there are.
  return length > 0 && length <= selected ? length : selected
}

const GO_FLOAT = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/

/** What strconv.ParseFloat takes, but for hexadecimal floats. */
function goFloat(text: string): number | undefined {
  if (/^[+-]?(inf|infinity)$/i.test(text) || /^nan$/i.test(text)) return Number.NaN
  const value = GO_FLOAT.test(text) ? Number(text) : undefined
  return value === undefined || !Number.isFinite(value) ? undefined : value
}

/** The slices of the groups of a placement: at most 100 decisions each, numbered on from 1 across all groups. */
export function cutSlices(placement: string, groups: readonly Group[]): Slice[] {
  const slices: Slice[] = []
  for (const { name, index, clusters } of groups)
    for (let from = 0; from === 0 || from < clusters.length; from += DECISIONS_PER_SLICE)
      slices.push({
        name: `${placement}-decision-${slices.length + 1}`,
        groupName: name,
        groupIndex: index,
        clusters: clusters.slice(from, from + DECISIONS_PER_SLICE),
      })
  return slices
}
