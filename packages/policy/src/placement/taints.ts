import {
  type ObjectOf,
  type Taint,
  type Toleration,
  UNREACHABLE_EFFECT_ANNOTATION,
  UNREACHABLE_TAINT,
} from '@skerry/api'
import type { Fault } from './selectors.ts'

// Taints and tolerations as OCM judges them: every taint has to be tolerated, by key, value, effect and time.

/** A fault in a toleration, as OCM words it. */
export function tolerationFault(tolerations: readonly Toleration[]): string | undefined {
  return tolerationFaults(tolerations)[0]?.message
}

/** Everything wrong with tolerations, each at its path in them (`[1].value`). */
export function tolerationFaults(tolerations: readonly Toleration[]): Fault[] {
  return tolerations.flatMap(({ key, operator, value }, index) => {
    if (!key && operator !== 'Exists')
      return [{ field: `[${index}].key`, message: 'If the key is empty, operator must be Exists.' }]
    if (operator === 'Exists' && value)
      return [{ field: `[${index}].value`, message: 'If the operator is Exists, the value should be empty.' }]
    return []
  })
}

/** Everything wrong with a cluster's taints, or with what they have of their members, beyond their schema, with the field. */
export function taintFaults(taints: readonly Partial<Taint>[]): Fault[] {
  const seen = new Set<string>()
  return taints.flatMap(({ key }, index) => {
    if (key === undefined) return []
    if (seen.has(key)) return [{ field: `spec.taints[${index}].key`, message: `"${key}" is there twice` }]
    seen.add(key)
    return []
  })
}

export type Tolerated = { readonly refusedBy?: { taint: Taint; expired: boolean }; readonly expiresAtMs?: number }

/** Whether every taint of a cluster is tolerated, and until when at the latest. `selected`: already in this placement's decisions. */
export function tolerates(
  taints: readonly Taint[],
  tolerations: readonly Toleration[],
  selected: boolean,
  nowMs: number,
): Tolerated {
  let expiresAtMs: number | undefined
  for (const taint of taints) {
    if (taint.effect === 'PreferNoSelect') continue
    if (taint.effect === 'NoSelectIfNew' && selected) continue
    const one = toleratesOne(taint, tolerations, nowMs)
    if (!one.by) return { refusedBy: { taint, expired: one.expired } }
    if (one.expiresAtMs !== undefined) expiresAtMs = Math.min(expiresAtMs ?? one.expiresAtMs, one.expiresAtMs)
  }
  return expiresAtMs === undefined ? {} : { expiresAtMs }
}

/** Whether one taint is tolerated, by any toleration for whatever time; `expired`: one was, and its time is over. */
export function toleratesOne(
  taint: Taint,
  tolerations: readonly Toleration[],
  nowMs: number,
): { by: boolean; expired: boolean; expiresAtMs?: number } {
  let expired = false
  for (const toleration of tolerations) {
    if (!matches(toleration, taint)) continue
    if (toleration.tolerationSeconds === undefined || toleration.tolerationSeconds === null)
      return { by: true, expired }
    const expiresAtMs = expiry(taint, toleration.tolerationSeconds)
    if (expiresAtMs !== undefined && nowMs < expiresAtMs) return { by: true, expired, expiresAtMs }
    expired = true
  }
  return { by: false, expired }
}

function matches({ key, operator, value, effect }: Toleration, taint: Taint): boolean {
  if (effect && effect !== taint.effect) return false
  if (key && key !== taint.key) return false
  if (operator === 'Exists') return true
  return (!operator || operator === 'Equal') && (value ?? '') === (taint.value ?? '')
}

// OCM adds int64 nanoseconds: beyond 9,223,372,036 s the sum wraps.
function expiry(taint: Taint, seconds: number): number | undefined {
  if (!taint.timeAdded) return undefined
  return Date.parse(taint.timeAdded) + Number(BigInt.asIntN(64, BigInt(seconds) * 1_000_000_000n) / 1_000_000n)
}

/** The taints of a cluster as one placement sees them: it may ask that being out of reach is what it is in OCM (D-02). */
export function taintsFor(
  { metadata }: ObjectOf<'Placement'>,
  cluster: ObjectOf<'ManagedCluster'> | undefined,
): readonly Taint[] {
  const taints = cluster?.spec.taints ?? []
  if (metadata.annotations?.[UNREACHABLE_EFFECT_ANNOTATION] !== 'NoSelect') return taints
  return taints.map((taint) => (taint.key === UNREACHABLE_TAINT ? { ...taint, effect: 'NoSelect' } : taint))
}

/** The taints of a cluster that is, or is not, out of reach: the hub's own comes and goes, all others stay. */
export function reachabilityTaints(taints: readonly Taint[], isAway: boolean, now: string): readonly Taint[] {
  const held = taints.find(({ key }) => key === UNREACHABLE_TAINT)
  if (isAway ? held?.effect === 'NoSelectIfNew' : !held) return taints
  const others = taints.filter(({ key }) => key !== UNREACHABLE_TAINT)
  return isAway ? [...others, { key: UNREACHABLE_TAINT, effect: 'NoSelectIfNew', timeAdded: now }] : others
}

/** Taints as somebody writes them, with the hub's own as it is stored: nobody else adds it or takes it away. */
export function keepHubTaint(
  before: readonly Taint[],
  after: readonly Taint[] | undefined,
): readonly Taint[] | undefined {
  const held = before.find(({ key }) => key === UNREACHABLE_TAINT)
  const given = after?.flatMap((taint) => (taint.key === UNREACHABLE_TAINT ? (held ?? []) : taint))
  if (!held || given?.includes(held)) return given
  return [...(given ?? []), held]
}

/** Taints as they are stored: `timeAdded` is the hub's to set, when a taint appears or its value or effect changes. */
export function stampTaints(before: readonly Taint[], after: readonly Taint[], now: string): Taint[] {
  const known = new Map(before.map((taint) => [taint.key, taint]))
  return after.map((taint) => {
    const was = known.get(taint.key)
    const same = was && was.effect === taint.effect && (was.value ?? '') === (taint.value ?? '')
    return { ...taint, timeAdded: same ? (was.timeAdded ?? now) : now }
  })
}
