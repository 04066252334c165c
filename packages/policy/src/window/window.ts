import type { ActivationWindow } from '@skerry/api'
import { Cron } from 'croner'

// Windows are judged at the site, in their own zone, at a time that is given: croner only ever computes from that time.

/** When a set of windows is open: no window at all is always open; several are a union. */
export type Opening =
  | { readonly open: true; readonly untilMs: number | undefined }
  | { readonly open: false; readonly nextMs: number | undefined }

// A plan asks for each cluster of a rollout at one moment, and a closed set of windows says the same until it opens.
const answered = new WeakMap<readonly ActivationWindow[], { readonly atMs: number; readonly opening: Opening }>()

/** Whether the union is open at `nowMs`, and until when; otherwise when it opens next. */
export function openingAt(windows: readonly ActivationWindow[], nowMs: number): Opening {
  const last = answered.get(windows)
  if (last && nowMs >= last.atMs) {
    const { atMs, opening } = last
    if (nowMs === atMs || (!opening.open && (opening.nextMs === undefined || nowMs < opening.nextMs))) return opening
  }
  const opening = judged(windows, nowMs)
  answered.set(windows, { atMs: nowMs, opening })
  return opening
}

function judged(windows: readonly ActivationWindow[], nowMs: number): Opening {
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

const CRON_FIELDS = [
  { name: 'minute', values: '0-59' },
  { name: 'hour', values: '0-23' },
  { name: 'day of month', values: '1-31' },
  { name: 'month', values: '1-12 or JAN-DEC' },
  { name: 'day of week', values: '0-7 or SUN-SAT' },
]
const CRON_EXAMPLE = 'such as "0 2 * * 1-5" for 02:00 from Monday to Friday'

export type WindowFault = { readonly field: 'at' | 'timeZone'; readonly message: string }

/**
 * What is wrong with a window, or with what it has of its members, each with its field and a sentence; empty when it can be
 * used. Asked when a rollout is written.
 */
export function windowFaults({ at, timeZone }: Partial<ActivationWindow>, nowMs: number): WindowFault[] {
  const zone: WindowFault[] =
    timeZone === undefined || isZone(timeZone)
      ? []
      : [
          {
            field: 'timeZone',
            message: `"${timeZone}" is no time zone that is known here: an IANA zone is wanted, such as "Europe/Oslo" or "UTC"`,
          },
        ]
  const fault = at === undefined ? undefined : cronFault(at, nowMs)
  return fault === undefined ? zone : [{ field: 'at', message: `${fault}, ${CRON_EXAMPLE}` }, ...zone]
}

function cronFault(at: string, nowMs: number): string | undefined {
  const fields = at.trim().split(/\s+/)
  const wanted = `a cron expression of five fields is wanted (${CRON_FIELDS.map(({ name }) => name).join(', ')})`
  if (fields.length !== CRON_FIELDS.length) {
    const count = at.trim() === '' ? 0 : fields.length
    return `"${at}" has ${count} field${count === 1 ? '' : 's'}, and ${wanted}`
  }
  for (const [place, { name, values }] of CRON_FIELDS.entries()) {
    const alone = CRON_FIELDS.map((_, index) => (index === place ? fields[index] : '*')).join(' ')
    if (!isCron(alone))
      return `${name} "${fields[place]}" in "${at}" is wrong: *, ${values}, a list, a range or a step of them is wanted`
  }
  if (!isCron(at)) return `"${at}" is none, and ${wanted}`
  // Each field for itself is right; whether their days ever meet does not depend on the zone.
  if (!cron({ at, timeZone: 'UTC' }).nextRun(new Date(nowMs)))
    return `"${at}" never comes, since no month it names has such a day: a time that does is wanted`
  return undefined
}

function isCron(at: string): boolean {
  try {
    cron({ at, timeZone: 'UTC' })
    return true
  } catch {
    return false
  }
}

// croner takes an empty zone for that of the machine it runs on.
function isZone(timeZone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone })
    return true
  } catch {
    return false
  }
}

function cron({ at, timeZone }: Pick<ActivationWindow, 'at' | 'timeZone'>): Cron {
  return new Cron(at, { timezone: timeZone, paused: true })
}
