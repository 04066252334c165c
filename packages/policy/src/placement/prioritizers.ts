import type { PrioritizerPolicy, Toleration } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import type { Fleet } from './fleet.ts'
import { toleratesOne } from './taints.ts'

// What the clusters that passed are ranked by: OCM's prioritizers, in its arithmetic. A cluster that one does not mention
// has 0 from it.

export type Coordinate = NonNullable<NonNullable<PrioritizerPolicy['configurations']>[number]['scoreCoordinate']>
export type Weighted = { readonly coordinate: Coordinate; readonly weight: number }

const DEFAULTS: readonly Weighted[] = ['Balance', 'Steady'].map((builtIn) => ({
  coordinate: { type: 'BuiltIn', builtIn },
  weight: 1,
}))
const RESOURCES: Readonly<Record<string, 'cpu' | 'memory'>> = {
  ResourceAllocatableCPU: 'cpu',
  ResourceAllocatableMemory: 'memory',
}

/** Those that OCM knows. */
export const OCM_BUILT_IN: readonly string[] = ['Balance', 'Steady', ...Object.keys(RESOURCES)]
const BUILT_IN = [...OCM_BUILT_IN, 'Spread', 'PreferNoSelect']
const SPREAD: Weighted = { coordinate: { type: 'BuiltIn', builtIn: 'Spread' }, weight: 2 }

export const isSpread = ({ coordinate: { type = 'BuiltIn', builtIn } }: Weighted) =>
  type === 'BuiltIn' && builtIn === 'Spread'

/**
 * The prioritizers that count, or what is wrong with the policy, as OCM words it. `spreads`: the placement has a
 * spreadPolicy, which counts 2 unless something else is said.
 */
export function weights(
  { mode = '', configurations = [] }: PrioritizerPolicy = {},
  spreads = false,
  known: readonly string[] = BUILT_IN,
): Weighted[] | { fault: string } {
  if (mode !== '' && mode !== 'Additive' && mode !== 'Exact')
    return { fault: `incorrect prioritizer policy mode: ${mode}` }
  const weighted = new Map<unknown, Weighted>()
  const defaults = mode === 'Exact' ? [] : spreads ? [...DEFAULTS, SPREAD] : DEFAULTS
  for (const one of defaults) weighted.set(`BuiltIn/${one.coordinate.builtIn}`, one)
  for (const { scoreCoordinate: coordinate, weight = 1 } of configurations) {
    if (!coordinate) return { fault: 'scoreCoordinate field is required' }
    // OCM tells coordinates with an add-on apart by where they stand, so that two of one name count twice.
    const key = coordinate.addOn ? coordinate : `${coordinate.type ?? 'BuiltIn'}/${coordinate.builtIn ?? ''}`
    weighted.set(key, { coordinate, weight })
  }
  const active = [...weighted.values()].filter(({ weight }) => weight !== 0)
  for (const { coordinate } of active) {
    const { type = 'BuiltIn', builtIn = '', addOn } = coordinate
    if (type !== 'BuiltIn' && !addOn) return { fault: 'addOn should not be empty' }
    if (type === 'BuiltIn' && !known.includes(builtIn)) return { fault: `incorrect builtin prioritizer: ${builtIn}` }
  }
  return active
}

/** What a person may not write, with its path below `spec`; OCM takes some of it, and means something else by it. */
export function policyFaults({
  mode = '',
  configurations = [],
}: PrioritizerPolicy): { field: string; message: string }[] {
  const at = 'prioritizerPolicy'
  const faults: { field: string; message: string }[] = []
  if (mode !== '' && mode !== 'Additive' && mode !== 'Exact')
    faults.push({ field: `${at}.mode`, message: `"${mode}" is neither Additive nor Exact` })
  const seen = new Set<string>()
  for (const [index, { scoreCoordinate }] of configurations.entries()) {
    const field = `${at}.configurations[${index}].scoreCoordinate`
    const { type = 'BuiltIn', builtIn, addOn } = scoreCoordinate ?? {}
    if (!scoreCoordinate) faults.push({ field, message: 'is required' })
    else if (type !== 'BuiltIn' && type !== 'AddOn')
      faults.push({ field: `${field}.type`, message: `"${type}" is neither BuiltIn nor AddOn` })
    else if (type === 'AddOn' && !addOn)
      faults.push({ field: `${field}.addOn`, message: 'is required with type AddOn' })
    else if (type === 'AddOn' && builtIn !== undefined)
      faults.push({ field: `${field}.builtIn`, message: 'has no meaning with type AddOn; leave it out' })
    else if (type === 'BuiltIn' && addOn)
      faults.push({ field: `${field}.addOn`, message: 'has no meaning with type BuiltIn; leave it out' })
    else if (type === 'BuiltIn' && !BUILT_IN.includes(builtIn ?? ''))
      faults.push({ field: `${field}.builtIn`, message: `"${builtIn ?? ''}" is none of ${BUILT_IN.join(', ')}` })
    else {
      const { resourceName, scoreName }: Partial<NonNullable<typeof addOn>> = addOn ?? {}
      // A score that lacks a name is nobody's second.
      if (addOn && (resourceName === undefined || scoreName === undefined)) continue
      const name = addOn ? `${resourceName}/${scoreName}` : (builtIn ?? '')
      if (seen.has(`${type}/${name}`)) faults.push({ field, message: `names ${name} twice` })
      seen.add(`${type}/${name}`)
    }
  }
  return faults
}

