import { randomBytes } from 'node:crypto'
import { NewApiToken } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import type { Store } from '../store/store.ts'
import { type ApiToken, createToken, listTokens, revokeToken } from '../store/tokens.ts'
import { readBody } from './bodies.ts'
import { change, wantsDryRun } from './change.ts'
import type { Query } from './query.ts'
import { StatusError } from './status-error.ts'

const PATH = '/apis/skerry.dev/v1alpha1/apitokens'
const RESOURCE = 'apitokens.skerry.dev'

/** POST, GET and DELETE …/apitokens: for platform-admins. A token's secret is in the answer that makes it and nowhere else. */
export function tokenRoutes(app: FastifyInstance, { store, now }: { store: Store; now: () => number }): void {
  const config = { access: { verb: 'administer', resource: RESOURCE } } as const
  const subject = { kind: 'ApiToken', namespace: '' }

  app.post<{ Body: unknown; Querystring: Query }>(PATH, { config }, async (request, reply) => {
    const { name, role, expiresAt } = readBody(NewApiToken, request.body, 'the token')
    if (expiresAt !== undefined && Date.parse(expiresAt) <= now())
      throw new StatusError(422, 'expiresAt: is in the past', {
        causes: [{ field: 'expiresAt', message: 'is in the past', reason: 'FieldValueInvalid' }],
      })
    const secret = randomBytes(32).toString('base64url')
    const dryRun = wantsDryRun(request.query)
    const { after } = await change(store, request, { ...subject, verb: 'create', name }, dryRun, async (tx) => {
      const made = await createToken(tx, secret, { name, role, expiresAt: expiresAt ? new Date(expiresAt) : null })
      if (!made) throw new StatusError(409, `there is a token "${name}" already`, { reason: 'AlreadyExists', name })
      return { before: undefined, after: shown(made) }
    })
    return reply
      .code(201)
      .header('cache-control', 'no-store')
      .send({ ...after, ...(dryRun ? {} : { token: secret }) })
  })
  app.get(PATH, { config }, async () => ({ kind: 'ApiTokenList', items: (await listTokens(store.sql)).map(shown) }))
  app.delete<{ Params: { name: string }; Querystring: Query }>(`${PATH}/:name`, { config }, async (request) => {
    const { name } = request.params
    const dryRun = wantsDryRun(request.query)
    const { before } = await change(store, request, { ...subject, verb: 'delete', name }, dryRun, async (tx) => {
      const revoked = await revokeToken(tx, name)
      if (!revoked) throw new StatusError(404, `${RESOURCE} "${name}" not found`, { name })
      return { before: shown(revoked), after: undefined }
    })
    return before
  })
}

function shown({ name, role, createdAt, expiresAt }: ApiToken): object {
  return {
    kind: 'ApiToken',
    name,
    role,
    createdAt: createdAt.toISOString(),
    ...(expiresAt ? { expiresAt: expiresAt.toISOString() } : {}),
  }
}
