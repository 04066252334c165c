import type { KindName, SpecFor } from '@skerry/api'
import { rolloutWarnings } from '@skerry/policy'
import { clustersAbove } from '../../store/confirmed.ts'
import { getObject } from '../../store/resources.ts'
import type { Reader } from '../../store/store.ts'

// What a client is told beside its answer, in `Warning` headers: the write stands all the same.

/** Warnings about what an object refers to. A fleet is looked through: not for inside a write, which holds the lock that all writers need. */
export async function warningsOf(
  tx: Reader,
  kind: KindName,
  { metadata, spec }: { metadata: { namespace?: string }; spec?: unknown },
): Promise<string[]> {
  if (kind !== 'Rollout') return []
  const rollout = { metadata, spec: spec as SpecFor<'Rollout'> }
  const placement = { namespace: metadata.namespace ?? '', name: rollout.spec.placementRef.name }
  const found = await getObject(tx, 'Placement', placement.namespace, placement.name)
  const image = await getObject(tx, 'OSImage', '', rollout.spec.image.name)
  const releaseCounter = image?.spec.releaseCounter
  return rolloutWarnings(rollout, {
    placementExists: found !== undefined,
    groups: found?.status?.decisionGroups?.map((one) => ({
      index: one.decisionGroupIndex,
      name: one.decisionGroupName,
    })),
    releaseCounter,
    bootMeasured: image !== undefined && image.spec.boot.kind !== 'none',
    above: releaseCounter === undefined ? [] : await clustersAbove(tx, placement, releaseCounter),
  })
}
