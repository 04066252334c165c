import { isDeepStrictEqual } from 'node:util'
import {
  DECISION_GROUP_INDEX_LABEL,
  DECISION_GROUP_NAME_LABEL,
  type ObjectOf,
  PLACEMENT_LABEL,
  type PlacementStatus,
} from '@skerry/api'
import { fleetOf, type PlacementOutcome, paced, schedule, scoresMoved } from '@skerry/policy'
import { asStored } from '../store/as-stored.ts'
import { writeFenced } from '../store/leases.ts'
import { loadPlacementFacts, type PlacementFacts, slicesOf } from '../store/placements.ts'
import { createObject, deleteObject, getObject, saveStatus, updateObject } from '../store/resources.ts'
import type { Tx } from '../store/store.ts'
import { setCondition } from './conditions.ts'
import type { Controller } from './run.ts'

/** Decides every placement anew and stores what changed: slices and status of a placement in one transaction. */
export function placementController(): Controller {
  return {
    name: 'placement',
    async reconcile({ store, lease, mirrors, now }) {
      const facts = await loadPlacementFacts(store.sql, [...(await mirrors.clusters()).values()])
      const fleet = fleetOf(facts)
      let recheckAtMs: number | undefined
      for (const placement of facts.placements) {
        const outcome = paced(schedule(fleet, placement, now()), placement, slicesOf(facts, placement), now())
        if (outcome.recheckAtMs !== undefined)
          recheckAtMs = Math.min(recheckAtMs ?? outcome.recheckAtMs, outcome.recheckAtMs)
        if (!isStored(placement, facts, outcome))
          await writeFenced(store, lease, (tx) => save(tx, placement, facts, outcome, now()))
      }
      const orphans = orphansOf(facts)
      if (orphans.length > 0)
        await writeFenced(store, lease, async (tx) => {
          for (const { metadata } of orphans)
            await deleteObject(tx, 'PlacementDecision', metadata.namespace ?? '', metadata.name)
        })
      return { recheckAtMs }
    },
  }
}

async function save(
  tx: Tx,
  placement: ObjectOf<'Placement'>,
  facts: PlacementFacts,
  outcome: PlacementOutcome,
  nowMs: number,
): Promise<void> {
  if (outcome.kind === 'Skipped') return
  const { namespace = '', name, uid, generation } = placement.metadata
  const current = await getObject(tx, 'Placement', namespace, name)
  // What was judged must be what is there; otherwise the next look judges anew.
  if (current?.metadata.uid !== uid || current.metadata.generation !== generation) return
  if (outcome.kind === 'Decided') await saveSlices(tx, placement, facts, outcome)
  else await dropGone(tx, placement, facts, outcome)
  let conditions = (current.status?.conditions ?? []).filter(
    ({ type }) => outcome.kind === 'Frozen' || type !== 'DecisionsFrozen',
  )
  for (const condition of outcome.conditions)
    conditions = setCondition(conditions, { ...condition, observedGeneration: generation }, nowMs)
  const decided =
    outcome.kind === 'Frozen'
      ? {
          ...current.status,
          ...(current.status?.decisionGroups ? counted(current.status, placement, facts, outcome) : {}),
        }
      : {
          numberOfSelectedClusters: outcome.selected.length,
          decisionGroups: groupsOf(outcome),
          ...scoredAt(current.status, slicesOf(facts, placement), outcome, nowMs),
        }
  await saveStatus(tx, 'Placement', namespace, name, { ...decided, observedGeneration: generation, conditions })
}

// When stored scores last changed; nothing where none are stored.
function scoredAt(
  status: PlacementStatus | undefined,
  stored: readonly ObjectOf<'PlacementDecision'>[],
  { slices }: PlacementOutcome,
  nowMs: number,
): Pick<PlacementStatus, 'lastScoreUpdateTime'> {
  if (!slices.some(({ decisions }) => decisions.some(({ score }) => score !== undefined))) return {}
  const before = scoresMoved(slices, stored) ? undefined : status?.lastScoreUpdateTime
  return { lastScoreUpdateTime: before ?? new Date(nowMs).toISOString() }
}

