import type { RolloutSpec } from '@skerry/api'
import { isTooLong } from '../duration.ts'
import { windowFaults } from '../window/window.ts'
import { goesAsOcm } from './strategy.ts'
import { waveFaults } from './waves.ts'

// What is wrong with a Rollout beyond its schema, told when it is written.

/** What only Skerry's own rules carry out. */
const NOT_OF_OCM = [
  'strictConcurrency',
  'offlinePolicy',
  'groupOfflinePolicies',
  'offlineAfter',
  'catchUp',
  'approvals',
] as const satisfies readonly (keyof RolloutSpec)[]

/**
 * Every fault of a spec, or of the members that it has, with its path; none where it may be stored. `nowMs`: epoch ms, from
 * which windows must open once.
 */
export function admitRollout(
  spec: Partial<RolloutSpec>,
  nowMs: number,
): { readonly field: string; readonly message: string }[] {
  const windows = (spec.windows?.activation ?? []).flatMap((window, index) =>
    windowFaults(window, nowMs).map(({ field, message }) => ({
      field: `spec.windows.activation[${index}].${field}`,
      message,
    })),
  )
  const waves = waveFaults(spec.waves ?? []).map(({ field, message }) => ({ field: `spec.waves${field}`, message }))
  const long = durationsOf(spec).filter(([, duration]) => isTooLong(duration))
  const others = goesAsOcm(spec) ? NOT_OF_OCM.filter((member) => spec[member] !== undefined) : []
  return [
    ...windows,
    ...waves,
    ...long.map(([field]) => ({
      field: `spec.${field}`,
      message: 'is longer than 292 years, which is the longest duration: leave it out for no limit',
    })),
    ...others.map((member) => ({
      field: `spec.${member}`,
      message: 'has no meaning with spec.semantics OCM: leave one of them out',
    })),
  ]
}

/** Every duration of a spec, by its path. */
function durationsOf({
  strategy,
  approvals,
  offlineAfter,
  catchUp,
}: Partial<RolloutSpec>): [string, string | undefined][] {
  const { all, progressive, progressivePerGroup } = strategy ?? {}
  return [
    ['strategy.all.progressDeadline', all?.progressDeadline],
    ['strategy.progressive.minSuccessTime', progressive?.minSuccessTime],
    ['strategy.progressive.progressDeadline', progressive?.progressDeadline],
    ['strategy.progressivePerGroup.minSuccessTime', progressivePerGroup?.minSuccessTime],
    ['strategy.progressivePerGroup.progressDeadline', progressivePerGroup?.progressDeadline],
    ['approvals.expireAfter', approvals?.expireAfter],
    ['offlineAfter', offlineAfter],
    ['catchUp.jitter', catchUp?.jitter],
  ]
}
