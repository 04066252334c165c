import type { Refusal } from '@skerry/api'
import type { Logger } from 'pino'
import type { HubConfig } from '../config.ts'
import { agentRoutes } from '../http/agent.ts'
import { type Check, healthRoutes, type Metrics } from '../http/health.ts'
import { approvalRoutes } from '../http/kubernetes/approval.ts'
import { discoveryRoutes } from '../http/kubernetes/discovery.ts'
import { openApiRoutes } from '../http/kubernetes/openapi.ts'
import { kubernetesRoutes } from '../http/kubernetes/routes.ts'
import { reportRoutes } from '../http/report.ts'
import { buildServer, plainListener } from '../http/server.ts'
import { statementRoutes } from '../http/statements.ts'
import { type TufDoor, tufRoutes } from '../http/tuf.ts'
import type { Certificates } from '../keys/certificates.ts'
import type { Changes } from '../store/changes.ts'
import type { Store } from '../store/store.ts'
import type { HubConnection } from '../transport/index.ts'
import type { Ends } from './ends.ts'

export type ApiOptions = {
  readonly config: HubConfig
  readonly port: number
  readonly store: Store
  readonly hub: HubConnection
  readonly changes: Changes
  readonly door: TufDoor
  readonly certificates: Certificates
  readonly continueSecret: string
  readonly metrics: Metrics
  readonly log: Logger
  readonly onRefused: (document: string, refusal: Refusal) => void
}

/** Serves every route over HTTPS, and over plain HTTP on loopback where that was asked for. Returns the address. */
export async function serveApi(options: ApiOptions, ends: Ends): Promise<string> {
  const { config, port, store, hub, changes, door, certificates, continueSecret, metrics, log, onRefused } = options
  const { now } = door
  const app = buildServer({
    store,
    metrics,
    log,
    tls: { key: certificates.keyPem, cert: certificates.certPem },
    routes: [
      (app) => healthRoutes(app, { checks: checksOf(store, hub), metrics }),
      discoveryRoutes,
      openApiRoutes,
      (app) => kubernetesRoutes(app, { store, changes, now, continueSecret }),
      (app) => approvalRoutes(app, { store, now }),
      (app) => reportRoutes(app, { store, now, reachability: config.reachability }),
      (app) => statementRoutes(app, store),
      (app) => agentRoutes(app, { store, now, onRefused }),
      (app) => tufRoutes(app, door),
    ],
  })
  ends.push(() => app.close())
  await app.listen({ host: config.host, port })
  if (config.httpPort !== undefined) {
    const plain = await plainListener(app, config.httpPort)
    ends.push(() => new Promise((done) => plain.close(done)))
  }
  return `https://${config.host}:${port}`
}

function checksOf(store: Store, hub: HubConnection): Check[] {
  const asked = <T>(work: Promise<T>): Promise<T> =>
    Promise.race([
      work,
      new Promise<never>((_, reject) => setTimeout(() => reject(new Error('no answer within 2 s')), 2_000).unref()),
    ])
  return [
    { name: 'database', fault: async () => (await asked(store.sql`select 1`)) && undefined },
    { name: 'nats', fault: async () => hub.fault() },
  ]
}
