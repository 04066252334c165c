import { type AddOnPlacementScoreStatus, type ObjectOf, PLACEMENT_LABEL } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { decide } from './decide.ts'
import { type FleetFacts, fleetOf } from './fleet.ts'
import { cutSlices } from './groups.ts'
import { WELL_CONFIGURED } from './schedule.ts'
import { VERDICTS, type Verdict } from './verdicts.ts'

// What OCM's own controller would store, in the shapes in which its answers were recorded: nothing is frozen, held or
// explained. Two engines can be compared so.

/** One placement and all that it is decided by, as an API server stores it; `decisions` are those of all placements. */
export type PlacementScenario = {
  readonly id: string
  readonly tags?: readonly string[] | null
  readonly now: string
  readonly clusters?: readonly ObjectOf<'ManagedCluster'>[] | null
  readonly clusterSets?: readonly ObjectOf<'ManagedClusterSet'>[] | null
  readonly bindings?: readonly ObjectOf<'ManagedClusterSetBinding'>[] | null
  readonly scores?:
    | readonly { metadata: { name: string; namespace?: string }; status?: AddOnPlacementScoreStatus | null }[]
    | null
  readonly decisions?: readonly ObjectOf<'PlacementDecision'>[] | null
  readonly placement: ObjectOf<'Placement'>
}

export type ConformanceResult = {
  readonly id: string
  readonly tags: readonly string[]
  /** `error`: nothing was stored, and `error` says why. */
  readonly outcome: 'stored' | 'skipped' | 'error'
  readonly error?: string
  readonly status?: 'Success' | 'Warning' | 'Misconfigured'
  readonly decisions: readonly (readonly string[])[]
  readonly groups: readonly { readonly name: string; readonly index: number }[]
  readonly slices: readonly { readonly name: string; readonly groupIndex: number; readonly count: number }[]
  readonly conditions: readonly {
    readonly type: string
    readonly status: string
    readonly reason: string
    readonly message: string
  }[]
  readonly numberOfSelectedClusters: number
  readonly requeueAfterS?: number
  readonly scores: Readonly<Record<string, number>>
  readonly prioritizers: readonly {
    readonly name: string
    readonly weight: number
    readonly scores: Readonly<Record<string, number>>
  }[]
}

const PASSED: ReadonlySet<Verdict | undefined> = new Set(['Selected', 'OutOfNumber'])
/** Placements are values of a label, which have at most so many characters. */
const LONGEST_NAME = 63
const EMPTY = {
  decisions: [],
  groups: [],
  slices: [],
  conditions: [],
  numberOfSelectedClusters: 0,
  scores: {},
  prioritizers: [],
}

/** OCM's answer to a scenario. Throws for what is no scenario, with the member at fault. */
export function conform(scenario: PlacementScenario): ConformanceResult {
  if (typeof scenario?.id !== 'string') throw new Error('id: a text is needed')
  const { id, tags, placement } = scenario
  const { name } = placement?.metadata ?? {}
  if (typeof name !== 'string') throw new Error('placement.metadata.name: a text is needed')
  const nowMs = typeof scenario.now === 'string' ? Date.parse(scenario.now) : Number.NaN
  if (Number.isNaN(nowMs)) throw new Error(`now: ${JSON.stringify(scenario.now)} is no time`)
  const head = { id, tags: tags ?? [] }
  const failed = (error: string): ConformanceResult => ({ ...head, outcome: 'error', error, ...EMPTY })
  if ((placement.spec.numberOfClusters ?? 0) < 0) return failed('numberOfClusters is negative')
  const fleet = fleetOf(factsOf(scenario))
  const found = decide(fleet, { ...placement, spec: placement.spec ?? {} }, nowMs, undefined, 'OCM')
  if (found.kind === 'Skipped') return { ...head, outcome: 'skipped', ...EMPTY }
  if (found.kind === 'Error') return failed(found.message)
  if (name.length > LONGEST_NAME) return failed(`the name ${name} is no label value`)
  const { status, message, selected, satisfied, verdicts, recheckAtMs } = found
  const { totals, scores } = found.ranking()
  const groups = found.groups.map(({ members, ...group }) => ({
    ...group,
    clusters: Array.from(members, (slot) => fleet.nameOf(slot)),
  }))
  const passed = [...fleet.byName()].filter((slot) => PASSED.has(VERDICTS[verdicts[slot] ?? 0]))
  const byCluster = (values: ArrayLike<number>) =>
    Object.fromEntries(passed.map((slot) => [fleet.nameOf(slot), values[slot] ?? 0]))
  const misconfigured =
    status === 'Misconfigured'
      ? { type: 'PlacementMisconfigured', status: 'True', reason: 'Misconfigured', message }
      : WELL_CONFIGURED
  return {
    ...head,
    outcome: 'stored',
    status,
    decisions: groups.map(({ clusters }) => clusters),
    groups: groups.map(({ name, index }) => ({ name, index })),
    slices: cutSlices(name, groups).map((slice) => ({
      name: slice.name,
      groupIndex: slice.groupIndex,
      count: slice.clusters.length,
    })),
    conditions: [misconfigured, satisfied],
    numberOfSelectedClusters: selected,
    ...(recheckAtMs === undefined ? {} : { requeueAfterS: (recheckAtMs - nowMs) / 1_000 }),
    scores: byCluster(totals),
    prioritizers: scores
      .map((one) => ({ name: one.name, weight: one.weight, scores: byCluster(one.values) }))
      .toSorted((a, b) => byCodeUnit(a.name, b.name)),
  }
}

/** All but the placement. */
export function factsOf({ clusters, clusterSets, bindings, scores, decisions }: PlacementScenario): FleetFacts {
  return {
    sets: (clusterSets ?? []).map((set) => ({ ...set, spec: set.spec ?? {} })),
    bindings: bindings ?? [],
    clusters: (clusters ?? []).map((cluster) => ({ ...cluster, spec: cluster.spec ?? {} })),
    scores: (scores ?? []).map(({ metadata: { name, namespace = '' }, status }) => ({
      namespace,
      name,
      validUntil: status?.validUntil ?? undefined,
      scores: status?.scores ?? [],
    })),
    decisions: (decisions ?? []).flatMap(({ metadata, status }) =>
      (status?.decisions ?? []).map(({ clusterName }) => ({
        namespace: metadata.namespace ?? '',
        placement: metadata.labels?.[PLACEMENT_LABEL] ?? '',
        cluster: clusterName,
      })),
    ),
  }
}
