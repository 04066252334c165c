import type { Reachability } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** A part the hub needs: undefined when it is well, otherwise what is wrong. */
export type Check = { readonly name: string; readonly fault: () => Promise<string | undefined> }

/** This hub's metrics. Labels are bounded: never one per cluster. */
export function makeMetrics() {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, prefix: 'skerry_' })
  const registers = [registry]
  const clusters = new Gauge({
    name: 'skerry_clusters',
    help: 'clusters by reachability',
    labelNames: ['reachability'],
    registers,
  })
  return {
    registry,
    http: new Histogram({
      name: 'skerry_http_request_seconds',
      help: 'requests by route template',
      labelNames: ['method', 'route', 'code'],
      registers,
    }),
    statements: new Counter({ name: 'skerry_statements_total', help: 'statements committed', registers }),
    refusals: new Counter({
      name: 'skerry_refusals_total',
      help: 'documents that were not believed',
      labelNames: ['document', 'code'],
      registers,
    }),
    showReachability(counts: ReadonlyMap<Reachability, number>): void {
      // A state that nobody is in any more has no line, or it would tell of yesterday.
      clusters.reset()
      for (const [reachability, count] of counts) clusters.set({ reachability }, count)
    },
    publications: new Counter({ name: 'skerry_publications_total', help: 'desired states published', registers }),
  }
}
export type Metrics = ReturnType<typeof makeMetrics>

export function healthRoutes(
  app: FastifyInstance,
  { checks, metrics }: { checks: readonly Check[]; metrics: Metrics },
): void {
  app.get('/livez', { config: { access: 'open' } }, () => 'ok')
  // One question to a part at a time: those who ask meanwhile wait for its answer, so that nothing piles up in one that hangs.
  const asked = new Map<string, Promise<string | undefined>>()
  const answer = ({ name, fault }: Check): Promise<string | undefined> => {
    const known = asked.get(name)
    if (known) return known
    const asking = fault().finally(() => asked.delete(name))
    asked.set(name, asking)
    return asking
  }
  const ready = async (): Promise<{ name: string; fault: string | undefined }[]> =>
    Promise.all(
      checks.map(async (check) => ({
        name: check.name,
        fault: await Promise.race([answer(check), silence()]).catch((error: unknown) =>
          error instanceof Error ? error.message : 'failed',
        ),
      })),
    )
  for (const path of ['/readyz', '/startupz']) {
    app.get(path, { config: { access: 'open' } }, async (request, reply) => {
      const found = await ready()
      const well = found.every(({ fault }) => fault === undefined)
      reply.code(well ? 200 : 503).type('text/plain')
      const verbose = Object.hasOwn(request.query as object, 'verbose') || !well
      const lines = found.map(({ name, fault }) =>
        fault === undefined ? `[+]${name} ok` : `[-]${name} failed: ${fault}`,
      )
      return verbose ? `${lines.join('\n')}\n${path.slice(1)} check ${well ? 'passed' : 'failed'}\n` : 'ok'
    })
  }
  app.get('/metrics', { config: { access: 'authenticated' } }, async (_, reply) => {
    reply.type(metrics.registry.contentType)
    return metrics.registry.metrics()
  })
}

const ANSWER_MS = 2_000

function silence(): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`no answer within ${ANSWER_MS / 1000} s`)), ANSWER_MS).unref()
  })
}
