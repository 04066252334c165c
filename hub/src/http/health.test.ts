import { startPostgres, until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { makeMetrics } from './health.ts'
import { readiness, testApi } from './testing.ts'

const ROLLOUTS = '/apis/skerry.dev/v1alpha1/rollouts'

describe('/livez and /readyz', () => {
  test('every part is named when all are well, and a plain ok is enough for who does not ask', async () => {
    const api = await testApi()
    expect(await api.ask('GET', '/livez', { token: '' })).toMatchObject({ code: 200, text: 'ok' })
    expect(await readiness(api)).toMatchObject({ code: 200, text: 'ok' })
    expect(await readiness(api, '?verbose')).toMatchObject({
      code: 200,
      text: '[+]database ok\n[+]migrations ok\n[+]nats ok\n[+]revocations ok\n[+]keys ok\nreadyz check passed\n',
    })
  })

  test('NATS away: 503 that names it; the process lives, and so does the API', async () => {
    let fault: string | undefined = 'disconnected since 12:00'
    const api = await testApi({ natsFault: () => fault })
    const { ask } = api
    expect(await readiness(api)).toMatchObject({
      code: 503,
      text: expect.stringContaining('[-]nats failed: disconnected since 12:00'),
    })
    expect((await ask('GET', '/livez', { token: '' })).code).toBe(200)
    expect((await ask('GET', ROLLOUTS)).code).toBe(200)
    fault = undefined
    expect((await readiness(api)).code).toBe(200)
  })

  test('a migration that is missing, or one of a newer hub, is said', async () => {
    const api = await testApi()
    const { store } = api
    await store.sql`insert into drizzle.__drizzle_migrations (hash, created_at) values ('later', 99999999999999)`
    expect((await readiness(api)).text).toContain('[-]migrations failed: the database was brought to a newer form')
    await store.sql`delete from drizzle.__drizzle_migrations`
    expect((await readiness(api)).text).toMatch(/\[-\]migrations failed: \d+ steps are not taken yet/)
  })
})

test('PostgreSQL stopped: 503 with a time to wait, /readyz names it; started again: the same server answers', async () => {
  const dataDir = testFolder()
  const begin = () => startPostgres({ dataDir, durable: false, say: () => {} })
  let server = await begin()
  onTestFinished(() => server.stop())
  const { ask } = await testApi({ connection: server.connection })
  expect((await ask('GET', ROLLOUTS)).code).toBe(200)
  await server.stop()

  const away = await ask('GET', ROLLOUTS)
  expect(away).toMatchObject({
    code: 503,
    body: { kind: 'Status', reason: 'ServiceUnavailable', details: { retryAfterSeconds: 2 } },
    headers: { 'retry-after': '2' },
  })
  const write = await ask('DELETE', `${ROLLOUTS.replace('rollouts', 'namespaces/x/rollouts/y')}`)
  expect(write.code).toBe(503)
  expect((await ask('GET', `${ROLLOUTS}?watch=true`)).code).toBe(503)
  const ready = await ask('GET', '/readyz', { token: '' })
  expect(ready).toMatchObject({ code: 503, text: expect.stringContaining('[-]database failed') })
  expect((await ask('GET', '/livez', { token: '' })).code).toBe(200)

  server = await begin()
  await until(async () => (await ask('GET', '/readyz', { token: '' })).code === 200, 'readiness', 30_000)
  expect((await ask('GET', ROLLOUTS)).code).toBe(200)
})

describe('/metrics', () => {
  test('count each cluster in the state that it is in now, and in no other', async () => {
    const metrics = makeMetrics()
    metrics.showReachability(new Map([['NeverSeen', 3]]))
    metrics.showReachability(
      new Map([
        ['Online', 2],
        ['Late', 1],
      ]),
    )
    metrics.showReachability(new Map([['Online', 3]]))
    expect((await metrics.registry.metrics()).match(/^skerry_clusters.*$/gm)).toEqual([
      'skerry_clusters{reachability="Online"} 3',
    ])
  })

  test('is text that Prometheus reads, with routes as templates and no name in a label', async () => {
    const { ask } = await testApi()
    for (const name of ['one', 'two', 'three'])
      await ask('GET', `/apis/cluster.open-cluster-management.io/v1/managedclusters/${name}`)
    await ask('GET', '/nowhere/one')
    await ask('GET', '/nowhere/two')
    const { code, text, headers } = await ask('GET', '/metrics')
    expect(code).toBe(200)
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    // Numbers are what Go's ParseFloat takes, so case does not matter in Nan.
    for (const line of text.split('\n').filter((each) => each !== '' && !each.startsWith('#')))
      expect(line).toMatch(
        /^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_]\w*="(\\.|[^"\\])*",?)*\})? (-?[0-9.e+-]+|nan|[+-]inf)$/i,
      )
    expect(text).toContain(
      'skerry_http_request_seconds_count{method="GET",route="/apis/cluster.open-cluster-management.io/v1/managedclusters/:name",code="404"} 3',
    )
    expect(text).toContain('skerry_http_request_seconds_count{method="GET",route="none",code="404"} 2')
    expect(text).not.toMatch(/"(one|two|three)"|nowhere/)
  })
})
