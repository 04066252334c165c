import { kindRow, type ObjectOf } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import { recordAudit } from '../../store/audit.ts'
import { getObject, updateObject } from '../../store/resources.ts'
import { type Store, write } from '../../store/store.ts'
import { StatusError } from '../status-error.ts'

const DECISIONS = ['Accepted', 'Denied', 'Revoked'] as const

/** PUT …/registrations/{name}/approval: a person's half of the double opt-in, with who and when. */
export function approvalRoutes(app: FastifyInstance, { store, now }: { store: Store; now: () => number }): void {
  const { group, version, plural } = kindRow('Registration')
  const config = { access: { verb: 'approve', resource: `${plural}.${group}` } } as const
  app.put<{ Params: { namespace: string; name: string }; Body: unknown }>(
    `/apis/${group}/${version}/namespaces/:namespace/${plural}/:name/approval`,
    { config },
    async (request) => {
      const { namespace, name } = request.params
      const body = (request.body ?? {}) as Record<string, unknown>
      const state = DECISIONS.find((known) => known === body['state'])
      if (!state)
        throw new StatusError(422, `state must be one of: ${DECISIONS.join(', ')}`, {
          causes: [{ field: 'state', message: `must be one of: ${DECISIONS.join(', ')}`, reason: 'FieldValueInvalid' }],
        })
      const by = request.identity?.name ?? 'nobody'
      const reason = typeof body['reason'] === 'string' ? { reason: body['reason'].slice(0, 4096) } : {}
      return write(store, async (tx) => {
        const before = await getObject(tx, 'Registration', namespace, name)
        if (!before) throw new StatusError(404, `registrations.${group} "${name}" not found`)
        const spec: ObjectOf<'Registration'>['spec'] = {
          ...before.spec,
          decision: { state, by, at: new Date(now()).toISOString(), ...reason },
        }
        const after = await updateObject(tx, 'Registration', { metadata: before.metadata, spec })
        await recordAudit(tx, {
          actor: by,
          sourceIp: request.ip,
          verb: 'approve',
          kind: 'Registration',
          namespace,
          name,
          before,
          after,
          requestId: request.id,
        })
        return after
      })
    },
  )
}
