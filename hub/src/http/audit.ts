import type { FastifyInstance } from 'fastify'
import { auditHead, listAudit, verifyAudit } from '../store/audit.ts'
import { read, type Store } from '../store/store.ts'
import { type Query, wholeNumber } from './query.ts'

const PATH = '/apis/skerry.dev/v1alpha1/auditrecords'
const PAGE = 500

/**
 * GET …/auditrecords?after=ID&limit=N: who changed what, oldest first, with the chain's head; GET …/auditrecords/verdict
 * reads the whole chain and says whether it holds. For platform-admins.
 */
export function auditRoutes(app: FastifyInstance, store: Store): void {
  const config = { access: { verb: 'administer', resource: 'auditrecords.skerry.dev' } } as const
  app.get<{ Querystring: Query }>(PATH, { config }, ({ query }) =>
    read(store, async (tx) => {
      const limit = Math.min(wholeNumber(query, 'limit', 1) ?? PAGE, PAGE)
      const items = await listAudit(tx, wholeNumber(query, 'after', 0) ?? 0, limit)
      const last = items.at(-1)
      const next = items.length === limit && last ? { next: last.id } : {}
      return { kind: 'AuditRecordList', head: await auditHead(tx), ...next, items }
    }),
  )
  app.get(`${PATH}/verdict`, { config }, async () => ({ kind: 'AuditVerdict', ...(await read(store, verifyAudit)) }))
}
