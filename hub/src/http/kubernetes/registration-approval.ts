import { Approval, kindRow, type ObjectOf, Rotation } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import { recordEvent } from '../../store/events.ts'
import { getObject, updateObject } from '../../store/resources.ts'
import type { Store } from '../../store/store.ts'
import { readBody } from '../bodies.ts'
import { change, tagVersion, wantsDryRun } from '../change.ts'
import type { Query } from '../query.ts'
import { StatusError } from '../status-error.ts'
import { notFound } from './call.ts'

/** What a person did, as the audit names it. */
const DONE = { Accepted: 'accept', Denied: 'deny', Revoked: 'revoke' } as const

/**
 * PUT …/registrations/{name}/approval: a person's half of the double opt-in, with who and when. PUT …/{name}/rotation:
 * the node's present NATS key is ended (it was stolen), and the node comes back with another by itself.
 */
export function approvalRoutes(app: FastifyInstance, { store, now }: { store: Store; now: () => number }): void {
  const row = kindRow('Registration')
  const { group, version, plural, kind } = row
  const config = { access: { verb: 'approve', resource: `${plural}.${group}` } } as const
  app.put<{ Params: { namespace: string; name: string }; Body: unknown; Querystring: Query }>(
    `/apis/${group}/${version}/namespaces/:namespace/${plural}/:name/approval`,
    { config },
    async (request, reply) => {
      const { namespace, name } = request.params
      const { fingerprint, ...decided } = readBody(Approval, request.body, 'the approval')
      const by = request.identity?.name ?? 'nobody'
      const subject = { verb: DONE[decided.state], kind, namespace, name }
      const { after } = await change(store, request, subject, wantsDryRun(request.query), async (tx) => {
        const before = await getObject(tx, 'Registration', namespace, name)
        if (!before) throw notFound({ row, name })
        // Whoever compared a fingerprint decides about that one: another machine may have asked under the name meanwhile.
        if (fingerprint !== undefined && fingerprint !== before.spec.fingerprint)
          throw new StatusError(
            409,
            `registration "${name}" has fingerprint ${before.spec.fingerprint}, not ${fingerprint}`,
          )
        const spec: ObjectOf<'Registration'>['spec'] = {
          ...before.spec,
          decision: { ...decided, by, at: new Date(now()).toISOString() },
        }
        return { before, after: await updateObject(tx, 'Registration', { metadata: before.metadata, spec }) }
      })
      tagVersion(reply, after)
      return after
    },
  )
  app.put<{ Params: { namespace: string; name: string }; Body: unknown; Querystring: Query }>(
    `/apis/${group}/${version}/namespaces/:namespace/${plural}/:name/rotation`,
    { config },
    async (request, reply) => {
      const { namespace, name } = request.params
      const { reason = 'no reason given' } = readBody(Rotation, request.body, 'the rotation')
      const by = request.identity?.name ?? 'nobody'
      const subject = { verb: 'rotate', kind, namespace, name }
      const { after } = await change(store, request, subject, wantsDryRun(request.query), async (tx) => {
        const before = await getObject(tx, 'Registration', namespace, name)
        if (!before) throw notFound({ row, name })
        const spec = { ...before.spec, rotatedAt: new Date(now()).toISOString() }
        await recordEvent(tx, {
          type: 'Warning',
          reason: 'CredentialRotated',
          message: `the NATS key of ${name} is ended by ${by}: ${reason}`,
          component: 'registration',
          regarding: { kind, namespace, name },
        })
        return { before, after: await updateObject(tx, 'Registration', { metadata: before.metadata, spec }) }
      })
      tagVersion(reply, after)
      return after
    },
  )
}
