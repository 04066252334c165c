import type { Logger } from 'pino'
import type { Lease } from '../store/leases.ts'
import type { Mirrors } from '../store/mirrors.ts'
import type { Store } from '../store/store.ts'

// A controller is one function that looks at rows and makes them what they should be. It may be called at any time, any
// number of times, and killed anywhere: all it has is in the rows.

export type Reconciling = {
  readonly store: Store
  /** Every write goes through `writeFenced(store, lease, …)`: a controller that lost its lease writes nothing. */
  readonly lease: Lease
  /** What looks share of what they read. */
  readonly mirrors: Mirrors
  readonly now: () => number
  readonly log: Logger
  readonly signal: AbortSignal
}

export type Controller = {
  readonly name: string
  /** Epoch ms at which to look again though nothing changed; undefined when nothing is awaited. */
  reconcile(context: Reconciling): Promise<{ recheckAtMs?: number | undefined }>
}

/** Looks again at least so often: a hint may be lost, a row may not. */
const RESYNC_MS = 30_000
const RETRY_MS = 1_000
/** The least and the most that a controller rests before it looks again because of a hint. */
const LEAST_REST_MS = 20
const MOST_REST_MS = 2_000
/** A controller that hints never let alone looks a quarter of the time: the rest is the others' and the doors'. */
const REST_FACTOR = 3

/** Something that says "look again", such as a change of resources or of other rows. */
export type Hints = { subscribe(listener: () => void): () => void }

/**
 * Runs a controller until the signal: at once, at every hint, at its `recheckAtMs`, and every 30 s. Between two looks it
 * rests three times as long as the last one took, so that a storm of hints is answered by few looks and never by a busy loop. An
 * error is logged and tried again after a second; it never ends the others.
 */
export async function runController(controller: Controller, context: Reconciling, hints: Hints): Promise<void> {
  let dirty = true
  let awake: (() => void) | undefined
  const look = () => {
    dirty = true
    awake?.()
  }
  const sleep = async (ms: number, until: () => boolean) => {
    if (ms <= 0 || until()) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms)
      awake = () => {
        if (!until()) return
        clearTimeout(timer)
        resolve()
      }
    })
    awake = undefined
  }
  const over = () => context.signal.aborted
  const unsubscribe = hints.subscribe(look)
  context.signal.addEventListener('abort', look, { once: true })
  try {
    while (!over()) {
      dirty = false
      let waitMs = RESYNC_MS
      let failed = false
      const startedAt = performance.now()
      try {
        const { recheckAtMs } = await controller.reconcile(context)
        if (recheckAtMs !== undefined) waitMs = Math.min(waitMs, Math.max(recheckAtMs - context.now(), 0) + 1)
      } catch (error) {
        if (over()) return
        context.log.error({ err: error, controller: controller.name }, 'controller failed and will look again')
        failed = true
        waitMs = RETRY_MS
      }
      const tookMs = performance.now() - startedAt
      const restMs = failed ? RETRY_MS : Math.min(Math.max(REST_FACTOR * tookMs, LEAST_REST_MS), MOST_REST_MS)
      await sleep(restMs, over)
      await sleep(waitMs - restMs, () => dirty || over())
    }
  } finally {
    unsubscribe()
    context.signal.removeEventListener('abort', look)
  }
}
