import { isDeepStrictEqual } from 'node:util'
import {
  APPROVED_REMOVAL_ANNOTATION,
  APPROVED_REMOVAL_BY_ANNOTATION,
  DECISION_GROUP_INDEX_LABEL,
  DECISION_GROUP_NAME_LABEL,
  type ObjectOf,
  PLACEMENT_LABEL,
} from '@skerry/api'
import { counted, type PlacementOutcome } from '@skerry/policy'
import { asStored } from '../store/as-stored.ts'
import { recordAudit } from '../store/audit.ts'
import { recordEvent } from '../store/events.ts'
import { decidedStatus, groupsOf, PASSING } from '../store/placement-status.ts'
import { type StoredSlice, sliceDigest } from '../store/placements.ts'
import {
  createObjects,
  deleteObjects,
  getObject,
  getObjects,
  saveStatus,
  saveStatuses,
  updateObjects,
} from '../store/resources.ts'
import type { Reader, Tx } from '../store/store.ts'

// What was decided of a placement, stored: its slices, its status, and what became of a removal that was held.

type StoredSlices = readonly ObjectOf<'PlacementDecision'>[]

/** What is stored in slices, where what becomes of an outcome depends on it. */
export async function readSlices(
  tx: Reader,
  known: readonly StoredSlice[],
  outcome: PlacementOutcome,
): Promise<StoredSlices> {
  if (outcome.kind === 'Decided' && !outcome.found.isByTotal) return []
  return [...(await getObjects(tx, 'PlacementDecision', known)).values()]
}

/** Slices and status of one placement, and what became of a removal; `known`: the slices that are stored of it. */
export async function saveDecided(
  tx: Tx,
  placement: ObjectOf<'Placement'>,
  known: readonly StoredSlice[],
  outcome: PlacementOutcome,
  nowMs: number,
): Promise<void> {
  if (outcome.kind === 'Skipped') return
  const { namespace = '', name, uid, generation } = placement.metadata
  const current = await getObject(tx, 'Placement', namespace, name)
  // What was judged must be what is there; otherwise the next look judges anew.
  if (current?.metadata.uid !== uid || current.metadata.generation !== generation) return
  // An approval may be taken back.
  if (!isDeepStrictEqual(current.metadata.annotations, placement.metadata.annotations)) return
  if (!isDeepStrictEqual(current.status?.recentRemovals, placement.status?.recentRemovals)) return
  const stored = await readSlices(tx, known, outcome)
  if (outcome.kind === 'Decided') await saveSlices(tx, placement, known, outcome)
  else await dropGone(tx, stored, outcome)
  const status = decidedStatus(current, stored, outcome, nowMs)
  await saveStatus(tx, 'Placement', namespace, name, status)
  await tellRemoval(tx, current, outcome)
  await tellFrozen(tx, current, outcome)
}

// What became of a removal that was held: told once, in the transaction in which it did. An approval is used up.
async function tellRemoval(tx: Tx, placement: ObjectOf<'Placement'>, outcome: PlacementOutcome): Promise<void> {
  const { namespace = '', name, uid, annotations = {} } = placement.metadata
  const before = placement.status?.heldRemoval
  const event = { component: 'placement', regarding: { kind: 'Placement', namespace, name } }
  const held = outcome.heldRemoval
  if (held && held.hash !== before?.hash) {
    const message = outcome.conditions.find(({ type }) => type === 'RemovalHeld')?.message ?? ''
    await recordEvent(tx, { ...event, type: 'Warning', reason: 'RemovalHeld', message: message.slice(0, EVENT_TEXT) })
    await recordAudit(tx, {
      ...{ actor: 'placement-controller', sourceIp: '', verb: 'hold', requestId: `hold/${uid}` },
      ...{ kind: 'Placement', namespace, name, before, after: held },
    })
  }
  // Frozen decisions go through the guard too, and what it let go is told of them as of others.
  if (held) return
  const { [APPROVED_REMOVAL_ANNOTATION]: approved, [APPROVED_REMOVAL_BY_ANNOTATION]: by, ...rest } = annotations
  if (approved !== undefined)
    await updateObjects(tx, 'Placement', [{ ...placement, metadata: { ...placement.metadata, annotations: rest } }])
  if (!before) return
  const isApproved = approved === before.hash
  await recordEvent(tx, {
    ...event,
    type: 'Normal',
    reason: isApproved ? 'RemovalApproved' : 'RemovalNoLongerHeld',
    message: isApproved
      ? `${before.count} of ${counted(before.of, 'cluster')} leave: ${by ?? 'somebody'} approved removal ${before.hash}`
      : `removal ${before.hash} is held no more: what leaves now is, with what left before, no more than may`,
  })
}

