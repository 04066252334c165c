import { describe, expect, test } from 'vitest'
import type { Access } from './auth.ts'
import { type TestApi, testApi, VIEWER } from './testing.ts'

type Route = { readonly method: string; readonly url: string; readonly access: Access | undefined }

/** An API together with every route it has. */
async function walked(): Promise<TestApi & { routes: Route[] }> {
  const routes: Route[] = []
  const api = await testApi({
    watchRoutes: (app) =>
      app.addHook('onRoute', ({ method, url, config }) => {
        for (const one of [method].flat()) routes.push({ method: one, url, access: config?.access })
      }),
  })
  return { ...api, routes }
}

/** A path that a route's pattern takes. */
const pathOf = ({ url }: Route) => url.replace(/:[a-z0-9]+/gi, 'x').replace('*', 'x')
const isWrite = ({ method }: Route) => !['GET', 'HEAD'].includes(method)
/** Asks and writes nothing, and is a POST all the same. */
const QUESTION = 'POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews'
const told = ({ method, url }: Route) => `${method} ${url}`

describe('every route', () => {
  test('without a token: 401 as a Status, but for the open ones, which are these', async () => {
    const { ask, routes } = await walked()
    expect(routes.length).toBeGreaterThan(60)
    const open: string[] = []
    for (const route of routes) {
      const { code, body } = await ask(route.method, pathOf(route), { token: '' })
      if (code === 401) {
        if (route.method !== 'HEAD') expect(body).toMatchObject({ kind: 'Status', reason: 'Unauthorized' })
      } else open.push(told(route))
    }
    expect(open.filter((route) => !route.startsWith('HEAD ')).toSorted()).toEqual([
      'GET /agent/v1/registrations/:id',
      'GET /blobs/sha256/:sha256',
      'GET /livez',
      'GET /readyz',
      'GET /startupz',
      'GET /tuf/*',
      'GET /version',
      'POST /agent/v1/registrations',
      'POST /agent/v1/registrations/:id/proof',
    ])
  })

  test('with a wrong, an expired or a revoked token: 401', async () => {
    const { ask, routes, store } = await walked()
    await store.sql`update api_token set expires_at = now() where name = 'viewer'`
    for (const route of routes.filter(({ access }) => access !== 'open'))
      for (const token of [VIEWER, 'not-a-token-of-this-hub', `${VIEWER}\u00e9`])
        expect({ route: told(route), code: (await ask(route.method, pathOf(route), { token })).code }).toEqual({
          route: told(route),
          code: 401,
        })
  })

  test('for a viewer: 403 for every write and for what only administrators see; nothing is changed', async () => {
    const { ask, routes, store } = await walked()
    const forbidden = routes.filter(
      (route) =>
        route.access !== 'open' &&
        told(route) !== QUESTION &&
        (isWrite(route) || /apitokens|auditrecords|\/digest$/.test(route.url)),
    )
    expect(forbidden.length).toBeGreaterThan(20)
    expect(routes.filter((route) => isWrite(route) && route.access === 'authenticated').map(told)).toEqual([QUESTION])
    for (const route of forbidden) {
      const { code, body } = await ask(route.method, pathOf(route), { token: VIEWER, body: {} })
      expect({ route: told(route), code }).toEqual({ route: told(route), code: 403 })
      if (route.method !== 'HEAD') expect(body).toMatchObject({ kind: 'Status', reason: 'Forbidden' })
    }
    expect(await store.sql`select 1 from audit_record`).toHaveLength(0)
  })

  test('for a viewer, every other read is allowed', async () => {
    const { ask, routes } = await walked()
    for (const route of routes.filter((one) => !isWrite(one) && !/apitokens|auditrecords|\/digest$/.test(one.url)))
      expect([200, 400, 404]).toContain((await ask(route.method, pathOf(route), { token: VIEWER })).code)
  })

  test('a route without an access rule stops the start', async () => {
    await expect(testApi({ more: [(app) => void app.get('/unguarded', () => 'x')] })).rejects.toThrow(
      'GET /unguarded has no access rule',
    )
  })
})

describe('tokens', () => {
  const PATH = '/apis/skerry.dev/v1alpha1/apitokens'

  test('made by an administrator: the secret is told once, kept as a hash, works as its role, and ends when revoked', async () => {
    const { ask, store } = await testApi()
    const made = await ask('POST', PATH, { body: { name: 'wall-screen', role: 'viewer' } })
    expect(made).toMatchObject({ code: 201, body: { name: 'wall-screen', role: 'viewer' } })
    const { token } = made.body
    const rows = await store.sql`select * from api_token`
    expect(JSON.stringify(rows)).not.toContain(token)
    expect((await ask('GET', PATH)).text).not.toContain(token)

    expect((await ask('GET', '/apis/skerry.dev/v1alpha1/rollouts', { token })).code).toBe(200)
    expect((await ask('POST', PATH, { token, body: { name: 'more', role: 'platform-admin' } })).code).toBe(403)
    expect((await ask('POST', PATH, { body: { name: 'wall-screen', role: 'viewer' } })).code).toBe(409)
    expect((await ask('DELETE', `${PATH}/wall-screen`)).code).toBe(200)
    expect((await ask('GET', '/apis/skerry.dev/v1alpha1/rollouts', { token })).code).toBe(401)
    expect((await ask('DELETE', `${PATH}/wall-screen`)).code).toBe(404)
    expect((await ask('POST', PATH, { body: { name: 'wall-screen', role: 'viewer' } })).code).toBe(201)
    expect(await store.sql`select verb from audit_record where kind = 'ApiToken' order by id`).toMatchObject([
      { verb: 'create' },
      { verb: 'delete' },
      { verb: 'create' },
    ])
  })

  test.each([
    [{ name: 'x', role: 'king' }, 'role'],
    [{ name: 'x', role: 'viewer', token: 'mine' }, 'token'],
    [{ name: 'Not A Label', role: 'viewer' }, 'name'],
    [{ role: 'viewer' }, 'name'],
    [{ name: 'x', role: 'viewer', expiresAt: 'tomorrow' }, 'expiresAt'],
    [{ name: 'x', role: 'viewer', expiresAt: '2001-01-01T00:00:00Z' }, 'expiresAt'],
  ])('%j is refused with its field', async (body, field) => {
    const { ask } = await testApi()
    const answer = await ask('POST', PATH, { body })
    expect(answer).toMatchObject({ code: 422, body: { details: { causes: [{ field }] } } })
  })

  test('a dry run makes no token and tells no secret', async () => {
    const { ask, store } = await testApi()
    const answer = await ask('POST', `${PATH}?dryRun=All`, { body: { name: 'x', role: 'viewer' } })
    expect(answer.code).toBe(201)
    expect(answer.body).not.toHaveProperty('token')
    expect(await store.sql`select 1 from api_token where name = 'x'`).toHaveLength(0)
  })
})
