import { createServer, type Server } from 'node:http'
import { parseStrictJson } from '@skerry/trust'
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import type { Store } from '../store/store.ts'
import { authenticate, authorize } from './auth.ts'
import type { Metrics } from './health.ts'
import { StatusError, statusBody, toStatusError } from './status-error.ts'

/** A group of routes: a function that adds them to the server. What they use is bound by whoever calls. */
export type Routes = (app: FastifyInstance) => void

const BODY_LIMIT = 1_048_576

/**
 * The hub's HTTP server: strict JSON bodies, Status errors, and an identity for every route that does not say that it
 * is open. A route without an access rule is a mistake that stops the start.
 */
export function buildServer({
  store,
  routes,
  metrics,
  tls,
  log,
}: {
  store: Store
  routes: readonly Routes[]
  metrics: Metrics
  tls: { key: string; cert: string } | undefined
  log: FastifyBaseLogger
}): FastifyInstance {
  const app = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT,
    requestTimeout: 120_000,
    routerOptions: { maxParamLength: 256 },
    forceCloseConnections: true,
    ...(tls ? { https: tls } : {}),
  } as object) as unknown as FastifyInstance

  app.removeAllContentTypeParsers()
  for (const type of ['application/json', 'application/merge-patch+json', 'application/json-patch+json']) {
    app.addContentTypeParser(type, { parseAs: 'buffer' }, async (_: unknown, body: Buffer) =>
      body.length === 0 ? undefined : parseStrictJson(body, { maxBytes: BODY_LIMIT, maxDepth: 48 }),
    )
  }
  app.decorateRequest('identity', undefined)
  app.addHook('onRoute', ({ method, url, config }) => {
    if (config?.access === undefined) throw new Error(`route ${String(method)} ${url} has no access rule`)
  })
  app.addHook('onRequest', async (request) => {
    const access = request.routeOptions.config.access
    if (access === undefined || access === 'open') return
    request.identity = await authenticate(store, request)
    authorize(request.identity, access)
  })
  app.addHook('onResponse', async (request, reply) => {
    metrics.http.observe(
      { method: request.method, route: request.routeOptions.url ?? 'none', code: reply.statusCode },
      reply.elapsedTime / 1000,
    )
  })
  app.setNotFoundHandler(async () => {
    throw new StatusError(404, 'the server could not find the requested resource')
  })
  app.setErrorHandler((error, request, reply) => {
    const status = toStatusError(error)
    if (status.code >= 500) request.log.error({ err: error, url: request.url }, 'request failed')
    if (status.details.retryAfterSeconds !== undefined) reply.header('retry-after', status.details.retryAfterSeconds)
    return reply.code(status.code).type('application/json').send(statusBody(status))
  })
  for (const add of routes) add(app)
  return app
}

/** The same routes over plain HTTP, on loopback alone. */
export function plainListener(app: FastifyInstance, port: number): Promise<Server> {
  const server = createServer((request, response) => app.routing(request, response))
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}
