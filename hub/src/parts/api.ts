import { isIPv6 } from 'node:net'
import type { Refusal } from '@skerry/api'
import { counted } from '@skerry/policy'
import { freePort } from '@skerry/supervise'
import type { Logger } from 'pino'
import type { HubConfig } from '../config.ts'
import { agentRoutes } from '../http/agent.ts'
import { auditRoutes } from '../http/audit.ts'
import { makeGate } from '../http/gate.ts'
import { type Check, healthRoutes, type Metrics } from '../http/health.ts'
import { heardRoutes } from '../http/heard.ts'
import { accessReviewRoutes } from '../http/kubernetes/access-review.ts'
import { discoveryRoutes } from '../http/kubernetes/discovery.ts'
import { openApiRoutes } from '../http/kubernetes/openapi.ts'
import { approvalRoutes } from '../http/kubernetes/registration-approval.ts'
import { removalRoutes } from '../http/kubernetes/removal.ts'
import { rolloutActRoutes } from '../http/kubernetes/rollout-acts.ts'
import { rolloutFactsRoute } from '../http/kubernetes/rollout-facts.ts'
import { kubernetesRoutes } from '../http/kubernetes/routes.ts'
import type { WatchPace } from '../http/kubernetes/watch.ts'
import { whyRoutes } from '../http/kubernetes/why.ts'
import { reportRoutes } from '../http/report.ts'
import { resultRoutes } from '../http/results.ts'
import { buildServer, plainListener, type Routes } from '../http/server.ts'
import { statementRoutes } from '../http/statements.ts'
import { tokenRoutes } from '../http/tokens.ts'
import { type TufDoor, tufRoutes } from '../http/tuf.ts'
import type { Certificates } from '../keys/certificates.ts'
import type { HubKeys } from '../keys/keys.ts'
import type { Changes } from '../store/changes.ts'
import { pendingMigrations, type Store } from '../store/store.ts'
import type { HubConnection } from '../transport/index.ts'
import type { Ends } from './ends.ts'

export type ApiOptions = {
  readonly config: HubConfig
  readonly port: number
  readonly store: Store
  readonly hub: Pick<HubConnection, 'fault' | 'answers' | 'revocationsFault'>
  readonly keys: HubKeys
  readonly changes: Changes
  readonly door: TufDoor
  readonly now: () => number
  /** Of what else this process runs. */
  readonly checks: readonly Check[]
  readonly certificates: Certificates
  readonly pace: WatchPace
  readonly metrics: Metrics
  readonly log: Logger
  readonly onRefused: (document: string, refusal: Refusal) => void
}

/** Serves every route over HTTPS, and over plain HTTP on loopback where that was asked for. Returns the addresses. */
export async function serveApi(
  options: ApiOptions,
  ends: Ends,
): Promise<{ apiUrl: string; plainUrl: string | undefined }> {
  const { config, port, store, certificates, metrics, log } = options
  const tls = { key: certificates.keyPem, cert: certificates.certPem }
  const app = buildServer({ store, metrics, log, tls, routes: apiRoutes(options) })
  ends.push({ what: 'API', end: () => app.close(), withinMs: 5_000 })
  await app.listen({ host: config.host, port })
  const apiUrl = `https://${isIPv6(config.host) ? `[${config.host}]` : config.host}:${port}`
  if (config.httpPort !== undefined) {
    const plainPort = await freePort(config.httpPort)
    if (plainPort !== config.httpPort && config.httpPort !== 0)
      log.info(`port ${config.httpPort} is taken; plain HTTP is on ${plainPort}`)
    const plain = await plainListener(app, plainPort)
    ends.push({ what: 'plain HTTP', end: plain.close, withinMs: 5_000 })
    return { apiUrl, plainUrl: `http://127.0.0.1:${plainPort}` }
  }
  return { apiUrl, plainUrl: undefined }
}

export type RouteOptions = Pick<
  ApiOptions,
  'store' | 'hub' | 'keys' | 'changes' | 'door' | 'now' | 'metrics' | 'pace' | 'onRefused' | 'checks'
> & { readonly config: Pick<HubConfig, 'reachability' | 'removalGuard'> }

/** Every group of routes that a hub serves, with what it uses. */
export function apiRoutes({
  config,
  store,
  hub,
  keys,
  changes,
  door,
  now,
  metrics,
  pace,
  onRefused,
  checks,
}: RouteOptions): Routes[] {
  const kubernetes = {
    ...{ store, changes, now, pace },
    reachability: config.reachability,
    removalGuard: config.removalGuard,
    continueSecret: keys.continueSecret,
    explanations: makeGate('explanations'),
    dryRuns: makeGate('dry runs'),
  }
  return [
    (app) => healthRoutes(app, { checks: [...checksOf(store, hub, keys), ...checks], metrics }),
    discoveryRoutes,
    accessReviewRoutes,
    openApiRoutes,
    (app) => kubernetesRoutes(app, kubernetes),
    (app) => approvalRoutes(app, { store, now }),
    (app) => removalRoutes(app, { store }),
    (app) => whyRoutes(app, kubernetes),
    (app) => rolloutActRoutes(app, { store, now, reachability: config.reachability }),
    (app) => rolloutFactsRoute(app, { store, now, reachability: config.reachability }),
    (app) => reportRoutes(app, { store, now, reachability: config.reachability }),
    (app) => statementRoutes(app, store),
    (app) => heardRoutes(app, store),
    (app) => resultRoutes(app, store, keys.result),
    (app) => tokenRoutes(app, { store, now }),
    (app) => auditRoutes(app, store),
    (app) => agentRoutes(app, { store, now, onRefused }),
    (app) => tufRoutes(app, door),
  ]
}

function checksOf(store: Store, hub: RouteOptions['hub'], keys: HubKeys): Check[] {
  return [
    { name: 'database', fault: async () => (await store.sql`select 1`) && undefined },
    { name: 'migrations', fault: () => migrationFault(store) },
    { name: 'nats', fault: async () => hub.fault() ?? hub.answers() },
    { name: 'revocations', fault: async () => hub.revocationsFault() },
    { name: 'keys', fault: async () => keys.fault() },
  ]
}

async function migrationFault(store: Store): Promise<string | undefined> {
  const pending = await pendingMigrations(store)
  if (pending > 0) return `${counted(pending, 'step is', 'steps are')} not taken yet`
  return pending < 0 ? 'the database was brought to a newer form by a newer hub' : undefined
}