// That decisions are frozen, for which reason, and that they are no more: each told once.
async function tellFrozen(
  tx: Tx,
  { metadata, status }: ObjectOf<'Placement'>,
  outcome: PlacementOutcome,
): Promise<void> {
  const messageIn = (conditions: readonly { type: string; message: string }[] = []) =>
    conditions.find(({ type }) => type === 'DecisionsFrozen')?.message
  const [before, message] = [messageIn(status?.conditions), messageIn(outcome.conditions)]
  if (before === message) return
  await recordEvent(tx, {
    component: 'placement',
    regarding: { kind: 'Placement', namespace: metadata.namespace ?? '', name: metadata.name },
    ...(message === undefined
      ? { type: 'Normal', reason: 'DecisionsThawed', message: 'the placement is decided by its present spec again' }
      : { type: 'Warning', reason: 'DecisionsFrozen', message: message.slice(0, EVENT_TEXT) }),
  })
}

/** An event's text has at most so many characters. */
const EVENT_TEXT = 1_024

async function saveSlices(
  tx: Tx,
  placement: ObjectOf<'Placement'>,
  known: readonly StoredSlice[],
  outcome: PlacementOutcome,
): Promise<void> {
  const { namespace = '', name, uid } = placement.metadata
  const ownerReferences = [
    { apiVersion: placement.apiVersion, kind: placement.kind, name, uid, controller: true, blockOwnerDeletion: true },
  ]
  const objects = outcome.slices.map((slice) => ({
    metadata: { name: slice.name, namespace, labels: labelsOf(name, slice), ownerReferences },
  }))
  const there = await updateObjects(tx, 'PlacementDecision', objects)
  const names = new Set(there.map(({ metadata }) => metadata.name))
  await createObjects(
    tx,
    'PlacementDecision',
    objects.filter(({ metadata }) => !names.has(metadata.name)),
  )
  await saveStatuses(
    tx,
    'PlacementDecision',
    outcome.slices.map((slice) => ({ namespace, name: slice.name, status: { decisions: [...slice.decisions] } })),
  )
  const wanted = new Set(outcome.slices.map((slice) => slice.name))
  await dropSlices(
    tx,
    known.filter((slice) => !wanted.has(slice.name)),
  )
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

// Decisions that are frozen or held stay byte for byte, but for clusters that are no more.
async function dropGone(tx: Tx, stored: StoredSlices, { selected }: PlacementOutcome): Promise<void> {
  const stay = new Set(selected)
  for (const { metadata, status } of stored) {
    const decisions = (status?.decisions ?? []).filter(({ clusterName }) => stay.has(clusterName))
    if (decisions.length < (status?.decisions ?? []).length)
      await saveStatus(tx, 'PlacementDecision', metadata.namespace ?? '', metadata.name, { decisions })
  }
}

/** Of those that nobody wants any more; one that somebody has written since stays. */
export async function dropSlices(tx: Tx, slices: readonly StoredSlice[]): Promise<void> {
  const there = await getObjects(tx, 'PlacementDecision', slices)
  const same = slices.filter(
    ({ namespace, name, resourceVersion }) =>
      there.get(`${namespace}/${name}`)?.metadata.resourceVersion === resourceVersion,
  )
  await deleteObjects(tx, 'PlacementDecision', same)
}

/** Whether slices and status say already what was decided, so that nothing is to be written. */
export function isStored(
  placement: ObjectOf<'Placement'>,
  stored: ReadonlyMap<string, StoredSlice>,
  outcome: PlacementOutcome,
): boolean {
  if (outcome.kind === 'Skipped') return true
  const { generation } = placement.metadata
  const { conditions = [], observedGeneration, numberOfSelectedClusters } = placement.status ?? {}
  // An approval is to be taken away with what it let go.
  if (!outcome.heldRemoval && placement.metadata.annotations?.[APPROVED_REMOVAL_ANNOTATION] !== undefined) return false
  const told = new Set(outcome.conditions.map(({ type }) => type))
  const same =
    observedGeneration === generation &&
    numberOfSelectedClusters === outcome.selected.length &&
    conditions.every(({ type }) => told.has(type) || !PASSING.has(type)) &&
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
  if (!same || outcome.kind !== 'Decided') return same
  if (!isDeepStrictEqual(placement.status?.decisionGroups, asStored(groupsOf(outcome)))) return false
  return (
    stored.size === outcome.slices.length &&
    outcome.slices.every(
      (slice) =>
        stored.get(slice.name)?.digest === sliceDigest(labelsOf(placement.metadata.name, slice), slice.decisions),
    )
  )
}
