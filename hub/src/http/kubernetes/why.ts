import { kindRow, type ObjectOf } from '@skerry/api'
import { type ClusterReason, explain } from '@skerry/policy'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { turns } from '../../turns.ts'
import type { Access } from '../auth.ts'
import { goneSignal } from '../gone.ts'
import { type Look, lookAt, lookAtAsked } from '../placement-look.ts'
import { type Query, single } from '../query.ts'
import { type KubernetesOptions, notFound } from './call.ts'
import { differenceBy } from './foresight.ts'
import { supposed, warn } from './write.ts'

const row = kindRow('Placement')
const RESOURCE = `${row.plural}.${row.group}`

/** What asking why of a placement that is not stored asks of whoever does it, as Kubernetes names it: create of a subresource. */
export const WHY_ACCESS = { verb: 'create', resource: `${RESOURCE}/why` } as const satisfies Access

/**
 * Of each cluster, or of `cluster`, whether a placement chooses it as of now, and why. GET …/placements/{name}/why: the one
 * that is stored. POST: the one in the body, which nothing stores; as a dry run it may ask dear expressions, so it is not for
 * whoever may only read.
 */
export function whyRoutes(app: FastifyInstance, options: KubernetesOptions): void {
  const path = `/apis/${row.group}/${row.version}/namespaces/:namespace/${row.plural}/:name/why`
  const { explanations, dryRuns } = options
  type Asked = { Params: { namespace: string; name: string }; Querystring: Query }
  app.get<Asked>(
    path,
    { config: { access: { verb: 'get', resource: RESOURCE } } },
    async ({ params, query }, reply) => {
      const { name } = params
      const signal = goneSignal(reply)
      const found = (stored: ObjectOf<'Placement'> | undefined) => {
        if (!stored) throw notFound({ row, name })
        return stored
      }
      return explanations(
        async () => explanationOf(await lookAt(options, params, found, signal), single(query, 'cluster'), signal),
        signal,
      )
    },
  )
  const asJson = async ({ headers }: FastifyRequest) => {
    headers['content-type'] ??= 'application/json'
  }
  // kubectl create --raw does not say what it sends.
  app.post<Asked>(path, { config: { access: WHY_ACCESS }, onRequest: asJson }, async (request, reply) => {
    const { params, query } = request
    const signal = goneSignal(reply)
    const call = { row, request, reply, query, ...params }
    return dryRuns(async () => {
      const { after, dropped } = await supposed(call, options)
      const look = await lookAtAsked(options, after as unknown as ObjectOf<'Placement'>, signal)
      const told = await explanationOf(look, single(query, 'cluster'), signal)
      await warn(call, options, dropped, after, [differenceBy(look)])
      return told
    }, signal)
  })
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
