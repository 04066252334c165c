import type { KindName, ObjectOf } from '@skerry/api'
import type { FastifyRequest } from 'fastify'
import { countObjects, getObject, historyOf, listObjects } from '../../store/resources.ts'
import { read, type Tx } from '../../store/store.ts'
import { isStillAllowed } from '../auth.ts'
import { tagVersion } from '../change.ts'
import { flag, single, wholeNumber } from '../query.ts'
import { StatusError } from '../status-error.ts'
import { type Call, type KubernetesOptions, notFound } from './call.ts'
import { expired, makeContinue, type Place, readContinue } from './continue.ts'
import { readSelection, type Selection } from './selectors.ts'
import { toTable } from './table.ts'
import { streamWatch } from './watch.ts'

// get, list and watch.

/** Larger limits are answered with so many and a token for the rest, which every client follows. */
const MAX_LIMIT = 500
const MAX_WATCH_SECONDS = 3_600
const WATCH_SECONDS = 1_800

export async function get(call: Call, { store }: KubernetesOptions): Promise<unknown> {
  const object = await getObject(store.sql, call.row.kind, call.namespace, call.name)
  if (!object) throw notFound(call)
  tagVersion(call.reply, object)
  return wantsTable(call.request)
    ? toTable(call.row, [object], { resourceVersion: object.metadata.resourceVersion })
    : object
}

export function list(call: Call, options: KubernetesOptions): Promise<unknown> {
  // HEAD comes here too, and has no body to stream.
  return flag(call.query, 'watch') && call.request.method === 'GET' ? watch(call, options) : listPage(call, options)
}

async function watch(call: Call, { store, changes, pace }: KubernetesOptions): Promise<void> {
  const { row, query, request, reply } = call
  const sendInitialEvents = single(query, 'sendInitialEvents')
  const after = wholeNumber(query, 'resourceVersion', 0) ?? 0
  const from =
    sendInitialEvents === 'true' ? 'initial' : after > 0 ? after : sendInitialEvents === 'false' ? 'newest' : 'initial'
  const seconds = wholeNumber(query, 'timeoutSeconds', 0) || WATCH_SECONDS
  return streamWatch(
    store,
    changes,
    row,
    {
      namespace: call.namespace || undefined,
      selection: readSelection(query),
      from,
      markInitialEnd: sendInitialEvents === 'true',
      bookmarks: flag(query, 'allowWatchBookmarks'),
      asTable: wantsTable(request),
      timeoutSeconds: Math.min(seconds, MAX_WATCH_SECONDS),
      allowed: () => isStillAllowed(store, request),
    },
    pace,
    reply,
  )
}

async function listPage(call: Call, { store, continueSecret }: KubernetesOptions): Promise<unknown> {
  const { row, query, request } = call
  const namespace = call.namespace || undefined
  const selection = readSelection(query)
  // The list of an earlier moment: history holds changes, not lists.
  if (single(query, 'resourceVersionMatch') === 'Exact')
    throw new StatusError(
      400,
      'resourceVersionMatch: Exact is not offered; NotOlderThan is, and always the newest list',
    )
  const limit = wholeNumber(query, 'limit', 0) || undefined
  const scope = [
    row.kind,
    namespace ?? null,
    single(query, 'labelSelector') ?? '',
    single(query, 'fieldSelector') ?? '',
  ]
  const token = single(query, 'continue')
  const place = token ? readContinue(token, scope, continueSecret) : undefined

  return read(store, async (tx) => {
    const { compacted, newest } = await historyOf(tx)
    // Every page carries the first one's version, so that a watch from it misses nothing that changed between two pages.
    const version = place?.version ?? newest
    if (version < compacted) throw expired('the continue token is older than what is kept; list again from the start')
    const size = limit === undefined ? undefined : Math.min(limit, MAX_LIMIT)
    const { items, more } = await page(tx, call, namespace, selection, place, size)
    const last = items.at(-1)
    const metadata: Record<string, unknown> = { resourceVersion: String(version) }
    if (more && last) {
      const { name, namespace: of = '' } = last.metadata
      const behind: Place = { version, namespace: of, name }
      metadata['continue'] = makeContinue(behind, scope, continueSecret)
      // As in Kubernetes, nobody counts what a selector would leave out.
      if (selection.everything)
        metadata['remainingItemCount'] = await countObjects(tx, row.kind, { namespace, after: behind })
    }
    if (wantsTable(request)) return toTable(row, items, metadata)
    return { kind: `${row.kind}List`, apiVersion: `${row.group}/${row.version}`, metadata, items }
  })
}

// At most `size` objects, and whether there are more. With selectors, pages of rows are read until enough are found.
async function page(
  tx: Tx,
  { row }: Call,
  namespace: string | undefined,
  selection: Selection,
  after: Place | undefined,
  size: number | undefined,
): Promise<{ items: ObjectOf<KindName>[]; more: boolean }> {
  const asked = { namespace, name: selection.name }
  if (size === undefined)
    return { items: (await listObjects(tx, row.kind, { ...asked, after })).filter(selection.matches), more: false }
  const found: ObjectOf<KindName>[] = []
  const limit = selection.everything ? size + 1 : MAX_LIMIT
  let from: { namespace: string; name: string } | undefined = after
  for (;;) {
    const rows: ObjectOf<KindName>[] = await listObjects(tx, row.kind, { ...asked, after: from, limit })
    found.push(...rows.filter(selection.matches))
    if (found.length > size) return { items: found.slice(0, size), more: true }
    const last = rows.at(-1)
    if (rows.length < limit || !last) return { items: found, more: false }
    from = { namespace: last.metadata.namespace ?? '', name: last.metadata.name }
  }
}

function wantsTable(request: FastifyRequest): boolean {
  return /as=Table/.test(request.headers.accept ?? '')
}
