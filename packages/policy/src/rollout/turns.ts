import { byCodeUnit } from '../order.ts'
import { counted } from '../words.ts'
import { spreadMs } from './catch-up.ts'
import type { Scope } from './cluster-state.ts'
import { gateText } from './conditions.ts'
import type { Placed } from './rows.ts'
import { isAttempted, type Standing, stageName } from './stages.ts'
import { HOLDS_A_SLOT, UNDER_WAY } from './states.ts'
import type { Stop, WhyNot } from './stop.ts'
import { catchUpOf } from './strategy.ts'

// Who is sent the image now, and why the others are not.

export type Turns = { readonly advance: readonly string[]; readonly whyNot: (one: Placed) => WhyNot }

/** Who is sent the image now: of the stage whose turn it is, and, in slots of their own, of who catches up. */
export function turnsOf(
  placed: readonly Placed[],
  standing: Standing,
  { spec, image, nowMs }: Scope,
  stop: Stop | undefined,
  name: string,
): Turns {
  const { current, passed } = standing
  const holdsSlot = ({ state }: Placed) =>
    HOLDS_A_SLOT.has(state) || (spec.strictConcurrency === true && state === 'WaitingForWindow')
  const catchesUp = ({ returnedAtMs, group }: Placed) => returnedAtMs !== undefined || passed.has(group)
  const catchUp = catchUpOf(spec, placed.filter(isAttempted).length)
  const startsAtMs = ({ cluster: { name }, returnedAtMs: at }: Placed) =>
    at === undefined ? 0 : at + spreadMs(name, image.manifestSha256, catchUp.jitterMs)
  const waiting = placed.filter(({ state }) => state === 'NotStarted')
  const room = (most: number, used: readonly Placed[]) => Math.max(0, most - used.filter(holdsSlot).length)
  const isOf = new Set(current?.groups.map(({ index }) => index))
  const regular = waiting.filter((one) => isOf.has(one.group) && !catchesUp(one))
  const late = waiting
    .filter((one) => catchesUp(one) && (passed.has(one.group) || isOf.has(one.group)))
    .filter((one) => startsAtMs(one) <= nowMs)
    .toSorted((a, b) => startsAtMs(a) - startsAtMs(b) || byCodeUnit(a.cluster.name, b.cluster.name))
  const advance = stop
    ? []
    : [
        ...regular.slice(
          0,
          room(current?.maxConcurrency ?? 0, current?.members.filter((one) => !catchesUp(one)) ?? []),
        ),
        ...late.slice(0, room(catchUp.maxConcurrency, placed.filter(catchesUp))),
      ].map(({ cluster }) => cluster.name)
  return {
    advance: advance.toSorted(byCodeUnit),
    whyNot: (one) => {
      if (stop) return stop
      if (!passed.has(one.group) && !isOf.has(one.group)) return groupWaits(standing, name)
      if (catchesUp(one) && startsAtMs(one) > nowMs)
        return {
          reason: 'CatchUpDelay',
          message: `is back in reach since ${new Date(one.returnedAtMs ?? nowMs).toISOString()}; sites that return start one after the other, this one at ${new Date(startsAtMs(one)).toISOString()}`,
          recheckAtMs: startsAtMs(one),
        }
      const [reason, most, what] = catchesUp(one)
        ? ['CatchUpLimit', catchUp.maxConcurrency, ' to catch up']
        : ['ConcurrencyLimit', current?.maxConcurrency ?? 0, '']
      return {
        reason,
        message: `${counted(most, 'cluster is', 'clusters are')} under way${what}, which is as many as may be`,
      }
    },
  }
}

// Of a group whose turn has not come.
function groupWaits({ current, gate }: Standing, name: string): WhyNot {
  if (gate)
    return {
      reason: 'WaitingForApproval',
      message: gateText(gate, name),
      ...(gate.recheckAtMs === undefined ? {} : { recheckAtMs: gate.recheckAtMs }),
    }
  if (!current) return { reason: 'GroupWaits', message: 'its group has not had its turn' }
  const of = (is: (one: Placed) => boolean) => current.members.filter(is).length
  const [busy, dark, open] = [
    of(({ state }) => UNDER_WAY.has(state)),
    of(({ state }) => state === 'Offline'),
    of(({ state }) => state === 'NotStarted'),
  ]
  const parts = [
    ...(busy > 0 ? [`${busy} under way`] : []),
    ...(open > 0 ? [`${open} not started`] : []),
    ...(dark > 0 ? [`${dark} out of reach`] : []),
    // Also where who is out of reach is skipped: a group that nobody has proven lets nobody through.
    ...(busy + open === 0 && of(({ state }) => state === 'Succeeded') === 0 ? ['no cluster of it succeeded'] : []),
  ]
  return { reason: 'GroupWaits', message: `${stageName(current)} comes first and is not through: ${parts.join(', ')}` }
}
