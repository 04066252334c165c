import type { NodeEvidence } from '@skerry/api'
import { loadLife } from '../store/lives.ts'
import { listBatches, listStatements, type Run } from '../store/statements.ts'
import type { Reader } from '../store/store.ts'

/** Rows that are held at a time, however long a chain is. */
const PAGE = 500

export type Life = Pick<NodeEvidence, 'cluster' | 'node' | 'incarnation'> & {
  /** The newest statement that the report knows of: what came since is no part of it. */
  readonly newestSeq: number
  /** Up to here all were stored when the report was made. */
  readonly watermark: number
  /** What was stored above it then: what fills a gap since is no part of the report either. */
  readonly above: readonly Run[]
  /** What was lost below it then; nor is what of that has come since. */
  readonly closed?: readonly { readonly fromSeq: number; readonly toSeq: number }[]
}

/** The evidence of one life, as the JSON of a NodeEvidence in pieces. Nothing for a life that the hub has no key of. */
export async function* evidenceJson(sql: Reader, life: Life): AsyncGenerator<string> {
  const { cluster, node, incarnation, newestSeq, watermark, above, closed = [] } = life
  const wasStored = ({ first, last }: Run): boolean =>
    last <= newestSeq &&
    !closed.some(({ fromSeq, toSeq }) => first <= toSeq && fromSeq <= last) &&
    (last <= watermark || above.some((run) => run.first <= Math.max(first, watermark + 1) && last <= run.last))
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
  yield* listed((after: Batch | undefined) => listBatches(sql, { ...life, after, limit: PAGE }), wasStored)
  yield '],"statements":['
  yield* listed(
    async (after: Text | undefined) => {
      const rows = await listStatements(sql, { ...life, fromSeq: (after?.seq ?? 0) + 1, limit: PAGE })
      return rows.map(({ seq, text }) => ({ seq, text }))
    },
    ({ seq }) => wasStored({ first: seq, last: seq }),
  )
  yield ']}'
}

type Batch = NodeEvidence['batches'][number]
type Text = NodeEvidence['statements'][number]

// A JSON list's inside, page by page, until one is not full.
async function* listed<T>(
  page: (after: T | undefined) => Promise<readonly T[]>,
  keep: (item: T) => boolean,
): AsyncGenerator<string> {
  let after: T | undefined
  let separator = ''
  for (;;) {
    const items = await page(after)
    const text = JSON.stringify(items.filter(keep)).slice(1, -1)
    if (text !== '') {
      yield separator + text
      separator = ','
    }
    if (items.length < PAGE) return
    after = items.at(-1)
  }
}
