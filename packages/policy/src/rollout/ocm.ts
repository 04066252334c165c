import { byCodeUnit } from '../order.ts'
import { counted } from '../words.ts'
import type { Scope } from './cluster-state.ts'
import type { Placed } from './rows.ts'
import type { Staged, Standing } from './stages.ts'
import { FAILURES, FINISHED, UNDER_WAY } from './states.ts'
import type { Stop } from './stop.ts'
import type { Turns } from './turns.ts'

// `spec.semantics: OCM`: who is sent the image by the rules of OCM's rollout handler, its gaps and defects included
// (DESIGN.md, "The way back to OCM"). Source: open-cluster-management-io/sdk-go at 2ae09b5ca299, Apache-2.0.

/** A cluster as OCM's strategies see it. */
type Seen = {
  readonly name: string
  readonly group: number
  /** `Fresh`: it has no status. A failure is held in the window until its deadline, and is `TimedOut` after it. */
  readonly is: 'Fresh' | 'ToApply' | 'Rolling' | 'Failed' | 'TimedOut' | 'Done'
}

type Window = {
  readonly names: readonly string[]
  readonly breached: boolean
  /** Whether a failure came to its deadline, which OCM does not count as being in the window. */
  readonly timedOut: boolean
}

/** Who is in OCM's window now, and whether more failed than it tolerates there. */
export function windowOf({ spec, durations, nowMs }: Scope, stages: readonly Staged[]): Window {
  const { deadlineMs } = durations
  // Of a group that nobody is in OCM knows nothing.
  const peopled = stages.filter(({ members }) => members.some(isOurs))
  const seen = peopled
    .flatMap(({ members }) => members.filter(isOurs))
    .map((one): Seen => ({ name: one.cluster.name, group: one.group, is: seenAs(one, deadlineMs, nowMs) }))
    .toSorted((a, b) => byCodeUnit(a.name, b.name))
  const mandatory = peopled.filter(({ isMandatory }) => isMandatory)
  const rest = peopled.filter(({ isMandatory }) => !isMandatory)
  const first = groupByGroup(mandatory, seen)
  // Whatever rolls or timed out anywhere holds up everything as long as there is a mandatory group.
  if (mandatory.length > 0 && (first.names.length > 0 || first.timedOut)) return first
  if (spec.strategy?.type === 'ProgressivePerGroup') return groupByGroup(rest, seen)
  const [all] = rest
  return all ? oneByOne(all, seen) : NOBODY
}

/** What a person let pass is tolerated: OCM knows no such word. */
function tolerated({ failed, maxFailures, isExceeded }: Staged): number {
  return failed.length > maxFailures && !isExceeded ? failed.length : maxFailures
}

const NOBODY: Window = { names: [], breached: false, timedOut: false }

/** Until when a failure is held in the window; undefined for ever. */
export function heldUntilMs({ failedAtMs }: Placed, deadlineMs: number | undefined): number | undefined {
  return failedAtMs === undefined || deadlineMs === undefined ? undefined : failedAtMs + deadlineMs
}

function seenAs(one: Placed, deadlineMs: number | undefined, nowMs: number): Seen['is'] {
  const { state } = one
  if (FAILURES.has(state))
    return state === 'TimeOut' || nowMs >= (heldUntilMs(one, deadlineMs) ?? Number.POSITIVE_INFINITY)
      ? 'TimedOut'
      : 'Failed'
  if (state === 'Sent') return 'ToApply'
  if (UNDER_WAY.has(state)) return 'Rolling'
  return state === 'Succeeded' ? 'Done' : 'Fresh'
}

function isOurs({ state }: Placed): boolean {
  return state !== 'Removed'
}

function isFailure({ is }: Seen): boolean {
  return is === 'Failed' || is === 'TimedOut'
}

function groupByGroup(stages: readonly Staged[], seen: readonly Seen[]): Window {
  const names = seen.filter(({ is }) => is === 'Rolling' || is === 'Failed').map(({ name }) => name)
  const timedOut = seen.some(({ is }) => is === 'TimedOut')
  let failures = 0
  for (const stage of stages) {
    const indices = new Set(stage.groups.map(({ index }) => index))
    const members = seen.filter(({ group }) => indices.has(group))
    names.push(...members.filter(({ is }) => is === 'Fresh' || is === 'ToApply').map(({ name }) => name))
    const failed = members.filter(isFailure).length
    const breached = failed > tolerated(stage)
    failures += failed
    // Who timed out is among the failures and not in the window: so many others may roll while the next group begins.
    if (names.length > failures || breached) return { names, breached, timedOut }
  }
  return { names, breached: false, timedOut }
}

function oneByOne(stage: Staged, seen: readonly Seen[]): Window {
  const { groups, maxConcurrency } = stage
  const timedOut = seen.some(({ is }) => is === 'TimedOut')
  const names: string[] = []
  let failures = 0
  let breached = false
  for (const one of seen) {
    const { name, is } = one
    if (is === 'Rolling' || is === 'Failed' || (is === 'ToApply' && !breached)) names.push(name)
    if (isFailure(one)) {
      failures += 1
      breached = failures > tolerated(stage)
    }
    // Failures behind the one that fills the window are not seen.
    if (is !== 'Fresh' && names.length >= maxConcurrency) return { names, breached, timedOut }
  }
  if (breached) return { names, breached, timedOut }
  const indices = new Set(groups.map(({ index }) => index))
  for (const { name, group, is } of seen) {
    if (is !== 'Fresh' || !indices.has(group)) continue
    names.push(name)
    if (names.length >= maxConcurrency) break
  }
  return { names, breached, timedOut }
}

/** How far the rollout has come, told by the same words: OCM has no stages, its window alone decides. */
export function standingAsOcm(stages: readonly Staged[], { names }: Window, isStopped: boolean): Standing {
  const inWindow = new Set(isStopped ? [] : names)
  const members = stages.flatMap((stage) => stage.members)
  const begun = members.filter(({ cluster, state }) => state !== 'NotStarted' || inWindow.has(cluster.name))
  const isDone = ({ state }: Placed) => FINISHED.has(state)
  const through = stages.filter((stage) => stage.members.length > 0 && stage.members.every(isDone))
  return {
    stages,
    current: stages.find((stage) => !stage.members.every(isDone)),
    gate: undefined,
    opened: new Set(begun.filter(({ state }) => state !== 'Removed').map(({ group }) => group)),
    passed: new Set(through.flatMap(({ groups }) => groups.map(({ index }) => index))),
  }
}

/** Who is sent the image now: whoever is in the window and was not sent it. */
export function turnsAsOcm(
  placed: readonly Placed[],
  { names, timedOut }: Window,
  hasMandatory: boolean,
  stop: Stop | undefined,
): Turns {
  const inWindow = new Set(names)
  const fresh = placed.filter(({ cluster, state }) => state === 'NotStarted' && inWindow.has(cluster.name))
  const held =
    timedOut && hasMandatory ? '; as long as there is a mandatory group, who timed out holds up all others' : ''
  return {
    advance: stop ? [] : fresh.map(({ cluster }) => cluster.name).toSorted(byCodeUnit),
    whyNot: () =>
      stop ?? {
        reason: 'OutOfWindow',
        message: `by OCM's rules (spec.semantics) ${counted(names.length, 'cluster is', 'clusters are')} in the window, and this one is not${held}`,
      },
  }
}
