import type { Logger } from 'pino'
import type { Lease } from '../store/leases.ts'
import type { Store } from '../store/store.ts'

// A controller is one function that looks at rows and makes them what they should be. It may be called at any time, any
// number of times, and killed anywhere: all it has is in the rows.

export type Reconciling = {
  readonly store: Store
  /** Every write goes through `writeFenced(store, lease, …)`: a controller that lost its lease writes nothing. */
  readonly lease: Lease
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

/** Something that says "look again", such as a change of resources or of other rows. */
export type Hints = { subscribe(listener: () => void): () => void }

/**
 * Runs a controller until the signal: at once, at every hint, at its `recheckAtMs`, and every 30 s. An error is logged
 * and tried again after a second; it never ends the others.
 */
export async function runController(controller: Controller, context: Reconciling, hints: Hints): Promise<void> {
  let dirty = true
  let awake: (() => void) | undefined
  const look = () => {
    dirty = true
    awake?.()
  }
  const unsubscribe = hints.subscribe(look)
  context.signal.addEventListener('abort', look, { once: true })
  try {
    while (!context.signal.aborted) {
      dirty = false
      let waitMs = RESYNC_MS
      try {
        const { recheckAtMs } = await controller.reconcile(context)
        if (recheckAtMs !== undefined) waitMs = Math.min(waitMs, Math.max(recheckAtMs - context.now(), 0) + 1)
      } catch (error) {
        if (context.signal.aborted) return
        context.log.error({ err: error, controller: controller.name }, 'controller failed and will look again')
        waitMs = RETRY_MS
      }
      if (dirty) continue
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs)
        awake = () => {
          clearTimeout(timer)
          resolve()
        }
        if (dirty) awake()
      })
      awake = undefined
    }
  } finally {
    unsubscribe()
    context.signal.removeEventListener('abort', look)
  }
}
