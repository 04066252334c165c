import type { ClusterState, ObjectOf, RolloutCluster, RolloutStatus } from '@skerry/api'
import { byCodeUnit } from '../order.ts'
import { approvalsNeeded } from './acts.ts'
import { SENDING } from './cluster-state.ts'
import { gateName, isAttempted } from './stages.ts'
import { FINISHED, UNDER_WAY } from './states.ts'
import { type Group, type Stage, stagesOf } from './strategy.ts'

// What a foreseen status comes to for whoever reads it before anything happens: who is sent the image in which stage, and who
// waits for what. Nothing is decided here.

type PreviewGate = {
  readonly name: string
  /** How many people must approve. */
  readonly approvals: number
  readonly isPassed: boolean
}

/** The groups of a stage, which have their turn together. Names of clusters are sorted; each is in one list. */
export type PreviewStage = {
  readonly groups: readonly Group[]
  readonly isMandatory: boolean
  readonly turn: 'Waits' | 'Open' | 'Passed'
  /** Absent where nobody is asked. */
  readonly gate?: PreviewGate
  /** Worked out for who is in reach and this rollout's now. */
  readonly maxConcurrency: number
  /** Absent where all may fail. */
  readonly maxFailures?: number
  readonly sentNow: readonly string[]
  readonly underWay: readonly string[]
  readonly later: readonly string[]
  readonly finished: readonly string[]
}

type PreviewHold = {
  readonly cluster: string
  readonly state: ClusterState
  readonly reason: string
  readonly message: string
  readonly recheckAt?: string
}

export type RolloutPreview = {
  /** In the order of their turns. */
  readonly stages: readonly PreviewStage[]
  /** Before the rollout is complete. */
  readonly completion?: PreviewGate
  /** Everybody who is neither sent the image now nor finished. */
  readonly held: readonly PreviewHold[]
  /** When each cluster may activate by `spec.waves`, the soonest first; absent where the rollout has none. */
  readonly minutes?: readonly { readonly cluster: string; readonly waveAt: string }[]
  /** After a breach: who is ordered back to what, and how that stands. */
  readonly orderedBack: readonly ({ readonly cluster: string } & NonNullable<RolloutCluster['backTo']>)[]
}

export function previewOf({ spec, status }: Pick<ObjectOf<'Rollout'>, 'spec' | 'status'>): RolloutPreview {
  const rows = (status?.clusters ?? []).toSorted((a, b) => byCodeUnit(a.name, b.name))
  const isReady = status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true
  // A site may choose the same word as its own reason.
  const isSentNow = ({ state, reason }: RolloutCluster) => isReady && state === 'NotStarted' && reason === SENDING
  const told = new Map(status?.groups?.map((group) => [group.index, group]))
  const openedOf = ({ groups }: Stage) => groups.flatMap(({ index }) => told.get(index)?.openedAt ?? [])
  const membersOf = ({ groups }: Stage) => {
    const isOf = new Set(groups.map(({ index }) => index))
    return rows.filter(({ group = 0 }) => isOf.has(group))
  }
  const stages =
    told.size === 0
      ? []
      : stagesOf(
          spec,
          [...told.values()].map(({ index, name }) => ({ index, name })),
        )
  const first = firstOf(stages, openedOf, membersOf)
  const attempted = rows.filter(isAttempted).length
  const { gate: completion } = gateOf(spec, 'Completion', status?.completedAt !== undefined)
  const minutes = rows
    .flatMap(({ name, waveAt }) => (waveAt ? [{ cluster: name, waveAt }] : []))
    .toSorted((a, b) => byCodeUnit(a.waveAt, b.waveAt))
  return {
    stages: stages.map((stage): PreviewStage => {
      const { groups, isMandatory } = stage
      const members = membersOf(stage)
      const { maxConcurrency, maxFailures } = stage.sizesOf(members.filter(isAttempted).length, attempted)
      const namesOf = (is: (row: RolloutCluster) => boolean) => members.filter(is).map(({ name }) => name)
      const isPassed = openedOf(stage).length > 0
      return {
        groups,
        isMandatory,
        turn: groups.every(({ index }) => told.get(index)?.passedAt) ? 'Passed' : isPassed ? 'Open' : 'Waits',
        ...gateOf(spec, gateName(stage, stage === first), isPassed),
        maxConcurrency,
        ...(Number.isFinite(maxFailures) ? { maxFailures } : {}),
        sentNow: namesOf(isSentNow),
        underWay: namesOf(({ state }) => UNDER_WAY.has(state)),
        later: namesOf((row) => !isSentNow(row) && !UNDER_WAY.has(row.state) && !FINISHED.has(row.state)),
        finished: namesOf(({ state }) => FINISHED.has(state)),
      }
    }),
    ...(completion ? { completion } : {}),
    held: rows
      .filter((row) => !isSentNow(row) && !FINISHED.has(row.state))
      .map(({ name, state, reason, message, recheckAt }) => ({
        ...{ cluster: name, state, reason, message },
        ...(recheckAt === undefined ? {} : { recheckAt }),
      })),
    ...(minutes.length > 0 ? { minutes } : {}),
    orderedBack: rows.flatMap(({ name, backTo }) => (backTo ? [{ cluster: name, ...backTo }] : [])),
  }
}

// Whose turn was or will be the first of all: a stage that nobody is in has none.
function firstOf(
  stages: readonly Stage[],
  openedOf: (stage: Stage) => readonly string[],
  membersOf: (stage: Stage) => readonly RolloutCluster[],
): Stage | undefined {
  const openedAt = (stage: Stage) => openedOf(stage).toSorted()[0] ?? ''
  const [opened] = stages
    .filter((stage) => openedAt(stage) !== '')
    .toSorted((a, b) => byCodeUnit(openedAt(a), openedAt(b)))
  return opened ?? stages.find((stage) => membersOf(stage).some(({ state }) => state !== 'Removed'))
}

function gateOf(spec: ObjectOf<'Rollout'>['spec'], name: string, isPassed: boolean): { gate?: PreviewGate } {
  const approvals = approvalsNeeded(spec, name)
  return approvals === 0 ? {} : { gate: { name, approvals, isPassed } }
}

export type PreviewChange = {
  readonly cluster: string
  /** Without the edit; absent where the cluster is in it by the edit alone. */
  readonly was?: { readonly state: ClusterState; readonly reason: string }
  /** With it. */
  readonly is?: { readonly state: ClusterState; readonly reason: string }
}

/** What an edit changes for each cluster: by what the next look would make of the rollout without it and with it. */
export function previewChanges(without: RolloutStatus | undefined, edited: RolloutStatus | undefined): PreviewChange[] {
  const told = (status: RolloutStatus | undefined) =>
    new Map(status?.clusters?.map(({ name, state, reason }) => [name, { state, reason }]))
  const [before, after] = [told(without), told(edited)]
  return [...new Set([...before.keys(), ...after.keys()])].toSorted(byCodeUnit).flatMap((cluster) => {
    const [was, is] = [before.get(cluster), after.get(cluster)]
    if (was?.state === is?.state && was?.reason === is?.reason) return []
    return [{ cluster, ...(was ? { was } : {}), ...(is ? { is } : {}) }]
  })
}
