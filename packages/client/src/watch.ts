import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError } from './errors.ts'

// Kubernetes' watch as an endless list of frames: connections end, history is compacted, and whoever reads notices neither.

export type Frame<T> = { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }

/** Opens the stream after a version; without one, with every object first and a bookmark when all were sent. */
export type OpenStream = (version: string | undefined) => Promise<AsyncIterable<Uint8Array>>

/** Told why a watch was lost; it is tried again. */
export type OnLost = (error: unknown) => void

const FIRST_WAIT_MS = 200
const MAX_WAIT_MS = 10_000
const INITIAL_END = 'k8s.io/initial-events-end'

type Shown = { metadata?: { resourceVersion?: string; annotations?: Record<string, string> } }
type Received<T> = { type: Frame<T>['type'] | 'BOOKMARK' | 'ERROR'; object: T }

/** Frames until the signal. Throws ApiError for what trying again cannot mend (400 to 499, but 410). */
export async function* watchFrames<T>(
  open: OpenStream,
  { from, signal, onLost }: { from: string | undefined; signal: AbortSignal; onLost?: OnLost | undefined },
): AsyncGenerator<Frame<T>> {
  let version = from
  let lost = false
  for (let waitMs = FIRST_WAIT_MS; !signal.aborted; waitMs = Math.min(waitMs * 2, MAX_WAIT_MS)) {
    // The first objects come in no order of their versions: until all are here, there is no place to go on from.
    let complete = version !== undefined
    try {
      for await (const line of lines(await open(version))) {
        const { type, object } = JSON.parse(line) as Received<T>
        if (type === 'ERROR') {
          if ((object as { code?: number }).code === 410) version = undefined
          break
        }
        waitMs = FIRST_WAIT_MS
        lost = false
        complete ||= type === 'BOOKMARK' && annotationsOf(object)[INITIAL_END] === 'true'
        if (complete) version = newer(version, versionOf(object))
        if (type !== 'BOOKMARK') yield { type, object }
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof ApiError && error.code < 500 && error.code !== 410) throw error
      if (error instanceof ApiError && error.code === 410) version = undefined
      else if (!lost) {
        lost = true
        onLost?.(error)
      }
    }
    await sleep(waitMs, undefined, { signal }).catch(() => undefined)
  }
}

function annotationsOf(object: unknown): Record<string, string> {
  return (object as Shown).metadata?.annotations ?? {}
}

// A Table's frame has the version in its row.
function versionOf(object: unknown): string | undefined {
  const { rows } = object as { rows?: { object: Shown }[] }
  return (rows?.[0]?.object ?? (object as Shown)).metadata?.resourceVersion
}

// The last state of a deleted object bears an older version than its deletion.
function newer(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return BigInt(b) > BigInt(a) ? b : a
}

async function* lines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    // A character may lie across two chunks.
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) if (part !== '') yield part
  }
}
