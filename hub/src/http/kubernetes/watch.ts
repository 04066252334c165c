import type { KindName, KindRow, ObjectOf } from '@skerry/api'
import type { FastifyReply } from 'fastify'
import type { Changes } from '../../store/changes.ts'
import { changesSince, listObjects, newestVersion } from '../../store/resources.ts'
import type { Store } from '../../store/store.ts'
import { StatusError, statusBody } from '../status-error.ts'
import type { Filter } from './selectors.ts'
import { toTable } from './table.ts'

export type WatchOptions = {
  readonly namespace: string | undefined
  readonly filter: Filter
  readonly from: number | undefined
  readonly initialEvents: boolean
  readonly bookmarks: boolean
  readonly asTable: boolean
  readonly timeoutSeconds: number
}

type Frame = { type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'; object: object }

const PAGE = 500
/** A reader that leaves so much unread is cut off; it may come back from where it was. */
const MAX_UNREAD_BYTES = 8_388_608
const BOOKMARK_MS = 30_000

/** Sends Kubernetes' watch frames, one JSON object a line, until the client leaves, the time is over or history is gone. */
export async function streamWatch(
  store: Store,
  changes: Changes,
  row: KindRow,
  options: WatchOptions,
  reply: FastifyReply,
): Promise<void> {
  const { raw } = reply
  reply.hijack()
  raw.writeHead(200, {
    'content-type': 'application/json',
    'cache-control': 'no-cache',
    'transfer-encoding': 'chunked',
  })
  raw.flushHeaders()
  const over = new AbortController()
  // The request's own close event fires as soon as its body is read; the response's is the end of the connection.
  raw.once('close', () => over.abort())
  const timer = setTimeout(() => over.abort(), options.timeoutSeconds * 1000)
  const send = (frame: Frame) => {
    raw.write(
      `${JSON.stringify(options.asTable && frame.type !== 'ERROR' && frame.type !== 'BOOKMARK' ? { ...frame, object: toTable(row, [frame.object as ObjectOf<KindName>], {}) } : frame)}\n`,
    )
    if (raw.writableLength > MAX_UNREAD_BYTES) raw.destroy()
  }
  let wake: (() => void) | undefined
  let dirty = false
  const unsubscribe = changes.subscribe(() => {
    dirty = true
    wake?.()
  })
  over.signal.addEventListener('abort', () => wake?.())
  try {
    const shown = new Set<string>()
    let version = options.from ?? (await begin(store, row, options, shown, send))
    let bookmarkAt = Date.now() + BOOKMARK_MS
    while (!over.signal.aborted) {
      dirty = false
      const found = await changesSince(store.sql, row.kind, version, PAGE)
      if (!found) {
        send({
          type: 'ERROR',
          object: statusBody(new StatusError(410, `too old resource version: ${version}`, { reason: 'Expired' })),
        })
        return
      }
      for (const change of found) {
        const frame = await select(store, row, options, shown, change)
        if (frame) send(frame)
        version = change.version
      }
      if (found.length === PAGE || dirty) continue
      if (options.bookmarks && Date.now() >= bookmarkAt) {
        send(bookmark(row, version, false))
        bookmarkAt = Date.now() + BOOKMARK_MS
      }
      await new Promise<void>((resolve) => {
        const look = setTimeout(resolve, 10_000)
        wake = () => {
          clearTimeout(look)
          resolve()
        }
        if (dirty || over.signal.aborted) wake()
      })
    }
  } catch (error) {
    // The stream is under way, so the error travels as its last frame; the client opens the watch again.
    if (!over.signal.aborted)
      send({ type: 'ERROR', object: statusBody(new StatusError(503, 'the watch ended; open it again', {}, error)) })
  } finally {
    clearTimeout(timer)
    unsubscribe()
    raw.end()
  }
}

// Versions are committed in order, so the list that is read after the number holds at least everything up to it; what
// it holds beyond comes again as a change, which a watcher must bear anyway.
async function begin(
  store: Store,
  row: KindRow,
  options: WatchOptions,
  shown: Set<string>,
  send: (frame: Frame) => void,
): Promise<number> {
  const version = await newestVersion(store.sql)
  for (const object of await listObjects(store.sql, row.kind, { namespace: options.namespace })) {
    if (!options.filter(object)) continue
    shown.add(keyOf(object))
    send({ type: 'ADDED', object })
  }
  if (options.initialEvents) send(bookmark(row, version, true))
  return version
}

// An object that leaves the selection is DELETED for this watcher; one that enters it is ADDED.
async function select(
  store: Store,
  row: KindRow,
  options: WatchOptions,
  shown: Set<string>,
  change: { version: number; type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: ObjectOf<KindName> },
): Promise<Frame | undefined> {
  const { object, type } = change
  if (options.namespace !== undefined && object.metadata.namespace !== options.namespace) return undefined
  const key = keyOf(object)
  const was = shown.has(key) || (type !== 'ADDED' && (await matchedBefore(store, row, options.filter, change)))
  if (type === 'DELETED' || !options.filter(object)) {
    shown.delete(key)
    return was ? { type: 'DELETED', object } : undefined
  }
  shown.add(key)
  return { type: was ? 'MODIFIED' : 'ADDED', object }
}

async function matchedBefore(
  store: Store,
  row: KindRow,
  filter: Filter,
  { version, object }: { version: number; object: ObjectOf<KindName> },
): Promise<boolean> {
  const { namespace = '', name } = object.metadata
  const [before] = await store.sql<{ object: ObjectOf<KindName>; type: string }[]>`
    select object, type from resource_change where kind = ${row.kind} and namespace = ${namespace} and name = ${name} and resource_version < ${version}
    order by resource_version desc limit 1`
  // History that is gone cannot say no: a deletion of something unknown is harmless, a missing one is not.
  return before === undefined || (before.type !== 'DELETED' && filter(before.object))
}

function bookmark(row: KindRow, version: number, initial: boolean): Frame {
  const annotations = initial ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}
  return {
    type: 'BOOKMARK',
    object: {
      kind: row.kind,
      apiVersion: `${row.group}/${row.version}`,
      metadata: { resourceVersion: String(version), ...annotations },
    },
  }
}

function keyOf({ metadata }: ObjectOf<KindName>): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`
}
