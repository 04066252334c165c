import type { RolloutSpec } from '@skerry/api'
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

/** Every fault of a spec, with its path; none where it may be stored. `nowMs`: epoch ms, from which windows must open once. */
export function admitRollout(spec: RolloutSpec, nowMs: number): { readonly field: string; readonly message: string }[] {
  const windows = (spec.windows?.activation ?? []).flatMap((window, index) =>
    windowFaults(window, nowMs).map(({ field, message }) => ({
      field: `spec.windows.activation[${index}].${field}`,
      message,
    })),
  )
  const waves = waveFaults(spec.waves ?? []).map(({ field, message }) => ({ field: `spec.waves${field}`, message }))
  const others = goesAsOcm(spec) ? NOT_OF_OCM.filter((member) => spec[member] !== undefined) : []
  return [
    ...windows,
    ...waves,
    ...others.map((member) => ({
      field: `spec.${member}`,
      message: 'has no meaning with spec.semantics OCM: leave one of them out',
    })),
  ]
}
