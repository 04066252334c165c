import type { ActivationWindow } from '@skerry/api'
import { Cron } from 'croner'

// Windows are judged at the site, in their own zone, at a time that is given: croner only ever computes from that time.

/** When a set of windows is open: no window at all is always open; several are a union. */
export type Opening =
  | { readonly open: true; readonly untilMs: number | undefined }
  | { readonly open: false; readonly nextMs: number | undefined }

/** Whether the union is open at `nowMs`, and until when; otherwise when it opens next. */
export function openingAt(windows: readonly ActivationWindow[], nowMs: number): Opening {
  if (windows.length === 0) return { open: true, untilMs: undefined }
  const open = windows.map((window) => openUntil(window, nowMs)).filter((until) => until !== undefined)
  if (open.length > 0) return { open: true, untilMs: Math.max(...open) }
  const next = windows
    .map((window) => cron(window).nextRun(new Date(nowMs))?.getTime())
    .filter((at) => at !== undefined)
  return { open: false, nextMs: next.length > 0 ? Math.min(...next) : undefined }
}

// Starts overlap when a window is longer than its period: the latest that is not after now reaches furthest. croner looks
// strictly before, and in whole seconds.
function openUntil(window: ActivationWindow, nowMs: number): number | undefined {
  const [last] = cron(window).previousRuns(1, new Date(Math.floor(nowMs / 1000) * 1000 + 1000))
  const endsAtMs = last && last.getTime() + window.durationSeconds * 1000
  return endsAtMs !== undefined && endsAtMs > nowMs ? endsAtMs : undefined
}

/** What is wrong with a window, as a sentence; undefined when it can be used. Asked when a rollout is written. */
export function windowFault(window: ActivationWindow, nowMs: number): string | undefined {
  if (window.at.trim().split(/\s+/).length !== 5) return `"${window.at}" is no cron expression of five fields`
  try {
    return cron(window).nextRun(new Date(nowMs)) ? undefined : `"${window.at}" never comes`
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function cron({ at, timeZone }: ActivationWindow): Cron {
  return new Cron(at, { timezone: timeZone, paused: true })
}
