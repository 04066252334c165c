import { KINDS, type Verb } from '@skerry/api'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { wantsDryRun } from '../change.ts'
import { goneSignal } from '../gone.ts'
import type { Query } from '../query.ts'
import type { Call, KubernetesOptions } from './call.ts'
import { isForeseen } from './foresight.ts'
import { get, list } from './read.ts'
import { create, patch, patchStatus, remove, replace, replaceStatus } from './write.ts'

// Kubernetes' verbs over the table of kinds. A kind that lacks a verb has another writer.

type Act = (call: Call, options: KubernetesOptions) => Promise<unknown>
type Params = { namespace?: string; name?: string }

export function kubernetesRoutes(app: FastifyInstance, options: KubernetesOptions): void {
  for (const row of KINDS) {
    const base = `/apis/${row.group}/${row.version}`
    const collection = row.namespaced ? `${base}/namespaces/:namespace/${row.plural}` : `${base}/${row.plural}`
    const access = (verb: Verb) => ({ config: { access: { verb, resource: `${row.plural}.${row.group}` } } })
    const on = (act: Act) => (request: FastifyRequest, reply: FastifyReply) => {
      const { namespace = '', name = '' } = request.params as Params
      return act({ row, request, reply, query: request.query as Query, namespace, name }, options)
    }
    app.get(collection, access('list'), on(list))
    if (row.namespaced) app.get(`${base}/${row.plural}`, access('list'), on(list))
    app.get(`${collection}/:name`, access('get'), on(get))
    if (row.status) app.get(`${collection}/:name/status`, access('get'), on(get))
    if (row.clientStatus) {
      app.put(`${collection}/:name/status`, access('update'), on(replaceStatus))
      app.patch(`${collection}/:name/status`, access('patch'), on(patchStatus))
    }
    if (row.verbs.includes('create')) app.post(collection, access('create'), on(inLine(create)))
    if (row.verbs.includes('update')) app.put(`${collection}/:name`, access('update'), on(inLine(replace)))
    if (row.verbs.includes('patch')) app.patch(`${collection}/:name`, access('patch'), on(inLine(patch)))
    if (row.verbs.includes('delete')) app.delete(`${collection}/:name`, access('delete'), on(remove))
  }
}

// A dry run that reads a fleet waits in line before its transaction: that holds a connection, too.
function inLine(act: Act): Act {
  return async (call, options) => {
    const isLook = isForeseen(call.row.kind) && wantsDryRun(call.query)
    return isLook ? options.dryRuns(() => act(call, options), goneSignal(call.reply)) : act(call, options)
  }
}