/** What one prioritizer says of the clusters that are still in. */
export type Score = {
  readonly name: string
  readonly weight: number
  /** By slot; 0 of a cluster that it does not mention. */
  readonly values: Int32Array
  /** The result stands all the same. */
  readonly warning?: string
  /** When the first of its scores ends to count. */
  readonly endsAtMs?: number
}

/** What a prioritizer looks at: by slot 1 in `mask` for who is still in, and in `own` how often this placement has decided it. */
export type Field = {
  readonly fleet: Fleet
  readonly mask: Uint8Array
  readonly own: Uint8Array
  readonly tolerations: readonly Toleration[]
  readonly nowMs: number
}

export function score(
  { coordinate: { type = 'BuiltIn', builtIn = '', addOn }, weight }: Weighted,
  field: Field,
): Score {
  if (type !== 'BuiltIn' && addOn)
    return { name: `AddOn/${addOn.resourceName}/${addOn.scoreName}`, weight, ...byAddOn(addOn, field) }
  if (builtIn === 'PreferNoSelect') return { name: builtIn, weight, ...preferNoSelect(field) }
  return { name: builtIn, weight, values: byBuiltIn(builtIn, field) }
}

function byBuiltIn(builtIn: string, field: Field): Int32Array {
  if (builtIn === 'Balance') return balance(field)
  if (builtIn === 'Steady') return steady(field)
  // Known only once it is picked (spread.ts); without a spreadPolicy it says nothing.
  if (builtIn === 'Spread') return new Int32Array(field.mask.length)
  return allocatable(field, RESOURCES[builtIn] ?? 'cpu')
}

function steady({ mask, own }: Field): Int32Array {
  const values = new Int32Array(mask.length)
  for (let slot = 0; slot < mask.length; slot += 1) if (mask[slot] === 1 && own[slot] !== 0) values[slot] = 100
  return values
}

// How often others have decided a cluster; the most of any, candidate or not, is the measure.
function balance({ fleet, mask, own }: Field): Int32Array {
  const { counts } = fleet
  let max = 0
  for (let slot = 0; slot < mask.length; slot += 1) {
    const count = (counts[slot] ?? 0) - (own[slot] ?? 0)
    if (count > max) max = count
  }
  const values = new Int32Array(mask.length)
  for (let slot = 0; slot < mask.length; slot += 1) {
    if (mask[slot] !== 1) continue
    const count = (counts[slot] ?? 0) - (own[slot] ?? 0)
    values[slot] = count === 0 ? 100 : 2 * Math.trunc(100 * (0.5 - count / max))
  }
  return values
}

function allocatable({ fleet, mask }: Field, resource: 'cpu' | 'memory'): Int32Array {
  const of = fleet.allocatable[resource]
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (let slot = 0; slot < mask.length; slot += 1) {
    const value = of[slot] ?? Number.NaN
    if (mask[slot] !== 1 || Number.isNaN(value)) continue
    if (value < min) min = value
    if (value > max) max = value
  }
  const values = new Int32Array(mask.length)
  for (let slot = 0; slot < mask.length; slot += 1) {
    const value = of[slot] ?? Number.NaN
    if (mask[slot] !== 1 || Number.isNaN(value)) continue
    values[slot] = max === min ? 100 : Math.trunc(((value - min) / (max - min) - 0.5) * 2 * 100)
  }
  return values
}

// D-04: the more PreferNoSelect taints that are not tolerated, the worse; it filters nobody.
function preferNoSelect({ fleet, mask, tolerations, nowMs }: Field): Omit<Score, 'name' | 'weight'> {
  const values = new Int32Array(mask.length)
  let most = 0
  let endsAtMs: number | undefined
  for (let slot = 0; slot < mask.length; slot += 1) {
    if (mask[slot] !== 1) continue
    for (const taint of fleet.clusterAt(slot)?.spec.taints ?? []) {
      if (taint.effect !== 'PreferNoSelect') continue
      const one = toleratesOne(taint, tolerations, nowMs)
      if (!one.by) values[slot] = (values[slot] ?? 0) + 1
      else if (one.expiresAtMs !== undefined) endsAtMs = Math.min(endsAtMs ?? one.expiresAtMs, one.expiresAtMs)
    }
    most = Math.max(most, values[slot] ?? 0)
  }
  if (most > 0)
    for (let slot = 0; slot < mask.length; slot += 1) values[slot] = Math.trunc((-100 * (values[slot] ?? 0)) / most)
  return { values, ...(endsAtMs === undefined ? {} : { endsAtMs }) }
}

function byAddOn(
  { resourceName, scoreName }: NonNullable<Coordinate['addOn']>,
  { fleet, mask, nowMs }: Field,
): Omit<Score, 'name' | 'weight'> {
  const values = new Int32Array(mask.length)
  const expired: string[] = []
  let endsAtMs: number | undefined
  for (const { namespace, validUntil, scores } of fleet.scoresOf(resourceName).values()) {
    const slot = fleet.slotOf(namespace)
    if (slot === undefined || mask[slot] !== 1) continue
    // Valid at the very instant.
    const untilMs = validUntil === undefined ? undefined : Date.parse(validUntil) + 1
    if (untilMs !== undefined && nowMs >= untilMs) {
      expired.push(`${namespace}/${resourceName}`)
      continue
    }
    if (untilMs !== undefined) endsAtMs = Math.min(endsAtMs ?? untilMs, untilMs)
    values[slot] = scores.findLast(({ name }) => name === scoreName)?.value ?? 0
  }
  return {
    values,
    ...(endsAtMs === undefined ? {} : { endsAtMs }),
    ...(expired.length === 0
      ? {}
      : { warning: `AddOnPlacementScores ${expired.toSorted(byCodeUnit).join(' ')} expired` }),
  }
}
