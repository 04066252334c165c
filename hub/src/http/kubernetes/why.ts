import { kindRow } from '@skerry/api'
import { type ClusterReason, explain, type RemovalGuard } from '@skerry/policy'
import type { FastifyInstance } from 'fastify'
import type { Store } from '../../store/store.ts'
import { turns } from '../../turns.ts'
import { type Look, lookAt } from '../placement-look.ts'
import { type Query, single } from '../query.ts'
import { notFound } from './call.ts'

type Options = { readonly store: Store; readonly now: () => number; readonly removalGuard?: RemovalGuard }

/** GET …/placements/{name}/why: of each cluster, or of `cluster`, whether the placement chooses it as of now, and why. */
export function whyRoutes(app: FastifyInstance, options: Options): void {
  const row = kindRow('Placement')
  const { group, version, plural } = row
  app.get<{ Params: { namespace: string; name: string }; Querystring: Query }>(
    `/apis/${group}/${version}/namespaces/:namespace/${plural}/:name/why`,
    { config: { access: { verb: 'get', resource: `${plural}.${group}` } } },
    async ({ params, query, signal }) => {
      const { name } = params
      const look = await lookAt(
        options,
        params,
        (found) => {
          if (!found) throw notFound({ row, name })
          return found
        },
        signal,
      )
      return explanationOf(look, single(query, 'cluster'), signal)
    },
  )
}

async function explanationOf(look: Look, only: string | undefined, signal: AbortSignal): Promise<object> {
  const { placement, fleet, outcome, nowMs } = look
  const clusters: ClusterReason[] = []
  const letOthers = turns(signal)
  for (const line of explain(fleet, placement, outcome, nowMs, only)) {
    clusters.push(line)
    await letOthers()
  }
  return {
    kind: 'PlacementExplanation',
    placement: `${placement.metadata.namespace}/${placement.metadata.name}`,
    outcome: outcome.kind,
    selected: outcome.selected.length,
    unscheduled: outcome.unscheduled,
    conditions: outcome.conditions,
    heldRemoval: outcome.heldRemoval,
    clusters,
  }
}
