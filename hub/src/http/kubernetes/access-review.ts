import { ACT_VERBS, AccessQuestion, type ActVerb, KINDS } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import type { ApiToken } from '../../store/tokens.ts'
import { type Access, mayDo } from '../auth.ts'
import { readBody } from '../bodies.ts'
import { readKubernetesProtobuf, type Shape } from './protobuf.ts'
import { actAccess } from './rollout-acts.ts'
import { WHY_ACCESS } from './why.ts'

const PROTOBUF = 'application/vnd.kubernetes.protobuf'
const RESOURCE: Shape = {
  1: ['namespace', 'text'],
  2: ['verb', 'text'],
  3: ['group', 'text'],
  4: ['version', 'text'],
  5: ['resource', 'text'],
  6: ['subresource', 'text'],
  7: ['name', 'text'],
}
const PATH: Shape = { 1: ['path', 'text'], 2: ['verb', 'text'] }
/** k8s.io/api/authorization/v1, SelfSubjectAccessReview. */
const REVIEW: Shape = { 2: ['spec', { 1: ['resourceAttributes', RESOURCE], 2: ['nonResourceAttributes', PATH] }] }

/** POST …/selfsubjectaccessreviews: whether the caller may do something, by the same rule that would judge it. */
export function accessReviewRoutes(app: FastifyInstance): void {
  app.register(async (reviews) => {
    // kubectl asks in protobuf and reads JSON.
    reviews.addContentTypeParser(PROTOBUF, { parseAs: 'buffer' }, async (_: unknown, body: Buffer) =>
      readKubernetesProtobuf(body, REVIEW),
    )
    reviews.post<{ Body: unknown }>(
      '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
      { config: { access: 'authenticated' } },
      async ({ body, identity }, reply) => {
        const { spec } = readBody(AccessQuestion, body, 'the review')
        const status = identity ? judge(identity, spec) : { allowed: false }
        const review = { kind: 'SelfSubjectAccessReview', apiVersion: 'authorization.k8s.io/v1', metadata: {} }
        return reply.code(201).send({ ...review, spec, status })
      },
    )
  })
}

function judge(
  identity: ApiToken,
  { resourceAttributes: asked, nonResourceAttributes }: AccessQuestion['spec'],
): { allowed: boolean; reason: string } {
  const { verb = '', group = '', resource = '', subresource = '' } = asked ?? {}
  if (!asked)
    return answer(identity, { verb: nonResourceAttributes?.verb === 'get' ? 'get' : 'administer', resource: 'paths' })
  if (verb === '*' || resource === '*') return answer(identity, { verb: 'administer', resource: '*' })
  const row = KINDS.find((known) => known.plural === resource && (group === '*' || known.group === group))
  if (!row) return { allowed: false, reason: `this hub has no resource "${resource}" in group "${group}"` }
  const name = `${row.plural}.${row.group}`
  if (subresource === 'approval') return answer(identity, { verb: 'approve', resource: name })
  if (row.kind === 'Rollout' && isAct(subresource))
    return verb === 'create'
      ? answer(identity, actAccess(subresource))
      : { allowed: false, reason: `${verb} of ${name}/${subresource} is not offered: create is` }
  if (row.kind === 'Placement' && subresource === 'why' && verb === 'create') return answer(identity, WHY_ACCESS)
  const known = row.verbs.find((one) => one === verb)
  const isStatus = row.clientStatus === true && subresource === 'status' && (known === 'update' || known === 'patch')
  if (!known || (subresource !== '' && known !== 'get' && !isStatus))
    return { allowed: false, reason: `${verb} of ${name} is not offered: ${row.verbs.join(', ')} are` }
  return answer(identity, { verb: known, resource: name })
}

function isAct(subresource: string): subresource is ActVerb {
  return ACT_VERBS.some((verb) => verb === subresource)
}

function answer(identity: ApiToken, access: Exclude<Access, string>): { allowed: boolean; reason: string } {
  const allowed = mayDo(identity, access)
  return { allowed, reason: `role ${identity.role} ${allowed ? 'may' : 'may not'} ${access.verb} ${access.resource}` }
}
