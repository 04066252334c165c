import { kindRow } from '@skerry/api'
import type { ReachabilityLimits, StandingRollout } from '@skerry/policy'
import type { FastifyInstance } from 'fastify'
import { getObject } from '../../store/resources.ts'
import { factsOf } from '../../store/rollout-facts.ts'
import { loadFleetOf } from '../../store/rollout-fleet.ts'
import { read, type Store } from '../../store/store.ts'
import { makeGate } from '../gate.ts'
import { goneSignal } from '../gone.ts'
import { type Query, single } from '../query.ts'
import { notFound } from './call.ts'

const row = kindRow('Rollout')

type Options = { readonly store: Store; readonly now: () => number; readonly reachability: ReachabilityLimits }

/**
 * GET …/rollouts/{name}/facts: what the rollout is planned from now, so that it can be played on elsewhere. `image` and
 * `placement`: as if its spec named these, which is answered as it is stored.
 */
export function rolloutFactsRoute(app: FastifyInstance, { store, now, reachability }: Options): void {
  const gate = makeGate('facts of rollouts')
  app.get<{ Params: { namespace: string; name: string }; Querystring: Query }>(
    `/apis/${row.group}/${row.version}/namespaces/:namespace/${row.plural}/:name/facts`,
    { config: { access: { verb: 'get', resource: `${row.plural}.${row.group}` } } },
    async ({ params: { namespace, name }, query }, reply): Promise<StandingRollout> => {
      const { fleet, entry, spec } = await gate(
        () =>
          read(store, async (tx) => {
            const rollout = await getObject(tx, 'Rollout', namespace, name)
            if (!rollout) throw notFound({ row, name })
            const { spec } = rollout
            const image = { name: single(query, 'image') ?? spec.image.name }
            const placementRef = { name: single(query, 'placement') ?? spec.placementRef.name }
            return { spec, ...(await loadFleetOf(tx, { ...rollout, spec: { ...spec, image, placementRef } })) }
          }),
        goneSignal(reply),
      )
      const nowMs = now()
      const { gone, orders: _, ...facts } = factsOf(fleet, entry, reachability, nowMs)
      const rollout = { ...facts.rollout, spec }
      return { nowMs, limits: reachability, ...facts, rollout, gone: Object.fromEntries(gone ?? []) }
    },
  )
}
