import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseStrictJson } from '@skerry/trust'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify'
import type { Store } from '../store/store.ts'
import { authenticate, authorize } from './auth.ts'
import type { Metrics } from './health.ts'
import { StatusError, statusBody, toStatusError } from './status-error.ts'

/** A group of routes: a function that adds them to the server. What they use is bound by whoever calls. */
export type Routes = (app: FastifyInstance) => void

const BODY_LIMIT = 1_048_576
const BODY_MS = 120_000
const HEADERS_MS = 15_000
/** Kubernetes' own limit for a request that is no watch. */
const ANSWER_MS = 60_000
/** For routes whose answers or bodies are images or whole reports: what a slow link takes. */
export const LARGE_ANSWER_MS = 86_400_000
const BODY_TYPES = ['application/json', 'application/merge-patch+json']

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
  bodyMs = BODY_MS,
  headersMs = HEADERS_MS,
  answerMs = ANSWER_MS,
}: {
  store: Store
  routes: readonly Routes[]
  metrics: Metrics
  tls: { key: string; cert: string } | undefined
  log: FastifyBaseLogger
  /** How long a request's body may take to arrive. */
  bodyMs?: number
  /** How long the first lines of a request may take, and the handshake before them. */
  headersMs?: number
  /** How long an answer to what has no body may take altogether; a watch is none. A database that hangs is told of then. */
  answerMs?: number
}): FastifyInstance {
  const app = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT,
    // Node's own limit knows no routes, and an image takes as long as its link: bodies are timed in a hook.
    requestTimeout: 0,
    handlerTimeout: answerMs,
    routerOptions: { maxParamLength: 256 },
    forceCloseConnections: true,
    // What fastify itself refuses before any route, such as a URL with a broken escape, is a Status too.
    frameworkErrors: (error: Error, _: FastifyRequest, reply: FastifyReply) => {
      const status = toStatusError(error)
      return reply.code(status.code).type('application/json').send(statusBody(status))
    },
    ...(tls ? { https: { ...tls, ...within(headersMs), handshakeTimeout: headersMs } } : { http: within(headersMs) }),
  } as object) as unknown as FastifyInstance

  app.removeAllContentTypeParsers()
  for (const type of BODY_TYPES) {
    app.addContentTypeParser(type, { parseAs: 'buffer' }, async (_: unknown, body: Buffer) =>
      body.length === 0 ? undefined : readJson(body),
    )
  }
  app.decorateRequest('identity', undefined)
  const methods = knownMethods()
  app.addHook('onRoute', ({ method, url, config }) => {
    if (config?.access === undefined) throw new Error(`route ${String(method)} ${url} has no access rule`)
    methods.add(url, [method].flat())
  })
  app.addHook('onRequest', async (request) => {
    const access = request.routeOptions.config.access
    if (access === undefined || access === 'open') return
    request.identity = await authenticate(store, request)
    authorize(request.identity, access)
  })
  app.addHook('onRequest', async ({ raw, routeOptions }) => {
    if (routeOptions.config.longBody) return
    const timer = setTimeout(() => raw.destroy(), bodyMs)
    if (raw.complete) clearTimeout(timer)
    raw.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer))
  })
  app.addHook('onResponse', async (request, reply) => {
    metrics.http.observe(
      { method: request.method, route: request.routeOptions.url ?? 'none', code: reply.statusCode },
      reply.elapsedTime / 1000,
    )
  })
  app.setNotFoundHandler(async (request, reply) => {
    const allowed = methods.of(request.url)
    if (allowed.length === 0) throw new StatusError(404, 'the server could not find the requested resource')
    reply.header('allow', allowed.join(', '))
    throw new StatusError(405, `${request.method} is not offered here; ${allowed.join(', ')} is`)
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

/** The same routes over plain HTTP, on loopback alone, at `port` (0: whichever is free). `close` ends every connection, also one that is in the middle of a watch. */
export async function plainListener(
  app: FastifyInstance,
  port: number,
  headersMs = HEADERS_MS,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server = createServer(within(headersMs), (request, response) => app.routing(request, response))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

// Node looks every 30 s unless it is told to look more often.
function within(headersMs: number) {
  return { headersTimeout: headersMs, connectionsCheckingInterval: Math.min(headersMs, 1_000) }
}

// A member called __proto__ is data for JSON and something else for every object it is copied into.
function readJson(body: Buffer): unknown {
  const value = parseStrictJson(body, { maxBytes: BODY_LIMIT, maxDepth: 48 })
  if (body.includes('__proto__') && hasProto(value))
    throw new StatusError(400, 'a member may not be called "__proto__"')
  return value
}

function hasProto(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return Object.hasOwn(value, '__proto__') || Object.values(value).some(hasProto)
}

// Which methods each path has, so that a wrong one is told apart from a path that is not there.
function knownMethods() {
  const known: { path: RegExp; methods: Set<string> }[] = []
  return {
    add(url: string, methods: readonly string[]): void {
      const pattern = url
        .split('/')
        .map((part) => (part === '*' ? '.*' : part.startsWith(':') ? '[^/]+' : part.replaceAll('.', '\\.')))
        .join('/')
      known.push({ path: new RegExp(`^${pattern}$`), methods: new Set(methods) })
    },
    of(url: string): string[] {
      const [path = ''] = url.split('?')
      return [
        ...new Set(known.filter((route) => route.path.test(path)).flatMap(({ methods }) => [...methods])),
      ].toSorted()
    },
  }
}
