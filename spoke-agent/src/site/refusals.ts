import type { Position, Refusal } from '@skerry/api'
import type { Logger } from 'pino'
import type { Outbox } from '../outbox/outbox.ts'
import type { Database } from '../store/database.ts'

// What was not believed is told to the hub: each refusal of a document once, also over a restart.

/** Of what nobody known has signed, one refusal for each code is told in so long. */
const UNSIGNED_MS = 60_000
/** Refused texts that are remembered, so that each is told once. */
const REFUSED_KEPT = 64

type About = {
  readonly document: 'DesiredState' | 'Metadata'
  /** What tells this document from others. */
  readonly digest: string
  /** Its place, once its signature held. */
  readonly position?: Position
}

export type Refusals = { tell(refusal: Refusal, about: About): void }

/** `monotonicMs` is a clock that no wall clock moves. */
export function openRefusals({
  database,
  outbox,
  log,
  monotonicMs,
}: {
  readonly database: Database
  readonly outbox: Outbox
  readonly log: Logger
  readonly monotonicMs: () => number
}): Refusals {
  const unsignedAtMs = new Map<string, number>()
  /** What there was no room for: not told, so that it is told when it comes again and there is room. */
  let unsaid: readonly string[] = []
  return {
    tell(refusal, { document, digest, position }) {
      const waits = refusal.retry === 'later'
      // What waits may wait for one thing after another: each is told. Where what said it may be lost it is told anew.
      const cause = `${outbox.chapter()} ${waits ? `${digest} ${refusal.code}` : digest}`
      const told = database.load<string[]>('refused') ?? []
      if (told.includes(cause) || (unsaid.includes(cause) && outbox.room() !== 'enough')) return
      // Anybody who holds the subject can bring new garbage each second; the hub's own documents are few.
      const nowMs = monotonicMs()
      if (!position && nowMs - (unsignedAtMs.get(refusal.code) ?? Number.NEGATIVE_INFINITY) < UNSIGNED_MS) return
      log.warn({ document, code: refusal.code, reason: refusal.message, position }, waits ? 'waits' : 'refused')
      const place = position ? `(${position.timeline}, ${position.generation}) ` : ''
      const message = waits ? `${place}waits and is tried again: ${refusal.message}` : refusal.message
      const taken = database.transact(() => {
        const fits = outbox.offer({
          kind: 'refused',
          body: {
            document,
            code: refusal.code,
            message: message.slice(0, 1_000),
            digest,
            // Who names a place has refused it for good.
            ...(position && !waits ? { position } : {}),
          },
        })
        if (fits) database.save('refused', [...told, cause].slice(-REFUSED_KEPT))
        return fits
      })
      if (!taken) unsaid = [...unsaid, cause].slice(-REFUSED_KEPT)
      if (!position) unsignedAtMs.set(refusal.code, nowMs)
    },
  }
}
