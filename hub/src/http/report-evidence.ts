import type { NodeEvidence } from '@skerry/api'
import { loadLife } from '../store/registrations.ts'
import { listBatches, listStatements } from '../store/statements.ts'
import type { Reader } from '../store/store.ts'

/** Rows that are held at a time, however long a chain is. */
const PAGE = 500

export type Life = Pick<NodeEvidence, 'cluster' | 'node' | 'incarnation'> & {
  /** The newest statement that the report knows of: what came since is no part of it. */
  readonly newestSeq: number
}

/** The evidence of one life, as the JSON of a NodeEvidence in pieces. Nothing for a life that the hub has no key of. */
export async function* evidenceJson(sql: Reader, life: Life): AsyncGenerator<string> {
  const { cluster, node, incarnation, newestSeq } = life
  const record = await loadLife(sql, life)
  if (!record) return
  const head: Omit<NodeEvidence, 'batches' | 'statements'> = {
    cluster,
    node,
    incarnation,
    nodeKey: record.nodeKey,
    registration: {
      transcript: record.transcript,
      ...(record.proof === null ? {} : { proof: record.proof }),
      acceptedBy: record.decidedBy,
      acceptedAt: record.decidedAt.toISOString(),
    },
  }
  yield `${JSON.stringify(head).slice(0, -1)},"batches":[`
  // Batches first: whatever a batch is over was stored with it or before, and is there when statements are read.
  yield* listed(async (after: NodeEvidence['batches'][number] | undefined) =>
    listBatches(sql, { ...life, after, limit: PAGE }),
  )
  yield '],"statements":['
  yield* listed(async (after: NodeEvidence['statements'][number] | undefined) => {
    const rows = await listStatements(sql, { ...life, fromSeq: (after?.seq ?? 0) + 1, limit: PAGE })
    return rows.filter(({ seq }) => seq <= newestSeq).map(({ seq, text }) => ({ seq, text }))
  })
  yield ']}'
}

// A JSON list's inside, page by page, until one is not full.
async function* listed<T>(page: (after: T | undefined) => Promise<readonly T[]>): AsyncGenerator<string> {
  let after: T | undefined
  for (;;) {
    const items = await page(after)
    if (items.length === 0) return
    const text = JSON.stringify(items).slice(1, -1)
    yield after === undefined ? text : `,${text}`
    if (items.length < PAGE) return
    after = items.at(-1)
  }
}
