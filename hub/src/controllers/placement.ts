import {
  DECISION_GROUP_INDEX_LABEL,
  DECISION_GROUP_NAME_LABEL,
  type ObjectOf,
  PLACEMENT_LABEL,
  type PlacementStatus,
} from '@skerry/api'
import { type PlacementOutcome, schedule } from '@skerry/policy'
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
    async reconcile({ store, lease, now }) {
      const facts = await loadPlacementFacts(store.sql)
      let recheckAtMs: number | undefined
      for (const placement of facts.placements) {
        const outcome = schedule({ ...facts, placement, nowMs: now() })
        if (outcome.recheckAtMs !== undefined)
          recheckAtMs = Math.min(recheckAtMs ?? outcome.recheckAtMs, outcome.recheckAtMs)
        await writeFenced(store, lease, (tx) => save(tx, placement, facts, outcome, now()))
      }
      await writeFenced(store, lease, (tx) => dropOrphans(tx, facts))
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
  const { namespace = '', name, generation } = placement.metadata
  const current = await getObject(tx, 'Placement', namespace, name)
  // What was judged must be what is there; otherwise the next look judges anew.
  if (current?.metadata.generation !== generation) return
  if (outcome.kind === 'Decided') await saveSlices(tx, placement, facts, outcome)
  else await dropGone(tx, placement, facts, outcome)
  let conditions = (current.status?.conditions ?? []).filter(
    ({ type }) => outcome.kind === 'Frozen' || type !== 'DecisionsFrozen',
  )
  for (const condition of outcome.conditions)
    conditions = setCondition(conditions, { ...condition, observedGeneration: generation }, nowMs)
  const decided =
    outcome.kind === 'Frozen'
      ? { ...current.status, ...(current.status?.decisionGroups ? counted(current.status, outcome) : {}) }
      : {
          numberOfSelectedClusters: outcome.selected.length,
          decisionGroups: [
            {
              decisionGroupIndex: 0,
              decisionGroupName: '',
              decisions: outcome.slices.map((slice) => slice.name),
              clusterCount: outcome.selected.length,
            },
          ],
        }
  await saveStatus(tx, 'Placement', namespace, name, { ...decided, observedGeneration: generation, conditions })
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
    const labels = {
      [PLACEMENT_LABEL]: name,
      [DECISION_GROUP_NAME_LABEL]: slice.groupName,
      [DECISION_GROUP_INDEX_LABEL]: String(slice.groupIndex),
    }
    const metadata = { name: slice.name, namespace, labels, ownerReferences }
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

function counted({ decisionGroups = [] }: PlacementStatus, { selected }: PlacementOutcome): PlacementStatus {
  return {
    numberOfSelectedClusters: selected.length,
    decisionGroups: decisionGroups.map((group) => ({ ...group, clusterCount: selected.length })),
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
async function dropOrphans(tx: Tx, facts: PlacementFacts): Promise<void> {
  const alive = new Set(facts.placements.map(({ metadata }) => metadata.uid))
  for (const slice of facts.slices) {
    const owner = slice.metadata.ownerReferences?.[0]?.uid
    if (owner === undefined || !alive.has(owner))
      await deleteObject(tx, 'PlacementDecision', slice.metadata.namespace ?? '', slice.metadata.name)
  }
}
