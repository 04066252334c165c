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

/**
 * The groups of the selected clusters, in the order in which they come; with a fault those that OCM had cut before it met it. `takes`
 * says of a selector without fault whom it takes: 1 at the numbers of those, until it is asked again. `room` gives so much room.
 */
export function cutGroups(
  selected: Int32Array,
  { groupStrategy }: DecisionStrategy = {},
  takes: (selector: GroupSelector | undefined) => Uint8Array,
  room: (length: number) => Int32Array = (length) => new Int32Array(length),
): { readonly groups: readonly Cut[]; readonly fault?: string } {
  const { decisionGroups = [], clustersPerDecisionGroup } = groupStrategy ?? {}
  const length = groupLength(clustersPerDecisionGroup, selected.length)
  if (typeof length === 'object') return { groups: [], ...length }
  const groups: Cut[] = []
  let rest = selected
  const divide = (name: string, taken: Int32Array) => {
    for (let from = 0; from < taken.length; from += length)
      groups.push({ name, index: groups.length, members: taken.subarray(from, from + length) })
  }
  for (const { groupName = '', groupClusterSelector: wanted } of decisionGroups) {
    const fault = selectorFault(wanted?.labelSelector) ?? selectorFault(wanted?.claimSelector)
    if (fault) return { groups, fault }
    const { taken, left } = parted(rest, takes(wanted), room(rest.length))
    rest = left
    divide(groupName, taken)
  }
  divide('', rest)
  return { groups: groups.length > 0 ? groups : [{ name: '', index: 0, members: new Int32Array(0) }] }
}

function parted(all: Int32Array, mask: Uint8Array, room: Int32Array): { taken: Int32Array; left: Int32Array } {
  let count = 0
  for (let at = 0; at < all.length; at += 1) count += mask[all[at] ?? 0] ?? 0
  let [taken, left] = [0, count]
  for (let at = 0; at < all.length; at += 1) {
    const one = all[at] ?? 0
    if (mask[one] === 1) room[taken++] = one
    else room[left++] = one
  }
  return { taken: room.subarray(0, count), left: room.subarray(count) }
}

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
