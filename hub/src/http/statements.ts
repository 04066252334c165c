import { kindRow } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import { loadIdentity } from '../store/identities.ts'
import { listStatements } from '../store/statements.ts'
import type { Store } from '../store/store.ts'
import { type Query, wholeNumber } from './query.ts'
import { StatusError } from './status-error.ts'

const PAGE = 500

/**
 * GET …/namespaces/{cluster}/edgenodes/{node}/statements?incarnation=N&from=SEQ: what a node said, as the exact texts it
 * signed, in order, 500 at a time (`next` continues). Whoever follows a report's reference ends here.
 */
export function statementRoutes(app: FastifyInstance, { sql }: Store): void {
  const { group, version, plural } = kindRow('EdgeNode')
  app.get<{ Params: { cluster: string; node: string }; Querystring: Query }>(
    `/apis/${group}/${version}/namespaces/:cluster/${plural}/:node/statements`,
    { config: { access: { verb: 'get', resource: `${plural}.${group}` } } },
    async ({ params: { cluster, node }, query }) => {
      const record = await loadIdentity(sql, cluster, node)
      if (!record) throw new StatusError(404, `${plural}.${group} "${node}" not found in ${cluster}`)
      const incarnation = wholeNumber(query, 'incarnation', 1) ?? record.incarnation
      const fromSeq = wholeNumber(query, 'from', 1) ?? 1
      const rows = await listStatements(sql, { cluster, node, incarnation, fromSeq, limit: PAGE })
      const last = rows.at(-1)
      return {
        kind: 'StatementList',
        cluster,
        node,
        incarnation,
        ...(rows.length === PAGE && last ? { next: last.seq + 1 } : {}),
        items: rows.map(({ receivedAt, ...row }) => ({ ...row, receivedAt: receivedAt.toISOString() })),
      }
    },
  )
}
