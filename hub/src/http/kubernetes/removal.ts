import { APPROVED_REMOVAL_ANNOTATION, APPROVED_REMOVAL_BY_ANNOTATION, kindRow, RemovalApproval } from '@skerry/api'
import { counted } from '@skerry/policy'
import type { FastifyInstance } from 'fastify'
import { recordEvent } from '../../store/events.ts'
import { getObject, updateObject } from '../../store/resources.ts'
import type { Store } from '../../store/store.ts'
import { readBody } from '../bodies.ts'
import { change, tagVersion, wantsDryRun } from '../change.ts'
import type { Query } from '../query.ts'
import { StatusError } from '../status-error.ts'
import { notFound } from './call.ts'

/** PUT …/placements/{name}/approval: the removal that the placement holds may be carried out, with who said so. */
export function removalRoutes(app: FastifyInstance, { store }: { store: Store }): void {
  const row = kindRow('Placement')
  const { group, version, plural, kind } = row
  app.put<{ Params: { namespace: string; name: string }; Body: unknown; Querystring: Query }>(
    `/apis/${group}/${version}/namespaces/:namespace/${plural}/:name/approval`,
    { config: { access: { verb: 'approve', resource: `${plural}.${group}` } } },
    async (request, reply) => {
      const { namespace, name } = request.params
      const { removal, reason } = readBody(RemovalApproval, request.body, 'the approval')
      const by = request.identity?.name ?? 'nobody'
      const subject = { verb: 'approve', kind, namespace, name }
      const { after } = await change(store, request, subject, wantsDryRun(request.query), async (tx) => {
        const before = await getObject(tx, 'Placement', namespace, name)
        if (!before) throw notFound({ row, name })
        const held = before.status?.heldRemoval
        // Whoever read a list of clusters approves that list: meanwhile it may have become another one.
        if (!held || held.hash !== removal)
          throw new StatusError(
            409,
            `placement "${name}" holds ${held ? `removal ${held.hash}` : 'no removal'}, so ${removal} cannot be approved`,
          )
        await recordEvent(tx, {
          type: 'Normal',
          reason: 'RemovalMayGo',
          message: `${by} approved that ${held.count} of ${counted(held.of, 'cluster')} leave (removal ${removal})${reason ? `: ${reason}` : ''}`,
          component: 'placement',
          regarding: { kind, namespace, name },
        })
        const approved = { [APPROVED_REMOVAL_ANNOTATION]: removal, [APPROVED_REMOVAL_BY_ANNOTATION]: by }
        const metadata = { ...before.metadata, annotations: { ...before.metadata.annotations, ...approved } }
        return { before, after: await updateObject(tx, 'Placement', { metadata, spec: before.spec }) }
      })
      tagVersion(reply, after)
      return after
    },
  )
}
