import { once } from 'node:events'
import type { KindName, KindRow, ObjectOf } from '@skerry/api'
import type { FastifyReply } from 'fastify'
import type { Changes } from '../../store/changes.ts'
import { changesSince, listObjects, newestVersion } from '../../store/resources.ts'
import { read, type Store } from '../../store/store.ts'
import { StatusError, statusBody } from '../status-error.ts'
import { expired } from './continue.ts'
import { type Frame, frameOf, type Interest, lineOf, matches } from './frames.ts'

export type WatchOptions = Interest & {
  /** The version after which to begin; `initial`: with every object that is there; `newest`: with what comes next. */
  readonly from: number | 'initial' | 'newest'
  /** Say by a bookmark where the initial objects end. */
  readonly markInitialEnd: boolean
  readonly bookmarks: boolean
  readonly asTable: boolean
  readonly timeoutSeconds: number
  /** Whether the caller may still see this: a token ends while a watch runs. */
  readonly allowed: () => Promise<boolean>
}

/** How long a watch waits for what, in ms. */
export type WatchPace = {
  /** Between two bookmarks, and between two looks at the caller's token. */
  readonly bookmarkMs: number
  /** For a reader that does not read: it is cut off, and may come back from where it was. */
  readonly stalledMs: number
}
export const WATCH_PACE: WatchPace = { bookmarkMs: 30_000, stalledMs: 30_000 }

const PAGE = 500
/** Looks again at least so often: a notification may be lost. */
const LOOK_MS = 10_000

/** Sends watch frames, one JSON object a line, until the client leaves, the time is over or history is gone. */
export async function streamWatch(
  store: Store,
  changes: Changes,
  row: KindRow,
  options: WatchOptions,
  pace: WatchPace,
  reply: FastifyReply,
): Promise<void> {
  // Before the first byte, so that a database that is away is still an answer of its own.
  const begun = await begin(store, row, options)
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
  raw.on('error', () => over.abort())
  const timer = setTimeout(() => over.abort(), options.timeoutSeconds * 1000)
  const send = async (frame: Frame) => {
    if (over.signal.aborted || raw.write(lineOf(row, frame, options.asTable))) return
    // Never more than one frame beyond what the socket takes: a slow reader costs time, a dead one its connection.
    const stalled = AbortSignal.timeout(pace.stalledMs)
    await once(raw, 'drain', { signal: AbortSignal.any([over.signal, stalled]) }).catch(() => raw.destroy())
  }
  const bell = makeBell(changes, row.kind, over.signal)
  try {
    for (const object of begun.objects) await send({ type: 'ADDED', object })
    let { version } = begun
    if (options.markInitialEnd) await send({ type: 'BOOKMARK', version, endOfInitialEvents: true })
    let bookmarkAtMs = Date.now() + pace.bookmarkMs
    while (!over.signal.aborted) {
      bell.listen()
      const found = await changesSince(store.sql, row.kind, version, PAGE)
      if (!found) throw expired(`too old resource version: ${version}`)
      for (const change of found.changes) {
        const frame = frameOf(change, options)
        if (frame) await send(frame)
      }
      // Up to here nothing of this kind is missing, however long ago its own last change was.
      version = found.upTo
      if (Date.now() >= bookmarkAtMs) {
        if (!(await options.allowed())) throw new StatusError(401, 'the token of this watch has ended')
        if (options.bookmarks) await send({ type: 'BOOKMARK', version, endOfInitialEvents: false })
        bookmarkAtMs = Date.now() + pace.bookmarkMs
      }
      if (found.changes.length < PAGE) await bell.wait(Math.min(LOOK_MS, Math.max(bookmarkAtMs - Date.now(), 0)))
    }
  } catch (error) {
    // The stream is under way, so the error travels as its last frame; the client opens the watch again.
    const status = error instanceof StatusError ? error : new StatusError(503, 'the watch ended; open it again')
    await send({ type: 'ERROR', object: statusBody(status) })
  } finally {
    clearTimeout(timer)
    bell.stop()
    raw.end()
  }
}

async function begin(
  store: Store,
  row: KindRow,
  options: WatchOptions,
): Promise<{ version: number; objects: ObjectOf<KindName>[] }> {
  const { from, namespace, selection } = options
  if (typeof from === 'number') return { version: from, objects: [] }
  // One moment for both: what the list holds is what was committed up to the version, no more and no less.
  return read(store, async (tx) => {
    const version = await newestVersion(tx)
    if (from === 'newest') return { version, objects: [] }
    const objects = await listObjects(tx, row.kind, { namespace, name: selection.name })
    return { version, objects: objects.filter((object) => matches(object, options)) }
  })
}

// A change that comes between a look and the wait after it must not be slept over.
function makeBell(changes: Changes, kind: KindName, signal: AbortSignal) {
  let rung = false
  let wake: (() => void) | undefined
  const ring = () => {
    rung = true
    wake?.()
  }
  const unsubscribe = changes.subscribe([kind], ring)
  signal.addEventListener('abort', ring, { once: true })
  return {
    listen(): void {
      rung = signal.aborted
    },
    async wait(ms: number): Promise<void> {
      if (rung) return
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      wake = undefined
    },
    stop(): void {
      unsubscribe()
    },
  }
}
