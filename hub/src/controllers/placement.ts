import type { ObjectOf } from '@skerry/api'
import { apiVersionOf } from '@skerry/api'
import { type PlacementOutcome, schedule } from '@skerry/policy'
import { writeFenced } from '../store/leases.ts'
import { createObject, deleteObject, listObjects, saveStatus, updateObject } from '../store/resources.ts'
import type { Store, Tx } from '../store/store.ts'
import type { Controller } from './run.ts'

/** Everything `schedule()` judges a placement by. */
export type PlacementFacts = {
  readonly placements: readonly ObjectOf<'Placement'>[]
  readonly sets: readonly ObjectOf<'ManagedClusterSet'>[]
  readonly bindings: readonly ObjectOf<'ManagedClusterSetBinding'>[]
  readonly clusters: readonly ObjectOf<'ManagedCluster'>[]
  readonly slices: readonly ObjectOf<'PlacementDecision'>[]
}

/** Decides every placement anew and stores what changed: slices and status in one transaction a placement. */
export function placementController(): Controller {
  return {
    name: 'placement',
    async reconcile({ store, lease, now, log }) {
      const facts = await loadPlacementFacts(store)
      const nowMs = now()
      let recheckAtMs: number | undefined
      for (const placement of facts.placements) {
        const outcome = decide(facts, placement, nowMs)
        if (outcome.recheckAtMs !== undefined)
          recheckAtMs = Math.min(recheckAtMs ?? Number.POSITIVE_INFINITY, outcome.recheckAtMs)
        const changed = await writeFenced(store, lease, (tx) => saveOutcome(tx, placement, facts.slices, outcome))
        if (changed)
          log.info(
            {
              placement: `${placement.metadata.namespace}/${placement.metadata.name}`,
              selected: outcome.selected.length,
            },
            'placement decided',
          )
      }
      return { recheckAtMs }
    },
  }
}
