import { kindRow } from '@skerry/api'
import type { FastifyInstance } from 'fastify'
import { loadIdentity } from '../store/registrations.ts'
import { listStatements } from '../store/statements.ts'
import type { Store } from '../store/store.ts'
import { StatusError } from './status-error.ts'

const PAGE = 500

/**
 * GET …/namespaces/{cluster}/edgenodes/{node}/statements?incarnation=N&from=SEQ: what a node said, as the exact texts it
 * signed, in order, 500 at a time (`next` continues). Whoever follows a report's reference ends here.
 */
export function statementRoutes(app: FastifyInstance, { sql }: Store): void {
  const { group, version, plural } = kindRow('EdgeNode')
  app.get<{ Params: { cluster: string; node: string }; Querystring: Record<string, string | undefined> }>(
    `/apis/${group}/${version}/namespaces/:cluster/${plural}/:node/statements`,
    { config: { access: { verb: 'get', resource: `${plural}.${group}` } } },
    async ({ params: { cluster, node }, query }) => {
      const record = await loadIdentity(sql, cluster, node)
      if (!record) throw new StatusError(404, `${plural}.${group} "${node}" not found in ${cluster}`)
      const incarnation = number(query['incarnation'], 'incarnation') ?? record.incarnation
      const fromSeq = number(query['from'], 'from') ?? 1
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

function number(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1)
    throw new StatusError(400, `${name} is a whole number from 1 on, not "${text}"`)
  return value
}
