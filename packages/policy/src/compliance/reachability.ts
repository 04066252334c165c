import type { Reachability } from '@skerry/api'

/** After how much silence a cluster is Late, Offline and Stale; each is longer than the one before. */
export type ReachabilityLimits = { readonly lateMs: number; readonly offlineMs: number; readonly staleMs: number }

/** How long a cluster has been silent, by the hub's own receive time. A site's clock never decides this. */
export function reachability(
  lastHeardAtMs: number | undefined,
  limits: ReachabilityLimits,
  nowMs: number,
): { state: Reachability; changesAtMs?: number } {
  if (lastHeardAtMs === undefined) return { state: 'NeverSeen' }
  const silentMs = nowMs - lastHeardAtMs
  if (silentMs < limits.lateMs) return { state: 'Online', changesAtMs: lastHeardAtMs + limits.lateMs }
  if (silentMs < limits.offlineMs) return { state: 'Late', changesAtMs: lastHeardAtMs + limits.offlineMs }
  if (silentMs < limits.staleMs) return { state: 'Offline', changesAtMs: lastHeardAtMs + limits.staleMs }
  return { state: 'Stale' }
}
