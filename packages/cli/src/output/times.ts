/** Kubernetes' short ages: 40s, 12m, 5h, 3d. */
export function ago(time: string | undefined, nowMs: number): string {
  const atMs = Date.parse(time ?? '')
  return Number.isNaN(atMs) ? '<unknown>' : span(nowMs - atMs)
}

/** A time with how far it is away: `2026-11-25T02:00:00Z (in 3h)`. */
export function when(time: string | undefined, nowMs: number): string {
  const atMs = Date.parse(time ?? '')
  if (time === undefined || Number.isNaN(atMs)) return '<unknown>'
  return atMs > nowMs ? `${time} (in ${span(atMs - nowMs)})` : `${time} (${span(nowMs - atMs)} ago)`
}

function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds < 7_200) return `${Math.floor(seconds / 60)}m`
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** Milliseconds of a duration as people write it: 90s, 30m, 1h30m, 7d. undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  const [whole, d, h, m, s] = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text) ?? []
  if (!whole) return undefined
  return ((Number(d ?? 0) * 24 + Number(h ?? 0)) * 60 + Number(m ?? 0)) * 60_000 + Number(s ?? 0) * 1000
}
