import { kindRow } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import { listHeads } from '../store/heads.ts'
import { getObject } from '../store/resources.ts'
import type { Store } from '../store/store.ts'
import { StatusError } from './status-error.ts'

/**
 * GET …/managedclusters/{name}/heard: when each node of a cluster was last heard from, by the hub's own clock. A
 * heartbeat changes no object (the fleet's would be thousands of versions a minute), so no object can say this.
 */
export function heardRoutes(app: FastifyInstance, { sql }: Store): void {
  const { group, version, plural } = kindRow('ManagedCluster')
  app.get<{ Params: { name: string } }>(
    `/apis/${group}/${version}/${plural}/:name/heard`,
    { config: { access: { verb: 'get', resource: `${plural}.${group}` } } },
    async ({ params: { name } }) => {
      if (!(await getObject(sql, 'ManagedCluster', '', name)))
        throw new StatusError(404, `${plural}.${group} "${name}" not found`)
      const heads = await listHeads(sql, name)
      return {
        kind: 'ClusterHeard',
        cluster: name,
        nodes: heads.map(({ node, lastHeardAt }) => ({ node, lastHeardAt: lastHeardAt.toISOString() })),
      }
    },
  )
}