async function saveSlices(
  tx: Tx,
  placement: ObjectOf<'Placement'>,
  facts: PlacementFacts,
  outcome: PlacementOutcome,
): Promise<void> {
  const { namespace = '', name, uid } = placement.metadata
  const ownerReferences = [
    { apiVersion: placement.apiVersion, kind: placement.kind, name, uid, controller: true, blockOwnerDeletion: true },
  ]
  for (const slice of outcome.slices) {
    const metadata = { name: slice.name, namespace, labels: labelsOf(name, slice), ownerReferences }
    if (await getObject(tx, 'PlacementDecision', namespace, slice.name))
      await updateObject(tx, 'PlacementDecision', { metadata })
    else await createObject(tx, 'PlacementDecision', { metadata })
    await saveStatus(tx, 'PlacementDecision', namespace, slice.name, {
      decisions: slice.decisions.map((decision) => ({ ...decision })),
    })
  }
  const kept = new Set(outcome.slices.map((slice) => slice.name))
  for (const slice of slicesOf(facts, placement))
    if (!kept.has(slice.metadata.name)) await deleteObject(tx, 'PlacementDecision', namespace, slice.metadata.name)
}

function labelsOf(
  placement: string,
  { groupName, groupIndex }: PlacementOutcome['slices'][number],
): Record<string, string> {
  return {
    [PLACEMENT_LABEL]: placement,
    [DECISION_GROUP_NAME_LABEL]: groupName,
    [DECISION_GROUP_INDEX_LABEL]: String(groupIndex),
  }
}

function groupsOf({ groups, slices }: PlacementOutcome): NonNullable<PlacementStatus['decisionGroups']> {
  return groups.map(({ index, name, clusters }) => ({
    decisionGroupIndex: index,
    decisionGroupName: name,
    decisions: slices.filter(({ groupIndex }) => groupIndex === index).map((slice) => slice.name),
    clusterCount: clusters.length,
  }))
}

// Of frozen groups those clusters that stay.
function counted(
  { decisionGroups = [] }: PlacementStatus,
  placement: ObjectOf<'Placement'>,
  facts: PlacementFacts,
  { selected }: PlacementOutcome,
): PlacementStatus {
  const stay = new Set(selected)
  const counts = new Map(
    slicesOf(facts, placement).map(({ metadata, status }) => [
      metadata.name,
      (status?.decisions ?? []).filter(({ clusterName }) => stay.has(clusterName)).length,
    ]),
  )
  return {
    numberOfSelectedClusters: selected.length,
    decisionGroups: decisionGroups.map((group) => ({
      ...group,
      clusterCount: group.decisions.reduce((sum, slice) => sum + (counts.get(slice) ?? 0), 0),
    })),
  }
}

// Frozen decisions stay byte for byte, but for clusters that are no more.
async function dropGone(
  tx: Tx,
  placement: ObjectOf<'Placement'>,
  facts: PlacementFacts,
  { selected }: PlacementOutcome,
): Promise<void> {
  const stay = new Set(selected)
  for (const { metadata, status } of slicesOf(facts, placement)) {
    const decisions = (status?.decisions ?? []).filter(({ clusterName }) => stay.has(clusterName))
    if (decisions.length < (status?.decisions ?? []).length)
      await saveStatus(tx, 'PlacementDecision', metadata.namespace ?? '', metadata.name, { decisions })
  }
}

// Slices of a placement that is gone go with it.
function orphansOf({ placements, slices }: PlacementFacts): ObjectOf<'PlacementDecision'>[] {
  const alive = new Set(placements.map(({ metadata }) => metadata.uid))
  return slices.filter(({ metadata }) => !alive.has(metadata.ownerReferences?.[0]?.uid ?? ''))
}

/** Whether slices and status say already what was decided, so that nothing is to be written. */
function isStored(placement: ObjectOf<'Placement'>, facts: PlacementFacts, outcome: PlacementOutcome): boolean {
  if (outcome.kind === 'Skipped') return true
  const { generation } = placement.metadata
  const { conditions = [], observedGeneration, numberOfSelectedClusters } = placement.status ?? {}
  const same =
    observedGeneration === generation &&
    numberOfSelectedClusters === outcome.selected.length &&
    conditions.some(({ type }) => type === 'DecisionsFrozen') === (outcome.kind === 'Frozen') &&
    outcome.conditions.every((wanted) =>
      conditions.some(
        (held) =>
          held.type === wanted.type &&
          held.status === wanted.status &&
          held.reason === wanted.reason &&
          held.message === wanted.message &&
          held.observedGeneration === generation,
      ),
    )
  if (!same || outcome.kind === 'Frozen') return same
  if (!isDeepStrictEqual(placement.status?.decisionGroups, asStored(groupsOf(outcome)))) return false
  const stored = slicesOf(facts, placement).map(({ metadata: { name, labels }, status }) => [
    name,
    { labels, decisions: status?.decisions ?? [] },
  ])
  const wanted = outcome.slices.map((slice) => [
    slice.name,
    { labels: labelsOf(placement.metadata.name, slice), decisions: slice.decisions },
  ])
  return isDeepStrictEqual(Object.fromEntries(stored), asStored(Object.fromEntries(wanted)))
}
